"""Gives a made mouth, and the skin around it, the look that the person's own has.

Where a small model opens, presses or stretches lips beyond what it knows, they turn pale, dark or
purple, and too thick, and leave a shadow or a glow on the chin. The person's real frames show how
lips look that are as far apart, in a mouth that is as wide: colours at each place of the mouth, and
the thickness of the lips, are regressed on the two, so that nothing is known of when the mouth was
open. Such means are soft; details come from one of the frames. Towards nose, chin and cheeks the
expected colours give way to those that were made, which know how the head is turned, and only
details stay.
"""

import dataclasses
import functools

import cv2
import numpy as np

from vidregen_jax.compositing import colour_limits, lip_edges
from vidregen_jax.faces import landmarks

# Places of the mouth: across it, from corner to corner (1) and beyond; and down each of its zones:
# from the nose to the upper lip, that, what is between the lips, the lower one, down to the chin.
_ACROSS = np.linspace(-1.7, 1.7, 137)
_ROWS = 20, 13, 9, 13, 48
_BEGIN = np.cumsum([0, *_ROWS])
_SKIN, _LIPS, _WITHIN = (0, 4), (1, 3), 2
# Places of blur, across and down, that leave what is coarse of each zone; the rest is details.
_COARSE = (5., 5.), (3., 3.), (6., 2.), (3., 3.), (5., 6.)
# Skin gives way to what was made from the lips on over the first, of the way to nose and chin, its
# details over the last of it; both across from the third on to the end.
_GIVES_WAY, _DETAILS_GIVE_WAY, _CHEEKS = .8, .1, 1.2
_CORNERS = .05  # over which lips end, of half of the mouth's width
_EDGE = 1.  # pixels of blur between zones
# Units of what is regressed on: lip gap, its root, mouth width, in distances between the eyes.
_GAP, _ROOT, _WIDTH = .03, .1, .03
_PENALTY = 5.  # of slopes, in frames
_DOUBT = 2.  # frames; of as many only half of what is expected is taken
_RARE = 10  # per cent of the frames, in which a detail is stronger than any that is taken
_UNUSUAL = 1.5  # times as far from what is expected as usual, and a frame counts less
_OPEN = .015, .035  # lip gaps at which it begins to be seen what is between, and is


@dataclasses.dataclass(frozen=True, eq=False)
class Regression:
  """A ridge regression, as the sums over frames that it is solved of.

  Attributes:
    inputs: [4, 4], of the products of what is regressed on.
    seen: [4, K], of its products with what was seen.
  """

  inputs: np.ndarray
  seen: np.ndarray

  def __call__(self, inputs) -> np.ndarray:
    """What is expected of inputs [..., 4], [..., K]."""
    return inputs @ self._weights

  def seeing(self, inputs, seen) -> 'Regression':
    """The same with more frames: inputs [N, 4], weighted as they count, and [N, K]."""
    return Regression(self.inputs + inputs.T @ inputs, self.seen + inputs.T @ seen)

  @property
  def known(self) -> float:
    """The share of what is expected that is to be taken, as few frames say little."""
    return float(self.inputs[0, 0] / (self.inputs[0, 0] + _DOUBT))

  @functools.cached_property
  def _weights(self):
    return np.linalg.solve(self.inputs + np.diag([1e-6] + 3 * [_PENALTY]), self.seen)


@dataclasses.dataclass(frozen=True, eq=False)
class Expected:
  """What is expected of a mouth.

  Attributes:
    colours: float32 [V, U, 3], at the places of it, in the light of `Appearance.light`.
    upper, lower: [U], thickness of the lips, in distances between the eyes.
    known: share of lips and skin that is to be taken.
    within: share of what is between the lips that is to be taken.
    deep: share of the gap, from the upper lip down, of which that is known.
  """

  colours: np.ndarray
  upper: np.ndarray
  lower: np.ndarray
  known: float
  within: float
  deep: float


@dataclasses.dataclass(frozen=True, eq=False)
class Appearance:
  """How a person's mouth looks.

  Attributes:
    around: of colours [V, U, 3] and thicknesses [2, U], flat, at any lip gap and mouth width.
    within: of the colours between open lips, [H, U, 3], flat.
    low, high: [2], the least and the largest gap and width that were seen.
    width: of the usual mouth, from which widths are taken.
    light: [3], the colour of the upper face in which all was seen.
    off: how far a usual frame is from what is expected of it.
    detail: float32 [V, U, 3], of one frame, beyond what is expected of it.
  """

  around: Regression
  within: Regression
  low: np.ndarray
  high: np.ndarray
  width: float
  light: np.ndarray
  off: float
  detail: np.ndarray

  def at(self, gap: float, width: float) -> Expected:
    """What is expected of a lip gap and a mouth width, within those that were seen."""
    inputs = _inputs(*np.clip([gap, width], self.low, self.high) - [0, self.width])
    colours, upper, lower = np.split(self.around(inputs), [-2 * len(_ACROSS), -len(_ACROSS)])
    colours = np.float32(colours.reshape(self.detail.shape)) + self.detail
    colours[_BEGIN[_WITHIN]:_BEGIN[_WITHIN + 1]] = self.within(inputs).reshape(
      -1, *colours.shape[1:])
    return Expected(colours, upper, lower, self.around.known,
                    float(is_open(gap) * self.within.known),
                    min(1., float(self.high[0]) / max(gap, 1e-6)))

  def seeing(self, crop, points) -> 'Appearance':
    """The same after another real frame, uint8 [S, S, 3], and points of `lip_edges.Points`."""
    shape = np.array([landmarks.lip_gap(points), landmarks.mouth_width(points)])
    inputs, seen = _inputs(*shape - [0, self.width]), _seen(crop, points, self.light)
    off = np.abs(seen - self.around(inputs)).mean()
    count = np.sqrt(_counts(off, self.off))
    return dataclasses.replace(
      self, around=self.around.seeing(count * inputs[None], count * seen[None]),
      within=_within(self.within, inputs[None], seen[None], count * is_open(shape[:1])),
      low=np.minimum(self.low, shape), high=np.maximum(self.high, shape))


def of_person(crops, found) -> Appearance | None:
  """How a person's mouth looks.

  Args:
    crops: uint8 [S, S, 3] each, of real frames.
    found: points of `lip_edges.Points` in each, or None.

  Returns:
    None if no face is seen in any.
  """
  frames = [(crop, points) for crop, points in zip(crops, found, strict=True) if points is not None]
  if not frames:
    return None
  gaps, widths = (np.array([of(points) for _, points in frames])
                  for of in (landmarks.lip_gap, landmarks.mouth_width))
  light = np.median([colour_limits.light(crop) for crop, _ in frames], axis=0)
  inputs = _inputs(gaps, widths - np.median(widths))
  seen = np.stack([_seen(*frame, light) for frame in frames])
  nothing = lambda size: Regression(np.zeros((4, 4)), np.zeros((4, size)))
  around = nothing(seen.shape[1])
  # What hides the mouth, such as a hand, is seen in few frames: they count less.
  off = np.abs(seen - around.seeing(inputs, seen)(inputs)).mean(1)
  count = np.sqrt(_counts(off, np.median(off)))[:, None]
  around = around.seeing(count * inputs, count * seen)
  within = _within(nothing(_ROWS[_WITHIN] * len(_ACROSS) * 3), inputs, seen,
                   count[:, 0] * is_open(gaps))
  return Appearance(around, within, np.array([gaps.min(), widths.min()]),
                    np.array([gaps.max(), widths.max()]), float(np.median(widths)), light,
                    float(np.median(off)), _detail(seen - around(inputs)))


def _inputs(gap, width):
  """What is regressed on, [..., 4], of a lip gap and of how much a mouth is wider than usual."""
  return np.stack([np.ones_like(gap), gap / _GAP, np.sqrt(np.maximum(gap, 0)) / _ROOT,
                   width / _WIDTH], -1)


def is_open(gap):
  """How much is seen of what is between the lips, 0 to 1: narrow gaps show hardly any teeth."""
  return np.clip((gap - _OPEN[0]) / (_OPEN[1] - _OPEN[0]), 0, 1)


def _counts(off, usual):
  """How much frames count, of how far they are from what is expected."""
  return np.minimum(1, (_UNUSUAL * max(usual, 1e-6) / np.maximum(off, 1e-6))**2)


def _within(regression, inputs, seen, weight):
  """A regression of what is between lips after frames of inputs [N, 4], weighted [N]."""
  part = slice(*3 * len(_ACROSS) * _BEGIN[_WITHIN:_WITHIN + 2])
  return regression.seeing(weight[:, None] * inputs, weight[:, None] * seen[:, part])


def _detail(beyond):
  """What the sharpest of usual frames shows beyond what is expected, float32 [V, U, 3].

  No more of it than is usual in its place: the edge of a hand is no detail of a face.
  """
  colours = np.float32(beyond[:, :-2 * len(_ACROSS)].reshape(len(beyond), -1, len(_ACROSS), 3))
  usual = np.argsort(np.abs(colours).mean((1, 2, 3)), kind='stable')[:-(-len(beyond) // 3)]
  details = np.stack([np.concatenate([part - _coarse(part, zone) for zone, part in enumerate(
    np.split(each, _BEGIN[1:-1]))]) for each in colours])
  held = np.clip(details[usual], *np.percentile(details, (_RARE, 100 - _RARE), axis=0))
  return np.float32(max(held, key=lambda each: np.abs(each).mean()))


def _coarse(part, zone):
  return cv2.GaussianBlur(part, (0, 0), *_COARSE[zone], borderType=cv2.BORDER_REPLICATE)


def _seen(crop, points, light):
  """What a real frame shows: colours [V, U, 3] and thicknesses [2, U], flat."""
  lips = lip_edges.edges(points, crop)
  image = np.float32(crop * (light / colour_limits.light(crop)))
  columns = lips.middle + lips.half * _ACROSS
  thick = [np.interp(columns, np.arange(len(edge)), edge) / lips.eyes for edge in (
    lips.upper - lips.outer_upper, lips.outer_lower - lips.lower)]
  return np.concatenate([_places(image, lips).ravel(), *thick])


def thick(lips: lip_edges.Edges, expected: Expected) -> lip_edges.Edges:
  """Lips as thick as is expected of them; their inner edges stay."""
  of = lambda made, thickness: made + expected.known * (
    lips.eyes * np.interp(lips.across, _ACROSS, thickness) - made)
  return dataclasses.replace(
    lips, outer_upper=lips.upper - of(lips.upper - lips.outer_upper, expected.upper),
    outer_lower=lips.lower + of(lips.outer_lower - lips.lower, expected.lower))


def around(image, lips: lip_edges.Edges, expected: Expected, light) -> np.ndarray:
  """A crop float32 [H, W, 3], or a part of one, whose lips and skin look as is expected.

  Args:
    image: of a face.
    lips: in it.
    expected: of its mouth.
    light: [3], the colour of the upper face beside `Appearance.light`.
  """
  off, made = _off(image, lips, expected, light), image.copy()
  sides = np.clip((_ACROSS[-1] - np.abs(lips.across)) / (_ACROSS[-1] - _CHEEKS), 0, 1)
  corners = np.clip((1 - np.abs(lips.across)) / _CORNERS, 0, 1)
  for zone in (*_SKIN, *_LIPS):
    part, rows, place, inside = _zone(off, lips, zone, len(image))
    if zone in _LIPS:
      made[rows] += _taken(part, lips, place, expected.known * inside * corners)
      continue
    coarse, left = _coarse(part, zone), place if zone == 0 else 1 - place  # to nose or chin
    for what, way in ((coarse, _GIVES_WAY), (part - coarse, _DETAILS_GIVE_WAY)):
      share = expected.known * inside * sides * np.clip(left / way, 0, 1)
      made[rows] += _taken(what, lips, place, share)
  return made


def within(image, lips: lip_edges.Edges, expected: Expected, light) -> np.ndarray:
  """The same, with what is between the lips as is expected, but for its details."""
  if not expected.within:
    return image
  lips = dataclasses.replace(lips, lower=lips.upper + expected.deep * (lips.lower - lips.upper))
  off, made = _off(image, lips, expected, light), image.copy()
  part, rows, place, inside = _zone(off, lips, _WITHIN, len(image))
  made[rows] += _taken(_coarse(part, _WITHIN), lips, place,
                       expected.within * inside * (np.abs(lips.across) < 1))
  return made


def _off(image, lips, expected, light):
  """What is expected at the places of an image's mouth, beyond what it shows there."""
  return expected.colours * np.float32(light) - _places(image, lips)


def _zone(places, lips, zone, height):
  """A zone of `height` rows of pixels: its part [V, U, 3] of places [.., U, 3], and its rows.

  And for each of these pixels [H, W] the place down the zone, 0 to 1, and the zone's share of it.
  """
  top, bottom = _edges(lips)[zone]
  room = 1 + round(4 * _EDGE)
  rows = slice(*np.clip([top.min() - room, bottom.max() + room + 1], 0, height).astype(int))
  down = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None]
  top, bottom = np.float32(top), np.float32(bottom)
  place = np.clip((down - top) / np.maximum(bottom - top, 1), 0, 1)
  inside = np.clip(down - top + 1, 0, 1) * np.clip(bottom - down + 1, 0, 1)
  return places[_BEGIN[zone]:_BEGIN[zone + 1]], rows, place, inside


def _taken(part, lips, place, share):
  """What is added to an image [H, W, 3] of a zone's part, of which each pixel takes its share."""
  if not place.size:  # outside of the image
    return np.zeros((*place.shape, 3), np.float32)
  across = np.interp(lips.across, _ACROSS, np.arange(len(_ACROSS))).astype(np.float32)
  taken = cv2.remap(part, np.broadcast_to(across, place.shape),
                    (place * (len(part) - 1)).astype(np.float32), cv2.INTER_LINEAR)
  return cv2.GaussianBlur(share.astype(np.float32), (0, 0), _EDGE)[..., None] * taken


def _edges(lips):
  """Upper and lower edges of the zones of a mouth."""
  return ((lips.top, lips.outer_upper), (lips.outer_upper, lips.upper), (lips.upper, lips.lower),
          (lips.lower, lips.outer_lower), (lips.outer_lower, lips.bottom))


def _places(image, lips):
  """Colours float32 [V, U, 3] of an image's mouth."""
  columns = lips.middle + lips.half * _ACROSS
  found = []
  for edges, rows in zip(_edges(lips), _ROWS, strict=True):
    top, bottom = (np.interp(columns, np.arange(len(edge)), edge) for edge in edges)
    down = top + (bottom - top) * np.linspace(0, 1, rows)[:, None]
    found.append(cv2.remap(image, np.broadcast_to(columns, down.shape).astype(np.float32),
                           down.astype(np.float32), cv2.INTER_LINEAR,
                           borderMode=cv2.BORDER_REPLICATE))
  return np.concatenate(found)

"""Opens, closes, rounds or widens a made mouth as it should be, and shows the person's own teeth.

What a small generator makes of a mouth is soft: its latents say how far the lips are apart, its
picture shows half of that, and a smear for teeth. How wide the mouth is hardly follows the sound.
So the picture is warped. Between the corners each row of pixels is stretched or compressed, the
cheeks giving way, such that the mouth is as wide as it should be. From the nose to the chin each
column is, such that the inner lips are as far apart as they should be, and lips as thick as the
person's are in such a mouth; they and the skin around them then get its colours
(`mouth_appearance`). What lies between the lips is taken from a real frame in which the person's
mouth is open. It hangs from the upper lip as teeth do, and the lower lip uncovers it: first what
that frame shows, and below that the dark of the mouth; with as much light as is usual in it.
"""

import dataclasses
import itertools

import cv2
import numpy as np

from vidregen_jax.compositing import colour_limits, lip_edges, mouth_appearance
from vidregen_jax.faces import landmarks

_UPPER_SHARE = .3  # of a gap's change; the rest is the jaw's
_SOFT = 1.  # pixels of blur of the displacements
_STEP = .004  # rows of an interior, in distances between the eyes
_COLUMNS = 65
_ACROSS = np.linspace(-1, 1, _COLUMNS)  # of an interior: from corner to corner
_EDGE = 1.2  # pixels over which an interior begins at the lips
# Lip gaps of mouths that show all that is within, and a little of it: where a person's frames show
# no wider one, what lies deeper is as dark as in others, in shares of the light on the face (R, G,
# B; medians of `dark` in eight clips of real people, whose gaps are .08 to .11).
_WIDE, _AJAR = .05, .02
_USUALLY_DARK = .51, .33, .32
# Of the frames with at least the first share of the widest gap, the widest ones, that which shows
# most of the upper teeth shows what is within: the widest is often a yawn with two of them. Teeth
# are at least .4 to .8 as light as the face, redder than it by less than half of the third, of 1,
# and no further down than the fourth, in distances between the eyes.
_OPEN, _OPEN_FRAMES, _AS_RED, _UPPER_TEETH = .5, 24, .03, .07
_MORE = 1.3  # times the teeth that are known, which a later frame has to show to be taken instead
# Teeth are not stretched: over the first, in distances between the eyes, what was seen gives way to
# the dark of the mouth. That is the mean of the second, the darkest share of what was seen.
_GIVES_WAY, _DARK = .02, .1
# How far the upper lip may be higher or lower than where the teeth were seen, in distances between
# the eyes, and the share of the way to the corners in which its height is taken. What a higher one
# uncovers is made of the first rows that were seen: over .08 that was a second row of teeth.
_UNCOVERED = -.03, .08
_SHADOW = .02  # of the upper lip on the teeth, in the same unit: it moves with the lip
_AMONG = .5
_MIDDLE = .8  # of the way to the corners, at which skin is seen
_FRAMES = 48  # that tell how the mouth looks
# A soft mouth is not always seen as far open as its picture was warped. So it is looked at, and
# made once more if it is further off than the second, by a gap corrected by at most the first.
_CORRECTED, _NEAR = .03, .004
# The inner corners are moved by no more than the first, of their distance from the middle. Lips end
# at the second, of the same unit, and beyond them the cheeks give way up to the third.
_MOST, _LIPS_END, _CHEEKS = .25, 1.15, 2.2


@dataclasses.dataclass(frozen=True, eq=False)
class Interior:
  """What a person's open mouth shows between the lips.

  Attributes:
    texture: float32 [V, N, 3], rows down from the upper lip, every _STEP eye distances, and columns
      from corner to corner.
    depth: [N], how far down each column goes, in eye distances.
    height: of the upper lip below the nose, in eye distances.
    dark: [3], what lies deeper.
    teeth: how much of the upper teeth is seen, in squared eye distances.
    ajar: whether it is of a mouth that shows only a little.
  """

  texture: np.ndarray
  depth: np.ndarray
  height: float
  dark: np.ndarray
  teeth: float = 0.
  ajar: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Mouth:
  """What is known of a person's mouth.

  Attributes:
    interior: what is seen in it; None leaves what was made.
    appearance: of lips and skin; None leaves what was made.
  """

  interior: Interior | None = None
  appearance: mouth_appearance.Appearance | None = None


def known(crops, gaps, points) -> Mouth:
  """What a person's real frames show of the mouth.

  Args:
    crops: N of uint8 [F, F, 3].
    gaps: [N] between the lips in them; nan where unknown.
    points: lip_edges.Points, which reads faces in crops.
  """
  some = crops[::-(-len(crops) // _FRAMES)]
  appearance = mouth_appearance.of_person(some, [points(crop) for crop in some])
  if not np.isfinite(gaps).any():
    return Mouth(appearance=appearance)
  wide = np.flatnonzero(gaps >= _OPEN * np.nanmax(gaps))
  wide = wide[np.argsort(-gaps[wide], kind='stable')][:_OPEN_FRAMES]
  seen = [(crops[i], points(crops[i])) for i in wide]
  seen = [each for each in seen if each[1] is not None]
  found = max(filter(None, itertools.starmap(interior, seen)), key=lambda each: each.teeth,
              default=None)
  if found is None and seen:
    found = interior(*seen[0], ajar=True)  # the widest of narrow ones
  return Mouth(found, appearance)


def seen_again(mouth: Mouth, crop, points) -> Mouth:
  """What is known of a mouth after another real frame, whose inside is taken if it shows more.

  Args:
    mouth: what is known so far.
    crop: uint8 [S, S, 3].
    points: of `lip_edges.Points` in it.
  """
  if mouth.appearance is not None:
    mouth = dataclasses.replace(mouth, appearance=mouth.appearance.seeing(crop, points))
  found, before = interior(crop, points), mouth.interior
  if found is None or before is not None and not before.ajar and (
      found.teeth < _MORE * before.teeth or found.depth.max() < _OPEN * before.depth.max()):
    return mouth
  return dataclasses.replace(mouth, interior=found)


def interior(crop, points, ajar: bool = False) -> Interior | None:
  """What an open mouth shows; None if it is not open wide enough to show it.

  Args:
    crop: uint8 [S, S, 3], of a real frame.
    points: of `lip_edges.Points`.
    ajar: whether a narrow one will do, below whose teeth it is usually dark.
  """
  if landmarks.lip_gap(points) < (_AJAR if ajar else _WIDE):
    return None
  lips = lip_edges.edges(points, crop)
  columns = lips.middle + lips.half * _ACROSS
  upper, lower = (np.interp(columns, np.arange(len(crop)), edge)
                  for edge in (lips.upper, lips.lower))
  down = np.arange(0, (lower - upper).max() / lips.eyes + _STEP, _STEP)[:, None] * lips.eyes
  # Not the lower lip itself: columns that end before others repeat their last row.
  rows = upper + np.minimum(down, np.maximum(lower - upper - 1, 0))
  texture = cv2.remap(crop.astype(np.float32),
                      np.broadcast_to(columns, rows.shape).astype(np.float32),
                      rows.astype(np.float32), cv2.INTER_LINEAR)
  seen = texture[(down < lower - upper) & (np.abs(_ACROSS) < _MIDDLE)]
  luma = seen.mean(1)
  dark = (np.array(_USUALLY_DARK) * colour_limits.light(crop) if ajar
          else seen[luma <= np.quantile(luma, _DARK)].mean(0))
  return Interior(texture, (lower - upper) / lips.eyes, _height(lips), dark,
                  _teeth(texture, (lower - upper) / lips.eyes, lips, crop), ajar)


def _teeth(texture, depth, lips, crop):
  """How much of an interior is teeth: what is as light as the face, and hardly redder."""
  luma, red, _ = np.moveaxis(cv2.cvtColor(texture / np.float32(255), cv2.COLOR_RGB2YCrCb), 2, 0)
  light = np.float32(colour_limits.light(crop) / 255).reshape(1, 1, 3)
  light = cv2.cvtColor(light, cv2.COLOR_RGB2YCrCb)[0, 0]
  white = np.clip(2.5 * luma / light[0] - 1, 0, 1) * np.clip((light[1] - red) / _AS_RED + .5, 0, 1)
  within = _STEP * np.arange(len(texture))[:, None] < np.minimum(depth, _UPPER_TEETH)
  area = _STEP * 2 * lips.half / lips.eyes / _COLUMNS
  return float((white * within).sum() * area)


def seen_to_be(crop, points, gap: float, width: float, mouth: Mouth, read) -> np.ndarray:
  """A crop uint8 [S, S, 3] whose lips are seen to be as far apart as they should.

  Arguments as in `shaped`, and `read`: a lip_edges.Points, which reads faces in crops.
  """
  made = shaped(crop, points, gap, width, mouth)
  seen = read(made, points)
  if seen is None:
    return made
  off = float(np.clip(gap - landmarks.lip_gap(seen), -_CORRECTED, _CORRECTED))
  return shaped(crop, points, gap, width, mouth, off) if abs(off) > _NEAR else made


def shaped(crop, points, gap: float, width: float, mouth: Mouth, more: float = 0.) -> np.ndarray:
  """A crop whose lips are as far apart, and whose mouth is as wide, as they should be.

  Args:
    crop: uint8 [S, S, 3], as it was made.
    points: of `lip_edges.Points`, in it.
    gap: between the inner lips, in distances between the eyes.
    width: between the mouth's corners, in the same unit; nan leaves it as it was made.
    mouth: what is known of the person's.
    more: by how much the lips are moved further apart than they should be seen.

  Returns:
    uint8 [S, S, 3].
  """
  wider = 1. if np.isnan(width) else float(np.clip(
    width / landmarks.mouth_width(points), 1 - _MOST, 1 + _MOST))
  lips = lip_edges.edges(points, crop)
  part = _reach(lips, len(crop))
  if not crop[part].size:
    return crop
  made = crop.copy()
  light, expected = colour_limits.light(crop), None
  if mouth.appearance is not None:
    expected = mouth.appearance.at(gap, wider * landmarks.mouth_width(points))
    light = light / mouth.appearance.light
  made[part] = _shaped(crop[part], lips.within(*part), max(gap + more, 0), wider, mouth.interior,
                       expected, light)
  return made


def _reach(lips, size):
  """The part of a crop that shaping changes: slices of rows and columns."""
  room, across = 1 + round(4 * _SOFT), (1 + _MOST) * _CHEEKS * lips.half
  inside = lambda first, last: slice(*np.clip([first - room, last + room], 0, size).astype(int))
  return (inside(lips.top.min(), lips.bottom.max()),
          inside(lips.middle - across, lips.middle + across))


def _shaped(crop, made, gap, wider, interior, expected, light):
  """The part [H, W, 3] of a crop with its lips as they should be.

  `light` is the crop's beside that in which the mouth is `expected`.
  """
  height, count = crop.shape[:2]
  aside = _aside(made, wider)
  lips = made.resampled(aside, wider)
  opens = np.clip(1 - lips.across**2, 0, 1)
  # Of lips that are closed, what the edges' seam leaves remains.
  move = np.maximum((gap * lips.eyes - lips.gap) * opens,
                    lips.upper - lips.lower + lip_edges.SEAM / 3)
  after = lips.moved(-_UPPER_SHARE * move, (1 - _UPPER_SHARE) * move)
  if expected is not None:
    after = mouth_appearance.thick(after, expected)
  zero, last = np.zeros(count), np.full(count, height - 1.)
  before, moved = (np.stack([zero, each.top, each.outer_upper, each.upper, each.lower,
                             each.outer_lower, each.bottom, last]) for each in (lips, after))
  rows = np.arange(height, dtype=np.float32)[:, None]
  away = np.zeros((height, count), np.float32)
  for column in np.flatnonzero(opens):
    away[:, column] = np.interp(rows[:, 0], moved[:, column], before[:, column]) - rows[:, 0]
  from_rows = rows + cv2.GaussianBlur(away, (0, 0), _SOFT)
  columns = np.arange(count, dtype=np.float32) + aside * _nearness(made, from_rows)
  shown = cv2.remap(crop, columns.astype(np.float32), from_rows, cv2.INTER_CUBIC,
                    borderMode=cv2.BORDER_REPLICATE)
  shown = np.float32(shown)
  if expected is not None:
    shown = mouth_appearance.around(shown, after, expected, light)
  if interior is not None:
    within, share = _shown(interior, after, rows)
    shown = shown + share[..., None] * (within - shown)
  if expected is not None:
    shown = mouth_appearance.within(shown, after, expected, light)
  return np.clip(np.rint(shown), 0, 255).astype(np.uint8)


def _aside(lips, wider):
  """How far to the right of each column is what a mouth that is `wider` shows in it, [W]."""
  across = lips.across
  from_end = np.clip((_CHEEKS - np.abs(across) / wider) / (_CHEEKS - _LIPS_END), 0, 1)
  gives_way = from_end * from_end * (3 - 2 * from_end)
  within = np.minimum(np.abs(across), _LIPS_END * wider) * np.sign(across)
  return lips.half * within * (1 / wider - 1) * gives_way


def _nearness(lips, rows):
  """How much rows [H, W] take part in what the lips do: 1 there, and 0 at the nose and the chin."""
  middle = slice(*np.clip([round(lips.right), round(lips.left) + 1], 0, rows.shape[1]))
  if middle.start >= middle.stop:
    return np.zeros_like(rows)
  top, upper, lower, bottom = (each[middle].mean() for each in (
    lips.top, lips.outer_upper, lips.outer_lower, lips.bottom))
  share = np.minimum((rows - top) / max(upper - top, 1), (bottom - rows) / max(bottom - lower, 1))
  share = np.clip(share, 0, 1)
  return share * share * (3 - 2 * share)


def _height(lips) -> float:
  """How far the upper lip's inner edge lies below the nose, in distances between the eyes."""
  near = np.abs(lips.across) < _AMONG
  return float((lips.upper - lips.top)[near].mean() / lips.eyes) if near.any() else 0.


def _shown(within, lips, rows):
  """An interior between two lips, and its share of each pixel: [H, W, 3], [H, W]."""
  upper, lower = lips.upper, lips.lower
  gaps = (lower - upper) / lips.eyes
  depth = np.interp(lips.across, _ACROSS, within.depth)
  place = np.broadcast_to((np.clip(lips.across, -1, 1) + 1) / 2 * (_COLUMNS - 1),
                          (len(rows), len(upper)))
  # Teeth do not move with the lip: a higher one uncovers more of them, a lower one hides them.
  moved = np.clip(_height(lips) - within.height, *_UNCOVERED)
  down = (rows - upper) / lips.eyes
  down = np.maximum(down + moved, np.minimum(down, _SHADOW))
  shown = cv2.remap(within.texture, place.astype(np.float32),
                    np.clip(down / _STEP, 0, len(within.texture) - 1).astype(np.float32),
                    cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
  # Gone by the end of what was seen, or where that is hardly more than teeth, soon after it.
  gone = np.clip((down - depth) / _GIVES_WAY, 0, 1)[..., None]
  shown = shown + gone * (within.dark - shown)
  share = np.clip((rows - upper) / _EDGE, 0, 1) * np.clip((lower - rows) / _EDGE, 0, 1)
  share = share * (np.abs(lips.across) < 1) * mouth_appearance.is_open(gaps)
  return shown, cv2.GaussianBlur(share.astype(np.float32), (0, 0), _SOFT)

"""Opens or closes a made mouth to a given lip gap, and shows the person's own teeth within it.

What a small generator makes of a mouth is soft: its latents say how far the lips are apart, its
picture shows half of that, and a smear for teeth. So the picture is warped: from the nose to the
chin each column of pixels is stretched and compressed such that the inner lips are as far apart as
they should be, with lips that are moved and not stretched. What lies between them is then taken
from a real frame in which the person's mouth is open. It hangs from the upper lip as teeth do, and
the lower lip uncovers it.
"""

import dataclasses

import cv2
import numpy as np

from vidregen_jax.faces import landmarks

# Points of the mesh network along the lips, from the right corner of the mouth to the left.
_INNER_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_INNER_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
_OUTER_UPPER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
_OUTER_LOWER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
_UNDER_NOSE, _CHIN = 2, 152
# Where a canonical crop shows the face, for the mesh network: centre and side, of the crop's side.
_CENTRE, _SIDE = (.5, .52), 1.25
_UPPER_SHARE = .3  # of a gap's change; the rest is the jaw's
_SEAM = 1.5  # pixels between closed lips that are opened, and that remain of open ones when closed
_SOFT = 1.  # pixels of blur of the displacements
_STEP = .004  # rows of an interior, in distances between the eyes
_COLUMNS = 65
_ACROSS = np.linspace(-1, 1, _COLUMNS)  # of an interior: from corner to corner
_EDGE = 1.2  # pixels over which an interior begins at the lips
# Lip gaps at which an interior begins to be seen, and is: a narrower one shows hardly any teeth.
_NARROW, _SEEN = .015, .035
_WIDE = .05  # lip gap of a mouth that shows what is within


@dataclasses.dataclass(frozen=True, eq=False)
class Interior:
  """What a person's open mouth shows between the lips.

  Attributes:
    texture: float32 [V, N, 3], rows down from the upper lip, every _STEP eye distances, and columns
      from corner to corner.
    depth: [N], how far down each column goes, in eye distances.
  """

  texture: np.ndarray
  depth: np.ndarray


class Points:
  """Reads the points of faces in canonical crops."""

  def __init__(self):
    self._finder = landmarks.Finder()

  def __call__(self, crop):
    """Points float32 [468, 3], pixels of a crop uint8 [S, S, 3]; None if no face is seen in it."""
    side = len(crop)
    region = landmarks.Region(side * np.array(_CENTRE), _SIDE * side, 0.)
    for _ in range(2):  # again around the face that was found, as in a video
      found = self._finder.read(crop, region)
      if found is None:
        return None
      region = self._finder.region_around(found.points)
    return found.points


@dataclasses.dataclass(frozen=True, eq=False)
class _Lips:
  """Lips in a crop: of each of its columns the rows, float64 [S], of their edges.

  Attributes:
    across: where the column is between the mouth's corners, -1 to 1, and beyond.
    top, outer_upper, upper, lower, outer_lower, bottom: under the nose, edges of the lips, chin.
    gap: between the inner lips in the middle, pixels.
    eyes: distance between the outer corners of the eyes, pixels.
  """

  across: np.ndarray
  top: np.ndarray
  outer_upper: np.ndarray
  upper: np.ndarray
  lower: np.ndarray
  outer_lower: np.ndarray
  bottom: np.ndarray
  gap: float
  eyes: float


def _lips(points, size):
  columns = np.arange(size)
  edge = lambda ids: np.interp(columns, points[list(ids), 0], points[list(ids), 1])
  upper, lower = edge(_INNER_UPPER), edge(_INNER_LOWER)
  middle, half = (upper + lower) / 2, np.maximum((lower - upper) / 2, _SEAM / 2)
  upper, lower = middle - half, middle + half
  right, left = points[_INNER_UPPER[0], 0], points[_INNER_UPPER[-1], 0]
  level = lambda point: np.full(size, points[point, 1], np.float64)
  distance = lambda ends: float(np.linalg.norm(points[ends[0], :2] - points[ends[1], :2]))
  return _Lips((columns - (left + right) / 2) / max((left - right) / 2, 1), level(_UNDER_NOSE),
               np.minimum(edge(_OUTER_UPPER), upper - 1), upper, lower,
               np.maximum(edge(_OUTER_LOWER), lower + 1), level(_CHIN),
               distance(landmarks.INNER_LIPS), distance(landmarks.EYE_CORNERS))


def interior(crop, points) -> Interior | None:
  """What an open mouth shows; None if it is not open wide enough to show it.

  Args:
    crop: uint8 [S, S, 3], of a real frame.
    points: of `Points`.
  """
  if landmarks.lip_gap(points) < _WIDE:
    return None
  lips = _lips(points, len(crop))
  right, left = points[_INNER_UPPER[0], 0], points[_INNER_UPPER[-1], 0]
  columns = (left + right) / 2 + (left - right) / 2 * _ACROSS
  upper, lower = (np.interp(columns, np.arange(len(crop)), edge)
                  for edge in (lips.upper, lips.lower))
  down = np.arange(0, (lower - upper).max() / lips.eyes + _STEP, _STEP)[:, None] * lips.eyes
  # Not the lower lip itself: columns that end before others repeat their last row.
  rows = upper + np.minimum(down, np.maximum(lower - upper - 1, 0))
  texture = cv2.remap(crop.astype(np.float32),
                      np.broadcast_to(columns, rows.shape).astype(np.float32),
                      rows.astype(np.float32), cv2.INTER_LINEAR)
  return Interior(texture, (lower - upper) / lips.eyes)


def shaped(crop, points, gap: float, within: Interior | None) -> np.ndarray:
  """A crop whose lips are as far apart as they should be.

  Args:
    crop: uint8 [S, S, 3], as it was made.
    points: of `Points`, in it.
    gap: between the inner lips, in distances between the eyes.
    within: what is seen there; None leaves what was made.

  Returns:
    uint8 [S, S, 3].
  """
  size, lips = len(crop), _lips(points, len(crop))
  opens = np.clip(1 - lips.across**2, 0, 1)
  move = np.maximum((gap * lips.eyes - lips.gap) * opens, lips.upper - lips.lower + _SEAM / 3)
  up, down = -_UPPER_SHARE * move, (1 - _UPPER_SHARE) * move
  zero, last = np.zeros(size), np.full(size, size - 1.)
  edges = np.stack([zero, lips.top, lips.outer_upper, lips.upper, lips.lower, lips.outer_lower,
                    lips.bottom, last])
  moved = edges + np.stack([zero, zero, up, up, down, down, zero, zero])
  rows = np.arange(size, dtype=np.float32)[:, None]
  away = np.zeros((size, size), np.float32)
  for column in np.flatnonzero(opens):
    away[:, column] = np.interp(rows[:, 0], moved[:, column], edges[:, column]) - rows[:, 0]
  away = cv2.GaussianBlur(away, (0, 0), _SOFT)
  columns = np.broadcast_to(np.arange(size, dtype=np.float32), (size, size))
  made = cv2.remap(crop, columns, rows + away, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
  if within is None:
    return made
  shown, share = _shown(within, lips, lips.upper + up, lips.lower + down, rows)
  made = made + share[..., None] * (shown - made)
  return np.clip(np.rint(made), 0, 255).astype(np.uint8)


def _shown(within, lips, upper, lower, rows):
  """An interior between two lips, and its share of each pixel: [S, S, 3], [S, S]."""
  gaps = (lower - upper) / lips.eyes
  depth = np.interp(lips.across, _ACROSS, within.depth)
  longer = np.maximum(gaps / np.maximum(depth, _STEP), 1)
  place = np.broadcast_to((np.clip(lips.across, -1, 1) + 1) / 2 * (_COLUMNS - 1),
                          (len(rows), len(upper)))
  deep = np.clip((rows - upper) / lips.eyes / longer / _STEP, 0, len(within.texture) - 1)
  shown = cv2.remap(within.texture, place.astype(np.float32), deep.astype(np.float32),
                    cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
  share = np.clip((rows - upper) / _EDGE, 0, 1) * np.clip((lower - rows) / _EDGE, 0, 1)
  share = share * (np.abs(lips.across) < 1) * np.clip((gaps - _NARROW) / (_SEEN - _NARROW), 0, 1)
  return shown, cv2.GaussianBlur(share.astype(np.float32), (0, 0), _SOFT)

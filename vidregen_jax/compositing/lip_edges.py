"""Where the lips of a canonical crop are: the rows of their edges in each of its columns.

The points of the mesh network tell them, but of a mouth that smiles they lie too low: the upper
lip's inner edge in the middle of the teeth, and its outer edge where the inner one is. Lips are
redder than teeth and than the dark of the mouth, so that edge is looked for in the picture too.
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
SEAM = 1.5  # pixels between closed lips
# How much higher than the points say the upper lip may end, in distances between the eyes; the
# height over which it is redder than what is below it; and by how many levels of Cr it has to be,
# and to be more than at the points. In real frames edges are found up to .02 higher, in made
# pictures of a wide smile .04 to .07, where lips are 6 to 12 levels redder than teeth.
_HIGHER, _BAND, _REDDER, _CLEARER = .09, .03, 4., 3.
_PLACES = .01  # distance between the rows that are looked at
_AMONG = .6  # of the way to the corners, in which it is looked for


class Points:
  """Reads the points of faces in canonical crops."""

  def __init__(self):
    self._finder = landmarks.Finder()

  def __call__(self, crop, near=None):
    """Points float32 [468, 3], pixels of a crop uint8 [S, S, 3]; None if no face is seen in it.

    Args:
      crop: to read.
      near: points of the same face in nearly the same crop, for a reading in half of the time.
    """
    side = len(crop)
    region = (landmarks.Region(side * np.array(_CENTRE), _SIDE * side, 0.) if near is None
              else self._finder.region_around(near))
    for _ in range(2 if near is None else 1):  # again around what was found, as in a video
      found = self._finder.read(crop, region)
      if found is None:
        return None
      region = self._finder.region_around(found.points)
    return found.points


@dataclasses.dataclass(frozen=True, eq=False)
class Edges:
  """Lips in a crop: of each of its columns the rows, float64 [S], of their edges.

  Attributes:
    right, left: columns of the mouth's corners; right is the person's, and the smaller one.
    top, outer_upper, upper, lower, outer_lower, bottom: under the nose, edges of the lips, chin.
    gap: between the inner lips in the middle, pixels.
    eyes: distance between the outer corners of the eyes, pixels.
  """

  right: float
  left: float
  top: np.ndarray
  outer_upper: np.ndarray
  upper: np.ndarray
  lower: np.ndarray
  outer_lower: np.ndarray
  bottom: np.ndarray
  gap: float
  eyes: float

  @property
  def across(self) -> np.ndarray:
    """Where each column is between the mouth's corners: -1 to 1, and beyond."""
    return (np.arange(len(self.upper)) - self.middle) / self.half

  @property
  def middle(self) -> float:
    """Column between the mouth's corners."""
    return (self.left + self.right) / 2

  @property
  def half(self) -> float:
    """Half of the mouth's width, pixels."""
    return max((self.left - self.right) / 2, 1)

  def moved(self, up, down) -> 'Edges':
    """The same, with the upper lip's edges moved by `up` and the lower lip's by `down`."""
    return dataclasses.replace(self, outer_upper=self.outer_upper + up, upper=self.upper + up,
                               lower=self.lower + down, outer_lower=self.outer_lower + down)

  def resampled(self, aside, wider: float) -> 'Edges':
    """The same of a mouth that is `wider`, whose columns show what was `aside` [S] of them."""
    columns = np.arange(len(self.upper))
    of = lambda edge: np.interp(columns + aside, columns, edge)
    right, left = (self.middle + wider * (end - self.middle) for end in (self.right, self.left))
    return dataclasses.replace(
      self, right=right, left=left, outer_upper=of(self.outer_upper), upper=of(self.upper),
      lower=of(self.lower), outer_lower=of(self.outer_lower))

  def within(self, rows: slice, columns: slice) -> 'Edges':
    """The same in a part of the crop."""
    return Edges(self.right - columns.start, self.left - columns.start,
                 *(edge[columns] - rows.start for edge in (
                   self.top, self.outer_upper, self.upper, self.lower, self.outer_lower,
                   self.bottom)), self.gap, self.eyes)


def edges(points, crop) -> Edges:
  """The lips' edges in a crop uint8 [S, S, 3], from points of `Points` in it and its colours."""
  lips = _of_points(points, len(crop))
  up = _higher(lips, crop) * np.clip(1 - lips.across**4, 0, 1)
  return dataclasses.replace(lips, upper=lips.upper - up, outer_upper=lips.outer_upper - up)


def _higher(lips, crop) -> float:
  """By how many pixels the upper lip ends above its points, as colours show; 0 if they do not."""
  columns = np.flatnonzero(np.abs(lips.across) < _AMONG)
  if not len(columns):
    return 0.
  step, reach = _PLACES * lips.eyes, round(_BAND / _PLACES)
  places = np.arange(-round(_HIGHER / _PLACES) - reach, reach + 1)
  rows = (lips.upper[columns] + step * places[:, None]).astype(np.float32)
  part = slice(*np.clip([columns[0], columns[-1] + 1], 0, len(crop)))
  red = cv2.cvtColor(crop[:, part], cv2.COLOR_RGB2YCrCb)[..., 1].astype(np.float32)
  across = np.broadcast_to((columns - columns[0]).astype(np.float32), rows.shape)
  seen = cv2.remap(red, across, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
  redder = np.array([np.median(seen[i - reach:i].mean(0) - seen[i + 1:i + reach + 1].mean(0))
                     for i in range(reach, len(places) - reach)])
  best = int(redder.argmax())
  if redder[best] < max(_REDDER, redder[-1] + _CLEARER):
    return 0.
  return -step * places[reach + best]


def _of_points(points, size) -> Edges:
  """The lips' edges as the points have them."""
  columns = np.arange(size)
  edge = lambda ids: np.interp(columns, points[list(ids), 0], points[list(ids), 1])
  upper, lower = edge(_INNER_UPPER), edge(_INNER_LOWER)
  middle, half = (upper + lower) / 2, np.maximum((lower - upper) / 2, SEAM / 2)
  upper, lower = middle - half, middle + half
  right, left = points[_INNER_UPPER[0], 0], points[_INNER_UPPER[-1], 0]
  level = lambda point: np.full(size, points[point, 1], np.float64)
  distance = lambda ends: float(np.linalg.norm(points[ends[0], :2] - points[ends[1], :2]))
  return Edges(right, left, level(_UNDER_NOSE), np.minimum(edge(_OUTER_UPPER), upper - 1), upper,
               lower, np.maximum(edge(_OUTER_LOWER), lower + 1), level(_CHIN),
               distance(landmarks.INNER_LIPS), distance(landmarks.EYE_CORNERS))

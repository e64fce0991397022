"""Tracks all faces of a video from image to image; each keeps its number while it is tracked.

A face's region in the next image is predicted from its points in the previous one. New faces are
found by a separate search of the whole image, or of one of its squares, every few images.
"""

import dataclasses
import itertools
import math

import numpy as np

from vidregen_jax.faces import landmarks

MAX_FACES = 8  # tracked at the same time; the largest are kept
_EVERY = 20  # images between searches while no face is missing
# Margins of the detector's score by which another orientation must beat the declared one, and by
# which the opposite one must: the detector takes a dark mask for hair, and so the face for upside
# down, by .16 at most, by more than .10 in one of 20 images (468 with drawn masks). Faces that
# really are upside down lead by .14 at least.
_LEAD, _OPPOSITE = .02, .12
_NEAR = .6, .8, 1., 1.5  # sizes of views around a face, in units of twice its region
_FORGET = 75  # images after which a lost face is no longer expected back


@dataclasses.dataclass
class _Lost:
  region: landmarks.Region
  since: int


class Follower:
  """Tracks the faces of a video, one image at a time.

  Args:
    turns: quarter turns, clockwise, by which players turn the image.
  """

  def __init__(self, turns: int = 0):
    self.finder = landmarks.Finder()
    self._turns = turns
    self._regions: dict[int, landmarks.Region] = {}
    self._lost: dict[int, _Lost] = {}
    self._numbers = itertools.count()
    self._index, self._faceless, self._searches = -1, 0, 0

  def __call__(self, image: np.ndarray, again: bool = False) -> dict[int, landmarks.Landmarks]:
    """The faces in the next image, by number.

    Args:
      image: uint8 [H, W, 3] RGB.
      again: whether much has changed since the previous image, so that new faces may be there.
    """
    self._index += 1
    expected = self._regions
    faces = self._read_again(image)
    missed = [number for number in expected if number not in faces]
    for number in missed:
      self._lost[number] = _Lost(expected[number], self._index)
    if again or self._index == 0 or not faces or missed:
      regions = self._search(image, self._index == 0 or (again and bool(missed)), missed)
    elif self._index % _EVERY == 0:
      regions = self._search_one(image)
    else:
      regions = []
    for region in sorted(regions, key=lambda region: -region.side):
      self._take(image, region, faces)
    self._faceless = 0 if faces else self._faceless + 1
    return faces

  def _read_again(self, image):
    """The faces at their predicted places. If two tracks merge, the one that moved less remains."""
    faces, at = {}, {}
    for number, region in self._regions.items():
      face = self.finder.read(image, region)
      if face is None:
        continue
      now = self.finder.region_around(face.points)
      moved = math.dist(now.centre, region.centre)
      rival = next((n for n, (other, _) in at.items() if other.meets(now)), None)
      if rival is not None:
        if at[rival][1] <= moved:
          continue
        del faces[rival], at[rival]
      faces[number], at[number] = face, (now, moved)
    self._regions = {number: region for number, (region, _) in at.items()}
    return faces

  def _take(self, image, region, faces):
    """Adds the face in a region to those found, unless it is one of them."""
    if len(faces) >= MAX_FACES or any(region.meets(r) for r in self._regions.values()):
      return
    face = self.finder.read(image, region)
    if face is None:
      return
    region = self.finder.region_around(face.points)
    if any(region.meets(r) for r in self._regions.values()):
      return
    number = self._number(region)
    faces[number], self._regions[number] = face, region

  def _number(self, region):
    """The number of the nearest lost face, or a new number."""
    self._lost = {number: lost for number, lost in self._lost.items()
                  if self._index - lost.since <= _FORGET}
    near = {number: math.dist(lost.region.centre, region.centre)
            for number, lost in self._lost.items()
            if math.dist(lost.region.centre, region.centre) < .5 * region.side
            and 1 / 1.4 < lost.region.side / region.side < 1.4}
    if not near:
      return next(self._numbers)
    number = min(near, key=near.get)
    del self._lost[number]
    return number

  def _search(self, image, thorough, missed):
    """Regions of faces in the whole image, around missing faces, and in the image's squares.

    The smaller squares take as long as ten images and are searched only if nothing is found
    elsewhere: at once when all faces are lost, and in every eighth image from then on.
    """
    height, width = image.shape[:2]
    whole, squares, small = landmarks.views(width, height)
    around = [_around(self._lost[number].region, width, height) for number in missed]
    anew = not self._regions and self._faceless % 8 == 0
    regions = self._upright(image, whole[0]) if anew and not missed else self._in(image, whole)
    regions += self._in(image, [*around, *(squares if thorough else ())])
    for views in ([] if thorough else squares, small):
      if anew and not regions:
        regions = self._in(image, views)
    return regions

  def _upright(self, image, view):
    """Regions of faces, in the orientation of which the detector is surest, or in the declared one.

    The detector also finds sideways and upside-down faces and reports them as upright; for a small
    face it can be just as sure of that. So it is run again around the surest face, at several
    scales. Of 60 images of a man with his hand to his face, 7 came out upside down at first and
    none after that; nor did any of 222 images of others.
    """
    by_turn = [self.finder.search(image, view, turns) for turns in range(4)]
    surest = max(itertools.chain(*by_turn), key=lambda region: region.score, default=None)
    if surest is None:
      return []
    height, width = image.shape[:2]
    views = [_around(surest, width, height, share) for share in _NEAR]
    sure = [sum(max((region.score for region in self.finder.search(image, near, turns)), default=0.)
                for near in views) / len(views) for turns in range(4)]
    sure[self._turns] += _LEAD
    best = int(np.argmax(sure))
    if best != (self._turns + 2) % 4 or sure[best] - sure[self._turns] > _OPPOSITE - _LEAD:
      self._turns = best
    return by_turn[self._turns]

  def _search_one(self, image):
    """Regions of faces in one view: twice in a row the whole image, then one of its squares."""
    height, width = image.shape[:2]
    whole, squares, small = landmarks.views(width, height)
    parts = squares + small
    self._searches += 1
    part, is_part = self._searches // 3, self._searches % 3 == 0
    return self._in(image, [parts[part % len(parts)]] if parts and is_part else whole)

  def _in(self, image, views):
    return [region for view in views for region in self.finder.search(image, view, self._turns)]


def _around(region, width, height, share=1.):
  """A view twice as large as a region, times `share`, clipped to the image."""
  low = np.maximum(np.floor(region.centre - share * region.side), 0).astype(int)
  high = np.minimum(np.ceil(region.centre + share * region.side), (width, height)).astype(int)
  low = np.minimum(low, (width - 1, height - 1))
  high = np.maximum(high, low + 1)
  return (*low.tolist(), *(high - low).tolist())

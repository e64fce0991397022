"""Finds objects in front of a face, such as a microphone or a cup, which must keep their pixels.

No network is involved. A few crops of the person with an unobstructed face form a palette: a pixel
whose colour occurs in none of them near its place does not belong to the face. A mouth that opens
wider than in any of them also yields such pixels, but few; so only patches as large as an object
count. Anything of the brightness and colour of the person's skin, such as a hand in the same light,
is not detected, nor is an object that one of the crops shows as well.
"""

import cv2
import numpy as np

from vidregen_jax.faces import crop_mask

_SIDE = 48  # pixels of the crop that is compared; objects are large
_REACH = 3, 2  # of these pixels, down and across, by which skin, chin and lips may move
_STANDS_OUT, _BELONGS = 18, 11  # grey levels from the palette: of an object, and of its edges
# Shares of the crop: the least size of a patch to count as a new object, and as one that was there
# before, and the least part of either on the lower face. An object that enters is seen beside it
# first.
_APPEARS, _STAYS, _BEFORE_IT = .035, .015, .008
_FEWEST = 4  # crops of the person; fewer do not show how a face varies
# Share of the upper face that differs from the palette: more means a pose or a light that the
# palette does not cover.
_STRANGE = .15
_AT_ONCE = 50  # pictures of the palette that fit a processor's cache
_RELEASE = .5  # share of a matte that persists into the next frame


class Occluders:
  """Finds what hides the lower face, frame after frame, in constant memory.

  Args:
    crops: uint8 [N, S, S, 3] of frames that show the person, about 10. With fewer than 4 no
      occluder is ever found.
  """

  def __init__(self, crops: np.ndarray):
    self._palette = None
    self._inside = cv2.resize(crop_mask.lower_face_mask(4 * _SIDE, soft=True), (_SIDE, _SIDE),
                              interpolation=cv2.INTER_AREA) > .5
    y, x = (np.mgrid[:_SIDE, :_SIDE] + .5) / _SIDE
    self._low = y > crop_mask.TOP
    self._upper = (y > .2) & (y < crop_mask.TOP) & (np.abs(x - .5) < .25)
    self._matte = np.zeros((_SIDE, _SIDE), np.float32)
    if len(crops) >= _FEWEST:
      coarse = [_coarse(crop) for crop in crops]
      self._level = np.mean([self._light(picture) for picture in coarse], axis=0)
      self._palette = _shifted(np.stack([self._planes(picture) for picture in coarse], axis=1))

  def __call__(self, crop: np.ndarray) -> np.ndarray:
    """The matte of the next frame.

    Args:
      crop: uint8 [S, S, 3], of the source.

    Returns:
      float32 [S, S]: 1 where something hides the face, 0 where nothing does.
    """
    now = self._find(crop)
    before = _RELEASE * self._matte
    self._matte = np.maximum(now, np.where(before < .1, 0, before))
    size = crop.shape[0]
    matte = cv2.resize(self._matte, (size, size), interpolation=cv2.INTER_LINEAR)
    return np.clip(matte, 0, 1)

  def restart(self) -> None:
    """Forgets the previous frame, as the next one does not follow it."""
    self._matte[...] = 0

  def _find(self, crop):
    nothing = np.zeros((_SIDE, _SIDE), np.float32)
    if self._palette is None:
      return nothing
    away = self._distance(self._planes(_coarse(crop)))
    if (away > _STANDS_OUT)[self._upper].mean() > _STRANGE:
      return nothing
    smallest = (_STAYS if self._matte.any() else _APPEARS) * _SIDE**2
    thing = self._patches(away > _STANDS_OUT, smallest)
    if not thing.any():
      return nothing
    # Add its edges, and those parts of it that look like the face.
    near = cv2.dilate(thing.astype(np.uint8), _disc(_REACH[0])) > 0
    thing |= near & (away > _BELONGS)
    thing = cv2.morphologyEx(thing.astype(np.uint8), cv2.MORPH_CLOSE, _disc(3))
    solid = cv2.dilate(thing, _disc(1)).astype(np.float32)
    return np.maximum(solid, cv2.GaussianBlur(solid, (5, 5), 1))

  def _patches(self, mask, smallest):
    """The connected parts of a mask that are large enough and lie on the lower face."""
    count, parts = cv2.connectedComponents((mask & self._low).astype(np.uint8), connectivity=4)
    large = np.bincount(parts.ravel(), minlength=count) >= smallest
    large &= np.bincount(parts[self._inside], minlength=count) >= _BEFORE_IT * _SIDE**2
    large[0] = False
    return large[parts]

  def _distance(self, planes):
    """Distance of each pixel to the nearest colour of the palette around its place."""
    best = np.full(_SIDE**2, 255, np.uint8)
    for first in range(0, self._palette.shape[1], _AT_ONCE):
      apart = 0
      for colours, plane in zip(self._palette, planes.reshape(3, -1), strict=True):
        colours = colours[first:first + _AT_ONCE]
        apart = np.maximum(np.maximum(colours, plane) - np.minimum(colours, plane), apart)
      np.minimum(best, apart.min(0), out=best)
    return best.reshape(_SIDE, _SIDE)

  def _planes(self, picture):
    """Planes uint8 [3, side, side], scaled to the light of the palette."""
    lit = picture * (self._level / self._light(picture))
    return np.moveaxis(np.clip(np.rint(lit), 0, 255).astype(np.uint8), -1, 0)

  def _light(self, picture):
    return np.maximum(np.median(picture[self._upper], axis=0), 1)


def hides(matte: np.ndarray, mouth_box: np.ndarray) -> float:
  """The share of the mouth that a matte [S, S] hides, 0 to 1.

  Args:
    matte: from `Occluders`.
    mouth_box: x0, y0, x1, y1 in crop fractions.
  """
  x0, y0, x1, y1 = np.clip(np.rint(np.asarray(mouth_box) * len(matte)), 0, len(matte)).astype(int)
  return float(matte[y0:y1, x0:x1].mean()) if x0 < x1 and y0 < y1 else 0.


def _shifted(planes):
  """Planes [3, N, side, side], shifted by every allowed motion: [3, N * shifts, side * side]."""
  down, across = _REACH
  edged = np.pad(planes, ((0, 0), (0, 0), (down, down), (across, across)), mode='edge')
  moved = [edged[:, :, y:y + _SIDE, x:x + _SIDE]
           for y in range(2 * down + 1) for x in range(2 * across + 1)]
  return np.concatenate(moved, axis=1).reshape(len(planes), -1, _SIDE**2)


def _coarse(crop):
  small = cv2.resize(crop, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
  return cv2.GaussianBlur(small, (0, 0), .7)


def _disc(radius):
  return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)

"""Keeps the colours of a generated face within those that the person has been seen to have.

A model that is unsure of a face paints lips too red, or pale smears beside them. But near its place
every colour of a mouth, except for details, occurs in other frames of the person. So coarse colours
outside that range are moved to its end; details keep their contrast. Where the frames show teeth,
lips and shadows the range is wide, so that a mouth may open and close; on skin it is narrow.
"""

import cv2
import numpy as np

_UPPER = .25, .2, .75, .4  # the part of a crop that shows its light: left, top, right, bottom
# In sides of the crop: details that are not held, and how far from its place a colour may occur,
# across and down.
_COARSE = .02
_REACH = .04, .06
_ROOM = 2.  # levels of Y, Cr and Cb by which a colour may leave its range


class ColourLimits:
  """The range of colours that a person has at each place of the crop.

  Args:
    crops: uint8 [N, S, S, 3] of the person, with several mouths; without any there are no limits.
  """

  def __init__(self, crops: np.ndarray):
    self._low, self._high = np.inf, -np.inf
    self._light = np.median([light(crop) for crop in crops], axis=0) if len(crops) else None
    for crop in crops:
      self.see(crop)

  def see(self, crop: np.ndarray) -> None:
    """Widens the range by another crop uint8 [S, S, 3] of the person."""
    if self._light is None:
      self._light = light(crop)
    low, high = _range(_coarse(crop * (self._light / light(crop))))
    self._low = np.minimum(self._low, low - _ROOM)
    self._high = np.maximum(self._high, high + _ROOM)

  def __call__(self, crop: np.ndarray, old_crop: np.ndarray) -> np.ndarray:
    """A generated crop, its coarse colours held within the person's in the light of its frame.

    Args:
      crop: uint8 [S, S, 3].
      old_crop: uint8 [S, S, 3], of the source's frame. Only its upper face is looked at: limits by
        its mouth would let the new one open only where the old one does.

    Returns:
      uint8 [S, S, 3].
    """
    if self._light is None:
      return crop
    lit = light(old_crop) / self._light
    coarse = _coarse(crop / lit)
    off = np.clip(coarse, self._low, self._high) - coarse
    if not off.any():
      return crop
    pixels = cv2.cvtColor((crop / lit).astype(np.float32), cv2.COLOR_RGB2YCrCb) + off
    held = cv2.cvtColor(pixels, cv2.COLOR_YCrCb2RGB) * lit
    return np.clip(np.rint(held), 0, 255).astype(np.uint8)


def light(crop) -> np.ndarray:
  """The colour of the upper face of a crop [S, S, 3], [3], at least 1."""
  size = len(crop)
  upper = crop[round(_UPPER[1] * size):round(_UPPER[3] * size),
               round(_UPPER[0] * size):round(_UPPER[2] * size)]
  return np.maximum(np.median(upper.reshape(-1, 3), axis=0), 1)


def _coarse(crop):
  """Y, Cr and Cb without details, float32 [S, S, 3]."""
  pixels = cv2.cvtColor(np.float32(crop), cv2.COLOR_RGB2YCrCb)
  return cv2.GaussianBlur(pixels, (0, 0), _COARSE * len(crop))


def _range(coarse):
  """The least and the largest value around each pixel, [S, S, 3] each."""
  across, down = (max(round(share * len(coarse)), 1) for share in _REACH)
  near = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * across + 1, 2 * down + 1))
  return cv2.erode(coarse, near), cv2.dilate(coarse, near)

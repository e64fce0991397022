"""Steadies the light of generated skin, which would flash from one latent frame to the next."""

import cv2
import numpy as np

from vidregen_jax.faces import crop_mask

# In sides of the crop: light that is coarser than the first is steadied, from the mouth's box on,
# where it follows the lips, to the distance at which it is steadied fully.
_COARSE, _AWAY = .05, .06
# Share of what is new in a frame, where the source's light stays, and levels by which that changes
# in a frame where all is taken as new.
_NEW, _CHANGES = .3, 6.


class Deflicker:
  """Steadies frame after frame, in the memory of one face."""

  def __init__(self):
    self.restart()

  def restart(self) -> None:
    """Forgets the previous frame, as the next one does not follow it."""
    self._light, self._before = None, None

  def __call__(self, crop: np.ndarray, old_crop: np.ndarray, mouth_box: np.ndarray) -> np.ndarray:
    """The next frame, its skin as light as in the frames before where the source's light stays.

    Args:
      crop, old_crop: uint8 [S, S, 3], generated and of the source.
      mouth_box: x0, y0, x1, y1 in crop fractions, in which nothing is steadied.

    Returns:
      uint8 [S, S, 3].
    """
    light, source = _coarse(crop), _coarse(old_crop)
    if self._light is None:
      self._light, self._before = light, source
      return crop
    new = _NEW + (1 - _NEW) * crop_mask.ramp(np.abs(source - self._before) / _CHANGES)
    self._light = self._light + new * (light - self._light)
    self._before = source
    off = _beside(mouth_box, len(crop)) * (self._light - light)
    return np.clip(np.rint(crop + off[..., None]), 0, 255).astype(np.uint8)


def _coarse(crop):
  """Luma without details, float32 [S, S]."""
  luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32)
  return cv2.GaussianBlur(luma, (0, 0), _COARSE * len(crop))


def _beside(box, size):
  """0 in a box, rising to 1 around it, float32 [S, S]."""
  centres = ((np.arange(size) + .5) / size).astype(np.float32)
  x0, y0, x1, y1 = box
  across = np.maximum(np.maximum(x0 - centres, centres - x1), 0)[None, :]
  down = np.maximum(np.maximum(y0 - centres, centres - y1), 0)[:, None]
  return crop_mask.ramp(np.hypot(across, down) / _AWAY)

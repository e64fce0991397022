"""Pixels that are not square: pictures as they are shown, and maps from there to stored pixels.

Faces are tracked and cropped as they are shown, because the model knows faces of no other shape. So
a crop is a square of shown pixels, and its affine map to stored pixels has two scales.
"""

import dataclasses

import cv2
import numpy as np

from vidregen_jax import errors
from vidregen_jax.media import video

_SEEN = 1.02  # longer side of a pixel over the shorter: below this a face looks the same
_MOST = 8  # above this the header is broken, and its picture would not fit into memory


@dataclasses.dataclass(frozen=True)
class Squares:
  """Size of a picture as stored, and as shown in square pixels: (width, height) each.

  Neither side shrinks, so that no stored detail is lost.
  """

  stored: tuple[int, int]
  shown: tuple[int, int]

  @classmethod
  def of(cls, info: video.VideoInfo) -> 'Squares':
    """The sizes of a file's pictures.

    Raises:
      UserError: its pixels are so far from square that the header must be wrong.
    """
    stored, shape = (info.width, info.height), float(info.sample_aspect_ratio or 1)
    longer = max(shape, 1 / shape)
    if longer > _MOST:
      raise errors.UserError(
        f'{info.path}: its pixels are {shape:.4g} times as wide as high, which nothing is filmed '
        'in; set the right shape first, as FFmpeg does with -c copy -aspect 16:9')
    if longer < _SEEN:
      return cls(stored, stored)
    grown = max(shape, 1), max(1 / shape, 1)
    return cls(stored, tuple(round(side * by) for side, by in zip(stored, grown, strict=True)))

  def picture(self, image: np.ndarray) -> np.ndarray:
    """A stored picture as it is shown; the same array if its pixels are square."""
    if self.stored == self.shown:
      return image
    return cv2.resize(image, self.shown, interpolation=cv2.INTER_LINEAR)

  def to_stored(self, points: np.ndarray) -> np.ndarray:
    """Shown pixels [..., 2] as stored ones; an integer is a pixel's centre in both."""
    if self.stored == self.shown:
      return points
    scale = np.array(self.stored) / self.shown
    return ((points + .5) * scale - .5).astype(points.dtype)

  def affines(self, affine: np.ndarray) -> np.ndarray:
    """Affines [..., 2, 3] to shown pixels as affines to stored ones."""
    if self.stored == self.shown:
      return affine
    scale = (np.array(self.stored) / self.shown)[:, None]
    return np.concatenate([affine[..., :2] * scale, self.to_stored(affine[..., 2])[..., None]],
                          -1).astype(affine.dtype)

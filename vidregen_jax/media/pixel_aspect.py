"""Pixels that are not square: a picture as it is shown, and the way from there to the stored one.

A face is followed and cut out as it is shown, or its mouth would be made for another face. So its
crop is a square of shown pixels, and the affine from there to stored ones has two scales.
"""

import dataclasses

import cv2
import numpy as np

from vidregen_jax import errors
from vidregen_jax.media import video

_SEEN = 1.02  # a pixel's longer side over its shorter one: less is nothing to a face
_MOST = 8  # more is a broken header, whose picture would not fit into memory


@dataclasses.dataclass(frozen=True)
class Squares:
  """How large a picture is stored, and shown in square pixels: (width, height) each.

  No side is made smaller, so that nothing of what is stored is lost.
  """

  stored: tuple[int, int]
  shown: tuple[int, int]

  @classmethod
  def of(cls, info: video.VideoInfo) -> 'Squares':
    """Of a file.

    Raises:
      UserError: its pixels are so far from square that no picture is meant.
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
    """A stored picture as it is shown; the very one where its pixels are square."""
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

"""The mouth's part of a face, as scorers of lip sync look at it: cut from a video or from crops.

Views are squares of the canonical crop, which the eyes and the nose place: lips do not move them.
"""

import contextlib
import dataclasses

import cv2
import numpy as np

from vidregen_jax.errors import UserError
from vidregen_jax.faces import face_parts, landmarks


@dataclasses.dataclass(frozen=True)
class View:
  """A square in fractions of the canonical crop, and the pixels of its side."""

  left: float
  top: float
  side: float
  size: int

  def affine(self, affine: np.ndarray) -> np.ndarray:
    """From view fraction to image pixel, given [..., 2, 3] from crop fraction to image pixel."""
    affine = np.asarray(affine, np.float64)
    shift = affine[..., :2] @ (self.left, self.top) + affine[..., 2]
    return np.concatenate([self.side * affine[..., :2], shift[..., None]], -1)


def mouth(size: int) -> View:
  """The lower middle quarter of the crop, in which the lips of talking people stay."""
  return View(.25, .5, .5, size)


def of_crops(crops: np.ndarray, view: View) -> np.ndarray:
  """Views of canonical crops, uint8 [F, S, S, 3] -> [F, size, size, 3].

  Raises:
    UserError: the view is not made of whole pixels of these crops.
  """
  side = crops.shape[1]
  left, top, width = view.left * side, view.top * side, view.side * side
  if not (left.is_integer() and top.is_integer() and width == view.size):
    raise UserError(f'mouths of {view.size} pixels are cut from crops of '
                    f'{view.size / view.side:g}, not of {side}')
  rows, columns = (slice(int(at), int(at) + view.size) for at in (top, left))
  return crops[:, rows, columns]


def of_video(path, track, view: View, frames: np.ndarray, first: int = 0, *, stamps=None):
  """Yields views of a followed face.

  Args:
    path: of the video.
    track: face_track.Track of all of its frames, or of some.
    view: what is cut.
    frames: ascending frames of the track, in which it is valid; a number may come repeatedly.
    first: number of the video's frame that is the track's first.
    stamps: as in `video.frames`.

  Yields:
    uint8 [size, size, 3], RGB, for each of `frames`.
  """
  frames = np.asarray(frames)
  if not len(frames):
    return
  each, counts = np.unique(frames, return_counts=True)
  parts = face_parts.along(path, view.affine(track.affine[each]), first + each, view.size,
                           stamps=stamps)
  with contextlib.closing(parts):
    for (image, affine), count in zip(parts, counts.tolist(), strict=False):
      yield from [landmarks.crop(image, affine, view.size)] * count


def grey(views: np.ndarray) -> np.ndarray:
  """Luma, uint8 [..., H, W, 3] -> [..., H, W]."""
  flat = views.reshape(-1, *views.shape[-2:])
  return cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY).reshape(views.shape[:-1])

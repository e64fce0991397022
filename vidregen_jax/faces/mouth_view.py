"""The mouth's part of a face, as scorers of lip sync look at it: cut from a video or from crops.

Views are squares of the canonical crop, which the eyes and the nose place: lips do not move them.
"""

import dataclasses

import cv2
import numpy as np

from vidregen_jax.errors import UserError
from vidregen_jax.faces import landmarks
from vidregen_jax.media import video


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


def of_video(path, track, view: View, frames: np.ndarray):
  """Yields views of a followed face.

  Args:
    path: of the video.
    track: face_track.Track of all of its frames.
    view: what is cut.
    frames: ascending numbers of frames in which the track is valid; a number may come repeatedly.

  Yields:
    uint8 [size, size, 3], RGB, for each of `frames`.
  """
  affines, at = view.affine(track.affine), 0
  if not len(frames):
    return
  for frame in video.frames(path, int(frames[0]), int(frames[-1]) + 1):
    if at < len(frames) and frame.index == frames[at]:
      cut = landmarks.crop(frame.image, affines[frame.index], view.size)
      while at < len(frames) and frame.index == frames[at]:
        yield cut
        at += 1


def grey(views: np.ndarray) -> np.ndarray:
  """Luma, uint8 [..., H, W, 3] -> [..., H, W]."""
  flat = views.reshape(-1, *views.shape[-2:])
  return cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY).reshape(views.shape[:-1])

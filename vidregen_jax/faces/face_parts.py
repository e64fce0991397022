"""The part of a video's frames that shows a face, decoded ahead, for crops to be cut from.

Converting a whole frame of 1080p to RGB takes three times as long as all the rest of a crop.
"""

from collections.abc import Iterator

import numpy as np

from vidregen_jax.media import planes, prefetch, video

_AHEAD = 4  # frames decoded ahead


def along(path, affines: np.ndarray, frames: np.ndarray, size: int, *, stamps=None
          ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yields of some frames the part that a crop needs, and the affine seen from there.

  `landmarks.crop` of these is that of the whole picture, to the last bit.

  Args:
    path: of the video.
    affines: [N, 2, 3], crop fraction to image pixel, one a frame; finite.
    frames: [N], their numbers, ascending, each once.
    size: the least side of a crop that is to be cut, pixels.
    stamps: as in `video.frames`.

  Yields:
    uint8 [h, w, 3], RGB, and float64 [2, 3]; fewer than N where the video ends before.

  Raises:
    UserError: as `video.frames`.
  """
  affines = np.asarray(affines, np.float64)

  def parts():
    at = 0
    for frame in video.frames(path, int(frames[0]), int(frames[-1]) + 1, stamps=stamps):
      if frame.index != frames[at]:
        continue
      left, top, right, bottom = box = _around(affines[at], frame, size)
      seen = affines[at] - np.array([(0, 0, left), (0, 0, top)])
      yield planes.part(frame, box) if right > left and bottom > top else frame.image, seen
      at += 1

  if not len(frames):
    return
  # Closed with the generator: a decoder must not outlive who looks at its frames.
  with prefetch.Ahead(parts(), _AHEAD) as queue:
    yield from queue


def _around(affine, frame, least):
  """What `landmarks.crop` reads of a picture for crops of `least` pixels or more: a box."""
  corners = affine @ np.array([(0, 1, 0, 1), (0, 0, 1, 1), (1, 1, 1, 1)], float)
  margin = 6 * np.ceil(np.hypot(*affine[:, :2].T[0]) / least) + 4
  size = frame.source.width, frame.source.height
  low = np.clip(np.floor(corners.min(1) - margin), 0, size).astype(int)
  high = np.clip(np.ceil(corners.max(1) + margin), 0, size).astype(int)
  return *low.tolist(), *high.tolist()

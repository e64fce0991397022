"""Brings a made lower face to the jaw of the frame that it is pasted into.

What is pasted lies within the frame's own outline of the face, which stays. Where its mouth was
open and the made one is closed, the made chin ends higher, and the real one showed below it as a
second chin. So what is between the lips and the jaw is stretched, or compressed, until both jaws
end in the same place.
"""

import cv2
import numpy as np

from vidregen_jax.faces import landmarks

_LOWER_LIP = 17  # point of the mesh network: the lower end of the lips
# Distances between lips and jaw, in sides of the crop, below which nothing is moved, and from which
# on all is: beside the mouth the jaw rises to its height.
_NEAR, _FAR = .03, .1
_BELOW = .12  # how far below the jaw things move as well, less and less, in sides of the crop
_ROOM = 2  # rows above the lips' end that an interpolation sees


def met(crop, points, jaw):
  """A made crop whose jaw is where the frame has it.

  Args:
    crop: uint8 [S, S, 3], as it was made.
    points: float32 [468, 3] of `lip_edges.Points` in it.
    jaw: [23, 2] crop fractions of the frame's own (`face_track.Track.jaw`).

  Returns:
    uint8 [S, S, 3], and its points.
  """
  size, lips = len(crop), float(points[_LOWER_LIP, 1])
  columns = np.arange(size)
  made, own = (np.interp(columns, *line.T) for line in (
    points[list(landmarks.JAW), :2], size * np.asarray(jaw)))
  share = ((np.minimum(made, own) - lips) / size - _NEAR) / (_FAR - _NEAR)
  moved = (own - made) * np.clip(share, 0, 1)
  top = int(np.clip(lips - _ROOM, 0, size))
  if top == size or not moved.any():
    return crop, points
  rows, end = np.arange(top, size)[:, None], made + moved
  above = np.clip((rows - lips) / np.maximum(end - lips, 1), 0, 1)
  below = np.clip(1 - (rows - end) / (_BELOW * size), 0, 1)
  from_rows = rows - top - moved * np.minimum(above, below)
  shown = crop.copy()
  shown[top:] = cv2.remap(
    crop[top:], np.broadcast_to(columns, from_rows.shape).astype(np.float32),
    from_rows.astype(np.float32), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
  (x, y, _), length = points.T, np.maximum(made - lips, 1)
  by, longest = (np.interp(x, columns, each) for each in (moved / length, length))
  points = points.copy()
  points[:, 1] += by * np.clip(y - lips, 0, longest)
  return shown, points

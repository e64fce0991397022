"""The part of the canonical crop that is regenerated: the lower face, hidden from the codec.

Training, dataset encoding and regeneration must agree on it to the last bit: `crop_geometry`
records it with everything that is made, and compares.
"""

import cv2
import numpy as np

# Where the canonical crop has the eyes and the nose, in crop fractions (x, y).
ANCHORS = (.32, .30), (.68, .30), (.50, .50)
# The mask's outline in crop fractions: a box with rounded corners.
TOP, BOTTOM, LEFT, RIGHT = .37, .98, .04, .96
TOP_RADIUS, BOTTOM_RADIUS = .06, .28
# Width of the soft edge, inside the outline.
_EDGE = .07
# A face inside the outline: half its width at cheek and chin, and the heights of both.
_CHEEK, _CHIN = (.40, .36), (1., .24)
# Around the mouth's box, what is pasted whole: beside, above and below it; the radius of its
# corners; and the width over which it fades out further away. Cheeks, nose and jaw stay.
_AROUND_MOUTH, _ROUND, _FADE = (.0, .0, .02), .12, .07
# Width of the face's outline that stays, and by how much finer its distance is measured.
_JAW_LINE, _FINE = .01, 2
_BELOW_EYES = .42  # height of the crop from which the face shows cheeks, and no brows or lashes
HIDDEN = 128  # grey level of the hidden lower face, about 0 as codec input


def lower_face_mask(size: int, soft: bool = False) -> np.ndarray:
  """The part of the crop that is regenerated.

  Args:
    size: S, the crop's side in pixels.
    soft: the edge ramps from 0 to 1 inside the hard mask's outline, and the background beside the
      cheeks and chin of an average face is left out.

  Returns:
    float32 [S, S], 0 to 1; without `soft`, 0 or 1.
  """
  centres = (np.arange(size) + .5) / size
  y, x = centres[:, None], centres[None, :]
  # Signed distance to the outline (negative inside), by the usual formula for a rounded box.
  radius = np.where(y > (TOP + BOTTOM) / 2, BOTTOM_RADIUS, TOP_RADIUS)
  across = np.abs(x - (LEFT + RIGHT) / 2) - (RIGHT - LEFT) / 2 + radius
  down = np.abs(y - (TOP + BOTTOM) / 2) - (BOTTOM - TOP) / 2 + radius
  distance = (np.hypot(np.maximum(across, 0), np.maximum(down, 0))
              + np.minimum(np.maximum(across, down), 0) - radius)
  if not soft:
    return (distance < 0).astype(np.float32)
  half = np.interp(y, (_CHEEK[0], _CHIN[0]), (_CHEEK[1], _CHIN[1]))
  beside = half - np.abs(x - (LEFT + RIGHT) / 2)
  return ramp(np.minimum(-distance, beside) / _EDGE).astype(np.float32)


def paste_mask(size: int, jaw: np.ndarray, mouth_box: np.ndarray) -> np.ndarray:
  """The part of a regenerated crop that is pasted: the mouth and its surroundings, within the face.

  Args:
    size: S, the crop's side in pixels.
    jaw: [P, 2] crop fractions of the face's outline, from one ear along the chin to the other.
    mouth_box: x0, y0, x1, y1 in crop fractions of the largest mouth that is expected here.

  Returns:
    float32 [S, S], 0 to 1; 0 wherever the hard mask is.
  """
  hard, within = lower_face_mask(size), _depth(size, jaw)
  centres = ((np.arange(size) + .5) / size).astype(np.float32)
  (x0, y0, x1, y1), (beside, above, below) = mouth_box, _AROUND_MOUTH
  middle = (x0 + x1) / 2, (y0 - above + y1 + below) / 2
  half = (x1 - x0) / 2 + beside, (y1 + below - y0 + above) / 2
  radius = min(_ROUND, *half)
  across = np.abs(centres[None, :] - middle[0]) - half[0] + radius
  down = np.abs(centres[:, None] - middle[1]) - half[1] + radius
  beyond = (np.hypot(np.maximum(across, 0), np.maximum(down, 0))
            + np.minimum(np.maximum(across, down), 0) - radius)
  near = 1 - ramp(beyond / _FADE)
  return (hard * near * ramp((within - _JAW_LINE) / _EDGE)).astype(np.float32)


def skin_mask(size: int, jaw: np.ndarray, mouth_box: np.ndarray) -> np.ndarray:
  """Where the skin of the lower face is: below the eyes, within the face, and beside the mouth.

  Args:
    size, jaw, mouth_box: of `paste_mask`.

  Returns:
    bool [S, S].
  """
  skin = (_depth(size, jaw) > _JAW_LINE) & ((np.arange(size)[:, None] + .5) / size > _BELOW_EYES)
  x0, y0, x1, y1 = np.clip(np.rint(np.asarray(mouth_box) * size), 0, size).astype(int)
  skin[y0:y1, x0:x1] = False
  return skin


def _depth(size, jaw):
  """How far inside a face's outline each pixel is, in sides of the crop, float32 [S, S]."""
  fine = np.zeros((_FINE * size, _FINE * size), np.uint8)
  # The outline is closed above the forehead: upwards, other limits are nearer.
  points = np.concatenate([jaw, [(jaw[-1, 0], -1), (jaw[0, 0], -1)]]) * _FINE * size - .5
  cv2.fillPoly(fine, [np.rint(points * 16).astype(np.int32)], 1, shift=4)
  fine = np.pad(fine, 1)  # what is outside the crop is outside the face
  within = cv2.distanceTransform(fine, cv2.DIST_L2, 5)[1:-1, 1:-1] / (_FINE * size)
  return cv2.resize(within, (size, size), interpolation=cv2.INTER_AREA)


def ramp(x: np.ndarray) -> np.ndarray:
  """Smoothstep: 0 below 0, 1 above 1, Hermite's cubic between."""
  x = np.clip(x, 0, 1)
  return x * x * (3 - 2 * x)


def hide_lower_face(frames):
  """Greys out what the generator will regenerate; the rest is its context.

  Args:
    frames: uint8 [..., S, S, 3].

  Returns:
    A new array of the same shape.
  """
  hidden = lower_face_mask(frames.shape[-2], soft=False) > 0
  return np.where(hidden[:, :, None], np.uint8(HIDDEN), frames)


def mirror(frames, mouth_box):
  """Flips frames [..., S, S, 3] left to right, and boxes [..., 4] (crop fractions) with them."""
  x0, y0, x1, y1 = np.moveaxis(mouth_box, -1, 0)
  return frames[..., ::-1, :], np.stack([1 - x1, y0, 1 - x0, y1], axis=-1)


def region(size, cells, grow):
  """Latent cells to regenerate: those that meet the lower-face mask, grown by `grow` cells."""
  return region_cells(lower_face_mask(size, soft=False), cells, grow)


def region_cells(mask, cells: int, grow: int) -> tuple[int, ...]:
  """Latent cells whose footprint meets the lower-face mask, grown by `grow` cells.

  Args:
    mask: [S, S], above 0 where pixels may change.
    cells: latent cells a side; divides S.
    grow: cells to grow by on every side.

  Returns:
    Flat indices row * cells + column, ascending.
  """
  step = mask.shape[0] // cells
  meets = (np.asarray(mask) > 0).reshape(cells, step, cells, step).any((1, 3))
  padded = np.pad(meets, grow)
  grown = np.zeros_like(meets)
  for dy in range(2 * grow + 1):
    for dx in range(2 * grow + 1):
      grown |= padded[dy:dy + cells, dx:dx + cells]
  return tuple(int(i) for i in np.flatnonzero(grown))


def cell_overlap(boxes, cells: int):
  """Share of each latent cell that a box covers.

  Args:
    boxes: [..., 4] as x0, y0, x1, y1 in fractions of the crop (NumPy or JAX array).
    cells: latent cells a side.

  Returns:
    [..., cells * cells] in [0, 1], same kind of array.
  """
  low = np.arange(cells, dtype=np.float32) / cells
  high = low + np.float32(1 / cells)

  def cover(start, stop):
    start, stop = start[..., None], stop[..., None]
    inner = stop.clip(low, high) - start.clip(low, high)
    return inner * cells

  x = cover(boxes[..., 0], boxes[..., 2])
  y = cover(boxes[..., 1], boxes[..., 3])
  return (y[..., :, None] * x[..., None, :]).reshape(*boxes.shape[:-1], cells * cells)

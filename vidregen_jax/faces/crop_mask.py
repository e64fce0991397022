"""The part of the canonical crop that is regenerated: the lower face, hidden from the codec.

Training, dataset encoding and regeneration must agree on it to the last bit: `crop_geometry`
records it with everything that is made, and compares.
"""

import numpy as np

# Where the canonical crop has the eyes and the nose, in crop fractions (x, y).
ANCHORS = (.32, .30), (.68, .30), (.50, .50)
# The mask's outline in crop fractions: a box with rounded corners.
TOP, BOTTOM, LEFT, RIGHT = .37, .98, .04, .96
TOP_RADIUS, BOTTOM_RADIUS = .06, .28
# Width of the soft edge, inside the outline.
_EDGE = .07
# What is pasted back is only the face inside the outline, given by half its width at cheek and chin
# and the heights of both. What lies beside the face stays the source's.
_CHEEK, _CHIN = (.40, .36), (1., .24)
# A turned head shows less of the far cheek: the half width shrinks by this share per degree, up to
# this many degrees (measured on the mesh's outlines, up to 23 degrees).
_TURNED, _FARTHEST = .006, 30.
# Left and top of the face without hair and background, in crop fractions.
FACE = .18, .08
HIDDEN = 128  # grey level of the hidden lower face, about 0 as codec input


def lower_face_mask(size: int, soft: bool = False, yaw: float = 0.) -> np.ndarray:
  """The part of the crop that is regenerated.

  Args:
    size: S, the crop's side in pixels.
    soft: for pasting: the edge ramps from 0 to 1 inside the hard mask's outline, so that only
      regenerated pixels are pasted, without the background beside cheeks and chin.
    yaw: degrees by which the head is turned, positive to the image's right; for `soft`.

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
  turned = _TURNED * np.clip(yaw, -_FARTHEST, _FARTHEST)
  from_middle = x - (LEFT + RIGHT) / 2
  half = (np.interp(y, (_CHEEK[0], _CHIN[0]), (_CHEEK[1], _CHIN[1]))
          - np.maximum(np.where(from_middle > 0, turned, -turned), 0))
  beside = half - np.abs(from_middle)
  return ramp(np.minimum(-distance, beside) / _EDGE).astype(np.float32)


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

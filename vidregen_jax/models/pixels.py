"""Pixels as the codec takes and makes them: values in [-1, 1], joined at its cells.

Training, encoding of datasets and regeneration must agree on these to the last bit.
"""

import jax.numpy as jnp
import numpy as np
from scipy import ndimage

_LEAST_MOUTH = 0.32  # side of a usual mouth's box, in sides of the crop
_MARGIN = 1.24  # of the square in which a mouth is judged, in sides of its box


def to_float(pixels):
  """uint8 [0, 255] -> float32 [-1, 1]; a NumPy or a JAX array, of any shape."""
  return pixels.astype('float32') / 127.5 - 1


def to_uint8(values):
  """Undo `to_float`; values outside [-1, 1] are clipped."""
  return ((values + 1) * 127.5).round().clip(0, 255).astype('uint8')


def join_cells(frames, cells):
  """Takes the steps between a decoder's latent cells out of what it made.

  A small decoder makes every cell apart, and what it does not know well jumps from one to the next,
  which shows as a grid. So the step between two cells, as far as it is larger than those beside it,
  is spread over a few pixels. On faces that it knows this changes a picture's error by hundredths
  of a dB.

  Args:
    frames: uint8 [..., S, S, 3].
    cells: along a side.

  Returns:
    A new array of the same shape.
  """
  joined = frames.astype(np.float32)
  cell = joined.shape[-2] // cells
  reach = max(cell // 8, 1)
  share = .5 - (np.arange(reach) + .5) / (2 * reach)
  for axis in (-2, -3):
    lines = np.moveaxis(joined, axis, 0)
    for at in range(cell, cell * cells, cell):
      before, left, right, after = lines[at - 2:at + 2]
      step = right - left - ((left - before) + (after - right)) / 2
      step = ndimage.gaussian_filter1d(step, 1, axis=-2)
      spread = share.reshape((reach,) + (1,) * step.ndim) * step
      lines[at:at + reach] -= spread
      lines[at - reach:at] += spread[::-1]
  return np.clip(np.rint(joined), 0, 255).astype(np.uint8)


def mouth_squares(boxes):
  """The squares in which mouths are judged.

  Their side is that of the box, or of a usual mouth's where lips are closed, and some more.

  Args:
    boxes: [..., 4] mouth boxes, x0 y0 x1 y1 in fractions of the crop.

  Returns:
    [..., 4]; a square may reach beyond the crop.
  """
  middle = (boxes[..., :2] + boxes[..., 2:]) / 2
  side = (boxes[..., 2:] - boxes[..., :2]).max(-1, keepdims=True)
  half = _MARGIN * side.clip(_LEAST_MOUTH) / 2
  return (jnp if isinstance(boxes, jnp.ndarray) else np).concatenate(
    [middle - half, middle + half], -1)


def box_mask(boxes, size: int):
  """Rectangles as pixel masks.

  Args:
    boxes: [..., 4] as x0, y0, x1, y1 in fractions of the crop.
    size: side S of the crop, pixels.

  Returns:
    [..., S, S, 1], 1 inside.
  """
  at = (jnp.arange(size) + 0.5) / size
  x = (at >= boxes[..., 0:1]) & (at < boxes[..., 2:3])
  y = (at >= boxes[..., 1:2]) & (at < boxes[..., 3:4])
  return (y[..., :, None] & x[..., None, :])[..., None].astype(jnp.float32)

"""What the codec sees of a crop: values in [-1, 1], the lower face hidden, mirrored.

Training, encoding of datasets and regeneration must agree on these to the last bit.
"""

import numpy as np
from scipy import ndimage

from vidregen_jax.compositing import paste
from vidregen_jax.models import masks

HIDDEN = 128  # grey of the hidden lower face, about 0 for the codec


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
  made = frames.astype(np.float32)
  cell = made.shape[-2] // cells
  reach = max(cell // 8, 1)
  share = .5 - (np.arange(reach) + .5) / (2 * reach)
  for axis in (-2, -3):
    lines = np.moveaxis(made, axis, 0)
    for at in range(cell, cell * cells, cell):
      before, left, right, after = lines[at - 2:at + 2]
      step = right - left - ((left - before) + (after - right)) / 2
      step = ndimage.gaussian_filter1d(step, 1, axis=-2)
      spread = share.reshape((reach,) + (1,) * step.ndim) * step
      lines[at:at + reach] -= spread
      lines[at - reach:at] += spread[::-1]
  return np.clip(np.rint(made), 0, 255).astype(np.uint8)


def hide_lower_face(frames):
  """Grey out what the generator will have to make; the rest is its context.

  Args:
    frames: uint8 [..., S, S, 3].

  Returns:
    A new array of the same shape.
  """
  hidden = paste.lower_face_mask(frames.shape[-2], soft=False) > 0
  return np.where(hidden[:, :, None], np.uint8(HIDDEN), frames)


def mirror(frames, mouth_box):
  """Flip frames [..., S, S, 3] left to right, and boxes [..., 4] (crop fractions) with them."""
  x0, y0, x1, y1 = np.moveaxis(mouth_box, -1, 0)
  return frames[..., ::-1, :], np.stack([1 - x1, y0, 1 - x0, y1], axis=-1)


def region(size, cells, grow):
  """Latent cells that are made anew: those that meet the lower-face mask, grown by `grow` cells."""
  return masks.region_cells(paste.lower_face_mask(size, soft=False), cells, grow)

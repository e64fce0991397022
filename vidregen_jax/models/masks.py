"""Who sees whom: the one visibility rule of the token streams.

Training, sampling and tests all build their masks with `visible`. A stream is dropped by hiding
its keys, never by a null embedding.
"""

import numpy as np

SINK, REFERENCE, ANCHOR, CONTEXT, AUDIO, HISTORY, NOISY = range(7)
STREAMS = ('sink', 'reference', 'anchor', 'context', 'audio', 'history', 'noisy')


def visible(query_stream, query_frame, key_stream, key_frame, window: int, look_ahead: int):
  """Whether each query sees each key.

  A conditioning token never sees a noisy one, so its keys and values hold for every flow step,
  noise draw and guidance branch. Audio tokens see audio up to their own frame only: the look-ahead
  is the noisy tokens', so that a key, once computed, never changes.

  Args:
    query_stream, query_frame: integer arrays [Q]; the frame is the latent frame's index (for
      references, the still's index; unused for sinks and the anchor).
    key_stream, key_frame: integer arrays [K].
    window: latent frames that a query sees, its own included.
    look_ahead: later latent frames whose audio a noisy token sees.

  Returns:
    bool [Q, K].
  """
  q, qf = np.asarray(query_stream)[:, None], np.asarray(query_frame)[:, None]
  k, kf = np.asarray(key_stream)[None, :], np.asarray(key_frame)[None, :]
  past = (kf <= qf) & (kf > qf - window)
  sees = k == SINK
  sees = sees | ((q == REFERENCE) & (k == REFERENCE) & (qf == kf))
  sees |= (q == ANCHOR) & (k == ANCHOR)
  sees |= (q == CONTEXT) & (k == CONTEXT) & past
  sees |= (q == AUDIO) & (k == AUDIO) & past
  sees |= (q == HISTORY) & ((k == REFERENCE) | (((k == CONTEXT) | (k == HISTORY)) & past))
  sees |= (q == NOISY) & ((k == REFERENCE) | (k == ANCHOR) | ((k == CONTEXT) & past))
  sees |= (q == NOISY) & (k == AUDIO) & (kf <= qf + look_ahead) & (kf > qf - window)
  sees |= (q == NOISY) & (k == HISTORY) & past & (kf < qf)
  sees |= (q == NOISY) & (k == NOISY) & (kf == qf)
  return sees


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

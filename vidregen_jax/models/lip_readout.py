"""Reads from a generated lower face, in latents, how far apart its lips are.

The lip gap is nearly linear in the residual of the linear prior, which is mostly the mouth. The
latents of a small generator follow the sound better than its decoded mouths do, which are soft: so
the editor shapes the mouths by what is read here (`compositing.mouth_shape`), and training scores
its samples by it (`evaluation.lip_gap_probe`).
"""

import dataclasses

import numpy as np

from vidregen_jax.models import codec


@dataclasses.dataclass(frozen=True, eq=False)
class Readout:
  """The regression.

  Attributes:
    kernel: float32 [M*C, 4], for the 4 frames of a latent frame.
    bias: float32 [4].
  """

  kernel: np.ndarray
  bias: np.ndarray

  def __call__(self, residual) -> np.ndarray:
    """Lip gaps [..., 4], in distances between the eyes, of residuals [..., M, C]."""
    residual = np.asarray(residual, np.float32)
    return residual.reshape(*residual.shape[:-2], -1) @ self.kernel + self.bias


def steadied(gaps, before) -> np.ndarray:
  """Lip gaps [4] of a latent frame, each with a quarter of its neighbours'.

  Frames are read one by one, and readings of neighbours differ by more than lips move. It costs no
  agreement with the sound: .90 with and without, on rendered test clips. What comes after the
  latent frame is not known yet.

  Args:
    gaps: [4], as read.
    before: the reading of the frame before them; None if there is none.
  """
  near = np.concatenate([gaps[:1] if before is None else [before], gaps, gaps[-1:]])
  return (near[:-2] + 2 * near[1:-1] + near[2:]) / 4


def shapes(cells: int, channels: int) -> dict:
  """Shapes of a Readout's arrays, by name, for so many cells of the lower face."""
  return {'kernel': (cells * channels, codec.TIME_FACTOR), 'bias': (codec.TIME_FACTOR,)}

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


def shapes(cells: int, channels: int) -> dict:
  """Shapes of a Readout's arrays, by name, for so many cells of the lower face."""
  return {'kernel': (cells * channels, codec.TIME_FACTOR), 'bias': (codec.TIME_FACTOR,)}

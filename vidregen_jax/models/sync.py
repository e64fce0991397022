"""Whether a mouth and a sound belong together: both are embedded, 25 times a second, and compared.

Two networks give unit vectors that are near each other where the mouth says what is heard, and far
apart elsewhere: at other times, and for other sound (contrastive learning as in Chung and
Zisserman, 2016, "Out of time", and with the loss of van den Oord et al., 2018, arXiv 1807.03748).
The mouth is grey, and its contrast is taken out; the sound is a log-mel spectrogram, and its
loudness is taken out. Each vector depends on `reach` frames on both sides of its own: sound that is
looked for elsewhere in time is looked for among vectors that are there already.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from vidregen_jax.errors import UserError
from vidregen_jax.models import layers, log_mel

RATE = 25  # vectors a second
COLUMNS = 100 // RATE  # of the spectrogram, for each
MEL_BINS = 80
_STACKED = 2  # frames on both sides that the first convolution of the mouth's network sees
_FIRST_SCALE = 10.0  # by which cosines are multiplied before training


@dataclasses.dataclass(frozen=True)
class SyncConfig:
  """Shape of both networks.

  Attributes:
    size: side of the mouth's pictures, pixels.
    stem: stride of the first convolution.
    widths: channels of the mouth's stages; each after the first halves height and width.
    audio_width: channels of the sound's first stage.
    embedding: length of the vectors.
    blocks: residual blocks over three frames each, of both networks.
  """
  size: int
  stem: int
  widths: tuple[int, ...]
  audio_width: int
  embedding: int
  blocks: int

  def __post_init__(self):
    step = self.stem * 2 ** (len(self.widths) - 1)
    if self.size % step:
      raise UserError(f'mouths of {self.size} pixels cannot be divided by {step}, the stride of '
                      f'{len(self.widths)} stages after a stem of {self.stem}')

  @property
  def reach(self) -> int:
    """Frames on both sides of its own that a vector depends on."""
    return _STACKED + self.blocks


class _Conv(nnx.Module):
  """A convolution over two axes, [N, H, W, C] -> [N, H / stride, W / stride, C']."""

  def __init__(self, c_in, c_out, side, stride, draws):
    self.kernel = nnx.Param(draws.weights((side, side, c_in, c_out), side**2 * c_in, math.sqrt(2)),
                            axes=(None, None, None, 'features'))
    self.bias = nnx.Param(jnp.zeros(c_out))
    self.stride = stride

  def __call__(self, x):
    y = lax.conv_general_dilated(x, layers.whole(self.kernel, x.dtype), (self.stride,) * 2, 'SAME',
                                 dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
    return y + self.bias[...]


class _TimeConv(nnx.Module):
  """A convolution over time, [B, F, C] -> [B, F - taps + 1, C']: nothing is padded."""

  def __init__(self, c_in, c_out, taps, draws, scale=1.0):
    self.kernel = nnx.Param(draws.weights((taps, c_in, c_out), taps * c_in, scale),
                            axes=(None, None, 'features'))
    self.bias = nnx.Param(jnp.zeros(c_out))

  def __call__(self, x):
    y = lax.conv_general_dilated(x, layers.whole(self.kernel, x.dtype), (1,), 'VALID',
                                 dimension_numbers=('NWC', 'WIO', 'NWC'))
    return y + self.bias[...]


class _Blocks(nnx.Module):
  """Residual blocks over time, [B, F, C] -> [B, F - 2 blocks, C], and the unit vectors of that."""

  def __init__(self, config, draws):
    width = config.embedding
    self.norms = nnx.List(layers.RMSNorm(width) for _ in range(config.blocks))
    self.convs = nnx.List(_TimeConv(width, width, 3, draws) for _ in range(config.blocks))
    self.norm = layers.RMSNorm(width)
    self.out = layers.Linear(width, width, draws)

  def __call__(self, x):
    for norm, conv in zip(self.norms, self.convs, strict=True):
      x = x[:, 1:-1] + conv(jax.nn.relu(norm(x)))
    x = self.out(self.norm(x))
    return x * lax.rsqrt(jnp.sum(x * x, -1, keepdims=True) + 1e-6)


class _Mouth(nnx.Module):
  def __init__(self, config, draws):
    widths = (2 * _STACKED + 1, *config.widths)
    sides = (2 * config.stem - 1, *(3,) * (len(config.widths) - 1))
    strides = (config.stem, *(2,) * (len(config.widths) - 1))
    self.stages = nnx.List(_Conv(widths[i], widths[i + 1], sides[i], strides[i], draws)
                           for i in range(len(config.widths)))
    self.norms = nnx.List(layers.RMSNorm(width) for width in config.widths)
    cells = (config.size // math.prod(strides)) ** 2
    self.flat = layers.Linear(cells * config.widths[-1], config.embedding, draws)
    self.blocks = _Blocks(config, draws)

  def __call__(self, mouths):
    frames = mouths.shape[1] - 2 * _STACKED
    x = jnp.stack([mouths[:, i:i + frames] for i in range(2 * _STACKED + 1)], -1)
    x = x.reshape(-1, *x.shape[2:])
    for conv, norm in zip(self.stages, self.norms, strict=True):
      x = jax.nn.relu(norm(conv(x)))
    return self.blocks(self.flat(x.reshape(len(mouths), frames, -1)))


class _Sound(nnx.Module):
  def __init__(self, config, draws):
    self.columns = _TimeConv(MEL_BINS, config.audio_width, COLUMNS + 1, draws, math.sqrt(2))
    self.norm = layers.RMSNorm(config.audio_width)
    self.frames = _TimeConv(COLUMNS * config.audio_width, config.embedding, 3, draws)
    self.blocks = _Blocks(config, draws)

  def __call__(self, mel):
    # The first convolution takes half a frame at both ends; the rest of these frames is cut off.
    x = jax.nn.relu(self.norm(self.columns(mel)))[:, COLUMNS // 2:-COLUMNS // 2]
    x = self.frames(x.reshape(len(x), -1, COLUMNS * x.shape[-1]))
    return self.blocks(x)


class _Pair(nnx.Module):
  def __init__(self, config, draws):
    self.mouth = _Mouth(config, draws)
    self.sound = _Sound(config, draws)
    self.scale = nnx.Param(jnp.full((), math.log(_FIRST_SCALE)))


@functools.cache
def _definition(config: SyncConfig) -> layers.Definition:
  return layers.Definition(lambda draws: _Pair(config, draws))


def init(config: SyncConfig, key) -> dict:
  """Parameters {'mouth': ..., 'sound': ..., 'scale': []}, float32."""
  return _definition(config).init(key)


def axes(config: SyncConfig) -> dict:
  """Names of the axes of the kernels, by path; see `layers.Definition.axes`."""
  return _definition(config).axes()


@jax.named_scope('mouth')
def embed_mouth(config: SyncConfig, params: dict, mouths):
  """Unit vectors of a mouth.

  Args:
    config, params: as in `init`.
    mouths: uint8 [B, reach + F + reach, S, S], grey, 25 frames a second.

  Returns:
    [B, F, E].
  """
  x = mouths.astype(jnp.float32)
  x = x - x.mean((2, 3), keepdims=True)
  x = x / (x.std((2, 3), keepdims=True) + 4)  # a few grey levels of noise are no contrast
  return _definition(config).bind(params).mouth(x)


@jax.named_scope('sound')
def embed_sound(config: SyncConfig, params: dict, mel):
  """Unit vectors of a sound.

  Args:
    config, params: as in `init`.
    mel: of `spectrogram`, [B, 4 (reach + F + reach), 80].

  Returns:
    [B, F, E], of the sound at the times of as many frames.
  """
  return _definition(config).bind(params).sound(mel)


def spectrogram(samples) -> np.ndarray:
  """The sound as its network takes it.

  Args:
    samples: float32 [n], mono, 16 kHz.

  Returns:
    float32 [n // 160, 80] from -1 to 1, which is the loudest cell; 1 is 40 dB.
  """
  mel = log_mel.log_mel(samples, MEL_BINS).T
  return mel - mel.max(initial=-np.inf) + 1

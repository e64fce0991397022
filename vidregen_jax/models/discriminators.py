"""Two patch discriminators that judge a codec's pictures: one sees the crop, one the mouth.

Each looks at the 4 frames of a latent frame at once, as 12 channels, so that it judges motion too.
They are PatchGANs (Isola et al., 2017, arXiv 1611.07004) without normalisation layers, which would
mix the clips of a batch; what keeps them smooth is a gradient penalty (losses.py).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from vidregen_jax.errors import UserError
from vidregen_jax.models import codec, layers

_SLOPE = 0.2  # of the leaky ReLU, as in PatchGAN


@dataclasses.dataclass(frozen=True)
class DiscriminatorConfig:
  """Shape of both discriminators.

  Attributes:
    widths: channels of the stages; each halves height and width.
    mouth_size: side of the mouth's crop, pixels.
    dtype: of activations; parameters and verdicts stay float32.
  """
  widths: tuple[int, ...]
  mouth_size: int
  dtype: str = 'float32'

  def __post_init__(self):
    if not self.widths or min(self.widths) < 1:
      raise UserError(f'discriminators have widths {self.widths}: give one stage or more, each of '
                      'at least one channel')
    if self.dtype not in ('float32', 'bfloat16'):
      raise UserError(f'config.gan_dtype is {self.dtype!r}: it is auto, float32 or bfloat16')
    if self.mouth_size < 2 ** len(self.widths):
      raise UserError(f'discriminators of {len(self.widths)} stages need a mouth of at least '
                      f'{2 ** len(self.widths)} pixels, not {self.mouth_size}')


class Patches(nnx.Module):
  """Pictures [N, h, w, C] to one score per patch, [N, h', w'], positive for real."""

  def __init__(self, config: DiscriminatorConfig, draws: layers.Draws):
    widths = (3 * codec.TIME_FACTOR, *config.widths)
    self.stages = nnx.Dict({
        f'stage_{i}': _Conv(widths[i], widths[i + 1], 4, 2, draws)
        for i in range(len(config.widths))})
    self.out = _Conv(widths[-1], 1, 3, 1, draws)
    self.dtype = config.dtype

  def __call__(self, x):
    x = x.astype(self.dtype)
    for stage in self.stages.values():
      x = jax.nn.leaky_relu(stage(x), _SLOPE)
    return self.out(x)[..., 0].astype(jnp.float32)


class _Conv(nnx.Module):
  def __init__(self, c_in, c_out, kernel, stride, draws):
    self.kernel = nnx.Param(draws.weights((kernel, kernel, c_in, c_out), kernel**2 * c_in),
                            axes=(None, None, None, 'features'))
    self.bias = nnx.Param(jnp.zeros(c_out))
    self.stride = stride

  def __call__(self, x):
    y = lax.conv_general_dilated(
        x, layers.whole(self.kernel, x.dtype), (self.stride,) * 2, 'SAME',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
    return y + self.bias[...].astype(y.dtype)


class _Pair(nnx.Module):
  def __init__(self, config: DiscriminatorConfig, draws: layers.Draws):
    self.whole = Patches(config, draws)
    self.mouth = Patches(config, draws)


@functools.cache
def _definition(config: DiscriminatorConfig) -> layers.Definition:
  return layers.Definition(lambda draws: _Pair(config, draws))


def init(config: DiscriminatorConfig, key) -> dict:
  """Parameters {'whole': ..., 'mouth': ...}, float32."""
  return _definition(config).init(key)


def critic(config: DiscriminatorConfig) -> layers.Definition:
  """The mouth's discriminator alone: `init`, `axes`, and `bind(params)(mouths of views)`."""
  return _critic(config)


@functools.cache
def _critic(config):
  return layers.Definition(lambda draws: Patches(config, draws))


def axes(config: DiscriminatorConfig) -> dict:
  """Names of the axes of the kernels, by path; see `layers.Definition.axes`."""
  return _definition(config).axes()


@jax.named_scope('discriminators')
def judge(config: DiscriminatorConfig, params: dict, whole, mouth):
  """The scores of both discriminators.

  Args:
    config, params: as in `init`.
    whole, mouth: of `views`.

  Returns:
    (crop scores [N, h, w], mouth scores [N, h', w']), one per patch, positive for real.
  """
  pair = _definition(config).bind(params)
  return pair.whole(whole), pair.mouth(mouth)


def views(config: DiscriminatorConfig, frames, boxes):
  """The inputs of the two discriminators; differentiable with respect to the frames.

  Args:
    config: gives the size of the mouth's view.
    frames: [B, F, S, S, 3]; F a multiple of 4.
    boxes: [B, F, 4] mouth boxes, x0 y0 x1 y1 in fractions of the crop.

  Returns:
    (crops [B F/4, S, S, 12], mouths [B F/4, m, m, 12]). The mouth's 4 frames are cut by the
    one box that encloses their boxes, so that the mouth moves in its view as it does in the face.
  """
  batch, length, side = frames.shape[:3]
  whole = layers.time_to_depth(frames, codec.TIME_FACTOR).reshape(-1, side, side,
                                                                  3 * codec.TIME_FACTOR)
  boxes = boxes.reshape(batch * length // codec.TIME_FACTOR, codec.TIME_FACTOR, 4)
  boxes = jnp.concatenate([boxes[..., :2].min(1), boxes[..., 2:].max(1)], axis=-1)
  return whole, cut(whole, boxes, config.mouth_size)


def mouths(frames, squares, size: int):
  """Mouths [B * F, size, size, C] of frames [B, F, S, S, C], cut by boxes [B, F, 4]."""
  return cut(frames.reshape(-1, *frames.shape[2:]), squares.reshape(-1, 4), size)


def cut(images, boxes, size: int):
  """Rectangles of pictures, resized by linear interpolation.

  Args:
    images: [N, H, W, C].
    boxes: [N, 4] as x0, y0, x1, y1 in fractions of the picture.
    size: side of the result, pixels.

  Returns:
    [N, size, size, C]. Where a box extends beyond the picture, the edge pixels are repeated.
  """
  columns = _interpolation(boxes[:, 0], boxes[:, 2], images.shape[2], size)
  rows = _interpolation(boxes[:, 1], boxes[:, 3], images.shape[1], size)
  return jnp.einsum('NYH,NHWC,NXW->NYXC', rows, images, columns)


def _interpolation(start, stop, inputs, outputs):
  """[N, outputs, inputs] weights that sum to 1; triangles, widened where a box is shrunk."""
  step = (stop - start) * inputs / outputs
  at = (start * inputs)[:, None] + (jnp.arange(outputs) + 0.5) * step[:, None] - 0.5
  at = jnp.clip(at, 0, inputs - 1)[..., None]
  reach = jnp.maximum(step, 1.0)[:, None, None]
  weights = jnp.maximum(0.0, 1.0 - jnp.abs(at - jnp.arange(inputs)) / reach)
  return weights / weights.sum(-1, keepdims=True)

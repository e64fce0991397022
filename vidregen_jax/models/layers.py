"""Building blocks that both models share, and the bridge from NNX modules to pure functions.

Kernels name the axes along which they may be sharded; `sharding` maps these to devices.

Arrays are [B, T, H, W, C] with channels last. A causal layer is called as `layer(x, cache)` and
returns `(y, cache)`; the cache is the layer's last `k_t - 1` inputs, of fixed shape, zeros at the
start of a video. A layer that looks at one frame only has a cache with zero frames, so that full,
chunked and scanned use are the same code.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from vidregen_jax.distributed import sharding

PRODUCT = 'product'  # name of a Linear's product, for `jax.checkpoint` to save


class Draws:
  """Hands out standard normal numbers, in order.

  All weights of a model come from one draw: a random generator for each weight takes up to six
  times as long to compile (on one device, `512` of the codec 22 s of a CPU's time instead of 4,
  `talkers` of the generator 7 s instead of 1; `large` on 8 devices 6 s instead of 4). The price is
  memory: the draw is whole on every device while the first state is made. For `large` on 8 devices
  that is 1.9 GB beside the state's .7 GB, where draws by weight need .2 GB; a step needs more than
  that (`plan --init`).
  """

  def __init__(self, numbers=None):
    self._numbers = numbers  # None: hands out zeros, to count how many are needed
    self.used = 0

  def take(self, *shape: int):
    """The next numbers, as an array of this shape."""
    start, self.used = self.used, self.used + math.prod(shape)
    if self._numbers is None:
      return jnp.zeros(shape)
    return self._numbers[start:self.used].reshape(shape)

  def weights(self, shape: tuple[int, ...], fan_in: int, scale: float = 1.0):
    """The next numbers, scaled to variance scale^2 / fan_in."""
    return self.take(*shape) * (scale / fan_in**0.5)


def stack(make: Callable[[Draws], nnx.Module], count: int, draws: Draws) -> nnx.Module:
  """`count` equal modules as one, their parameters stacked along a first axis."""
  each = Draws()
  nnx.eval_shape(lambda: make(each))
  return nnx.vmap(lambda numbers: make(Draws(numbers)))(draws.take(count, each.used))


class Definition:
  """An NNX module without its arrays; parameters are a separate nested dict of arrays.

  `make` builds the module from `Draws`. `init(key)` draws parameters; `bind(params)` returns a
  callable module, inside any jax transform; `axes()` are the names of the kernels' axes.
  """

  def __init__(self, make: Callable[[Draws], nnx.Module]):
    draws = Draws()
    self._make = make
    self._graph, self._state = nnx.split(nnx.eval_shape(lambda: make(draws)))
    self._size = draws.used

  def init(self, key) -> dict:
    module = self._make(Draws(jax.random.normal(key, (self._size,))))
    return nnx.to_pure_dict(nnx.as_pure(nnx.state(module)))

  def bind(self, params: dict) -> nnx.Module:
    return nnx.merge(self._graph, params)

  def axes(self) -> dict:
    """Axis names of each kernel that has any, by its path; None for an axis without a name."""
    found = {}
    for path, param in nnx.to_flat_state(self._state):
      names = param.get_metadata().get('axes')
      if names is not None:  # in a stack, the first axis is the layers'
        found[path] = (None,) * (len(param.shape) - len(names)) + names
    return found


def whole(param: nnx.Param, dtype):
  """A kernel cast to the type it is used in, and gathered on every device."""
  return sharding.gathered(param[...].astype(dtype), param.get_metadata()['axes'])


@functools.partial(jax.jit, static_argnums=0)
def moved(subscripts: str, x, where):
  """Moves numbers of x to other places, by a product with a matrix of zeros, ones and minus ones.

  No sum has more than one term that is not zero, so nothing is rounded. A TPU's matrix unit does it
  in a fraction of the time that its vector unit takes to shift, slice and concatenate channels.
  `flops` recognises it by its name.

  Args:
    subscripts: of `jnp.einsum`.
    x: what is moved.
    where: matrix of zeros, ones and minus ones.
  """
  return jnp.einsum(subscripts, x, where.astype(x.dtype), precision='highest')


class Linear(nnx.Module):
  """y = x w + b over the last axis."""

  def __init__(self, c_in: int, c_out: int, draws: Draws, scale: float = 1.0, bias: bool = True):
    # Sharded along the summed axis, so that each part's gradient is complete on one device.
    self.kernel = nnx.Param(draws.weights((c_in, c_out), c_in, scale), axes=('features', None))
    self.bias = nnx.Param(jnp.zeros(c_out)) if bias else None

  def __call__(self, x):
    return self.parts(x, 1)[0]

  def parts(self, x, count: int, product=jnp.matmul):
    """The output in `count` equal parts, each computed by its own `product` of x and a kernel.

    If one product were split, its gradients would first be concatenated, which takes a TPU as long
    as the product itself.
    """
    kernels = jnp.split(whole(self.kernel, x.dtype), count, axis=-1)
    outputs = [checkpoint_name(product(x, kernel), PRODUCT) for kernel in kernels]
    if self.bias is None:
      return outputs
    biases = jnp.split(self.bias[...].astype(x.dtype), count)
    return [y + bias for y, bias in zip(outputs, biases, strict=True)]


class CellLinear(nnx.Module):
  """A separate linear map for each cell of an aligned crop: [..., L, C] -> [..., L, C']."""

  def __init__(self, cells: int, c_in: int, c_out: int, draws: Draws, scale: float = 1.0):
    self.kernel = nnx.Param(draws.weights((cells, c_in, c_out), c_in, scale),
                            axes=(None, None, 'features'))
    self.bias = nnx.Param(jnp.zeros((cells, c_out)))

  def __call__(self, x):
    kernel = whole(self.kernel, x.dtype)
    return jnp.einsum('...LC,LCD->...LD', x, kernel) + self.bias[...].astype(x.dtype)


class RMSNorm(nnx.Module):
  """x / rms(x) over channels at each position, with weight and optional bias, in float32.

  Nothing is averaged over time or space: a GroupNorm here would leak statistics of future frames
  into the past. eps 1e-5 as in DC-AE (dc_gen/models/nn/norm.py).
  """

  def __init__(self, channels: int, scale: float = 1.0, bias: bool = True, eps: float = 1e-5):
    self.scale = nnx.Param(jnp.full(channels, scale))
    self.bias = nnx.Param(jnp.zeros(channels)) if bias else None
    self.eps = eps

  def __call__(self, x):
    h = x.astype(jnp.float32)
    h = h * lax.rsqrt(jnp.mean(h * h, axis=-1, keepdims=True) + self.eps) * self.scale[...]
    return (h if self.bias is None else h + self.bias[...]).astype(x.dtype)


class GroupNorm(nnx.Module):
  """GroupNorm over time, space and channel groups. It is not causal: for the leak test only."""

  def __init__(self, channels: int, scale: float = 1.0, groups: int = 8, eps: float = 1e-5):
    self.scale = nnx.Param(jnp.full(channels, scale))
    self.bias = nnx.Param(jnp.zeros(channels))
    self.groups = groups
    self.eps = eps

  def __call__(self, x):
    h = x.astype(jnp.float32).reshape(x.shape[:-1] + (self.groups, -1))
    mean = h.mean((1, 2, 3, 5), keepdims=True)
    var = h.var((1, 2, 3, 5), keepdims=True)
    h = ((h - mean) * lax.rsqrt(var + self.eps)).reshape(x.shape)
    return (h * self.scale[...] + self.bias[...]).astype(x.dtype)


class CausalConv(nnx.Module):
  """A convolution over (time, height, width) that never looks ahead in time.

  As `sum2d`, the k_t taps are k_t 2-D convolutions of shifted frames, summed: the same numbers as
  one 3-D convolution, and several times faster on CPU, where XLA has no good 3-D kernel. A kernel
  of one tap is always a 2-D convolution: as a 3-D one it would take a TPU three times as long.
  """

  def __init__(self, c_in: int, c_out: int, kernel: tuple[int, int, int], draws: Draws,
               scale: float = 1.0, bias: bool = True, conv: str = 'sum2d'):
    fan_in = math.prod(kernel) * c_in
    self.kernel = nnx.Param(draws.weights((*kernel, c_in, c_out), fan_in, scale),
                            axes=(None,) * 4 + ('features',))
    self.bias = nnx.Param(jnp.zeros(c_out)) if bias else None
    self.conv = conv
    self.frames_kept = kernel[0] - 1
    self.c_in = c_in

  def init_cache(self, batch: int, height: int, width: int, dtype):
    return jnp.zeros((batch, self.frames_kept, height, width, self.c_in), dtype)

  def __call__(self, x, cache):
    frames = x.shape[1]
    kernel = whole(self.kernel, x.dtype)
    x = jnp.concatenate([cache, x], axis=1)
    y = (conv3d if self.conv == 'native' and self.frames_kept else sum2d)(x, kernel)
    if self.bias is not None:
      y = y + self.bias[...].astype(y.dtype)
    return y, x[:, frames:]


def conv3d(x, kernel):
  """[B, k_t - 1 + F, H, W, C], frames before the first at the start, to [B, F, H, W, C']."""
  return lax.conv_general_dilated(
      x, kernel, (1, 1, 1), ((0, 0), *_same(kernel.shape[1:3])),
      dimension_numbers=('NDHWC', 'DHWIO', 'NDHWC'))


def sum2d(x, kernel):
  """The same as `conv3d`, as a sum of 2-D convolutions."""
  frames = x.shape[1] - kernel.shape[0] + 1
  return sum(_conv2d(x[:, i:i + frames], kernel[i]) for i in range(kernel.shape[0]))


def _same(kernel_hw):
  return tuple((k // 2, k // 2) for k in kernel_hw)


def _conv2d(x, kernel):
  batch, frames, *spatial = x.shape
  y = lax.conv_general_dilated(
      x.reshape(batch * frames, *spatial), kernel, (1, 1), _same(kernel.shape[:2]),
      dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
  return y.reshape(batch, frames, *y.shape[1:])


def space_to_depth(x, r: int):
  """[B, T, H, W, C] -> [B, T, H/r, W/r, r*r*C]."""
  b, t, h, w, c = x.shape
  x = x.reshape(b, t, h // r, r, w // r, r, c).transpose(0, 1, 2, 4, 3, 5, 6)
  return x.reshape(b, t, h // r, w // r, r * r * c)


def depth_to_space(x, r: int):
  """Inverse of `space_to_depth`."""
  b, t, h, w, c = x.shape
  x = x.reshape(b, t, h, w, r, r, c // (r * r)).transpose(0, 1, 2, 4, 3, 5, 6)
  return x.reshape(b, t, h * r, w * r, c // (r * r))


def time_to_depth(x, r: int):
  """[B, F, H, W, C] -> [B, F/r, H, W, C*r]; the r frames of a channel lie side by side."""
  b, f, h, w, c = x.shape
  x = x.reshape(b, f // r, r, h, w, c).transpose(0, 1, 3, 4, 5, 2)
  return x.reshape(b, f // r, h, w, c * r)


def depth_to_time(x, r: int):
  """Inverse of `time_to_depth`."""
  b, t, h, w, c = x.shape
  x = x.reshape(b, t, h, w, c // r, r).transpose(0, 1, 5, 2, 3, 4)
  return x.reshape(b, t * r, h, w, c // r)


def resample_channels(x, channels: int):
  """DC-AE's parameter-free shortcut: neighbouring channels averaged down or duplicated up.

  Where one count does not divide the other, channels are duplicated to their least common
  multiple first, then averaged.
  """
  common = math.lcm(x.shape[-1], channels)
  x = jnp.repeat(x, common // x.shape[-1], axis=-1)
  return x.reshape(*x.shape[:-1], channels, -1).mean(-1)

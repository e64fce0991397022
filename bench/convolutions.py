"""Which causal convolution is faster on this backend: XLA's 3-D one, or a sum of 2-D ones.

  python -m bench.convolutions

The shapes are those of residual blocks in `configs/codec.py`; the two ways give the same numbers
(tests/test_codec.py), so that `config.model.conv` is a choice of speed alone.
"""

import math

import jax
import jax.numpy as jnp
from absl import flags

from bench import timing
from configs import codec as codec_config
from vidregen_jax import commands
from vidregen_jax.errors import UserError
from vidregen_jax.models import codec, layers

_SIZES = flags.DEFINE_list('sizes', ['talkers', '256'], 'Sizes of configs/codec.py.')
_BATCH = flags.DEFINE_integer('batch', 1, 'Videos side by side.', lower_bound=1)
_FRAMES = flags.DEFINE_integer('frames', 4, 'Frames a call, beside the cache.', lower_bound=1)
_DTYPE = flags.DEFINE_enum('dtype', 'float32', ['float32', 'bfloat16'], 'Of activations.')
_ROUNDS = flags.DEFINE_integer('rounds', 5, 'How often each is timed.', lower_bound=1)

_WAYS = ('native', 'sum2d')


def shapes(sizes):
  """[(time kernel, channels, side), ...] of residual blocks, each once, cheapest side first.

  Raises:
    UserError: there is no such size.
  """
  found = set()
  for size in sizes:
    try:
      model = codec_config.get_config(size).model
    except ValueError as error:
      raise UserError(f'--sizes: {error}') from error
    for stage, (channels, kernel) in enumerate(zip(model.widths, model.time_kernels, strict=True)):
      side = model.size // codec.PATCH >> stage
      found |= {(kernel, channels, side), (1, channels, side)}
  return sorted(found, key=lambda shape: (shape[2], shape[1], shape[0]))


def runs(shape, batch, frames, dtype):
  """{(way, direction): function} for one shape; functions return when their work is done."""
  kernel, channels, side = shape
  x, pull = jax.random.normal(
    jax.random.key(0), (2, batch, frames, side, side, channels)).astype(dtype)
  made = {}
  for way in _WAYS:
    definition = layers.Definition(lambda draws, way=way: layers.CausalConv(
      channels, channels, (kernel, 3, 3), draws, conv=way))
    params = definition.init(jax.random.key(1))
    cache = jnp.zeros((batch, kernel - 1, side, side, channels), dtype)

    def forward(params, x, cache=cache, definition=definition):
      return definition.bind(params)(x, cache)[0]

    def both(params, x, pull, forward=forward):
      y, backward = jax.vjp(forward, params, x)
      return y, backward(pull)

    forward_, both_ = jax.jit(forward), jax.jit(both)
    made[way, 'forward'] = (
      lambda f=forward_, p=params: jax.block_until_ready(f(p, x)))
    made[way, 'forward+backward'] = (
      lambda f=both_, p=params: jax.block_until_ready(f(p, x, pull)))
  return made


def run():
  """Does what the flags say."""
  batch, frames = _BATCH.value, _FRAMES.value
  total = {}
  print(f'{jax.default_backend()}, {_DTYPE.value}, {batch} x {frames} frames a call; '
        'median milliseconds a call (GFLOP/s)')
  print(f'{"kernel":8} {"channels":>8} {"side":>5} {"":17}' + ''.join(f'{w:>18}' for w in _WAYS))
  for shape in shapes(_SIZES.value):
    kernel, channels, side = shape
    times = timing.interleaved(runs(shape, batch, frames, _DTYPE.value), _ROUNDS.value)
    flop = 2 * math.prod((kernel, 3, 3, channels, channels, batch, frames, side, side))
    for direction, factor in (('forward', 1), ('forward+backward', 3)):
      cells = ''
      for way in _WAYS:
        seconds = times[way, direction][1]
        total[way, direction] = total.get((way, direction), 0) + seconds
        cells += f'{1e3 * seconds:9.2f} ({factor * flop / seconds / 1e9:6.0f})'
      print(f'{f"{kernel}x3x3":8} {channels:8} {side:5} {direction:17}{cells}', flush=True)
  for direction in ('forward', 'forward+backward'):
    (least, fast), (most, slow) = sorted((total[way, direction], way) for way in _WAYS)
    print(f'{direction}: over all shapes {fast} is {most / least:.1f} times as fast as {slow} '
          f'on {jax.default_backend()}')


if __name__ == '__main__':
  commands.run(run, 'nothing was written')

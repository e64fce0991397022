"""Which causal convolution is faster on this backend: XLA's 3-D one, or a sum of 2-D ones.

  python -m bench.convolutions
  python -m bench.convolutions --sizes=512 --frames=16 --dtype=bfloat16 --compile_for=v5e:2x2

The shapes are those of residual blocks in `configs/codec.py`; the two ways give the same numbers
(tests/models/test_codec.py), so that `config.model.conv` only affects speed. The second command
runs nothing: the real TPU compiler (`pip install libtpu`) reports how many cycles it expects of
each. It needs no TPU.
"""

import functools
import math
import sys

import jax

from bench import timing
from configs import codec as codec_config
from vidregen_jax import cli
from vidregen_jax.errors import UserError
from vidregen_jax.models import codec, layers
from vidregen_jax.planning import accelerators, hlo, tpu_topologies

_WAYS = {'native': layers.conv3d, 'sum2d': layers.sum2d}


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


def steps(shape, batch, frames, dtype):
  """What is compared, for one shape.

  Returns:
    {(way, direction): function of (kernel, frames, gradient)}, and the three arrays' shapes.
  """
  taps, channels, side = shape
  found = {}
  for way, convolve in _WAYS.items():
    def both(kernel, x, pull, convolve=convolve):
      y, backward = jax.vjp(lambda kernel, x: convolve(x, kernel), kernel, x)
      return y, backward(pull)
    found[way, 'forward'] = lambda kernel, x, pull, convolve=convolve: convolve(x, kernel)
    found[way, 'forward+backward'] = both
  like = functools.partial(jax.ShapeDtypeStruct, dtype=dtype)
  return found, (like((taps, 3, 3, channels, channels)),
                 like((batch, taps - 1 + frames, side, side, channels)),
                 like((batch, frames, side, side, channels)))


def timed(shape, batch, frames, dtype, rounds):
  """{(way, direction): median seconds} of one shape on what JAX runs on."""
  functions, inputs = steps(shape, batch, frames, dtype)
  arrays = [jax.random.normal(jax.random.key(i), x.shape).astype(x.dtype)
            for i, x in enumerate(inputs)]
  compiled = {which: jax.jit(function) for which, function in functions.items()}
  found = timing.interleaved(
    {which: lambda step=step: jax.block_until_ready(step(*arrays))
     for which, step in compiled.items()},
    rounds)
  return {which: seconds[1] for which, seconds in found.items()}


def expected(shape, batch, frames, dtype, topology):
  """{(way, direction): seconds} of one shape, by the cycles that the TPU compiler counts."""
  functions, given = steps(shape, batch, frames, dtype)
  place = jax.sharding.SingleDeviceSharding(tpu_topologies.devices(topology)[0])
  given = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place) for x in given]
  a_second = accelerators.CHIPS[accelerators.read(topology)[0]].cycles
  programs = {which: jax.jit(function).trace(*given).lower(lowering_platforms=('tpu',)).compile()
              for which, function in functions.items()}
  return {which: hlo.cycles(hlo.parse(program.as_text())) / a_second
          for which, program in programs.items()}


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.convolutions', description=__doc__)
  flags.add_argument('--sizes', type=cli.several(str), default=['talkers', '256'],
                     help='sizes of configs/codec.py (default talkers,256)')
  flags.add_argument('--batch', type=cli.whole(1), default=1,
                     help='videos side by side (default %(default)s)')
  flags.add_argument('--frames', type=cli.whole(1), default=4,
                     help='frames per call, besides the cache (default %(default)s)')
  flags.add_argument('--dtype', choices=['float32', 'bfloat16'], default='float32',
                     help='dtype of activations (default %(default)s)')
  flags.add_argument('--rounds', type=cli.whole(1), default=5,
                     help='how often each is timed (default %(default)s)')
  flags.add_argument('--compile_for', help='TPU topology, such as v5e:2x2')
  return flags


def run(flags):
  """Does what the flags say."""
  batch, frames, dtype, topology = (
    flags.batch, flags.frames, flags.dtype, flags.compile_for)
  where = topology or jax.default_backend()
  total = {}
  print(f'{where}, {dtype}, {batch} x {frames} frames a call; '
        + ('milliseconds a call as the compiler expects them' if topology else
           'median milliseconds a call') + ' (GFLOP/s)')
  print(f'{"kernel":8} {"channels":>8} {"side":>5} {"":17}' + ''.join(f'{w:>18}' for w in _WAYS))
  for shape in shapes(flags.sizes):
    kernel, channels, side = shape
    times = (expected(shape, batch, frames, dtype, topology) if topology
             else timed(shape, batch, frames, dtype, flags.rounds))
    flop = 2 * math.prod((kernel, 3, 3, channels, channels, batch, frames, side, side))
    for direction, factor in (('forward', 1), ('forward+backward', 3)):
      cells = ''
      for way in _WAYS:
        seconds = times[way, direction]
        spent = total.setdefault((way, direction, kernel > 1), [])
        spent.append(seconds)
        cells += f'{1e3 * seconds:9.2f} ({factor * flop / seconds / 1e9:6.0f})'
      print(f'{f"{kernel}x3x3":8} {channels:8} {side:5} {direction:17}{cells}', flush=True)
  for several, of in ((False, 'one tap'), (True, 'several taps')):
    for direction in ('forward', 'forward+backward'):
      (least, fast), (most, slow) = sorted(
        (sum(total.get((way, direction, several), [0])), way) for way in _WAYS)
      if least:
        print(f'{of}, {direction}: over all shapes {fast} is {most / least:.1f} times as fast as '
              f'{slow} on {where}')


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

"""Where the codec's training step spends a TPU's cycles, part by part, by the TPU's compiler.

  python -m bench.codec_parts --compile_for=v5e:2x2

Compiled are, one by one, forward and with gradients at the shapes of one crop of `512`: a residual
block of each stage, with its channels and with so many that they fill the matrix unit; the
decoder's stages, their blocks one by one and as a loop; VGG16's convolutions as LPIPS runs them (of
two pictures forward, of one backward); and LPIPS after its first block. Each takes the compiler a
minute at most (the last column, of a processor); a whole step takes it very much longer
(`python -m vidregen_jax.plan --config=configs/codec.py:512-v5e-256 --topology=v5e:16x16
--cycles_by=stage`). Nothing runs, and no TPU is needed (`pip install libtpu`).
"""

import dataclasses
import functools
import sys
import time

import jax
import jax.numpy as jnp

from configs import codec as codec_config
from vidregen_jax import cli
from vidregen_jax.models import codec, layers, perceptual
from vidregen_jax.planning import accelerators, flops, hlo, tpu_topologies
from vidregen_jax.training import codec_setup

UNIT = 128  # channels that a matrix unit of a v5e works on at once


def blocks(model, frames):
  """(name, function, shapes) of a residual block of each stage, also with more channels."""
  for stage, width in enumerate(model.widths):
    slow = stage >= model.time_stage
    length = frames // codec.TIME_FACTOR if slow else frames
    side = model.size // codec.PATCH >> stage
    for channels in sorted({width, width + -width % UNIT}):
      kernel = model.time_kernels[stage]
      block = layers.Definition(functools.partial(codec.Block, channels, kernel, model))
      shape = (1, length, side, side, channels)
      like = functools.partial(jax.ShapeDtypeStruct, dtype=model.activations)

      def gradients(params, x, cache, pull, block=block):
        _, back = jax.vjp(lambda params, x: block.bind(params)(x, cache)[0], params, x)
        return back(pull)

      yield f'block of stage {stage}, {channels} channels', gradients, (
        jax.eval_shape(block.init, jax.random.key(0)), like(shape),
        like((1, kernel - 1, side, side, channels)), like(shape))


def stages(model, frames):
  """(name, function, shapes) of the decoder's stages, their blocks one by one and as a loop."""
  for stage, depth in enumerate(model.decoder_depths):
    for way, loop_from in (('one by one', 0), ('as a loop', 2)):
      looped = dataclasses.replace(model, loop_from=loop_from)
      depths = [depth if i == stage else 0 for i in range(len(model.widths))]
      own = layers.Definition(functools.partial(codec.make_blocks, looped, depths))
      length = frames // codec.TIME_FACTOR if stage >= model.time_stage else frames
      side, width = model.size // codec.PATCH >> stage, model.widths[stage]
      like = functools.partial(jax.ShapeDtypeStruct, dtype=model.activations)
      cache = like((1, model.time_kernels[stage] - 1, side, side, width))

      def gradients(params, x, caches, pull, own=own, looped=looped, stage=stage, depth=depth):
        _, back = jax.vjp(lambda params, x: codec.run_stage(
          looped, own.bind(params), stage, depth, x, caches)[0], params, x)
        return back(pull)

      shape = like((1, length, side, side, width))
      yield f'stage {stage}, {depth} blocks, {way}', gradients, (
        jax.eval_shape(own.init, jax.random.key(0)), shape,
        {f'stage_{stage}_block_{i}': cache for i in range(depth)}, shape)


def vgg16(model, frames):
  """(name, function, shapes) of LPIPS's parts, in float32 and in bfloat16."""
  params = perceptual.shapes('')
  pictures = jax.ShapeDtypeStruct((frames, model.size, model.size, 3), jnp.float32)
  for dtype in ('float32', 'bfloat16'):
    side, inputs, seen = model.size, 3, set()
    for kernels in params['convolutions']:
      for kernel, bias in kernels:
        width = kernel.shape[-1]
        if (side, inputs, width) not in seen:
          seen.add((side, inputs, width))
          x = jax.ShapeDtypeStruct((frames, side, side, inputs), dtype)

          def one(kernel, bias, x, other):
            run = lambda x: perceptual.convolved(x, kernel, bias)
            y, back = jax.vjp(run, x)
            return run(other), back(y)

          yield f'VGG16, {inputs} to {width} channels, {dtype}', one, (kernel, bias, x, x)
        inputs = width
      side //= 2

    def first(params, images, others, dtype=dtype):
      return jax.grad(lambda images: sum(
        x.mean() for x in perceptual.lpips_map(params, images, others, dtype)))(images)

    part = {'convolutions': params['convolutions'][:1], 'heads': params['heads'][:1]}
    yield f'LPIPS after the first block, {dtype}', first, (part, pictures, pictures)


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.codec_parts', description=__doc__)
  flags.add_argument('--compile_for', default='v5e:2x2',
                     help='TPU topology (default %(default)s)')
  flags.add_argument('--only', default='', help='text in the names of the parts; default all')
  return flags


def run(flags):
  """Compiles and prints a line for each part.

  Raises:
    UserError: there is no such topology, or no compiler.
  """
  config = codec_config.get_config('512')
  model = codec_setup.model_config(config).on('tpu')
  chip = accelerators.CHIPS[accelerators.read(flags.compile_for)[0]]
  place = jax.sharding.SingleDeviceSharding(tpu_topologies.devices(flags.compile_for)[0])
  print(f'{"":44}{"ms":>8}{"of the peak":>13}{"GB moved":>10}{"GB kept":>9}{"compiled, s":>13}')
  for name, function, shapes in (
      *blocks(model, config.num_frames), *stages(model, config.num_frames),
      *vgg16(model, config.num_frames)):
    if flags.only not in name:
      continue
    given = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes)
    began = time.process_time()
    traced = jax.jit(function).trace(*given)
    program = traced.lower(lowering_platforms=('tpu',)).compile()
    compiled = time.process_time() - began
    module = hlo.parse(program.as_text())
    seconds = hlo.cycles(module) / chip.cycles
    share = flops.count(traced.jaxpr) / seconds / chip.flops
    print(f'{name:44}{seconds * 1e3:8.2f}{share:13.3f}{hlo.traffic(module) / 1e9:10.2f}'
          f'{program.memory_analysis().temp_size_in_bytes / 1e9:9.2f}{compiled:13.0f}', flush=True)


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

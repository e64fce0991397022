"""Implementations of attention in the generator's training pass: time, memory, differences.

  python -m bench.attention --size=base --implementations=xla,splash
  python -m bench.attention --size=large --implementations=xla,splash --compile_for=v5e:2x2

The first command times one pass over a clip, forward and with all gradients, on whatever JAX runs
on, and prints how far velocities and gradients are from those of the first implementation, relative
to their largest value. Weights are random; streams are dropped as in training.

The second runs nothing: the real TPU compiler (`pip install libtpu`) compiles the same pass, one
clip a chip, and reports the memory of each chip. It needs no TPU.
"""

import dataclasses
import functools
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from bench import sizes, timing
from configs import generator as generator_config
from vidregen_jax import cli, files
from vidregen_jax.distributed import sharding
from vidregen_jax.errors import UserError
from vidregen_jax.models import generator, streams, teacher_forcing, token_layout
from vidregen_jax.planning import tpu_topologies


def example(model, batch, frames, rng):
  """What `teacher_forcing.clip_velocity` takes after the parameters, drawn."""
  def normal(*shape):
    return rng.standard_normal(shape, np.float32)
  conditions = jax.tree.map(
    lambda x: np.ones((batch, *x.shape), bool) if x.dtype == bool else normal(batch, *x.shape),
    streams.shapes(model, frames))
  conditions.fixed.anchor_time[:] = frames
  conditions.ahead.durations[:] = 0.04
  faces = (len(model.region), model.latent_channels)
  clip = teacher_forcing.Clip(conditions, normal(batch, *faces), normal(batch, frames, *faces))
  drop = lambda *shape: rng.random(shape) < 0.7
  keep = token_layout.Keep(drop(batch, 1, model.references), *(drop(batch, 1) for _ in range(3)))
  flow_time = np.full((batch, 1, frames), 0.5, np.float32)
  return clip, normal(batch, 1, frames, *faces), flow_time, keep


def loss(model, params, clip, noisy, flow_time, keep):
  velocity = teacher_forcing.clip_velocity(model, params, clip, noisy, flow_time, keep)
  return jnp.square(velocity).mean(), velocity


def compare(model, names, batch, frames, rounds):
  """Figures of each implementation by name.

  Returns:
    {name: {forward, gradients: least and median seconds; velocity_error, gradient_error: largest
    difference from the first implementation's over the largest value}}.
  """
  with jax.default_prng_impl('unsafe_rbg'):
    params = generator.init(model, jax.random.key(0))
  given = jax.device_put((params, *example(model, batch, frames, np.random.default_rng(0))))
  steps = {}
  for name in names:
    step = functools.partial(loss, dataclasses.replace(model, attention=name))
    steps[name, 'forward'] = jax.jit(lambda *x, step=step: step(*x)[1])
    steps[name, 'gradients'] = jax.jit(jax.grad(lambda *x, step=step: step(*x)[0]))
  seconds = timing.interleaved(
    {which: lambda step=step: jax.block_until_ready(step(*given)) for which, step in steps.items()},
    rounds)
  figures = {name: {part: seconds[name, part] for part in ('forward', 'gradients')}
             for name in names}
  for part, error in (('forward', 'velocity_error'), ('gradients', 'gradient_error')):
    results = {name: jax.device_get(steps[name, part](*given)) for name in names}
    for name in names:
      pairs = zip(jax.tree.leaves(results[name]), jax.tree.leaves(results[names[0]]), strict=True)
      figures[name][error] = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs
                               if np.abs(b).max() > 0)
  return figures


def compiled(model, name, topology, batch, frames):
  """Bytes that a chip needs for the gradients of `batch` clips of its own.

  Returns:
    Dict of arguments and temporaries, or of what the compiler says where they do not fit.
  """
  devices = tpu_topologies.devices(topology)
  mesh = jax.sharding.Mesh(np.array(devices).reshape(-1, 1, 1),
                           (sharding.DATA, sharding.FSDP, sharding.TENSOR))
  place = lambda tree, where: jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where(mesh)), tree)
  model = dataclasses.replace(model, attention=name)
  params = jax.eval_shape(functools.partial(generator.init, model), jax.random.key(0))
  arrays = example(model, batch * len(devices), frames, np.random.default_rng(0))
  step = jax.jit(jax.grad(lambda *x: loss(model, *x)[0]))
  with jax.set_mesh(mesh):
    lowered = step.trace(place(params, sharding.replicated), *place(arrays, sharding.batch)).lower(
      lowering_platforms=('tpu',))
    try:
      memory = lowered.compile().memory_analysis()
    except jax.errors.JaxRuntimeError as error:
      if 'RESOURCE_EXHAUSTED' not in str(error):
        raise
      return {'too_large': str(error).splitlines()[0]}
  return {'arguments': memory.argument_size_in_bytes, 'temporaries': memory.temp_size_in_bytes}


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.attention', description=__doc__)
  flags.add_argument('--size', choices=sizes.GENERATORS, default='base',
                     help='size of configs/generator.py (default %(default)s)')
  flags.add_argument('--implementations', type=cli.several(str), default=['xla'],
                     help='of attention, to compare (default xla)')
  flags.add_argument('--layers', type=cli.whole(0), default=2,
                     help='layers of the generator; 0 for all (default %(default)s)')
  flags.add_argument('--frames', type=cli.whole(0), default=0,
                     help='latent frames; 0 as in training (default %(default)s)')
  flags.add_argument('--batch', type=cli.whole(1), default=1,
                     help='clips per chip (default %(default)s)')
  flags.add_argument('--rounds', type=cli.whole(1), default=5,
                     help='how often each is timed (default %(default)s)')
  flags.add_argument('--compile_for', help='TPU topology, such as v5e:2x2')
  flags.add_argument('--json', help='file for all figures')
  return flags


def run(flags):
  """Prints a table."""
  model, _ = sizes.generator_model(flags.size)
  config = generator_config.get_config(flags.size)
  frames, names = flags.frames or config.num_frames, flags.implementations
  if not names:
    raise UserError('no implementation was named: try --implementations=xla')
  model = dataclasses.replace(model, layers=flags.layers or model.layers, unroll=False)
  print(f'{flags.size}, {model.layers} layers, {flags.batch} clips a chip of {frames} latent '
        f'frames, {model.dtype}')
  if flags.compile_for:
    found = {}
    print(f'\n| {flags.compile_for} | arguments, GB a chip | temporaries, GB a chip |')
    print('|---|---|---|')
    for name in names:
      found[name] = compiled(model, name, flags.compile_for, flags.batch, frames)
      row = found[name].get('too_large') or ' | '.join(
        f'{found[name][part] / 1e9:.2f}' for part in ('arguments', 'temporaries'))
      print(f'| {name} | {row} |', flush=True)
  else:
    found = compare(model, names, flags.batch, frames, flags.rounds)
    print(f'\n| {jax.devices()[0].device_kind} | forward, ms | gradients, ms | times the first '
          '(forward, gradients) | velocities off by | gradients off by |')
    print('|---|---|---|---|---|---|')
    for name in names:
      each, first = found[name], found[names[0]]
      forward, gradients = (each[part][1] for part in ('forward', 'gradients'))
      print(f'| {name} | {forward * 1e3:.1f} | {gradients * 1e3:.1f} '
            f'| {forward / first["forward"][1]:.2f}, {gradients / first["gradients"][1]:.2f} '
            f'| {each["velocity_error"]:.1e} | {each["gradient_error"]:.1e} |')
  if flags.json:
    files.write_json(pathlib.Path(flags.json), found)


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

"""Time to sample a latent frame, by part, and relative to real time.

  python -m bench.sampling --sizes=talkers

Weights are random, which costs the same. Conditioning computes the context, audio and history keys
of a latent frame; `flow step` is one step of all branches; `decode` is the codec's 4 frames. Real
time is 25 frames a second; encoding the crops (with the lower face and without) is not included.
`keys anew` is the time without cached keys: conditioning repeated for every step and branch. Times
are interleaved medians.
"""

import dataclasses
import functools
import pathlib
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from bench import sizes, timing
from configs import generator as generator_config
from vidregen_jax import cli, files
from vidregen_jax.errors import UserError
from vidregen_jax.inference import sampling
from vidregen_jax.models import codec, flow_matching, generator, linear_prior, streams

_SECONDS = codec.TIME_FACTOR / 25


def make(size):
  """Models, parameters, a state in the middle of a stream and a latent frame's inputs."""
  if size not in sizes.GENERATORS:
    raise UserError(f'there is no size {size!r}: choose from {", ".join(sizes.GENERATORS)}')
  model, packed = sizes.generator_model(size)
  models = sampling.Models(packed, model)
  channels = packed.latent_channels
  with jax.default_prng_impl('unsafe_rbg'):
    params = sampling.Params(
      codec.init(packed, jax.random.key(0)), generator.init(model, jax.random.key(1)),
      linear_prior.none(model.region), jnp.zeros(channels), jnp.ones(channels))
    key = jax.random.key(2)
  # Any numbers cost the same; these are 25 frames a second, and all is valid.
  start, inputs = jax.tree.map(lambda x: jnp.full(x.shape, 0.04).astype(x.dtype),
                               streams.sampler_shapes(model, 1))
  state = sampling.init_state(models, params, key, start)
  return models, params, state, inputs


def measure(size, steps, rounds):
  """Seconds of each part, and of a whole latent frame by number of steps."""
  models, params, state, inputs = make(size)
  base = flow_matching.SamplerConfig(**generator_config.get_config(size).sampler)

  def whole(count, guided):
    scale = 2.0 if guided else 1.0
    sampler = dataclasses.replace(base, steps=count, guidance_appearance=1.0, guidance_audio=scale)

    def step():  # as `regenerate` calls it, which gives its state away
      own = jax.tree.map(jnp.copy, state)
      jax.block_until_ready(sampling.step(models, sampler, params, own, inputs)[1])
    return step

  warm = jax.jit(functools.partial(sampling.warm_step, models))
  cells = models.generator.cells
  z = jnp.zeros((1, 1, cells, cells, models.codec.latent_channels))
  decode = jax.jit(functools.partial(codec.decode, models.codec))
  runs = {
    'warm': lambda: jax.block_until_ready(warm(params, state, inputs)[1]),
    'decode': lambda: jax.block_until_ready(decode(params.codec, z, state.decoder_cache)[0]),
  }
  for guided in (True, False):
    for count in sorted(set(steps)):
      runs[count, guided] = whole(count, guided)
  begin = time.perf_counter()
  runs[min(steps), False]()
  first = time.perf_counter() - begin
  found = {name: median for name, (_, median) in timing.interleaved(runs, rounds).items()}
  found['conditioning'] = found['warm'] - found['decode']
  for guided in (True, False):
    counts = sorted(set(steps))
    slope, _ = np.polyfit(counts, [found[count, guided] for count in counts], 1)
    found['step', guided] = slope
  found['first'] = first
  return found


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.sampling', description=__doc__)
  flags.add_argument('--sizes', type=cli.several(str), default=['tiny', 'talkers'],
                     help='sizes of configs/generator.py (default tiny,talkers)')
  flags.add_argument('--steps', type=cli.several(cli.whole(1)), default=[20, 8, 4, 2, 1],
                     help='numbers of flow steps (default 20,8,4,2,1)')
  flags.add_argument('--rounds', type=cli.whole(1), default=15,
                     help='how often each is timed (default %(default)s)')
  flags.add_argument('--json', help='file for all figures')
  return flags


def run(flags):
  """Prints the tables.

  Raises:
    UserError: no such size.
  """
  figures = {}
  for size in flags.sizes:
    found = measure(size, flags.steps, flags.rounds)
    ms = {'conditioning': found['conditioning'], 'decode': found['decode'],
          'flow step, three branches': found['step', True],
          'flow step, one branch': found['step', False], 'first call, compiling': found['first']}
    print(f'\n{size}: ' + ', '.join(f'{name} {1000 * x:.1f} ms' for name, x in ms.items()))
    print('| steps | branches | ms a latent frame | times real time | times real time, keys anew |'
          '\n|---|---|---|---|---|')
    rows = []
    for steps in sorted(set(flags.steps), reverse=True):
      for guided, branches in ((True, 3), (False, 1)):
        took = found[steps, guided]
        anew = took + (steps * branches - 1) * found['conditioning']
        rows.append({'steps': steps, 'branches': branches, 'seconds': took, 'keys_anew': anew})
        print(f'| {steps} | {branches} | {1000 * took:.1f} | {_SECONDS / took:.2f} '
              f'| {_SECONDS / anew:.2f} |')
    figures[size] = {'parts': ms, 'rows': rows}
  if flags.json:
    files.write_json(pathlib.Path(flags.json), figures)


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

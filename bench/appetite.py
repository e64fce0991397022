"""Does Grain keep up with a pod? Windows of cached latents per second, against a planned step.

  python -m vidregen_jax.plan --config=configs/generator.py:large-v5e-16 --topology=v5e:4x4 \
    --json=out/plan.json
  python -m bench.appetite --plan=out/plan.json

Records have the shapes of a real dataset and random content; they are written to a temporary folder
and cached in memory once read, so that reading, unpacking, cutting and batching are timed, and not
the disk. Processor time is measured besides wall time: on a busy machine only it shows what a core
can do.
"""

import functools
import json
import os
import pathlib
import resource
import sys
import tempfile
import time

import numpy as np
from array_record.python import array_record_module

from configs import generator as generator_config
from vidregen_jax import cli
from vidregen_jax.datasets import batches, input_pipeline, windows
from vidregen_jax.errors import UserError
from vidregen_jax.models import codec
from vidregen_jax.planning import abstract_steps, accelerators

_AUDIO = (3, 512)  # Whisper states that are kept, and their channels


def read_plan(path):
  """What `vidregen_jax.plan` wrote.

  Raises:
    UserError: there is no such file, or nothing of clips a second in it.
  """
  try:
    plan = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise UserError(f'{path}: no plan can be read ({error}): make one with `python -m '
                    'vidregen_jax.plan ... --json=FILE`') from error
  if not isinstance(plan, dict) or not plan.get('examples_a_second'):
    raise UserError(f'{path} says nothing of clips a second: plan a training on known chips')
  return plan


def make_records(folder, model, clips, seconds):
  """Writes a dataset of latents with random numbers in it, as `encode_latents` writes one.

  Args:
    folder: pathlib.Path.
    model: GeneratorConfig; its latents are normalised, as real ones are.
    clips: how many; seconds: of 25 frames each.
  """
  rng = np.random.default_rng(0)
  frames = int(25 * seconds) // codec.TIME_FACTOR
  cells, channels = model.cells, model.latent_channels
  half = lambda *shape: rng.standard_normal(shape, np.float32).astype(np.float16)
  writer = array_record_module.ArrayRecordWriter(str(folder / 'train'), 'group_size:1')
  lips = dict.fromkeys(('lip_gap', 'mouth_width'),
                       np.zeros(frames * codec.TIME_FACTOR, np.float32))
  for i in range(clips):
    stills = np.arange(0, frames * codec.TIME_FACTOR, 6, dtype=np.int32)
    latents = {name: half(frames, cells, cells, channels) for name in ('target', 'context', 'cold')}
    writer.write(input_pipeline.encode_record(latents | {
      'clip_id': str(i), 'flipped': False, 'stills': half(len(stills), cells, cells, channels),
      'still_frames': stills, 'audio': half(int(50 * seconds), *_AUDIO),
      'times': np.arange(frames * codec.TIME_FACTOR, dtype=np.float32) / 25,
      'mouth_box': np.tile(np.float32([0.3, 0.6, 0.7, 0.9]), (frames, 1)),
      **lips}))
  writer.close()
  (folder / 'dataset_info.json').write_text(json.dumps(
    {'latent_shape': [cells, cells, channels], 'splits': {'train': {'files': ['train']}}}))


def window(record, rng, shape):
  """A random window of a clip, as training cuts it."""
  last = len(record['target']) - shape.frames
  return windows.cut(record, int(rng.integers(last + 1)), shape, rng)


def rate(folder, shape, batch, count, workers):
  """Windows a second by the clock, and a second of processor time, of this process and workers."""
  clips = input_pipeline.latent_clips(folder, 'train')
  data = batches.Batches(clips, functools.partial(window, shape=shape), 0, batch, range(batch),
                         lambda x: x, workers)
  next(data)
  start, spent = time.perf_counter(), _processor_time()
  for _ in range(count):
    next(data)
  seconds = time.perf_counter() - start
  data.close()  # workers' times are known when they have ended
  return batch * count / seconds, batch * count / (_processor_time() - spent)


def _processor_time():
  return sum(usage.ru_utime + usage.ru_stime for usage in map(
    resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.appetite', description=__doc__)
  flags.add_argument('--size', default='large',
                     help='size of configs/generator.py (default %(default)s)')
  flags.add_argument('--plan', help='JSON of `vidregen_jax.plan`, to compare with')
  flags.add_argument('--clips', type=cli.whole(1), default=48,
                     help='clips in the generated dataset (default %(default)s)')
  flags.add_argument('--seconds', type=cli.number(2), default=6.0,
                     help='length of a clip (default %(default)s)')
  flags.add_argument('--batch', type=cli.whole(1), default=32,
                     help='windows per batch (default %(default)s)')
  flags.add_argument('--batches', type=cli.whole(1), default=40,
                     help='batches to time (default %(default)s)')
  flags.add_argument('--workers', type=cli.several(cli.whole(0)), default=[0, 2],
                     help='numbers of worker processes, tried in turn (default 0,2)')
  return flags


def run(flags):
  """Prints a table, and what the plan needs."""
  config = generator_config.get_config(flags.size)
  model, _ = abstract_steps.generator_models(config, _AUDIO)
  shape = windows.WindowShape(config.num_frames, model.look_ahead, model.references,
                              config.reference_distance, model.region)
  plan = read_plan(pathlib.Path(flags.plan)) if flags.plan else None
  best = 0.0
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    make_records(folder, model, flags.clips, flags.seconds)
    size = (folder / 'train').stat().st_size / flags.clips
    print(f'{flags.size}: records of {size / 1e6:.1f} MB, windows of {shape.frames} latent '
          f'frames, {os.cpu_count()} cores\n')
    print('| workers | windows a second | a second of one core |\n|---|---|---|')
    for workers in flags.workers:
      clock, core = rate(folder, shape, flags.batch, flags.batches, workers)
      best = max(best, core)
      print(f'| {workers} | {clock:.1f} | {core:.1f} |', flush=True)
  if plan:
    name, _ = accelerators.read(plan['topology'])
    hosts = plan['chips'] / accelerators.CHIPS[name].host
    needed = plan['examples_a_second'] / hosts
    print(f'\n{plan["topology"]}: {plan["examples_a_second"]:.1f} clips a second at most, '
          f'{needed:.1f} of each of {hosts:.0f} hosts: {needed / best:.1f} cores like these')


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

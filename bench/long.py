"""Ten minutes of one take, generated: does it drift, does memory grow, and what do the sinks do?

  python -m bench.long --checkpoint=out/generator/export --dataset=out/latents/64 --clips=4

A few test clips are looped with their own sound and generated throughout, each latent frame from
the one before: 3,750 in ten minutes. Every loop must look like the first. Then the same without the
sinks' keys. A frame is called broken if the PSNR of its lower face is 3 dB below the median of the
first minute.
"""

import dataclasses
import pathlib
import sys
import time

import numpy as np
import tqdm

from bench import rehearsals, timing
from vidregen_jax import cli, files
from vidregen_jax.evaluation import identity_metrics, latent_validation
from vidregen_jax.inference import sampling
from vidregen_jax.models import codec

_RATE = 25
_BROKEN = 3.0  # dB


def play(rehearse, sampler, params, rounds, sinks):
  """Generates rounds of the windows, each going on from the last.

  Yields:
    (frames uint8 [B, 4T, S, S, 3], resident memory MB), as they are made.
  """
  params, state, inputs = rehearse.begin(params, 'own')
  if not sinks:
    hidden = state.fixed_valid.at[:, :rehearse.models.generator.sinks].set(False)
    state = dataclasses.replace(state, fixed_valid=hidden)
  for _ in range(rounds):
    state, latents = sampling.sample(rehearse.models, sampler, params, state, inputs)
    yield latent_validation.to_frames(latents), timing.memory()


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.long', description=__doc__)
  rehearsals.add_flags(flags)
  flags.add_argument('--minutes', type=cli.number(0.1), default=10.0,
                     help='length of the take (default %(default)s)')
  flags.add_argument('--round', type=cli.whole(2), default=16,
                     help='latent frames of a round (default %(default)s)')
  flags.add_argument('--out', help='JSON file for all figures')
  return flags


def run(flags):
  """Prints the tables.

  Raises:
    UserError: something is missing.
  """
  length = flags.round
  opened = rehearsals.open_test(flags, length)
  rehearse, params, sampler = opened.rehearse(), opened.params, opened.sampler
  takes = len(rehearse.truth)
  seconds = length * codec.TIME_FACTOR / _RATE
  rounds = round(flags.minutes * 60 / seconds)
  face = identity_metrics.lower_face(rehearse.truth.shape[2])
  figures = {}
  for sinks in (True, False):
    rows, begin = [], time.perf_counter()
    for frames, memory in tqdm.tqdm(play(rehearse, sampler, params, rounds, sinks), total=rounds):
      near = identity_metrics.psnr(frames, rehearse.truth, face, axis=2)
      rows.append((near, identity_metrics.colour_difference(frames, rehearse.truth).mean(),
                   (identity_metrics.sharpness(frames, face)
                    / identity_metrics.sharpness(rehearse.truth, face)).mean(), memory))
    took = time.perf_counter() - begin
    minute = lambda i: int((i + 0.5) * seconds / 60)
    first = np.median(np.stack([row[0] for i, row in enumerate(rows) if minute(i) == 0]))
    name = 'with sinks' if sinks else 'without sinks'
    figures[name] = []
    print(f'\n{name}: {took:.0f} s for {rounds * seconds / 60:.1f} minutes of {takes} takes\n'
          '| minute | lower face, dB | broken frames | delta E at the rim | sharpness | MB |\n'
          '|---|---|---|---|---|---|')
    for which in range(minute(rounds - 1) + 1):
      of = [row for i, row in enumerate(rows) if minute(i) == which]
      near = np.stack([row[0] for row in of])
      figures[name].append({
        'minute': which + 1, 'psnr': float(np.mean(near)),
        'broken': float(np.mean(near < first - _BROKEN)),
        **{key: float(np.mean([row[i] for row in of]))
           for i, key in enumerate(('delta_e', 'sharpness', 'memory'), 1)}})
      print('| {minute} | {psnr:.2f} | {broken:.4f} | {delta_e:.2f} | {sharpness:.3f} '
            '| {memory:.0f} |'.format(**figures[name][-1]))
  if flags.out:
    files.write_json(pathlib.Path(flags.out), figures)


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

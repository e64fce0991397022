"""Renders two takes that differ in nothing but the words: what an edit should come out as.

  python -m data.talkers.make_twins --head HEAD.npz --out data/talkers/pack/twins

One person of the test split, in one room, with one light and one movement of the head, says two
sentences of the same length in one voice: `source.mp4` and `truth.mp4`, each with its truth beside
it. An edit of the source with the sound of the truth can be held against the truth, pixel by pixel.
"""

import argparse
import dataclasses
import pathlib
import sys

import numpy as np

from data.talkers import make_pack, mesh, sentences
from vidregen_jax import errors

INDEX = 900  # of the test split, whose pack ends long before
SENTENCES = 200  # drawn to find two that last about as long


def draw_plans(seed: int, size: int) -> tuple[make_pack.Plan, make_pack.Plan]:
  """Two plans that share all but their sentence, each between 3 and 4.5 seconds long."""
  first = dataclasses.replace(make_pack.draw_plan(seed, 'test', INDEX, size), rate='25',
                              language='en', voice='espeak:en-us+m3')
  random = np.random.default_rng([seed, INDEX])
  fitting = []
  for _ in range(SENTENCES):
    plan = dataclasses.replace(first, sentence=sentences.draw('en', 'test', random))
    *_, frames = make_pack.sound(plan)
    if 75 <= frames <= 112 and all(plan.sentence != other.sentence for other, _ in fitting):
      for other, length in fitting:
        if abs(length - frames) <= 1:
          return other, plan
      fitting.append((plan, frames))
  raise errors.UserError('no two sentences of one length were drawn; try another --seed')


def make(head: mesh.Head, out: pathlib.Path, seed: int, size: int) -> None:
  """Renders both takes, as long as the longer sentence."""
  out.mkdir(parents=True, exist_ok=True)
  plans = [dataclasses.replace(plan, clip_id=name)
           for name, plan in zip(('source', 'truth'), draw_plans(seed, size), strict=True)]
  spoken = [make_pack.sound(plan) for plan in plans]
  frames = max(count for *_, count in spoken)
  for plan, (samples, rate, phonemes, _) in zip(plans, spoken, strict=True):
    length = round(frames / 25 * rate)
    samples = np.pad(samples, (0, max(length - len(samples), 0)), mode='edge')[:length]
    symbol, start, _ = phonemes[-1]
    phonemes = (*phonemes[:-1], (symbol, start, frames / 25))
    known = make_pack.render(plan, head, out, (samples, rate, phonemes, frames))
    if not known.valid.all():
      raise errors.UserError(f'{plan.clip_id}: the tracker lost the face; try another --seed')
    known.save(out / f'{plan.clip_id}.npz')
    print(f'{plan.clip_id}: {frames} frames, {plan.sentence!r}, tracker against truth '
          f'{known.agreement:.3f}')


def main():
  parser = argparse.ArgumentParser(description='Renders two takes that differ in the words.')
  parser.add_argument('--head', help='head model .npz (data.talkers.convert_ict makes one)')
  parser.add_argument('--out', default='data/talkers/pack/twins')
  parser.add_argument('--size', type=int, default=256, help='pixels a side')
  parser.add_argument('--seed', type=int, default=0)
  args = parser.parse_args()
  try:
    make(mesh.load(args.head), pathlib.Path(args.out), args.seed, args.size)
  except errors.UserError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)


if __name__ == '__main__':
  main()

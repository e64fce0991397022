"""Renders two takes that differ in nothing but the words: what an edit should come out as.

  python -m data.talkers.make_twins --head HEAD.npz --out data/talkers/pack/twins
  python -m data.talkers.make_twins --transcripts --out data/talkers/pack/twins

One person of the test split, in one room, with one light and one movement of the head, says two
sentences of the same length in one voice: `source.mp4` and `truth.mp4`, each with its truth and a
transcript (`.TextGrid`) beside it. An edit of the source with the sound of the truth can be held
against the truth, pixel by pixel. The second line writes only the transcripts of takes that are
there, which needs no head.
"""

import argparse
import dataclasses
import json
import pathlib
import sys

import numpy as np

from data.talkers import make_pack, mesh, sentences, speech, truth
from vidregen_jax import errors, outputs

INDEX = 900  # of the test split, whose pack ends long before
SENTENCES = 200  # drawn to find two that last about as long
TAKES = ('source', 'truth')


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
  """Renders both takes, as long as the longer sentence, and transcribes them."""
  out.mkdir(parents=True, exist_ok=True)
  plans = [dataclasses.replace(plan, clip_id=name)
           for name, plan in zip(TAKES, draw_plans(seed, size), strict=True)]
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
  transcribe(out)


def transcribe(folder: pathlib.Path) -> None:
  """Writes the transcripts of both takes, which lie in a folder.

  Raises:
    UserError: a take is not there, or its sentence is spoken in other phonemes today.
  """
  for name in TAKES:
    known = truth.Truth.load(folder / f'{name}.npz')
    with outputs.whole_file(folder / f'{name}.TextGrid') as part:
      part.write_text(text_grid({'words': words(known), 'phones': known.phonemes}), 'utf-8')


def words(known: truth.Truth) -> list[tuple[str, float, float]]:
  """(word, start, stop) in seconds, at the borders of a clip's phonemes.

  Raises:
    UserError: the sentence is spoken in other phonemes today.
  """
  plan = json.loads(known.plan)
  said = speech.speak(plan['sentence'], plan['voice'], rate=plan['pace'], pitch=plan['pitch'],
                      shift=plan['shift'], seed=plan['seed'])
  spoken = [row for row in known.phonemes if row[0] != speech.SILENCE]
  symbols = [symbol for symbol, _, _ in said.phonemes if symbol != speech.SILENCE]
  ends = np.cumsum([count for _, count in said.words]).tolist()
  if symbols != [symbol for symbol, _, _ in spoken] or ends[-1:] != [len(spoken)]:
    raise errors.UserError(f'{plan["clip_id"]}: {plan["voice"]} speaks it otherwise than it did: '
                           'render the clip again')
  return [(word, spoken[first][1], spoken[last - 1][2])
          for (word, _), first, last in zip(said.words, [0, *ends[:-1]], ends, strict=True)]


def text_grid(tiers: dict[str, list[tuple[str, float, float]]]) -> str:
  """Praat's TextGrid, in its long form.

  Args:
    tiers: by name, (label, start, stop) in seconds, in order; the last ends with the recording.
  """
  end = max(stop for rows in tiers.values() for *_, stop in rows)
  lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', '', 'xmin = 0',
           f'xmax = {end:.4f}', 'tiers? <exists>', f'size = {len(tiers)}', 'item []:']
  for number, (name, rows) in enumerate(tiers.items(), start=1):
    filled = list(_without_gaps(rows, end))
    lines += [f'  item [{number}]:', '    class = "IntervalTier"', f'    name = "{name}"',
              '    xmin = 0', f'    xmax = {end:.4f}', f'    intervals: size = {len(filled)}']
    for count, (label, start, stop) in enumerate(filled, start=1):
      lines += [f'    intervals [{count}]:', f'      xmin = {start:.4f}',
                f'      xmax = {stop:.4f}', f'      text = "{label}"']
  return '\n'.join(lines) + '\n'


def _without_gaps(rows, end):
  """Yields the rows, and between them, where nothing is said, rows without a label."""
  at = 0.0
  for label, start, stop in [*rows, ('', end, end)]:
    if start > at:
      yield '', at, start
    if label not in ('', speech.SILENCE):
      yield label, start, stop
      at = stop


def main():
  parser = argparse.ArgumentParser(description='Renders two takes that differ in the words.')
  parser.add_argument('--head', help='head model .npz (data.talkers.convert_ict makes one)')
  parser.add_argument('--out', default='data/talkers/pack/twins')
  parser.add_argument('--size', type=int, default=256, help='pixels a side')
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--transcripts', action='store_true', help='write only the transcripts')
  args = parser.parse_args()
  try:
    if args.transcripts:
      transcribe(pathlib.Path(args.out))
    else:
      make(mesh.load(args.head), pathlib.Path(args.out), args.seed, args.size)
  except errors.UserError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)


if __name__ == '__main__':
  main()

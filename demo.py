"""The newcomer's demo: edit a clip that the bundled model never saw, and measure the mouth.

  python -m demo          with the bundled model
  python -m demo train    train a tiny model on the bundled talkers first, and edit with that;
                          --steps=20 trains shortly, to see that it runs

Both write out/edited.mp4, out/side_by_side.mp4 and out/report.json. Everything goes to out/.
Trainings resume where they were stopped, and what is done is kept.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time

from vidregen_jax import files, terminal

OUT = pathlib.Path('out')
PACK = pathlib.Path('data/talkers/pack')
BUNDLED = pathlib.Path('checkpoints/talkers')
TRAINED = OUT / 'generator' / 'export'
CONSENT = 'The person shown is rendered and the voice is synthetic; nobody had to be asked.'

TRAINING = (
  ('crops of the bundled clips', ['data.talkers.talkers', '--size', '64', '--data_dir', str(OUT)]),
  ('the codec', ['vidregen_jax.train', '--config=configs/codec.py:tiny',
                 f'--workdir={OUT}/codec']),
  ('latents and audio features', [
    'vidregen_jax.encode_latents', f'--codec={OUT}/codec/export', f'--dataset={OUT}/talkers/64',
    '--audio_encoder=checkpoints/whisper-base', '--layers=1,3,6', '--window_seconds=6',
    '--splits=train,validation', '--noflip', f'--out={OUT}/latents/64']),
  ('the generator', ['vidregen_jax.train', '--config=configs/generator.py:tiny',
                     f'--workdir={OUT}/generator']),
)


def step(title, module, *arguments):
  """Runs a program of the project; its mistake ends the demo."""
  terminal.say_text(f'\n== {title}: python -m {" ".join([module, *arguments])}')
  begin = time.monotonic()
  status = subprocess.run([sys.executable, '-m', module, *arguments], check=False).returncode
  if status:
    sys.exit(status)
  return time.monotonic() - begin


def train(steps):
  """Trains codec and generator; what an earlier run finished is not done again.

  Args:
    steps: of each training; None for the configs' own.
  """
  seconds = {}
  for title, command in TRAINING:
    short = [f'--config.num_steps={steps}'] if steps and 'vidregen_jax.train' in command else []
    seconds[title] = round(step(title, *command, *short))
  minutes = sum(seconds.values()) / 60
  terminal.say_text(f'\nseconds: {json.dumps(seconds)}; {minutes:.1f} minutes in all')


def edit(checkpoint):
  """Edits a held-out clip with other words, and measures the mouth against the truth."""
  import numpy as np

  from vidregen_jax.evaluation import lip_gap_probe, lip_sync
  from vidregen_jax.faces import tracks
  from vidregen_jax.media import video, video_writer
  from vidregen_jax.media.audio import waveform

  source, truth = PACK / 'twins' / 'source.mp4', PACK / 'twins' / 'truth.mp4'
  edited = OUT / 'edited.mp4'
  step('the edit', 'vidregen_jax.regenerate', str(source), '--audio', str(truth),
       '--whole', '--checkpoint', str(checkpoint), '--consent', CONSENT, '--out', str(edited),
       '--overwrite')

  frames = [[frame.image for frame in video.frames(path)] for path in (source, edited, truth)]
  rows = [np.concatenate(row, axis=1) for row in zip(*frames, strict=True)]
  samples, rate, _ = waveform.read(truth)
  video_writer.write_clip(OUT / 'side_by_side.mp4', rows, video.probe(source).rate, samples, rate)

  old, new = (lip_sync.read_truth(path.with_suffix('.npz')) for path in (source, truth))
  seen = tracks.track_file(edited)
  correlations = {
    'with the new sound (truth)': lip_gap_probe.correlation(seen.lip_gap, new.truth(seen.times)),
    'with the old sound (truth)': lip_gap_probe.correlation(seen.lip_gap, old.truth(seen.times)),
    'between the two truths': lip_gap_probe.correlation(new.truth(seen.times),
                                                        old.truth(seen.times)),
    'of the tracker with the truth, on the true video':
      lip_gap_probe.correlation(new.tracked_gap, new.lip_gap),
  }
  report = json.loads((OUT / 'edited.json').read_text()) | {'lip_gap_correlation': correlations}
  files.write_json(OUT / 'report.json', report)
  terminal.say_text('\nlip gap in the edited video, correlation over its frames:')
  for name, value in correlations.items():
    terminal.say(f'  {value:6.3f}  {name}')
  terminal.say('')
  for path, what in ((edited, 'the edit'),
                     (edited.with_suffix('.html'), 'plays both and reveals what was made'),
                     (OUT / 'side_by_side.mp4', 'source | edited | truth'),
                     (OUT / 'report.json', 'what was done and measured')):
    terminal.say(f'{path!s:24}{what}')


def main():
  parser = argparse.ArgumentParser(prog='python -m demo', description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('what', nargs='?', choices=('train', ), help='train a tiny model first')
  parser.add_argument('--steps', type=int, help="of each training; default: the configs' own")
  given = parser.parse_args()
  terminal.begin()
  OUT.mkdir(exist_ok=True)
  if given.what:
    train(given.steps)
  edit(TRAINED if given.what else BUNDLED)


if __name__ == '__main__':
  main()

"""Do lips that are heard agree with the lips that are seen, in people's own videos?

  python -m bench.hearing VIDEO VIDEO --checkpoints=checkpoints/talkers,OUT

Each video's sound is heard by the listener of each checkpoint, and the bundled tracker reads the
lips in its pictures. The table has the correlations of gaps and of widths over the frames, those
at the lag where gaps agree best, and that lag: how many frames later what is heard is seen.
Nothing is made: this says what an edit could follow, and not how it looks.
"""

import pathlib
import sys

import numpy as np

from vidregen_jax import cli, files, terminal
from vidregen_jax.editing import audio_features
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation.lip_gap_probe import correlation
from vidregen_jax.exports import pipeline
from vidregen_jax.faces import tracks
from vidregen_jax.inference import streaming_listener
from vidregen_jax.media import video
from vidregen_jax.media.audio import aac, sound_file
from vidregen_jax.media.timeline import retimed_video
from vidregen_jax.models import codec

_LAGS = range(-5, 6)  # frames


def heard(path, times, machine) -> np.ndarray:
  """Gaps and widths [F, 2] as they are heard in a video, in its frames at `times` [F]."""
  recording = sound_file.Recording(path)
  sound = aac.Soundtrack(recording, recording.rate, recording.start)
  listener = streaming_listener.StreamingListener(machine.listener)
  durations = np.diff(times, append=2 * times[-1] - times[-2])
  return np.concatenate([np.stack(listener(windows), 1) for windows in audio_features.of_frames(
    sound, times, durations, machine.hear)])


def agreement(heard, seen) -> dict[str, float]:
  """{'gap', 'width', 'lag', 'gap_at_lag', 'width_at_lag'} of two [F, 2]; nan where nobody is seen.

  The lag is the number of frames by which what is seen comes later.
  """
  inner = slice(-_LAGS[0], -_LAGS[-1])
  at = {lag: [correlation(heard[inner, i], np.roll(seen[:, i], -lag)[inner]) for i in (0, 1)]
        for lag in _LAGS}
  lag = max(at, key=lambda lag: at[lag][0])
  return {'gap': at[0][0], 'width': at[0][1], 'lag': lag,
          'gap_at_lag': at[lag][0], 'width_at_lag': at[lag][1]}


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.hearing', description=__doc__)
  flags.add_argument('videos', nargs='+', metavar='VIDEO', help='a video of somebody talking')
  flags.add_argument('--checkpoints', type=cli.several(str), default=['checkpoints/talkers'],
                     help='exported systems (default checkpoints/talkers)')
  flags.add_argument('--json', metavar='FILE', help='file for all figures')
  return flags


def run(flags):
  """Prints the table.

  Raises:
    UserError: a system does not listen, or a video has no sound, or too few frames of a face.
  """
  machines = {checkpoint: pipeline.load(checkpoint) for checkpoint in flags.checkpoints}
  for checkpoint, machine in machines.items():
    if machine.listener is None:
      raise UserError(f'{checkpoint}: it hears no lips; train it with configs/lips.py')
  rows = {}
  for path in terminal.progress(flags.videos, 'video', 'hearing'):
    if not video.probe(path).has_audio:
      raise UserError(f'{path}: it has no sound')
    track = tracks.track_file(path)
    count = len(track.times) // codec.TIME_FACTOR * codec.TIME_FACTOR
    if track.valid[:count].sum() <= 4 * len(_LAGS):
      raise UserError(f'{path}: a face is seen in too few frames')
    times = retimed_video.Film.of(video.probe(path)).times[:count]
    seen = np.stack([track.lip_gap, track.mouth_width], 1)[:count]
    rows[path] = {name: agreement(heard(path, times, machine), seen)
                  for name, machine in machines.items()}
  print('| video | checkpoint | gap | width | lag, frames | gap, width at that lag |')
  print('|---|---|---|---|---|---|')
  for path, row in rows.items():
    for name, each in row.items():
      print(f'| {pathlib.Path(path).name} | {name} | {each["gap"]:.3f} | {each["width"]:.3f} | '
            f'{each["lag"]:+d} | {each["gap_at_lag"]:.3f}, {each["width_at_lag"]:.3f} |')
  for name in machines:
    mean = {key: np.mean([row[name][key] for row in rows.values()])
            for key in ('gap', 'width', 'gap_at_lag', 'width_at_lag')}
    print(f'| mean | {name} | {mean["gap"]:.3f} | {mean["width"]:.3f} | | '
          f'{mean["gap_at_lag"]:.3f}, {mean["width_at_lag"]:.3f} |')
  if flags.json:
    files.write_json(pathlib.Path(flags.json), rows)


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

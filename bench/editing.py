"""Edits of one minute and of half an hour at 1080p: memory, and frames a second without the model.

  python -m bench.editing --checkpoint=checkpoints/talkers --minutes=1,30

The input is generated: a clip of the bundled dataset on a still background, looped forwards and
backwards, as H.264 with AAC. Each edit runs in a process of its own. Only the networks are left
out: faces are tracked, cropped, mirrored, pasted and encoded, packets are joined, and the result is
checked, as usual. With --model nothing is left out, to measure the memory.
"""

import concurrent.futures
import dataclasses
import multiprocessing
import pathlib
import sys
import tempfile
import time

import av
import cv2
import numpy as np

from vidregen_jax import cli, files
from vidregen_jax.editing import editor, preparation, regenerator
from vidregen_jax.errors import UserError
from vidregen_jax.exports import pipeline
from vidregen_jax.media import muxer, video, video_writer
from vidregen_jax.media.audio import aac, channels, lazy, waveform
from vidregen_jax.models import codec
from vidregen_jax.provenance import consent
from vidregen_jax.reporting import edit_report

_SIZE, _SIDE = (1920, 1080), 600  # of the picture, and of the clip in it: a face of some 400 pixels
_RATE, _AUDIO_RATE = 25, 48_000
_SPAN_AT = 20.0  # seconds


def write_round(path, clip):
  """Writes a clip at 1080p, forwards and backwards."""
  rng = np.random.default_rng(0)
  coarse = rng.integers(40, 200, (34, 60, 3), np.uint8)
  still = cv2.resize(coarse, _SIZE, interpolation=cv2.INTER_CUBIC)
  left, top = ((size - _SIDE) // 2 for size in _SIZE)

  def pictures():
    faces = [frame.image for frame in video.frames(clip)]
    for face in faces + faces[::-1]:
      picture = still.copy()
      picture[top:top + _SIDE, left:left + _SIDE] = cv2.resize(
        face, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
      grain = rng.integers(-2, 3, (*picture.shape[:2], 1))
      yield np.clip(picture + grain, 0, 255).astype(np.uint8)
  video_writer.write_clip(path, pictures(), _RATE, crf=20)


class _RoundSound(lazy.Sound):
  """A sound that is repeated."""

  def __init__(self, samples, count):
    super().__init__(_AUDIO_RATE, channels.usual(len(samples)), count)
    self._samples = samples

  def _read(self, first, last):
    return np.take(self._samples, np.arange(first, last), axis=1, mode='wrap')


class _Rounds(muxer.Muxer):
  """A video that is repeated by copying its packets."""

  def __init__(self, path, source, rounds, audio):
    self._info, self._rounds = video.probe(source), rounds
    super().__init__(path, self._info.time_base, audio)

  def _add_pictures(self):
    self._once = self._opened(self._info.path).streams.video[0]
    self._stream = self._container.add_stream_from_template(self._once)

  def _finish_pictures(self):
    packets = [packet for packet in self._once.container.demux(self._once) if packet.size]
    step = int(self._info.duration / self._info.time_base)
    for number in range(self._rounds):
      for old in packets:
        packet = av.Packet(bytes(old))
        packet.pts, packet.dts = old.pts + number * step, old.dts + number * step
        packet.duration, packet.time_base = old.duration, old.time_base
        packet.is_keyframe, packet.stream = old.is_keyframe, self._stream
        self._mux_beside(packet.dts * packet.time_base)
        self._container.mux(packet)


def write_input(folder, clip, minutes):
  """Writes an input of so many minutes and returns its path."""
  once = folder / 'once.mp4'
  if not once.exists():
    write_round(once, clip)
  path = folder / f'{minutes:g}.mp4'
  rounds = max(round(minutes * 60 / float(video.probe(once).duration)), 1)
  samples, rate, _ = waveform.read(clip)
  samples = np.repeat(waveform.resample(samples[:1], rate, _AUDIO_RATE), 2, axis=0)
  count = round(rounds * float(video.probe(once).duration) * _AUDIO_RATE)
  track = aac.Soundtrack(_RoundSound(samples, count), _AUDIO_RATE)
  with _Rounds(path, once, rounds, track):
    pass
  return path


class Turned(regenerator.Retake):
  """An edit in which faces are mirrored instead of generated, and processor time is measured."""

  cpu = 0.0

  def frames(self, runs, regions):
    began = time.process_time()
    yield from super().frames(runs, regions)
    Turned.cpu = time.process_time() - began

  def _groups(self, run, source, behind):
    end = run.padded + codec.TIME_FACTOR * (behind == run.padded)
    for start in range(run.warm, end, codec.TIME_FACTOR):
      crops = np.stack([shot.crop for shot in source.peek(codec.TIME_FACTOR)])
      yield start, crops, crops[:, :, ::-1]


@dataclasses.dataclass(frozen=True)
class Run:
  """An edit that was carried out: its report, the size of what it wrote, and seconds of processor.
  """

  report: edit_report.EditReport
  bytes: int
  cpu: float


def edit(path, out, checkpoint, seconds, model) -> Run:
  """Carries an edit out, of all if no seconds are given."""
  spans = ((_SPAN_AT, _SPAN_AT + seconds),) if seconds else ()
  request = preparation.Edit(
    source=str(path), consent=consent.of('a rendered person'), out=str(out), new_audio=str(path),
    spans=spans, overwrite=True)
  report = editor.regenerate(request, pipeline.load(checkpoint),
                             walk=regenerator.Retake if model else Turned)
  return Run(report, out.stat().st_size, Turned.cpu)


def alone(function, *arguments):
  """Calls a function in a process of its own."""
  context = multiprocessing.get_context('spawn')
  with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
    return pool.submit(function, *arguments).result()


def row(minutes, run):
  """What the table says of an edit."""
  report = run.report
  seconds = {name: report.stages[name].seconds for name in (
    'track faces', 'regenerate', 'write file', 'wait for decode', 'wait for encode')}
  touched = sum(stop - start for start, stop in report.encoded_frames)
  copied = report.frames - touched
  return {
    'minutes': minutes, 'peak memory, MB': report.peak_memory_mb, 'seconds': report.seconds,
    'frames encoded': touched,
    'CPU ms each': round(1e3 * run.cpu / touched, 1),
    'a second': round(touched / seconds['regenerate'], 1),
    'tracked too': round(touched / (seconds['track faces'] + seconds['regenerate']), 1),
    'frames copied': copied,
    'copied a second': round(copied / seconds['write file']),
    'waiting for decode, encode, s':
      f"{seconds['wait for decode']:.1f}, {seconds['wait for encode']:.1f}"}


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.editing', description=__doc__)
  flags.add_argument('--checkpoint', required=True, help='folder of the exported system')
  flags.add_argument('--minutes', type=cli.several(float), default=[1, 30],
                     help='lengths of the inputs (default 1,30)')
  flags.add_argument('--seconds', type=cli.number(0.1), default=4.0,
                     help='length of the span (default %(default)s)')
  flags.add_argument('--whole', action='store_true',
                     help='edit all of each input instead of a span')
  flags.add_argument('--model', action='store_true', help='run the networks too')
  flags.add_argument('--clip', default='data/talkers/pack/test/test_00000.mp4',
                     help='clip whose face is shown (default %(default)s)')
  flags.add_argument('--json', help='file for all figures')
  return flags


def run(flags):
  """Prints the table.

  Raises:
    UserError: inputs too short for the span.
  """
  if not flags.whole and min(flags.minutes) * 60 < _SPAN_AT + flags.seconds:
    raise UserError(f'the span ends at {_SPAN_AT + flags.seconds:g} s: give longer --minutes')
  reports, rows = {}, []
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    for minutes in flags.minutes:
      path = alone(write_input, folder, flags.clip, minutes)
      finished = alone(edit, path, folder / 'out.mp4', flags.checkpoint,
                       not flags.whole and flags.seconds, flags.model)
      reports[f'{minutes:g}'] = finished.report.to_json() | {
        'bytes': finished.bytes, 'cpu': finished.cpu}
      rows.append(row(minutes, finished))
      path.unlink()
  print(f'| {" | ".join(rows[0])} |\n{"|---" * len(rows[0])}|')
  for each in rows:
    print(f'| {" | ".join(map(str, each.values()))} |')
  if flags.json:
    files.write_json(pathlib.Path(flags.json), reports)


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

"""A live stream: the mouth in a camera's frames follows a microphone.

  python -m examples.live IN.mp4 NEW.wav --checkpoint talkers --out LIVE.mp4

Two threads stand for a camera and a microphone: they give frames and sound as those would, in real
time (or with --rush as fast as they are taken), in queues that the stream reads. In their place
could be any camera and any microphone: the stream sees two iterators. What comes out is timed, and
written with the sound that was heard. With --page LIVE.html plays both and shows what was made.
"""

import argparse
import dataclasses
import pathlib
import queue
import sys
import threading
import time

import numpy as np

import vidregen_jax
from vidregen_jax import cli, files, outputs, terminal
from vidregen_jax.api import streaming
from vidregen_jax.faces import tracks
from vidregen_jax.media import video, video_writer
from vidregen_jax.media.audio import waveform
from vidregen_jax.media.timeline import retimed_video
from vidregen_jax.provenance import consent as consents
from vidregen_jax.reporting import edit_report, page, stage_clock

_BLOCK = 512  # samples that a microphone gives at a time


def source(items, seconds, rush):
  """Yields what a device gives: an item every so many seconds, from a thread of its own."""
  waiting = queue.Queue()

  def give():
    began = time.monotonic()
    for number, item in enumerate(items, start=1):
      if not rush:
        time.sleep(max(began + number * seconds - time.monotonic(), 0))
      waiting.put(item)
    waiting.put(None)

  threading.Thread(target=give, daemon=True).start()
  while (item := waiting.get()) is not None:
    yield item


def run(given) -> None:
  """Streams the frames of one file with the sound of another, and writes what comes."""
  info = video.probe(given.source)
  samples, rate, _ = waveform.read(given.audio)
  heard = waveform.resample(samples.mean(0, keepdims=True), rate, streaming.SAMPLE_RATE)[0]
  model = vidregen_jax.load(given.checkpoint)
  frames = source((frame.image for frame in video.frames(given.source)), 1 / float(info.rate),
                  given.rush)
  sound = source(np.split(heard.astype(np.float32), range(_BLOCK, len(heard), _BLOCK)),
                 _BLOCK / streaming.SAMPLE_RATE, given.rush)
  began, made, times = time.monotonic(), [], []
  with terminal.Progress(info.frame_count, 'frame', 'stream') as bar:
    for image in vidregen_jax.stream(frames, sound, model=model, rate=float(info.rate),
                                     consent=given.consent):
      made.append(image)
      times.append(time.monotonic() - began)
      bar.update()
  video_writer.write_clip(given.out, made, info.rate, samples, rate)
  lag = np.array(times) - np.arange(1, len(times) + 1) / float(info.rate)
  terminal.say(f'wrote {given.out}: {len(made)} frames in {times[-1]:.1f} s, '
               f'{len(made) / times[-1]:.1f} a second'
               + ('' if given.rush else f'; the lag was {np.median(lag):.2f} s in the middle, '
                  f'{lag.max():.2f} s at most and {lag[-1]:.2f} s at the end, of which '
                  f'{streaming.delay(model):.2f} s are waited for sound'))
  if given.page:
    terminal.say(f'wrote {_write_page(given, info, model, made, times)}')


def _write_page(given, info, model, made, times) -> pathlib.Path:
  """Writes the page of a stream, which is that of an edit, and returns its path."""
  changed = np.array([np.any(frame.image != image) for frame, image in zip(
    video.frames(given.source), made, strict=True)])
  edges = np.flatnonzero(np.diff(changed.astype(int), prepend=0, append=0))
  ranges = tuple(edit_report.FrameRange(*row) for row in edges.reshape(-1, 2).tolist())
  film = retimed_video.Film.of(info)
  ends = [*film.times.tolist(), float(info.start_time + info.duration)]
  report = edit_report.EditReport(
    source=edit_report.Source(
      path=given.source, sha256=files.digest(given.source), frames=len(made),
      size=(info.width, info.height), rate=info.rate),
    audio=edit_report.NewSound(
      files=(edit_report.File(given.audio, files.digest(given.audio)), ),
      seconds_past_the_video=0.0, why_all_is_encoded=None),
    out=given.out, sha256=files.digest(given.out), frames=len(made), retimed=False,
    consent=consents.from_flags(given.consent, None),
    spans=tuple(edit_report.TimeSpan(ends[start], ends[stop]) for start, stop in ranges),
    regenerated_frames=ranges, encoded_frames=(edit_report.FrameRange(0, len(made)), ),
    why_all_are_encoded='a stream gives pictures', left_out=(), frames_without_a_face=(),
    references=(), fade=0.0, model=model.system.digests, seed=0,
    sampler=dataclasses.asdict(model.system.sampler),
    stages={'stream': stage_clock.Stage(round(times[-1], 2), len(made))})
  affines = dict(enumerate(tracks.track_file(given.source).affine))
  path = pathlib.Path(given.out).with_suffix('.html')
  with outputs.whole_file(path) as part:
    part.write_bytes(page.make(film, given.out, report, affines))
  return path


def main(argv=None) -> int:
  parser = cli.Parser(prog='python -m examples.live', description=__doc__,
                      formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('source', metavar='IN.mp4', help='what the camera sees')
  parser.add_argument('audio', metavar='NEW.wav', help='what the microphone hears')
  parser.add_argument('--checkpoint', default='talkers', metavar='DIR')
  parser.add_argument('--consent', required=True, help='who is shown, and who agreed')
  parser.add_argument('--rush', action='store_true', help='do not wait as devices would')
  parser.add_argument('--page', action='store_true', help='write LIVE.html beside LIVE.mp4')
  parser.add_argument('--out', required=True, metavar='LIVE.mp4')
  return cli.command(parser, run, 'nothing was written', argv)


if __name__ == '__main__':
  sys.exit(main())

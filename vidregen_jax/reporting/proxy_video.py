"""A small video for the page, with source and edit side by side in one picture.

Two videos drift apart when a browser plays them; a single one that holds both cannot. Its left
channel is the old sound, its right channel the new one.
"""

import dataclasses
import io
import itertools
import os
from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from vidregen_jax.media import video
from vidregen_jax.media.audio import lazy, sound_file, waveform
from vidregen_jax.media.timeline import retimed_video as films
from vidregen_jax.media.timeline import spans

TICK = 10_000  # units of `Proxy.clock` per second
# A page is mailed and archived, so it takes at most 25 MB; in base64 these bytes become 24 of them.
_BYTES = 18_000_000
_SOUND_BITS = 64_000  # a second
_MOST_BITS = 8_000_000  # a second
_WHOLE = 60.0  # seconds: of a longer video only the surroundings of its spans are shown
_CONTEXT = 2.0
_HEIGHTS = ((150.0, 480), (300.0, 360), (600.0, 240))  # (most seconds in all, lines of the picture)
_RATE = 48_000
_READ = 10.0  # seconds of sound held in memory


@dataclasses.dataclass(frozen=True)
class Proxy:
  """The encoded video.

  Attributes:
    data: an mp4, H.264 and AAC.
    width, height: of one of the two pictures.
    parts: (start, stop) of the edit's frames that it contains, ascending.
    clock: start of each of its frames, and end of the last one, uint32 [n + 1] in ticks.
    view: [2, 3], pixel of a stored frame to pixel of one picture.
    sounds: whether it contains the old and the new sound.
  """

  data: bytes
  width: int
  height: int
  parts: list[tuple[int, int]]
  clock: np.ndarray
  view: np.ndarray
  sounds: tuple[bool, bool]


def choose(regenerated, times, end: float) -> list[tuple[int, int]]:
  """The frames to show: all of a short video, else the regenerated ones and some context.

  If that is still too much, parts lose their middle, as edges matter most, and the last parts that
  then do not fit are left out.

  Args:
    regenerated: (start, stop) of the regenerated frames, ascending.
    times: [F] seconds of all frames.
    end: seconds at which the last frame ends.
  """
  if end - times[0] <= _WHOLE:
    return [(0, len(times))]
  ends = np.r_[times[1:], end]
  around = spans.around([(times[a], ends[b - 1]) for a, b in regenerated], _CONTEXT)
  parts = [(max(a, float(times[0])), min(b, end)) for a, b in around]
  most = _HEIGHTS[-1][0]
  if sum(b - a for a, b in parts) > most:
    parts = parts[:int(most / (2 * _CONTEXT))]
    half = most / len(parts) / 2
    parts = spans.merge([part for a, b in parts for part in (
      [(a, b)] if b - a <= 2 * half else [(a, a + half), (b - half, b)])])
  ranges = [tuple(np.searchsorted(times, part).tolist()) for part in parts]
  return [(a, b) for a, b in ranges if a < b]


def make(film: films.Film, edited: str | os.PathLike, regenerated) -> Proxy:
  """Decodes the shown parts of both videos and encodes them, a few frames at a time.

  Args:
    film: the retimed source.
    edited: path of the edited video.
    regenerated: (start, stop) of the regenerated frames.
  """
  info, times = film.info, film.times
  ends = np.r_[times[1:], float(info.start_time + info.duration)]
  parts = choose(regenerated, times, ends[-1])
  seconds = sum(ends[b - 1] - times[a] for a, b in parts)
  lines = next((lines for most, lines in _HEIGHTS if seconds <= most), _HEIGHTS[-1][1])
  view, (width, height) = _view(info, lines)
  # The old sound is in step with the picture only if that was not retimed.
  edited_info = video.probe(edited)
  sounds = film.is_the_source and info.has_audio, edited_info.has_audio
  # A file's start is that of its earliest track, which may be another one in the edit.
  later = edited_info.start_time - info.start_time
  tracks = [_mono(info.path if sounds[0] else None, 0),
            _mono(edited if sounds[1] else None, later)]
  store, clock = io.BytesIO(), [0]
  with _Encoder(store, width, height, seconds, any(sounds)) as encoder:
    for start, stop in parts:
      sound_from = times[start]
      both = zip(itertools.islice(film.frames(start), stop - start),
                 video.frames(edited, start, stop), strict=True)
      for index, pair in enumerate(both, start):
        encoder.show(np.concatenate([_turned(frame, info, width, height) for frame in pair], 1),
                     clock[-1])
        clock.append(clock[-1] + max(round((ends[index] - times[index]) * TICK), 1))
        if ends[index] - sound_from > _READ or index == stop - 1:
          encoder.hear([_sound(track, sound_from, ends[index]) for track in tracks], clock[-1])
          sound_from = ends[index]
  return Proxy(store.getvalue(), width, height, parts, np.array(clock, np.uint32), view, sounds)


class _Encoder:
  """Writes pictures and two sound channels into an mp4 in memory."""

  def __init__(self, store, width, height, seconds, sounding):
    self._container = av.open(store, 'w', format='mp4',
                              options={'video_track_timescale': str(TICK)})
    bits = min(int(.95 * 8 * _BYTES / seconds) - _SOUND_BITS * sounding, _MOST_BITS)
    self._video = self._container.add_stream('libx264', rate=25, options={
      'preset': 'veryfast', 'crf': '25', 'bf': '0', 'g': '24', 'maxrate': str(bits),
      'bufsize': str(bits)})
    self._video.width, self._video.height, self._video.pix_fmt = 2 * width, height, 'yuv420p'
    context = self._video.codec_context
    context.time_base = self._video.time_base = Fraction(1, TICK)
    context.color_range, context.colorspace = ColorRange.MPEG, 1
    context.color_primaries = context.color_trc = 1
    self._audio, self._sample_count = None, 0
    if sounding:
      self._audio = self._container.add_stream('aac', rate=_RATE, layout='stereo')
      self._audio.bit_rate = _SOUND_BITS

  def __enter__(self):
    return self

  def __exit__(self, kind, error, trace):
    if kind is None:
      self._mux(self._video, None)
      if self._audio:
        self._mux(self._audio, None)
    self._container.close()

  def show(self, picture, tick):
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), 'rgb24').reformat(
      format='yuv420p', dst_colorspace=Colorspace.ITU709, src_color_range=ColorRange.JPEG,
      dst_color_range=ColorRange.MPEG)
    frame.pts, frame.time_base = tick, Fraction(1, TICK)
    self._mux(self._video, frame)

  def hear(self, sounds, tick):
    """Adds the sound since the last call, up to a tick."""
    if not self._audio:
      return
    count = round(tick * _RATE / TICK) - self._sample_count
    samples = np.zeros((2, count), np.float32)
    for channel, source in zip(samples, sounds, strict=True):
      channel[:len(source)] = source[:count]
    frame = waveform.as_frame(samples, _RATE, self._sample_count, 'stereo')
    self._sample_count += count
    self._mux(self._audio, frame)

  def _mux(self, stream, frame):
    for packet in stream.encode(frame):
      self._container.mux(packet)


def _view(info, lines):
  """The matrix [2, 3] from stored pixels to those of a picture, and the picture's even size."""
  wide = float(info.sample_aspect_ratio or 1) * info.width
  sideways = info.rotation % 180 == 90
  scale = min(1.0, lines / (wide if sideways else info.height))
  size = [max(round(side * scale / 2) * 2, 2) for side in (wide, info.height)]
  across, down = size[0] / info.width, size[1] / info.height
  matrix = np.array([(across, 0, (across - 1) / 2), (0, down, (down - 1) / 2), (0, 0, 1)])
  for _ in range(info.rotation // 90):
    matrix = np.array([(0, -1, size[1] - 1), (1, 0, 0), (0, 0, 1)]) @ matrix
    size = size[::-1]
  return matrix[:2], size


def _turned(frame, info, width, height):
  """A frame as displayed, uint8 [height, width, 3]."""
  size = (height, width) if info.rotation % 180 == 90 else (width, height)
  return np.rot90(frame.small(*size), -(info.rotation // 90))


def _mono(path, later):
  """A file's soundtrack as mono at `_RATE`, and its start in seconds; None without a path.

  Args:
    path: the file, or None.
    later: seconds by which its clock is ahead of the film's.
  """
  if path is None:
    return None
  recording = sound_file.Recording(path)
  mono = lazy.at_rate(lazy.with_places(recording, ('FC',)), _RATE)
  return mono, float(recording.start - later)


def _sound(mono, start, stop):
  """The sound between two times, float32 [n]; empty if there is none. `mono` is from `_mono`."""
  if mono is None:
    return np.zeros(0, np.float32)
  track, begins = mono
  first, last = (round((x - begins) * _RATE) for x in (start, stop))
  return lazy.Cut(track, first, last)[:, :][0]

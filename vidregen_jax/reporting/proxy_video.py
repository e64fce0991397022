"""A small film for a page: the source and the edit side by side in one picture.

Two videos drift apart when a browser plays them; one that holds both cannot. Its sound is the old
one on the left and the new one on the right.
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

TICK = 10_000  # units of `Proxy.clock` in a second
# A page is mailed and kept, so all of it takes 25 MB at most, 24 of which base64 makes of these.
_BYTES = 18_000_000
_SOUND_BITS = 64_000  # a second
_MOST_BITS = 8_000_000  # a second
_WHOLE = 60.0  # seconds: a longer video is shown around its spans only
_CONTEXT = 2.0
_HEIGHTS = ((150.0, 480), (300.0, 360), (600.0, 240))  # up to so many seconds in all: lines
_RATE = 48_000
_READ = 10.0  # seconds of sound that are in memory


@dataclasses.dataclass(frozen=True)
class Proxy:
  """The film.

  Attributes:
    data: an mp4, H.264 and AAC.
    width, height: of one of the two pictures.
    parts: (start, stop) of the edit's frames that are in it, ascending.
    clock: when each of its frames begins, and the last one ends, uint32 [n + 1] in ticks.
    view: [2, 3], pixels of a stored frame to pixels of one picture.
    sounds: whether the old and the new sound are heard.
  """

  data: bytes
  width: int
  height: int
  parts: list[tuple[int, int]]
  clock: np.ndarray
  view: np.ndarray
  sounds: tuple[bool, bool]


def choose(touched, times, end: float) -> list[tuple[int, int]]:
  """The frames to show: all of a short video, else what was made anew and a little around it.

  Where that is still too much, a part loses its middle (the edges are what one looks at), and what
  then does not fit of the last parts is left out.

  Args:
    touched: (start, stop) of the frames that were made anew, ascending.
    times: [F] seconds of all frames.
    end: seconds at which the last frame ends.
  """
  if end - times[0] <= _WHOLE:
    return [(0, len(times))]
  ends = np.r_[times[1:], end]
  around = spans.around([(times[a], ends[b - 1]) for a, b in touched], _CONTEXT)
  wanted = [(max(a, float(times[0])), min(b, end)) for a, b in around]
  most = _HEIGHTS[-1][0]
  if sum(b - a for a, b in wanted) > most:
    wanted = wanted[:int(most / (2 * _CONTEXT))]
    half = most / len(wanted) / 2
    wanted = spans.merge([part for a, b in wanted for part in (
      [(a, b)] if b - a <= 2 * half else [(a, a + half), (b - half, b)])])
  found = [tuple(np.searchsorted(times, part).tolist()) for part in wanted]
  return [(a, b) for a, b in found if a < b]


def make(film: films.Film, edited: str | os.PathLike, touched) -> Proxy:
  """Decodes what is shown of both videos and encodes it, a few frames at a time.

  Args:
    film: the source as it is shown.
    edited: the file that was made of it.
    touched: (start, stop) of the frames that were made anew.
  """
  info, times = film.info, film.times
  ends = np.r_[times[1:], float(info.start_time + info.duration)]
  parts = choose(touched, times, ends[-1])
  seconds = sum(ends[b - 1] - times[a] for a, b in parts)
  lines = next((lines for most, lines in _HEIGHTS if seconds <= most), _HEIGHTS[-1][1])
  view, (width, height) = _view(info, lines)
  # A picture's old and new sound can be heard together only where its time was not changed.
  made = video.probe(edited)
  sounds = film.is_the_source and info.has_audio, made.has_audio
  # A file starts with the first of its tracks, which in the edit may be another.
  later = made.start_time - info.start_time
  tracks = [_heard(info.path if sounds[0] else None, 0),
            _heard(edited if sounds[1] else None, later)]
  store, clock = io.BytesIO(), [0]
  with _Encoder(store, width, height, seconds, any(sounds)) as encoder:
    for start, stop in parts:
      heard = times[start]
      both = zip(itertools.islice(film.frames(start), stop - start),
                 video.frames(edited, start, stop), strict=True)
      for index, pair in enumerate(both, start):
        encoder.show(np.concatenate([_turned(frame, info, width, height) for frame in pair], 1),
                     clock[-1])
        clock.append(clock[-1] + max(round((ends[index] - times[index]) * TICK), 1))
        if ends[index] - heard > _READ or index == stop - 1:
          encoder.hear([_sound(track, heard, ends[index]) for track in tracks], clock[-1])
          heard = ends[index]
  return Proxy(store.getvalue(), width, height, parts, np.array(clock, np.uint32), view, sounds)


class _Encoder:
  """Writes pictures and two sounds into an mp4 in memory."""

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
    self._audio, self._heard = None, 0
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
    """Adds the sounds of what was shown since the last call, up to a tick."""
    if not self._audio:
      return
    count = round(tick * _RATE / TICK) - self._heard
    samples = np.zeros((2, count), np.float32)
    for channel, heard in zip(samples, sounds, strict=True):
      channel[:len(heard)] = heard[:count]
    frame = waveform.as_frame(samples, _RATE, self._heard, 'stereo')
    self._heard += count
    self._mux(self._audio, frame)

  def _mux(self, stream, frame):
    for packet in stream.encode(frame):
      self._container.mux(packet)


def _view(info, lines):
  """The matrix [2, 3] from stored pixels to a picture's, and the picture's size, even."""
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
  """A frame as it is seen, uint8 [height, width, 3]."""
  size = (height, width) if info.rotation % 180 == 90 else (width, height)
  return np.rot90(frame.small(*size), -(info.rotation // 90))


def _heard(path, later):
  """A file's soundtrack in one channel at `_RATE`, and when it begins; nothing without a path.

  Args:
    path: the file, or None.
    later: seconds by which its times are later than the film's.
  """
  if path is None:
    return None
  recording = sound_file.Recording(path)
  mono = lazy.at_rate(lazy.with_places(recording, ('FC',)), _RATE)
  return mono, float(recording.start - later)


def _sound(heard, start, stop):
  """Seconds of what `_heard` gave, float32 [n]; [0] of nothing."""
  if heard is None:
    return np.zeros(0, np.float32)
  track, begins = heard
  first, last = (round((x - begins) * _RATE) for x in (start, stop))
  return lazy.Cut(track, first, last)[:, :][0]

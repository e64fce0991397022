"""Video files in and out, one frame at a time, with every timestamp, tag and turn kept.

A file is probed once, read as a stream of `Frame`s and written by a `Writer`:

  info = video.probe('in.mp4')
  with video.Writer('out.mp4', info, audio='in.mp4') as writer:
    for frame in video.frames('in.mp4'):
      if frame.time < 2:
        writer.copy(frame)                          # the decoded planes, without a way through RGB
      else:
        writer.write(edit(frame.image), frame.pts, frame.duration)

Times are integers in units of the stream's time base, and `Fraction`s of a second: never floats,
so 24000/1001 and variable frame rates come out as they went in. Images are as stored in the file;
a phone's quarter turn is metadata and stays metadata.
"""

import contextlib
import dataclasses
import functools
import math
import os
import pathlib
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import ColorRange, Interpolation

from vidregen_jax import errors

# swscale's default paths are fast and wrong by 1.2 grey levels of luma on average, always darker.
# These flags bring a round trip of a frame through RGB to 0.001 grey levels.
_TO_RGB = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
_TO_YUV = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
_DRAFT = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT

# ISO 23091-2 matrix coefficients which swscale converts by, and 2020's constant-luminance twin,
# which differs from the other by less than this codec chain does.
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_MATRIX_RGB, _UNSPECIFIED = 0, 2
_SUFFIXES = {'.mp4': 'mp4', '.m4v': 'mp4', '.mov': 'mov'}
_LAYOUTS = {1: 'mono', 2: 'stereo', 3: '3.0', 4: '4.0', 5: '5.0', 6: '5.1', 8: '7.1'}
_MAX_TIMESCALE = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class VideoInfo:
  """What a video stream is, apart from its pixels.

  Attributes:
    path: The file.
    width: Stored width in pixels, before any rotation.
    height: Stored height in pixels, before any rotation.
    rate: Average frame rate, frames per second.
    time_base: Seconds per unit of pts.
    codec: FFmpeg's name, such as 'h264'.
    pix_fmt: FFmpeg's name, such as 'yuv420p'.
    frame_count: Frames that will be shown, counted in the packets (headers are often wrong).
    duration: Seconds from the first frame's start to the last frame's end.
    start_time: Seconds at which the first frame is shown.
    rotation: Clockwise degrees by which players turn the image: 0, 90, 180 or 270.
    display_matrix: The nine integers (16.16 and 2.30 fixed point) behind `rotation`, or None.
    sample_aspect_ratio: Width of a pixel over its height; None where the file does not say.
    color_range, color_space, color_primaries, color_trc: ISO 23091-2 code points.
    has_audio: Whether there is a soundtrack.
    audio_bit_rate: Bits per second of the soundtrack, 0 where unknown.
  """

  path: str
  width: int
  height: int
  rate: Fraction
  time_base: Fraction
  codec: str = 'h264'
  pix_fmt: str = 'yuv420p'
  frame_count: int = 0
  duration: Fraction = Fraction(0)
  start_time: Fraction = Fraction(0)
  rotation: int = 0
  display_matrix: tuple[int, ...] | None = None
  sample_aspect_ratio: Fraction | None = None
  color_range: int = 0
  color_space: int = _UNSPECIFIED
  color_primaries: int = _UNSPECIFIED
  color_trc: int = _UNSPECIFIED
  has_audio: bool = False
  audio_bit_rate: int = 0

  @property
  def matrix(self) -> int:
    """The YUV matrix in force: the tagged one, else what players assume for the size."""
    return _matrix(self.color_space, self.width, self.height)


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
  """One decoded frame.

  Attributes:
    index: Position in presentation order, from 0.
    pts: Start in units of the stream's time base.
    time: The same in seconds.
    duration: Length in units of the stream's time base; 0 where the file does not say.
    source: The decoder's own frame.
  """

  index: int
  pts: int
  time: Fraction
  duration: int
  source: av.VideoFrame = dataclasses.field(repr=False)

  @functools.cached_property
  def image(self) -> np.ndarray:
    """The picture, uint8 [H, W, 3] RGB, by the frame's own matrix and range."""
    return self._rgb(_TO_RGB)

  @functools.cached_property
  def draft(self) -> np.ndarray:
    """The picture some 15 times faster and about 1 grey level darker: for finding faces in."""
    return self._rgb(_DRAFT)

  def _rgb(self, flags: Interpolation) -> np.ndarray:
    source = self.source
    if source.format.is_rgb:
      return source.to_ndarray(format='rgb24')
    matrix = _matrix(source.colorspace, source.width, source.height)
    return source.to_ndarray(format='rgb24', src_colorspace=matrix, dst_colorspace=matrix,
                             interpolation=flags, threads=1)


@dataclasses.dataclass(frozen=True)
class Soundtrack:
  """Samples to be encoded as a file's sound.

  Attributes:
    samples: float32 [channels, n] in [-1, 1].
    rate: Samples per second.
    start: Seconds, on the video's clock, of the first sample.
    bit_rate: Bits per second for AAC.
  """

  samples: np.ndarray
  rate: int
  start: Fraction = Fraction(0)
  bit_rate: int = 192_000


def _matrix(color_space: int, width: int, height: int) -> int:
  """swscale's number for a matrix tag.

  Untagged video is read as players read it: BT.709 above standard definition, BT.601 below.
  """
  if color_space in (_MATRIX_RGB, _UNSPECIFIED):
    return 1 if width >= 1280 or height > 576 else 5
  if color_space not in _MATRICES:
    raise errors.UserError(
      f'colour matrix {color_space} is not supported; convert the video to BT.709 first')
  return _MATRICES[color_space]


def open_input(path: str | os.PathLike) -> av.container.InputContainer:
  """Opens a media file; raises UserError if it is missing or is not one."""
  if not os.path.exists(path):
    raise errors.UserError(f'{path}: no such file')
  try:
    return av.open(os.fspath(path))
  except (av.error.FFmpegError, OSError) as error:
    raise errors.UserError(f'{path}: not a media file that FFmpeg can open ({error.strerror})'
                           ) from error


def _video_stream(container: av.container.InputContainer, path: str | os.PathLike):
  pictures = av.stream.Disposition.attached_pic
  for stream in container.streams.video:
    if not stream.disposition & pictures:
      stream.thread_type = 'AUTO'
      return stream
  raise errors.UserError(f'{path}: has no video stream')


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...] | None:
  data = frame.side_data.get(SideDataType.DISPLAYMATRIX)
  if data is None:
    return None
  return tuple(int(x) for x in np.frombuffer(bytes(data), np.int32))


def _timeline(path: str | os.PathLike) -> tuple[np.ndarray, int]:
  """Every shown frame's pts, int64 [F] ascending, and the pts at which the last one ends."""
  with open_input(path) as container:
    stream = _video_stream(container, path)
    times, end = [], None
    for packet in container.demux(stream):
      stamp = packet.dts if packet.pts is None else packet.pts
      if packet.size == 0 or packet.is_discard or stamp is None:
        continue
      times.append(stamp)
      end = max(stamp + (packet.duration or 0), stamp if end is None else end)
  if not times:
    raise errors.UserError(f'{path}: has no frames with timestamps; remux it into an mp4 first')
  return np.sort(np.asarray(times, np.int64)), end


def probe(path: str | os.PathLike) -> VideoInfo:
  """Reads what a video is: headers, packet times and the first frame; decodes nothing more.

  Raises:
    UserError: no such file, not a media file, no video stream, or nothing to decode in it.
  """
  first = next(frames(path), None)
  if first is None:
    raise errors.UserError(f'{path}: no frame of it can be decoded')
  times, end = _timeline(path)
  source, matrix = first.source, _display_matrix(first.source)
  with open_input(path) as container:
    stream = _video_stream(container, path)
    base = stream.time_base
    sounds = container.streams.audio
    duration = (end - int(times[0])) * base
    rate = stream.average_rate or stream.guessed_rate or Fraction(len(times)) / duration
    return VideoInfo(
      path=os.fspath(path), width=source.width, height=source.height, rate=Fraction(rate),
      time_base=base, codec=stream.codec_context.name, pix_fmt=source.format.name,
      frame_count=len(times), duration=duration, start_time=first.time,
      rotation=-source.rotation % 360, display_matrix=matrix,
      sample_aspect_ratio=stream.sample_aspect_ratio,
      color_range=int(source.color_range), color_space=int(source.colorspace),
      color_primaries=int(source.color_primaries), color_trc=int(source.color_trc),
      has_audio=bool(sounds), audio_bit_rate=(sounds[0].bit_rate or 0) if sounds else 0)


def frames(path: str | os.PathLike, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
  """Yields frames `start` to `stop` (exclusive) in the order they are shown.

  Memory does not grow with the video. A `start` above 0 goes to the nearest key frame by way of
  the index, so it costs no decoding of what lies before.

  Raises:
    UserError: as `probe`, or a frame that cannot be decoded, has no time or has another size.
  """
  index, first_pts = 0, None
  if start:
    times, _ = _timeline(path)
    if start >= len(times):
      return
    index, first_pts = start, int(times[start])
  with open_input(path) as container:
    stream = _video_stream(container, path)
    try:
      for source in _decode_from(container, stream, first_pts):
        if index == stop:
          return
        if source.pts is None:
          raise errors.UserError(f'{path}: frame {index} has no timestamp; remux it first')
        size = (stream.width, stream.height)
        if (source.width, source.height) != size:
          raise errors.UserError(
            f'{path}: frame {index} is {source.width}x{source.height} in a {size[0]}x{size[1]} '
            'video; re-encode it at one size')
        yield Frame(index, source.pts, source.pts * stream.time_base, source.duration or 0, source)
        index += 1
    except av.error.FFmpegError as error:
      raise errors.UserError(f'{path}: frame {index} cannot be decoded ({error.strerror})'
                             ) from error


def _decode_from(container, stream, first_pts: int | None) -> Iterator[av.VideoFrame]:
  """Decodes from the frame at `first_pts` on; from the beginning if None."""
  if first_pts is None:
    yield from container.decode(stream)
    return
  container.seek(first_pts, stream=stream)
  decoded = container.decode(stream)
  source = next(decoded, None)
  if source is None or source.pts is None or source.pts > first_pts:
    # Program streams have no index and a seek may land late; from the top it cannot.
    container.seek(stream.start_time or 0, stream=stream)
    decoded = container.decode(stream)
    source = next(decoded, None)
  while source is not None:
    if source.pts is None or source.pts >= first_pts:
      yield source
    source = next(decoded, None)


class Writer:
  """Writes an mp4 or mov with the timestamps, colours and rotation of `info`.

  Video is H.264, 4:2:0 (4:4:4 where a side is odd, which 4:2:0 cannot hold). The file is made
  under a hidden `.part` name beside `path` and renamed when the `with` block ends well; on any
  exception, KeyboardInterrupt too, it is removed and an earlier file at `path` is left as it was.

  Args:
    path: Where to write; .mp4, .m4v or .mov.
    info: What to keep: size, time base, average rate, colour tags, rotation, pixel shape.
    crf: x264's constant rate factor: 0 lossless, 16 hard to tell from the source, 51 worst.
    preset: x264's preset: speed against file size.
    audio: A file whose sound is copied packet by packet, or a `Soundtrack` to be encoded as AAC.
  """

  def __init__(self, path: str | os.PathLike, info: VideoInfo, *, crf: float = 16,
               preset: str = 'medium', audio: str | os.PathLike | Soundtrack | None = None):
    self.path = pathlib.Path(path)
    self.info = info
    self._crf, self._preset, self._audio = crf, preset, audio
    if self.path.suffix.lower() not in _SUFFIXES:
      raise errors.UserError(f'{path}: can write {", ".join(_SUFFIXES)} only; choose one of them')
    if not self.path.parent.is_dir():
      raise errors.UserError(f'{self.path.parent}: no such folder; make it first')
    self._part = self.path.with_name(f'.{self.path.stem}.{os.getpid()}.part{self.path.suffix}')
    self._sources: list[av.container.InputContainer] = []
    self._durations: dict[int, int] = {}
    self._last_pts: int | None = None

  @contextlib.contextmanager
  def _told(self) -> Iterator[None]:
    """What the disk refuses is told by cause, not by where in the code it came up."""
    try:
      yield
    except (av.error.FFmpegError, OSError) as error:
      raise errors.UserError(f'{self.path}: cannot be written ({error.strerror}); nothing was '
                             'left there') from error

  def __enter__(self) -> 'Writer':
    try:
      with self._told():
        self._open()
    except BaseException:
      self._discard()
      raise
    return self

  def _open(self) -> None:
    info = self.info
    rates = []
    if isinstance(self._audio, Soundtrack):
      rates = [self._audio.rate]
    elif self._audio is not None:
      self._sources = [open_input(self._audio)]
      rates = [stream.rate for stream in self._sources[0].streams.audio]
    # The tracks' start times are stored in the movie's time scale, a millisecond by default:
    # one that every track's own scale divides keeps a late first frame exactly where it is.
    scale = info.time_base.denominator
    movie_scale = math.lcm(scale, *rates)
    self._container = av.open(
      os.fspath(self._part), 'w', format=_SUFFIXES[self.path.suffix.lower()],
      options=dict(movflags='+faststart', video_track_timescale=str(scale),
                   movie_timescale=str(movie_scale if movie_scale <= _MAX_TIMESCALE else scale)))
    odd = info.width % 2 or info.height % 2
    options = dict(crf=str(self._crf), preset=self._preset)
    stream = self._container.add_stream('libx264', rate=info.rate, options=options)
    stream.width, stream.height = info.width, info.height
    stream.pix_fmt = 'yuv444p' if odd else 'yuv420p'
    context = stream.codec_context
    context.time_base = stream.time_base = info.time_base
    if info.sample_aspect_ratio:
      context.sample_aspect_ratio = stream.sample_aspect_ratio = info.sample_aspect_ratio
    context.color_range = info.color_range
    context.colorspace = info.matrix if info.color_space == _MATRIX_RGB else info.color_space
    context.color_primaries, context.color_trc = info.color_primaries, info.color_trc
    if info.display_matrix:
      stream.set_display_matrix(info.display_matrix)
    self._stream = stream
    self._sound = self._sound_packets()
    self._next_sound = next(self._sound, None)

  def write(self, image: np.ndarray, pts: int, duration: int | None = None) -> None:
    """Adds one picture.

    Args:
      image: uint8 [H, W, 3] RGB.
      pts: When it is shown, in units of `info.time_base`; above the last one written.
      duration: How long, in the same units; only the last frame's matters to players.
    """
    info = self.info
    if image.shape != (info.height, info.width, 3) or image.dtype != np.uint8:
      raise ValueError(f'image is {image.dtype} {image.shape}, '
                       f'wanted uint8 {(info.height, info.width, 3)}')
    self._encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), 'rgb24').reformat(
      format=self._stream.pix_fmt, src_colorspace=info.matrix, dst_colorspace=info.matrix,
      src_color_range=ColorRange.JPEG, dst_color_range=info.color_range or ColorRange.MPEG,
      interpolation=_TO_YUV, threads=1), pts, duration)

  def copy(self, frame: Frame) -> None:
    """Adds a frame as it was decoded: its planes go to the encoder without a way through RGB."""
    source, info = frame.source, self.info
    if (source.width, source.height) != (info.width, info.height):
      raise ValueError(f'frame is {source.width}x{source.height}, '
                       f'wanted {info.width}x{info.height}')
    if source.format.is_rgb:
      self.write(frame.image, frame.pts, frame.duration)
      return
    if source.format.name != self._stream.pix_fmt:
      source = source.reformat(
        format=self._stream.pix_fmt, src_colorspace=info.matrix, dst_colorspace=info.matrix,
        dst_color_range=info.color_range or ColorRange.MPEG, interpolation=_TO_YUV, threads=1)
    self._encode(source, frame.pts, frame.duration)

  def _encode(self, frame: av.VideoFrame, pts: int, duration: int | None) -> None:
    if self._last_pts is not None and pts <= self._last_pts:
      raise errors.UserError(f'frame times must rise: {pts} comes after {self._last_pts}')
    if pts < 0:
      raise errors.UserError(f'frame time {pts} is before 0, which an mp4 cannot hold')
    self._last_pts = pts
    if duration:
      self._durations[pts] = duration
    # The decoder's picture types would otherwise force the encoder's.
    frame.pict_type = 0
    frame.pts, frame.time_base = pts, self.info.time_base
    with self._told():
      self._mux_video(self._stream.encode(frame))

  def _mux_video(self, packets: Iterable[av.Packet]) -> None:
    for packet in packets:
      packet.duration = self._durations.pop(packet.pts, packet.duration or 0)
      self._mux_sound(packet.dts * packet.time_base)
      self._container.mux(packet)

  def _mux_sound(self, until: Fraction | float) -> None:
    """Muxes the sound up to a time, so that neither track waits in memory for the other."""
    while self._next_sound is not None:
      packet = self._next_sound
      if packet.dts is not None and packet.dts * packet.time_base > until:
        return
      self._container.mux(packet)
      self._next_sound = next(self._sound, None)

  def _sound_packets(self) -> Iterator[av.Packet]:
    if isinstance(self._audio, Soundtrack):
      return self._encoded_sound(self._audio, self._add_aac(self._audio))
    if self._sources:
      streams = {}
      for stream in self._sources[0].streams.audio:
        name = stream.codec_context.name
        try:
          streams[stream.index] = self._container.add_stream_from_template(stream)
        except ValueError as error:
          raise errors.UserError(
            f'{self._audio}: {name} sound cannot be copied into {self.path.suffix}; '
            'give its samples to have them encoded as AAC') from error
      return self._copied_sound(streams)
    return iter(())

  def _add_aac(self, sound: Soundtrack):
    channels = sound.samples.shape[0] if sound.samples.ndim == 2 else 0
    if channels not in _LAYOUTS:
      raise ValueError(f'samples are {sound.samples.shape}, wanted [channels, n] with '
                       f'{", ".join(map(str, _LAYOUTS))} channels')
    stream = self._container.add_stream('aac', rate=sound.rate, layout=_LAYOUTS[channels])
    if sound.rate not in stream.codec_context.codec.audio_rates:
      raise errors.UserError(f'AAC has no {sound.rate} Hz; resample the sound to 48000 Hz')
    stream.bit_rate = sound.bit_rate
    return stream

  def _encoded_sound(self, sound: Soundtrack, stream) -> Iterator[av.Packet]:
    offset = round(sound.start * sound.rate)
    end, block = offset + sound.samples.shape[1], stream.codec_context.frame_size or 1024
    # From time 0 on, in silence up to the start: AAC's priming then lies before 0, where the
    # container hides it to the sample.
    for begin in range(0, end, block):
      size = min(block, end - begin)
      piece = np.zeros((sound.samples.shape[0], size), np.float32)
      first = max(begin, offset)
      if first < begin + size:
        piece[:, first - begin:] = sound.samples[:, first - offset:begin + size - offset]
      frame = av.AudioFrame.from_ndarray(piece, 'fltp', stream.layout.name)
      frame.sample_rate, frame.pts = sound.rate, begin
      frame.time_base = Fraction(1, sound.rate)
      yield from self._timed_sound(stream.encode(frame), end)
    yield from self._timed_sound(stream.encode(None), end)

  @staticmethod
  def _timed_sound(packets: Iterable[av.Packet], end: int) -> Iterator[av.Packet]:
    """Ends the last packet at the last sample: the encoder fills it up with silence."""
    for packet in packets:
      packet.duration = min(packet.duration, end - packet.pts)
      if packet.duration > 0:
        yield packet

  def _copied_sound(self, streams: dict) -> Iterator[av.Packet]:
    if not streams:
      return
    source = self._sources[0]
    for packet in source.demux([source.streams[index] for index in streams]):
      if packet.dts is not None:
        packet.stream = streams[packet.stream_index]
        yield packet

  def __exit__(self, kind, error, trace) -> None:
    if kind is not None:
      self._discard()
      return
    try:
      if self._last_pts is None:
        raise errors.UserError(f'{self.path}: nothing was written to it')
      with self._told():
        self._mux_video(self._stream.encode(None))
        self._mux_sound(math.inf)
        self._container.close()
        os.replace(self._part, self.path)
    except BaseException:
      self._discard()
      raise
    self._close_sources()

  def _discard(self) -> None:
    try:
      if hasattr(self, '_container'):
        self._container.close()
    except (av.error.FFmpegError, OSError):
      pass  # What could not be finished is about to be removed.
    finally:
      self._close_sources()
      self._part.unlink(missing_ok=True)

  def _close_sources(self) -> None:
    for source in self._sources:
      source.close()


def write_clip(path: str | os.PathLike, images: Iterable[np.ndarray], rate: Fraction | float | int,
               samples: np.ndarray | None = None, sample_rate: int | None = None, *,
               crf: float = 16) -> None:
  """Writes pictures at one fixed rate, tagged BT.709, with an optional AAC soundtrack.

  Args:
    path: .mp4, .m4v or .mov.
    images: uint8 [H, W, 3] RGB each, all of one size.
    rate: Frames per second.
    samples: float32 [channels, n] or [n] in [-1, 1], starting with the first picture.
    sample_rate: Samples per second.
    crf: As for `Writer`.
  """
  rate = Fraction(rate).limit_denominator(1001)
  images = iter(images)
  first = next(images, None)
  if first is None:
    raise ValueError('no images to write')
  info = VideoInfo(
    os.fspath(path), first.shape[1], first.shape[0], rate=rate, time_base=1 / rate,
    color_range=int(ColorRange.MPEG), color_space=1, color_primaries=1, color_trc=1)
  sound = None
  if samples is not None:
    sound = Soundtrack(np.atleast_2d(samples), sample_rate)
  with Writer(path, info, crf=crf, audio=sound) as writer:
    writer.write(first, 0, 1)
    for pts, image in enumerate(images, start=1):
      writer.write(image, pts, 1)

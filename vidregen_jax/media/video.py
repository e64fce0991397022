"""Video files read one frame at a time, with all timestamps, colour tags and rotation.

A file is probed once and then read as a stream of `Frame`s; `video_writer` and `smart_render` write
them.

Times are integers in units of the stream's time base, as in the file, and `Fraction`s of a second
from where it starts, its `origin`: never floats, so that 24000/1001 and variable frame rates come
out as they went in. Images are as stored in the file; a phone's rotation is metadata and stays
metadata.
"""

import dataclasses
import functools
import os
import zlib
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import Interpolation

from vidregen_jax import errors, files
from vidregen_jax.media import opening

# swscale's default paths are fast, and on average 1.2 grey levels of luma too dark. With these
# flags and those of `planes`, a round trip through RGB is off by 0.001 grey levels.
_TO_RGB = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
_DRAFT = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT

# ISO 23091-2 matrix coefficients that swscale converts by, and BT.2020's constant-luminance one,
# which differs from the other by less than encoding does.
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_BACK = (0, 2, 10, 50)  # seconds before the wanted frame to which a seek is tried, in turn
_RATE_SLACK = 4  # factor by which a file's stated rate may differ from its frames over its duration
_LONGEST = 64  # ratio of the sides: in narrower pictures faces cannot be detected
_MATRIX_RGB, _UNSPECIFIED = 0, 2
_UNCUT = {'mpeg', 'mpegts'}  # containers in which a seek may land inside a frame; see `keys`
_RAW = av.format.Flags.generic_index.value  # of containers
_TRIED = 4  # frames that are decoded to check that the times of packets are theirs
_PROBED = 16  # files whose info is cached, as an edit asks for it again and again


@dataclasses.dataclass(frozen=True)
class VideoInfo:
  """Properties of a video stream.

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
    start_time: Seconds after `origin` at which the first frame is shown.
    origin: Seconds on the file's own clock at which the file starts, as of `opening.origin`.
    rotation: Clockwise degrees by which players rotate the image: 0, 90, 180 or 270.
    display_matrix: The nine integers (16.16 and 2.30 fixed point) behind `rotation`, or None.
    sample_aspect_ratio: Width of a pixel over its height; None if the file does not say.
    color_range, color_space, color_primaries, color_trc: ISO 23091-2 code points.
    interlaced: Whether the first frame is two fields.
    mastering: The mastering display of HDR: x and y of red, green, blue and white in CIE 1931, and
      its minimum and maximum luminance in cd/m2; None if the file does not say.
    light_level: Luminance of the lightest pixel and frame (MaxCLL, MaxFALL) in cd/m2; None if the
      file does not say.
    has_audio: Whether there is a soundtrack.
    audio_bit_rate: Bits per second of the soundtrack, 0 where unknown.
    stamps: pts of every frame, int64 [F] ascending, so that they need not be read from the file
      again; None if there is no file.
    keys: CRC-32 of each key frame's packet by its pts, for containers in which a seek may land
      inside a frame, after which packets get the times of their neighbours. None for all others.
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
  origin: Fraction = Fraction(0)
  rotation: int = 0
  display_matrix: tuple[int, ...] | None = None
  sample_aspect_ratio: Fraction | None = None
  color_range: int = 0
  color_space: int = _UNSPECIFIED
  color_primaries: int = _UNSPECIFIED
  color_trc: int = _UNSPECIFIED
  interlaced: bool = False
  mastering: tuple[Fraction, ...] | None = None
  light_level: tuple[int, int] | None = None
  has_audio: bool = False
  audio_bit_rate: int = 0
  stamps: np.ndarray | None = dataclasses.field(default=None, compare=False, repr=False)
  keys: dict[int, int] | None = dataclasses.field(default=None, compare=False, repr=False)

  def seconds(self, pts: int) -> Fraction:
    """A pts as seconds from where the file starts."""
    return pts * self.time_base - self.origin

  @property
  def matrix(self) -> int:
    """The YUV matrix: the tagged one, otherwise what players assume for the size."""
    return _matrix(self.color_space, self.width, self.height)

  @property
  def tagged_matrix(self) -> int:
    """The matrix to tag YUV with: the file's own tag, or for RGB that of the conversion."""
    return self.matrix if self.color_space == _MATRIX_RGB else self.color_space


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
  """One decoded frame.

  Attributes:
    index: Position in presentation order, from 0.
    pts: Start in units of the stream's time base.
    time: The same in seconds from where the file starts.
    duration: Length in units of the stream's time base; 0 if the file does not say.
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
    """The picture some 15 times faster and about 1 grey level darker, for face detection."""
    return self._rgb(_DRAFT)

  @property
  def matrix(self) -> int:
    """The YUV matrix, as in `VideoInfo`."""
    return _matrix(self.source.colorspace, self.source.width, self.source.height)

  def small(self, width: int, height: int) -> np.ndarray:
    """The picture at another size, uint8 [height, width, 3] RGB, scaled before conversion."""
    return self._rgb(Interpolation.AREA, width=width, height=height)

  def _rgb(self, flags: Interpolation, **size: int) -> np.ndarray:
    source = self.source
    way = {} if source.format.is_rgb else dict(
      src_colorspace=self.matrix, dst_colorspace=self.matrix, interpolation=flags, threads=1)
    picture = source.reformat(format='rgb24', **way, **size)
    plane = picture.planes[0]  # not copied: for large pictures that takes as long as the conversion
    return np.ndarray((picture.height, picture.width, 3), np.uint8, plane,
                      strides=(plane.line_size, 3, 1))


def _matrix(color_space: int, width: int, height: int) -> int:
  """swscale's number for a matrix tag.

  For untagged video, as in players: BT.709 above standard definition, BT.601 otherwise.
  """
  if color_space in (_MATRIX_RGB, _UNSPECIFIED):
    return 1 if width >= 1280 or height > 576 else 5
  if color_space not in _MATRICES:
    raise errors.UserError(
      f'colour matrix {color_space} is not supported; convert the video to BT.709 first')
  return _MATRICES[color_space]


def video_stream(container: av.container.InputContainer, path: str | os.PathLike):
  """The video stream, cover pictures aside; raises UserError if there is none."""
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


def _mastering(frame: av.VideoFrame) -> tuple[Fraction, ...] | None:
  data = frame.side_data.get(SideDataType.MASTERING_DISPLAY_METADATA)
  if data is None:
    return None
  *ratios, has_primaries, has_luminance = np.frombuffer(bytes(data), np.int32)[:22].tolist()
  if not has_primaries or not has_luminance:
    return None
  return tuple(Fraction(*pair) for pair in zip(ratios[::2], ratios[1::2], strict=True))


def _light_level(frame: av.VideoFrame) -> tuple[int, int] | None:
  data = frame.side_data.get(SideDataType.CONTENT_LIGHT_LEVEL)
  return None if data is None else tuple(np.frombuffer(bytes(data), np.uint32)[:2].tolist())


def probe(path: str | os.PathLike) -> VideoInfo:
  """Reads a video's headers and packet times, and decodes its first frames.

  The result is cached for as long as the file does not change.

  Raises:
    UserError: no such file, not a media file, no video stream, encrypted, frames without distinct
      times, no decodable frame, or pictures that are too narrow.
  """
  files.check_readable(path)
  now = os.stat(path)
  return _probed(os.fspath(path), (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns))


@functools.lru_cache(_PROBED)
def _probed(path: str, version: tuple[int, ...]) -> VideoInfo:
  del version  # only a key of the cache: a changed file is another
  with opening.open_input(path) as container:
    stream = video_stream(container, path)
    began = opening.origin(container)
    keys = {} if _UNCUT & set(container.format.name.split(',')) else None
    times, end, source = _read_through(container, stream, path, keys)
    base, matrix = Fraction(stream.time_base), _display_matrix(source)
    sounds = container.streams.audio
    duration = (end - int(times[0])) * base
    counted = Fraction(len(times)) / duration if duration else Fraction(1)
    rate = stream.average_rate or stream.guessed_rate or counted
    shape = stream.sample_aspect_ratio  # None, or 0 in PyAV 19, where the file does not say
    if max(source.width, source.height) > _LONGEST * min(source.width, source.height):
      raise errors.UserError(f'{path}: its pictures of {source.width}x{source.height} pixels are '
                             'too long and narrow to show a face')
    if not counted / _RATE_SLACK < rate < counted * _RATE_SLACK:
      rate = counted  # FFmpeg often takes the codec's clock for the rate of a Matroska without one
    return VideoInfo(
      path=path, width=source.width, height=source.height, rate=Fraction(rate),
      time_base=base, codec=stream.codec_context.codec.canonical_name,
      pix_fmt=source.format.name, frame_count=len(times), duration=duration,
      start_time=int(times[0]) * base - began, origin=began,
      rotation=-source.rotation % 360, display_matrix=matrix,
      sample_aspect_ratio=Fraction(shape) if shape else None,
      color_range=int(source.color_range), color_space=int(source.colorspace),
      color_primaries=int(source.color_primaries), color_trc=int(source.color_trc),
      interlaced=source.interlaced_frame, mastering=_mastering(source),
      light_level=_light_level(source),
      has_audio=bool(sounds), audio_bit_rate=_bit_rate(sounds[0]) if sounds else 0,
      stamps=times, keys=keys)


def _read_through(container, stream, path, keys) -> tuple[np.ndarray, int, av.VideoFrame]:
  """Every frame's pts, int64 [F] ascending, the pts at which the last one ends, the first frame.

  `keys` is filled, unless it is None. Leading packets that cannot be decoded, in a recording that
  was cut between two key frames, do not count as frames.
  """
  times, end, first = [], None, []
  try:
    for packet in container.demux(stream):
      if packet.has_sidedata('encryption_info'):
        raise errors.UserError(f'{path}: is encrypted; give a copy without protection')
      if len(first) < _TRIED:
        first += packet.decode()
      stamp = packet.dts if packet.pts is None else packet.pts
      if packet.size == 0 or packet.is_discard or stamp is None:
        continue
      if keys is not None and packet.is_keyframe:
        keys[stamp] = zlib.crc32(packet)
      times.append(stamp)
      end = max(stamp + (packet.duration or 0), stamp if end is None else end)
  except (av.error.FFmpegError, MemoryError) as error:
    raise _undecodable(path, len(first), error) from error
  if not times or any(frame.pts is None for frame in first):
    raise errors.UserError(f'{path}: has no frames with timestamps; remux it into an mp4 first')
  if not first:
    raise errors.UserError(f'{path}: no frame of it can be decoded')
  times = np.sort(np.asarray(times, np.int64))
  times = times[times >= first[0].pts]
  same = np.flatnonzero(np.diff(times) == 0)
  if len(same):
    raise errors.UserError(f'{path}: frames {same[0]} and {same[0] + 1} are shown at the same time;'
                           ' re-encode it at a rate of its own first')
  if [frame.pts for frame in first] != times[:len(first)].tolist():
    # An AVI with B-frames has only the times at which packets are decoded.
    raise errors.UserError(f'{path}: the times of its packets are not those of its frames; '
                           're-encode it into an mp4 first')
  times.flags.writeable = False
  return times, end, first[0]


def _undecodable(path, index, error) -> errors.UserError:
  if isinstance(error, MemoryError):
    return errors.UserError(f'{path}: there is not enough memory to decode frame {index}')
  return errors.UserError(f'{path}: frame {index} cannot be decoded ({error.strerror})')


def _bit_rate(stream) -> int:
  # A stream whose codec FFmpeg does not know has none of a stream's attributes.
  return stream.codec_context.bit_rate or 0 if stream.codec_context else 0


def frames(path: str | os.PathLike, start: int = 0, stop: int | None = None, *,
           stamps: np.ndarray | None = None) -> Iterator[Frame]:
  """Yields frames `start` to `stop` (exclusive) in the order they are shown.

  Memory does not grow with the video. For a `start` above 0, decoding begins at a key frame before
  it; if the file cannot be entered there, everything before `start` is decoded. Either way frames
  are identified by their times, so each is the one that decoding the whole file gives.

  Args:
    path: The file.
    start, stop: Frames in presentation order; `stop` None for all.
    stamps: As in `VideoInfo`; looked up if None.

  Raises:
    UserError: as `probe`, or a frame that cannot be decoded, has no time or has another size.
  """
  stamps = probe(path).stamps if stamps is None else np.asarray(stamps)
  stop = len(stamps) if stop is None else min(stop, len(stamps))
  due = start
  for container, stream, decoded, whole in _entries(path, start, stamps) if due < stop else ():
    base, began = Fraction(stream.time_base), opening.origin(container)
    try:
      for source in decoded:
        if source.pts is None:
          raise errors.UserError(f'{path}: frame {due} has no timestamp; remux it first')
        if source.pts < stamps[due]:
          continue
        if source.pts != stamps[due]:
          if not whole:
            break  # the frame depends on more of what precedes it: enter earlier
          raise errors.UserError(f'{path}: frame {due} cannot be decoded; re-encode it first')
        _check_size(source, stream, due, path)
        yield Frame(due, source.pts, source.pts * base - began, source.duration or 0, source)
        due += 1
        if due == stop:
          return
      else:
        if due > start:
          return
    except (av.error.FFmpegError, MemoryError) as error:
      raise _undecodable(path, due, error) from error


def _entries(path, start, stamps):
  """Yields (container, stream, its frames, whether all), entered ever earlier before `start`.

  A seek may land late or between key frames: transport and program streams have no index, and raw
  ones, in which it is not tried, neither. So the last entry is the whole file, opened again.
  """
  if start:
    first_pts, keys = int(stamps[start]), probe(path).keys
    with opening.open_input(path) as container:
      stream = video_stream(container, path)
      for back in () if container.format.flags & _RAW else _BACK:
        at = max(first_pts - round(back / Fraction(stream.time_base)), stream.start_time or 0)
        try:
          container.seek(at, stream=stream)
        except av.error.FFmpegError:
          break  # it cannot be entered: the last entry decodes all of it
        yield container, stream, _from_key(container, stream, first_pts, keys), False
  with opening.open_input(path) as container:
    stream = video_stream(container, path)
    yield container, stream, container.decode(stream), True


def _from_key(container, stream, first_pts: int, keys) -> Iterator[av.VideoFrame]:
  """Decodes from the next of the `keys`, unless that is shown after `first_pts`.

  Frames of an open group of pictures that are shown before its key frame are skipped: they cannot
  be decoded from there.
  """
  key = None
  for packet in container.demux(stream):
    if key is None:
      if not packet.size or not packet.is_keyframe or (
          keys is not None and keys.get(packet.pts) != zlib.crc32(packet)):
        continue
      if packet.pts is None or packet.pts > first_pts:
        return
      key = packet.pts
    yield from (frame for frame in packet.decode() if frame.pts is None or frame.pts >= key)


def _check_size(source, stream, index, path) -> None:
  size = (stream.width, stream.height)
  if (source.width, source.height) != size:
    raise errors.UserError(
      f'{path}: frame {index} is {source.width}x{source.height} in a {size[0]}x{size[1]} '
      'video; re-encode it at one size')

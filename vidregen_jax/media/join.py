"""A video in which only what was asked for is encoded anew: every other packet is the source's.

An edit of two words must not cost the rest of a take its sharpness. Frames are encoded from the
first one that changes - or the last place before it at which every earlier packet is an earlier
picture - up to the next key frame that nothing after it looks behind. All else is copied, byte for
byte, and decodes to the same bits.

That is for H.264 in mp4 and mov. The new packets are made with the source's profile, pixel format
and colours, take over the old ones' times, and refer to parameter sets of their own, which stand
beside the source's in the file's header (ISO 14496-15 allows 31) under a number of their own.
"""

import dataclasses
import os
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np
from av.codec.context import Flags

from vidregen_jax import errors
from vidregen_jax.media import encode, planes, video

_SUFFIXES = ('.mp4', '.m4v', '.mov')
# By profile_idc, ISO 14496-10 annex A, x264's names.
_PROFILES = {66: 'baseline', 77: 'main', 100: 'high', 110: 'high10', 122: 'high422', 244: 'high444'}
_IDR, _SPS, _PPS = 5, 7, 8
_MOST_SETS = 31
_CHECKED = 3  # frames at each seam that are decoded again, and must be the source's
_COARSE = 8  # blocks a side whose means are kept of each new picture, 256 bytes in all
_TOLERANCE = 8  # by which such a mean may differ, of 255


@dataclasses.dataclass(frozen=True)
class Packets:
  """A source's packets in the order they are decoded; all arrays are [F].

  Attributes:
    pts, dts, duration: in units of the stream's time base.
    clean: whether a decoder can begin here, and nothing from here on looks behind.
  """

  pts: np.ndarray
  dts: np.ndarray
  duration: np.ndarray
  clean: np.ndarray

  def regions(self, touched) -> list[tuple[int, int]]:
    """The frames to encode, [start, stop) each, so that those in `touched` are among them.

    Frames are counted as they are shown, packets as they are decoded. At a place where all packets
    before are shown before all packets after, the two counts agree.

    Args:
      touched: (start, stop) of frames, ascending.
    """
    count = len(self.pts)
    latest = np.maximum.accumulate(self.pts)
    earliest = np.minimum.accumulate(self.pts[::-1])[::-1]
    whole = np.r_[True, latest[:-1] < earliest[1:], True]
    stops = np.flatnonzero(whole & np.r_[self.clean, True])
    starts = np.flatnonzero(whole)
    regions = []
    for start, stop in touched:
      if start >= stop:
        continue
      start = int(starts[starts <= start].max())
      stop = int(stops[stops >= stop].min()) if stop < count else count
      if regions and start <= regions[-1][1]:
        regions[-1] = (regions[-1][0], max(stop, regions[-1][1]))
      else:
        regions.append((start, stop))
    return regions


@dataclasses.dataclass(frozen=True)
class Header:
  """An AVCDecoderConfigurationRecord, ISO 14496-15 section 5.3.3.1."""

  start: bytes  # version, profile, compatibility, level
  length_size: int
  sps: tuple[bytes, ...]
  pps: tuple[bytes, ...]
  rest: bytes  # chroma format and bit depths of the high profiles

  @classmethod
  def parse(cls, data: bytes) -> 'Header':
    """Raises ValueError: not such a record."""
    if len(data) < 7 or data[0] != 1:
      raise ValueError('no avcC record')
    at, sets = 5, []
    for mask in (31, 255):
      count, at = data[at] & mask, at + 1
      found = []
      for _ in range(count):
        size = int.from_bytes(data[at:at + 2], 'big')
        found.append(data[at + 2:at + 2 + size])
        at += 2 + size
      if at > len(data):
        raise ValueError('the avcC record is cut short')
      sets.append(tuple(found))
    return cls(data[:4], (data[4] & 3) + 1, *sets, data[at:])

  def pack(self) -> bytes:
    listed = lambda sets: b''.join(len(x).to_bytes(2, 'big') + x for x in sets)
    return (self.start + bytes([0xFC | self.length_size - 1, 0xE0 | len(self.sps)])
            + listed(self.sps) + bytes([len(self.pps)]) + listed(self.pps) + self.rest)

  @property
  def profile(self) -> int:
    return self.start[1]

  def free_number(self) -> int:
    """The lowest that no parameter set bears; x264 gives both of its own the same.

    Raises:
      ValueError: there is none left.
    """
    taken = {_first_number(x, skip=4) for x in self.sps} | {_first_number(x, 1) for x in self.pps}
    for number in range(32):
      if number not in taken and max(len(self.sps), len(self.pps)) < _MOST_SETS:
        return number
    raise ValueError('no parameter set number is free')

  def adding(self, sps: tuple[bytes, ...], pps: tuple[bytes, ...]) -> 'Header':
    """With more parameter sets of its profile, and the highest level of all."""
    level = max(self.start[3], *(x[3] for x in sps))
    return dataclasses.replace(self, start=self.start[:3] + bytes([level]), sps=self.sps + sps,
                               pps=self.pps + pps)


def _first_number(nal: bytes, skip: int) -> int:
  """The unsigned Exp-Golomb number after `skip` bytes (ISO 14496-10 section 9.1)."""
  bits = ''.join(f'{byte:08b}' for byte in nal[skip:skip + 9])
  zeros = bits.index('1')
  return int(bits[zeros:2 * zeros + 1], 2) - 1


def _units(data: bytes, length_size: int) -> Iterator[bytes]:
  """The NAL units of an mp4 sample."""
  at = 0
  while at + length_size < len(data):
    size = int.from_bytes(data[at:at + length_size], 'big')
    yield data[at + length_size:at + length_size + size]
    at += length_size + size


def _annex_b_units(data: bytes) -> list[bytes]:
  """The NAL units of a stream with start codes (ISO 14496-10 annex B)."""
  parts = data.split(b'\0\0\1')[1:]
  return [part.rstrip(b'\0') for part in parts[:-1]] + parts[-1:]


def read(path: str | os.PathLike, length_size: int) -> Packets | str:
  """A source's packets, or why they cannot be joined with others."""
  rows = []
  with video.open_input(path) as container:
    stream = video.video_stream(container, path)
    try:
      for packet in container.demux(stream):
        if packet.size == 0:
          continue
        if packet.pts is None or packet.dts is None:
          return 'some of its packets have no time'
        if packet.is_discard or packet.is_corrupt:
          return 'its edit list leaves frames out' if packet.is_discard else 'a packet is corrupt'
        clean = packet.is_keyframe and any(
          unit and unit[0] & 31 == _IDR for unit in _units(bytes(packet), length_size))
        rows.append((packet.pts, packet.dts, packet.duration or 0, clean))
    except av.error.FFmpegError as error:
      raise errors.UserError(f'{path}: cannot be read to its end ({error.strerror})') from error
  if not rows:
    return 'it has no packets'
  pts, dts, duration, clean = (np.array(column) for column in zip(*rows, strict=True))
  if len(np.unique(pts)) < len(pts) or (np.diff(dts) <= 0).any():
    return 'its packet times do not rise'
  if (dts > pts).any():
    return 'a packet is shown before it is decoded'
  return Packets(pts, dts, duration, clean.astype(bool))


@dataclasses.dataclass(frozen=True)
class Plan:
  """How a source can be joined: its packets, its header, and what must be encoded anew."""

  packets: Packets
  header: Header
  regions: list[tuple[int, int]]


def plan(info: video.VideoInfo, out: str | os.PathLike, touched) -> Plan | str:
  """What is to be encoded so that the frames in `touched` can change; or why it is everything.

  Args:
    info: of the source.
    out: where the joined file shall be.
    touched: (start, stop) of frames, ascending.

  Returns:
    A Plan, or a reason, which reads on after "the source cannot be joined: ".
  """
  if os.path.splitext(out)[1].lower() not in _SUFFIXES:
    return 'the output is no mp4 or mov'
  with video.open_input(info.path) as container:
    stream = video.video_stream(container, info.path)
    if 'mp4' not in container.format.name.split(','):
      return f'it is no mp4 or mov but {container.format.name}'
    if info.codec != 'h264':
      return f'it is {info.codec}, not h264'
    data = bytes(stream.codec_context.extradata or b'')
  try:
    header = Header.parse(data)
    header.free_number()
  except ValueError as error:
    return str(error)
  if header.profile not in _PROFILES:
    return f'its H.264 profile is number {header.profile}'
  if info.pix_fmt not in {f.name for f in av.Codec('libx264', 'w').video_formats}:
    return f'its pixels are {info.pix_fmt}'
  if next(video.frames(info.path)).source.interlaced_frame:
    return 'it is interlaced'
  packets = read(info.path, header.length_size)
  if isinstance(packets, str):
    return packets
  if len(packets.pts) != info.frame_count:
    return f'it has {len(packets.pts)} packets for {info.frame_count} frames'
  return Plan(packets, header, packets.regions(touched))


class Joined(encode.File):
  """Writes a source again, with the frames of a plan's regions encoded anew.

  Every frame of every region must be given, in order, to `copy` or `replace`; no other may.

  Args:
    path: Where to write; .mp4, .m4v or .mov.
    info: of the source.
    planned: from `plan`.
    audio, keep: As for `encode.File`.
    crf: x264's constant rate factor, above 0: lossless H.264 is another profile, and decoders
      (FFmpeg's for one) do not change to it in the middle of a stream.
    preset: x264's preset.
  """

  def __init__(self, path: str | os.PathLike, info: video.VideoInfo, planned: Plan, *,
               audio=None, keep=None, crf: float = 12, preset: str = 'medium'):
    super().__init__(path, info.time_base, audio, keep)
    self.info, self.regions = info, planned.regions
    self._packets, self._header = planned.packets, planned.header
    self._crf, self._preset = crf, preset
    self._times = np.sort(self._packets.pts)
    self._lengths = dict(zip(self._packets.pts.tolist(), self._packets.duration.tolist(),
                             strict=True))
    self._read = 0  # packets of the source that were copied or left out
    self._region = 0
    self._encoder, self._made = None, 0
    self._coarse: dict[int, np.ndarray] = {}
    self._next = self.regions[0][0] if self.regions else len(self._times)

  def _add_pictures(self) -> None:
    source = self._opened(self.info.path)
    stream = video.video_stream(source, self.info.path)
    self._old = (packet for packet in source.demux(stream) if packet.size)
    self._base = stream.time_base
    self._stream = self._container.add_stream_from_template(stream)
    self._stream.metadata.update(stream.metadata)
    if self.regions:
      trial = self._new_encoder()
      sets = _annex_b_units(bytes(trial.extradata))
      of = lambda kind: tuple(unit for unit in sets if unit[0] & 31 == kind)
      self._stream.codec_context.extradata = self._header.adding(of(_SPS), of(_PPS)).pack()

  def _new_encoder(self) -> av.CodecContext:
    info, header = self.info, self._header
    encoder = av.CodecContext.create('libx264', 'w')
    encoder.width, encoder.height, encoder.pix_fmt = info.width, info.height, info.pix_fmt
    encoder.time_base, encoder.framerate = self._base, info.rate
    if info.sample_aspect_ratio:
      encoder.sample_aspect_ratio = info.sample_aspect_ratio
    encoder.color_range, encoder.colorspace = info.color_range, info.color_space
    encoder.color_primaries, encoder.color_trc = info.color_primaries, info.color_trc
    # Packets are shown in the order they are made, so the old ones' decoding times fit them.
    params = f'sps-id={header.free_number()}:bframes=0:annexb=1:repeat-headers=0'
    encoder.options = {'preset': self._preset, 'crf': str(self._crf), 'x264-params': params,
                       'profile': _PROFILES[header.profile]}
    encoder.flags |= Flags.global_header
    encoder.open()
    return encoder

  def copy(self, frame: video.Frame) -> None:
    """Adds a frame of a region as it was decoded."""
    self._add(frame, planes.as_format(frame, self.info, self.info.pix_fmt))

  def replace(self, frame: video.Frame, image: np.ndarray, at: tuple[int, int] = (0, 0)) -> None:
    """Adds a frame of a region with another picture, as of `encode.Writer`."""
    self._add(frame, planes.with_image(frame, image, self.info, self.info.pix_fmt, at))

  def _add(self, frame: video.Frame, picture: av.VideoFrame) -> None:
    if frame.index != self._next or frame.pts != self._times[frame.index]:
      raise ValueError(f'frame {frame.index} at {frame.pts} is not frame {self._next}, '
                       'which was to come next')
    start, stop = self.regions[self._region]
    with self._told():
      if frame.index == start:
        self._copy_until(start)
        self._encoder, self._made = self._new_encoder(), start
      picture.pict_type, picture.pts, picture.time_base = 0, frame.pts, self._base
      self._coarse[frame.index] = planes.coarse(picture, _COARSE)
      self._mux_made(self._encoder.encode(picture))
      self._next += 1
      if self._next == stop:
        self._mux_made(self._encoder.encode(None))
        if self._made != stop:
          raise errors.UserError(f'{self.path}: the encoder gave {self._made - start} frames for '
                                 f'{stop - start}')
        while self._read < stop:
          next(self._old)
          self._read += 1
        self._region += 1
        more = self._region < len(self.regions)
        self._next = self.regions[self._region][0] if more else len(self._times)

  def _mux_made(self, packets) -> None:
    size = self._header.length_size
    for packet in packets:
      units = [unit for unit in _annex_b_units(bytes(packet)) if unit[0] & 31 not in (_SPS, _PPS)]
      made = av.Packet(b''.join(len(unit).to_bytes(size, 'big') + unit for unit in units))
      made.pts, made.dts = packet.pts, int(self._packets.dts[self._made])
      made.duration, made.time_base = self._lengths[packet.pts], self._base
      made.is_keyframe = packet.is_keyframe
      self._made += 1
      self._mux(made)

  def _copy_until(self, index: int) -> None:
    while self._read < index:
      self._mux(next(self._old))
      self._read += 1

  def _mux(self, packet: av.Packet) -> None:
    self._mux_beside(Fraction(packet.dts) * self._base)
    packet.stream = self._stream
    self._container.mux(packet)

  def _finish_pictures(self) -> None:
    if self._region < len(self.regions):
      raise ValueError(f'frame {self._next} was never written')
    self._copy_until(len(self._times))

  def _check(self, path) -> None:
    """Decodes the regions and what lies at their seams: a decoder may stumble over them."""
    count = len(self._times)
    refused = errors.UserError(f'{self.info.path}: a joined video would not be decoded to what was '
                               'written; --reencode encodes all of it')
    for start, stop in self.regions:
      for frame in video.frames(path, start, stop, stamps=self._times):
        seen = planes.coarse(frame.source, _COARSE)
        if np.abs(seen - self._coarse[frame.index]).max() > _TOLERANCE:
          raise refused
      for first, last in ((start - _CHECKED, start), (stop, stop + _CHECKED)):
        first, last = max(first, 0), min(last, count)
        if first >= last:
          continue
        for new, old in zip(video.frames(path, first, last, stamps=self._times),
                            video.frames(self.info.path, first, last, stamps=self._times),
                            strict=True):
          if new.pts != old.pts or not planes.same(new.source, old.source):
            raise refused

"""Which frames of a video must be encoded anew so that some can change and the rest be copied.

Frames are encoded from the first one that changes - or the last place before it at which every
earlier packet is an earlier picture - up to the next key frame at which a decoder can begin. That
is for H.264, HEVC, VP9 and AV1 in mp4, mov, Matroska and WebM; of everything else all frames are
encoded, and the reason is given.

How new packets can stand among old ones differs by codec. A `Coding` of `bitstreams` knows, and has

  encoder        FFmpeg's name of an encoder which with these options makes one packet a picture, in
  options        the order in which they are shown
  entry(data)    whether a decoder can begin at a packet, and show it and all that is shown later
  head(made)     the output's header, given the encoder's
  kept(data)     the parts of an old packet that must stay with its picture
  made(data, kept, first)
                 a new packet for the file, with what was kept; `first` if it begins a region
  resumed(data)  the first old packet after new ones, adapted

Each raises ValueError with the reason if a stream cannot be joined.
"""

import dataclasses
import os

import av
import numpy as np
from av.codec.context import Flags

from vidregen_jax import errors
from vidregen_jax.media import containers, encoders, opening, video
from vidregen_jax.media.bitstreams import av1, h264, hevc, vp9

CODINGS = {'h264': h264.Coding, 'hevc': hevc.Coding, 'vp9': vp9.Coding, 'av1': av1.Coding}
SOURCES = ('mp4', 'matroska')  # FFmpeg's names; in other containers streams have no separate header
CRF, PRESET = 12, 'medium'


@dataclasses.dataclass(frozen=True)
class Packets:
  """A source's packets in decoding order; all arrays are [P].

  Attributes:
    pts, dts, duration: in units of the stream's time base.
    entry: whether a decoder can begin here; pictures decoded later but shown earlier are then lost.
    hidden, surplus: how many of the earliest and of the latest pictures are never shown, because
      an edit list begins after them or ends before them.
  """

  pts: np.ndarray
  dts: np.ndarray
  duration: np.ndarray
  entry: np.ndarray
  hidden: int = 0
  surplus: int = 0

  @property
  def rank(self) -> np.ndarray:
    """Position of each packet in presentation order."""
    return np.argsort(np.argsort(self.pts))

  def regions(self, touched) -> list[tuple[int, int]]:
    """The frames to encode, [start, stop) each, so that those in `touched` are among them.

    Frames are counted as they are shown, packets as they are decoded. At a place where all packets
    before are shown before all packets after, the two counts agree, and a region may begin. It may
    end at an entry that is shown after all packets before it. Surplus packets are left out, so the
    last frames that may be made of them are encoded too.

    Args:
      touched: (start, stop) of frames, ascending.
    """
    count, hidden, rank = len(self.pts) - self.surplus, self.hidden, self.rank
    latest = np.maximum.accumulate(self.pts)
    earliest = np.minimum.accumulate(self.pts[::-1])[::-1]
    starts = np.flatnonzero(np.r_[True, latest[:-1] < earliest[1:], True])
    starts = np.unique(np.maximum(starts, hidden))
    stops = np.sort(rank[self.entry & (latest == self.pts) & (rank < count)])
    stops = np.r_[stops, count]
    if self.surplus:
      last = int(starts[starts <= np.argmax(rank >= count)].max())
      touched = sorted([*touched, (last - hidden, count - hidden)])
    regions = []
    for start, stop in touched:
      if start >= stop:
        continue
      start = int(starts[starts <= start + hidden].max()) - hidden
      stop = int(stops[stops >= stop + hidden].min()) - hidden
      if regions and start <= regions[-1][1]:
        regions[-1] = (regions[-1][0], max(stop, regions[-1][1]))
      else:
        regions.append((start, stop))
    return regions


def read(path: str | os.PathLike, coding) -> Packets:
  """A source's packets.

  Raises:
    ValueError: they cannot be joined with others; the message says why.
    UserError: the file is broken.
  """
  rows = []
  with opening.open_input(path) as container:
    stream = video.video_stream(container, path)
    try:
      for packet in container.demux(stream):
        if packet.size == 0:
          continue
        if packet.pts is None:
          raise ValueError('some of its packets have no time')
        if packet.is_corrupt:
          raise ValueError('a packet is corrupt')
        entry = coding.entry(bytes(packet)) and packet.is_keyframe
        rows.append((packet.pts, packet.pts if packet.dts is None else packet.dts,
                     packet.duration or 0, entry, packet.is_discard))
    except av.error.FFmpegError as error:
      raise errors.UserError(f'{path}: cannot be read to its end ({error.strerror})') from error
  if not rows:
    raise ValueError('it has no packets')
  pts, dts, duration, entry, discard = (np.array(column) for column in zip(*rows, strict=True))
  if len(np.unique(pts)) < len(pts):
    raise ValueError('two of its packets have the same time')
  visible = np.flatnonzero(~discard[np.argsort(pts)])
  if not len(visible) or (np.diff(visible) > 1).any():
    raise ValueError('its edit list leaves frames out between others')
  if (np.diff(dts) <= 0).any() or (dts > pts).any():
    # Matroska has no decoding times; these are the latest that are early enough.
    ascending = np.sort(pts)
    dts = ascending - (ascending - pts).max()
  return Packets(pts, dts, duration, entry.astype(bool), int(visible[0]),
                 len(pts) - 1 - int(visible[-1]))


@dataclasses.dataclass(frozen=True)
class Plan:
  """How a source can be joined: its packets, its coding, and the regions to encode anew."""

  packets: Packets
  coding: object
  regions: list[tuple[int, int]]

  def around(self, out: str | os.PathLike, touched) -> 'Plan | str':
    """The plan for other frames, without reading the file again; as `plan` returns it."""
    regions = self.packets.regions(touched)
    hides = containers.of(out).hides
    if self.packets.hidden and not hides and not (regions and regions[0][0] == 0):
      return f'its edit list hides frames, which {os.path.splitext(out)[1]} cannot'
    return dataclasses.replace(self, regions=regions)


def plan(info: video.VideoInfo, out: str | os.PathLike, touched) -> Plan | str:
  """Plans which frames to encode so that those in `touched` can change.

  Args:
    info: of the source.
    out: path of the joined file.
    touched: (start, stop) of frames, ascending.

  Returns:
    A Plan; or the reason why all frames must be encoded, to be read after "the source cannot be
    joined: ".

  Raises:
    UserError: no such kind of file can be written.
  """
  container = containers.of(out)
  with opening.open_input(info.path) as source:
    stream = video.video_stream(source, info.path)
    names = source.format.name.split(',')
    head = bytes(stream.codec_context.extradata or b'')
    transparent = stream.metadata.get('alpha_mode') == '1'
  if not set(names) & set(SOURCES):
    return f'it is no mp4, mov, mkv or webm but {names[0]}'
  if info.codec not in CODINGS:
    return f'it is {info.codec}, not {", ".join(CODINGS)}'
  if info.codec not in container.video:
    return f'{os.path.splitext(out)[1]} does not hold {info.codec}'
  if info.sample_aspect_ratio not in (None, 1) and not containers.keeps_shape(out, info.codec):
    return 'its pixels are not square'
  if info.interlaced:
    return 'it is interlaced'
  if transparent:
    return 'it is transparent'
  try:
    coding = CODINGS[info.codec](head)
    encoders.require(coding.encoder, info.pix_fmt)
    open_encoder(coding, info, CRF, PRESET)
    packets = read(info.path, coding)
  except av.error.FFmpegError:
    return f'{coding.encoder} does not encode pictures of its kind and size'
  except ValueError as error:
    return str(error)
  if len(packets.pts) - packets.hidden - packets.surplus != info.frame_count:
    return f'it has {len(packets.pts)} packets for {info.frame_count} frames'
  return Plan(packets, coding, []).around(out, touched)


def open_encoder(coding, info, crf, preset) -> av.CodecContext:
  """An opened encoder for a region's pictures."""
  encoder = av.CodecContext.create(coding.encoder, 'w')
  encoder.width, encoder.height, encoder.pix_fmt = info.width, info.height, info.pix_fmt
  encoder.time_base, encoder.framerate = info.time_base, info.rate
  if info.sample_aspect_ratio:
    encoder.sample_aspect_ratio = info.sample_aspect_ratio
  encoder.color_range, encoder.colorspace = info.color_range, info.color_space
  encoder.color_primaries, encoder.color_trc = info.color_primaries, info.color_trc
  encoder.bit_rate = 0  # quality is constant instead
  encoder.options = encoders.settings(coding.encoder, crf, preset, coding.options)
  encoder.flags |= Flags.global_header
  with encoders.scheduled_as_before():
    encoder.open()
  return encoder

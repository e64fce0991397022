"""A video in which only the changed frames are encoded anew; all other packets are the source's.

An edit of two words must not cost the rest of a take its sharpness. What is not encoded again is
copied byte for byte, and decodes to the same bits. New packets have the source's profile, pixel
format and colours, and take over the times, captions and dynamic HDR metadata of those that they
replace. `smart_render_plan` says which frames are encoded.
"""

import collections
import os
from fractions import Fraction

import av
import numpy as np

from vidregen_jax import errors
from vidregen_jax.media import containers, muxer, planes, smart_render_plan, video

_ENTRIES = ('hvc1', 'hev1', 'dvh1')  # names of HEVC in mp4; the last is Dolby Vision's
_CHECKED = 3  # frames at each seam that are decoded for a check, and must equal the source's
_COARSE = 8  # blocks a side whose means are kept of each new picture, for that check: 64 bytes
_TOLERANCE = 8  # by which such a mean may differ, of 255


class Joined(muxer.Muxer):
  """Writes a source again, with the frames of a plan's regions encoded anew.

  All frames of the regions, and no others, must be given in order to `copy` or `replace`. Times
  stay the same, except that an mp4 starts at 0, whatever the source's clock.

  Args:
    path: Where to write.
    info: of the source.
    plan: from `smart_render_plan.plan`.
    audio, keep, part: As for `muxer.Muxer`.
    crf: As for `video_writer.Writer`, above 0: lossless is another profile in most codecs, to which
      decoders (FFmpeg's of H.264, for one) cannot change in the middle of a stream.
    preset: As for `video_writer.Writer`.
  """

  def __init__(self, path: str | os.PathLike, info: video.VideoInfo,
               plan: smart_render_plan.Plan, *, audio=None, keep=None, part=None,
               crf: float = smart_render_plan.CRF, preset: str = smart_render_plan.PRESET):
    # For a late start, an edit list would make an mp4 show nothing up to it.
    begins = Fraction(0) if containers.of(path).muxer == 'mp4' else info.origin
    super().__init__(path, info.time_base, audio, keep, part, begins)
    self._earlier = int((info.origin - begins) / info.time_base)
    self.info, self.regions = info, plan.regions
    self._packets, self._coding = plan.packets, plan.coding
    self._crf, self._preset = crf, preset
    end = len(self._packets.pts) - self._packets.surplus
    order = np.argsort(self._packets.pts)[self._packets.hidden:end]
    self._times, lengths = (x[order].tolist() for x in (self._packets.pts, self._packets.duration))
    self._lengths = dict(zip(self._times, lengths, strict=True))
    # If the first visible frame is encoded anew, no frame depends on the hidden ones before it.
    self._bares = bool(self.regions) and self.regions[0][0] == 0
    self._written = self._packets.hidden if self._bares else 0
    self._made_times = {self._times[i] for start, stop in self.regions for i in range(start, stop)}
    self._region, self._resumes = 0, False
    self._encoder, self._made = None, 0
    self._old_ones: collections.deque[av.Packet] = collections.deque()  # read, not copied yet
    self._kept: dict[int, list[bytes]] = {}  # by pts: what to keep of packets that are replaced
    self._coarse = np.zeros((len(self._times), _COARSE, _COARSE), np.uint8)
    self._next = self.regions[0][0] if self.regions else len(self._times)

  def _add_pictures(self) -> None:
    source = self._opened(self.info.path)
    stream = video.video_stream(source, self.info.path)
    self._old = (packet for packet in source.demux(stream) if packet.size)
    self._base = stream.time_base
    self._stream = self._container.add_stream_from_template(stream, opaque=True)
    self._stream.disposition = stream.disposition
    context = self._stream.codec_context
    context.framerate = self.info.rate  # from which Matroska derives the last frame's duration
    if self.info.codec == 'hevc' and containers.of(self.path).muxer == 'mp4':
      # hvc1 promises that all parameter sets are in the header, as they are here.
      tag = stream.codec_context.codec_tag
      context.codec_tag = tag if tag in _ENTRIES else _ENTRIES[0]
    if self.info.sample_aspect_ratio:
      context.sample_aspect_ratio = self._stream.sample_aspect_ratio = self.info.sample_aspect_ratio
    if self.regions:
      context.extradata = self._coding.head(bytes(self._new_encoder().extradata or b''))

  def _new_encoder(self) -> av.CodecContext:
    return smart_render_plan.open_encoder(self._coding, self.info, self._crf, self._preset)

  def copy(self, frame: video.Frame) -> None:
    """Adds a frame of a region as it was decoded."""
    self._add(frame, planes.as_format(frame, self.info, self.info.pix_fmt))

  def replace(self, frame: video.Frame, image: np.ndarray, at: tuple[int, int] = (0, 0)) -> None:
    """Adds a frame of a region with another picture, as in `video_writer.Writer`."""
    self._add(frame, planes.with_image(frame, image, self.info, self.info.pix_fmt, at))

  def _add(self, frame: video.Frame, picture: av.VideoFrame) -> None:
    if frame.index != self._next or frame.pts != self._times[frame.index]:
      raise ValueError(f'frame {frame.index} at {frame.pts} is not frame {self._next}, '
                       'which was to come next')
    start, stop = self.regions[self._region]
    with self._disk_errors():
      if frame.index == start:
        self._copy_until(self._times[start])
        self._encoder, self._made = self._new_encoder(), start
      picture.pict_type, picture.pts, picture.time_base = 0, frame.pts, self._base
      self._coarse[frame.index] = _coarse(picture)
      self._mux_made(self._encoder.encode(picture))
      self._next += 1
      if self._next == stop:
        self._mux_made(self._encoder.encode(None))
        if self._made != stop:
          raise errors.UserError(f'{self.path}: the encoder gave {self._made - start} frames for '
                                 f'{stop - start}')
        self._resumes = True
        self._region += 1
        more = self._region < len(self.regions)
        self._next = self.regions[self._region][0] if more else len(self._times)

  def _mux_made(self, packets) -> None:
    start = self.regions[self._region][0]
    for packet in packets:
      pts = self._times[self._made]
      while pts not in self._kept:
        self._read()
      new = av.Packet(self._coding.made(bytes(packet), self._kept.pop(pts), self._made == start))
      new.pts, new.duration, new.time_base = pts, self._lengths[pts], self._base
      new.is_keyframe = packet.is_keyframe
      self._made += 1
      self._mux(new)

  def _read(self) -> bool:
    """Takes one more packet of the source; False at its end."""
    packet = next(self._old, None)
    if packet is None:
      return False
    kept = self._coding.kept(bytes(packet))
    if packet.pts in self._made_times:
      self._kept[packet.pts] = kept
    elif self._times[0] <= packet.pts <= self._times[-1] or (
        packet.pts < self._times[0] and not self._bares):
      self._old_ones.append(packet)
    return True

  def _copy_until(self, pts: int | None) -> None:
    """Copies old packets up to the one at `pts`, which is replaced, or all if it is None."""
    self._copy_read()
    while pts not in self._kept and self._read():
      self._copy_read()

  def _copy_read(self) -> None:
    while self._old_ones:
      packet = self._old_ones.popleft()
      if self._resumes and (data := self._coding.resumed(bytes(packet))) != bytes(packet):
        new = av.Packet(data)
        new.pts, new.duration, new.time_base = packet.pts, packet.duration, packet.time_base
        new.is_keyframe, packet = True, new
      self._resumes = False
      self._mux(packet)

  def _mux(self, packet: av.Packet) -> None:
    packet.pts -= self._earlier
    packet.dts = int(self._packets.dts[self._written]) - self._earlier
    self._written += 1
    self._mux_beside(Fraction(packet.dts) * self._base)
    packet.stream = self._stream
    self._container.mux(packet)

  def _finish_pictures(self) -> None:
    if self._region < len(self.regions):
      raise ValueError(f'frame {self._next} was never written')
    self._copy_until(None)

  def _check(self, path) -> None:
    """Decodes the regions and the frames at their seams, where a decoder may fail."""
    count, step = len(self._times), containers.of(path).step
    refused = errors.UserError(f'{self.info.path}: a joined video would not be decoded to what was '
                               'written; --reencode encodes all of it')
    ends = [0, *(stop for _, stop in self.regions[:-1])]
    begins = [*(start for start, _ in self.regions[1:]), count]
    for (start, stop), end, begin in zip(self.regions, ends, begins, strict=True):
      first, last = max(start - _CHECKED, end), min(stop + _CHECKED, begin)
      old_ones = (old for part in ((first, start), (stop, last)) if part[0] < part[1]
                  for old in video.frames(self.info.path, *part, stamps=self._times))
      index = first
      for index, new in enumerate(video.frames(path, first, last), start=first):
        if start <= index < stop:
          apart = _coarse(new.source).astype(np.int16) - self._coarse[index]
          right = np.abs(apart).max() <= _TOLERANCE
        else:
          right = planes.same(new.source, next(old_ones).source)
        meant = (self._times[index] - self._earlier) * self._base
        moved = new.pts * Fraction(new.source.time_base) - meant
        if not right or abs(moved) > step / 2:
          raise refused
      if index != last - 1:
        raise refused


def _coarse(picture):
  """Means of luma over blocks, uint8 [8, 8]; 0 where a picture has fewer blocks."""
  means = np.zeros((_COARSE, _COARSE), np.uint8)
  found = planes.coarse(picture, _COARSE)
  means[:found.shape[0], :found.shape[1]] = np.clip(np.rint(found), 0, 255)
  return means

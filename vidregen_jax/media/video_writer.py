"""Videos encoded anew, with the times, colours, rotation and sound of their source.

  info = video.probe('in.mp4')
  with video_writer.Writer('out.mp4', info, audio='in.mp4') as writer:
    for frame in video.frames('in.mp4'):
      if frame.time < 2:
        writer.copy(frame)                          # the decoded planes, not converted to RGB
      else:
        writer.write(edit(frame.image), frame.pts, frame.duration)
"""

import contextlib
import os
import pathlib
from collections.abc import Iterable
from fractions import Fraction

import av
import numpy as np
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import ColorRange

from vidregen_jax import errors
from vidregen_jax.media import encoders, muxer, planes, video
from vidregen_jax.media.audio import aac

# Side data of pictures, which is lost with their packets, except captions where H.264 is written.
_BESIDE = {
  SideDataType.A53_CC: 'captions in the pictures (CEA-608, CEA-708)',
  SideDataType.DOVI_RPU_BUFFER: 'Dolby Vision',
  SideDataType.DYNAMIC_HDR_PLUS: 'HDR10+',
  SideDataType.DYNAMIC_HDR_VIVID: 'HDR Vivid',
  SideDataType.AMBIENT_VIEWING_ENVIRONMENT: 'the light that HDR was meant for',
  SideDataType.SPHERICAL: 'that it is a sphere (360 degrees)',
  SideDataType.STEREO3D: 'that it is two views (3-D)',
}


class Writer(muxer.Muxer):
  """Writes a video anew, with the timestamps, colours and rotation of `info`.

  Times are counted from where the source starts, its `origin`, which becomes 0.

  Bit depth and chroma are the source's, or the next finer ones that the codec has: see
  `encoders.choose`.

  Args:
    path: Where to write; of the kinds in `containers`.
    info: What to keep: size, time base, average rate, colour tags, rotation, pixel shape.
    crf: x264's constant rate factor: 0 lossless, 16 hard to tell from the source, 51 worst; it is
      translated for other encoders.
    preset: x264's preset: speed against file size.
    key_every: The most frames from one key frame to the next; None for the encoder's own choice.
    audio, keep, part: As for `muxer.Muxer`.
  """

  def __init__(self, path: str | os.PathLike, info: video.VideoInfo, *, crf: float = 16,
               preset: str = 'medium', key_every: int | None = None, audio: muxer.Sound = None,
               keep: str | os.PathLike | None = None, part: pathlib.Path | None = None):
    super().__init__(path, info.time_base, audio, keep, part)
    self.info = info
    self._origin = int(info.origin / info.time_base)  # a whole number: see `opening.origin`
    self._crf, self._preset, self._key_every = crf, preset, key_every
    self._durations: dict[int, int] = {}
    self._last_pts: int | None = None

  def _add_pictures(self) -> None:
    info = self.info
    if info.interlaced:
      raise errors.UserError(f'{info.path}: is interlaced, which would be lost; deinterlace it '
                             'first')
    self._coder = encoders.choose(info, self.path, self._crf, self._preset)
    self.left_out += encoders.lost(info.pix_fmt, self._coder)
    keys = {} if self._key_every is None else {'g': str(self._key_every)}
    stream = self._container.add_stream(self._coder.encoder, rate=info.rate,
                                        options=self._coder.options | keys)
    stream.width, stream.height = info.width, info.height
    stream.pix_fmt = self._coder.pix_fmt
    context = stream.codec_context
    context.time_base = stream.time_base = info.time_base
    if self._coder.encoder == 'libx265' and self._kind.muxer == 'mp4':
      context.codec_tag = 'hvc1'
    if info.sample_aspect_ratio:
      context.sample_aspect_ratio = stream.sample_aspect_ratio = info.sample_aspect_ratio
    context.color_range, context.colorspace = info.color_range, info.tagged_matrix
    context.color_primaries, context.color_trc = info.color_primaries, info.color_trc
    if info.display_matrix:
      stream.set_display_matrix(info.display_matrix)
    if (info.mastering or info.light_level) and not encoders.says_hdr(self._coder.encoder):
      self.left_out.append('what display HDR was mastered on')
    self._stream = stream

  def _finish_pictures(self) -> None:
    if self._last_pts is None:
      raise errors.UserError(f'{self.path}: nothing was written to it')
    self._mux_video(self._stream.encode(None))

  def write(self, image: np.ndarray, pts: int, duration: int | None = None) -> None:
    """Adds one picture.

    Args:
      image: uint8 [H, W, 3] RGB.
      pts: When it is shown, on the source's own clock, in units of `info.time_base`; above the last
        one written.
      duration: How long, in the same units; only the last frame's matters to players.
    """
    self._encode(planes.from_image(image, self.info, self._coder.pix_fmt), pts, duration)

  def copy(self, frame: video.Frame) -> None:
    """Adds a frame as it was decoded; its planes are not converted to RGB."""
    self._encode_as(frame, planes.as_format(frame, self.info, self._coder.pix_fmt))

  def replace(self, frame: video.Frame, image: np.ndarray, at: tuple[int, int] = (0, 0)) -> None:
    """Adds a frame with another picture, or with another part, whose left and top are `at`.

    Where the pictures agree, the planes stay the same to the last bit.
    """
    self._encode_as(frame, planes.with_image(frame, image, self.info, self._coder.pix_fmt, at))

  def _encode_as(self, frame: video.Frame, picture: av.VideoFrame) -> None:
    for kind, name in _BESIDE.items():
      captioned = (kind is SideDataType.A53_CC and self._coder.encoder == 'libx264'
                   and kind in picture.side_data)
      if kind in frame.source.side_data and not captioned and name not in self.left_out:
        self.left_out.append(name)
    self._encode(picture, frame.pts, frame.duration)

  def _encode(self, frame: av.VideoFrame, pts: int, duration: int | None) -> None:
    pts -= self._origin
    if self._last_pts is not None and pts <= self._last_pts:
      raise errors.UserError(f'frame times must rise: {pts} comes after {self._last_pts}')
    if pts < 0:
      raise errors.UserError(f'frame time {pts} is before 0, which an mp4 cannot hold')
    opens, self._last_pts = self._last_pts is None, pts
    if duration:
      self._durations[pts] = duration
    # Otherwise the encoder would have to use the decoder's picture types.
    frame.pict_type = 0
    frame.pts, frame.time_base = pts, self.info.time_base
    with self._disk_errors(), encoders.scheduled_as_before() if opens else contextlib.nullcontext():
      self._mux_video(self._stream.encode(frame))

  def _mux_video(self, packets: Iterable[av.Packet]) -> None:
    for packet in packets:
      packet.duration = self._durations.pop(packet.pts, packet.duration or 0)
      self._mux_beside(packet.dts * packet.time_base)
      self._container.mux(packet)


def write_clip(path: str | os.PathLike, images: Iterable[np.ndarray], rate: Fraction | float | int,
               samples: np.ndarray | None = None, sample_rate: int | None = None, *,
               crf: float = 16, key_every: int | None = None) -> None:
  """Writes pictures at one fixed rate, tagged BT.709, with an optional AAC soundtrack.

  Args:
    path: Of the kinds in `containers`.
    images: uint8 [H, W, 3] RGB each, all of one size.
    rate: Frames per second.
    samples: float32 [channels, n] or [n] in [-1, 1], starting with the first picture.
    sample_rate: Samples per second.
    crf, key_every: As for `Writer`.
  """
  rate = Fraction(rate).limit_denominator(1001)
  images = iter(images)
  first = next(images, None)
  if first is None:
    raise ValueError('no images to write')
  info = video.VideoInfo(
    os.fspath(path), first.shape[1], first.shape[0], rate=rate, time_base=1 / rate,
    color_range=int(ColorRange.MPEG), color_space=1, color_primaries=1, color_trc=1)
  track = None
  if samples is not None:
    track = aac.Soundtrack(np.atleast_2d(samples), sample_rate)
  with Writer(path, info, crf=crf, key_every=key_every, audio=track) as writer:
    writer.write(first, 0, 1)
    for pts, image in enumerate(images, start=1):
      writer.write(image, pts, 1)

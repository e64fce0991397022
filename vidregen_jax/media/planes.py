"""A picture's planes: RGB put into YUV, where possible by changing nothing but what differs."""

import av
import numpy as np
from av.video.reformatter import ColorRange, Interpolation

from vidregen_jax.media import video

_TO_YUV = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
# Around a change, in pixels: as far as a scaler's taps reach, and a multiple of every chroma block.
_MARGIN = 16


def from_image(image: np.ndarray, info: video.VideoInfo, pixel_format: str) -> av.VideoFrame:
  """A frame of an image uint8 [H, W, 3] RGB, by the file's matrix and range.

  Raises:
    ValueError: an image of another type, or not of the file's size.
  """
  if image.shape != (info.height, info.width, 3) or image.dtype != np.uint8:
    raise ValueError(f'image is {image.dtype} {image.shape}, '
                     f'wanted uint8 {(info.height, info.width, 3)}')
  return _convert(image, info, pixel_format)


def as_format(frame: video.Frame, info: video.VideoInfo, pixel_format: str) -> av.VideoFrame:
  """A decoded frame in a pixel format: the very planes where it is the frame's own.

  Raises:
    ValueError: a frame of another size than the file's.
  """
  source = frame.source
  if (source.width, source.height) != (info.width, info.height):
    raise ValueError(f'frame is {source.width}x{source.height}, '
                     f'wanted {info.width}x{info.height}')
  if source.format.is_rgb:
    return from_image(frame.image, info, pixel_format)
  if source.format.name == pixel_format:
    return source
  return source.reformat(
    format=pixel_format, src_colorspace=info.matrix, dst_colorspace=info.matrix,
    dst_color_range=info.color_range or ColorRange.MPEG, interpolation=_TO_YUV, threads=1)


def with_image(frame: video.Frame, image: np.ndarray, info: video.VideoInfo,
               pixel_format: str) -> av.VideoFrame:
  """A decoded frame with another picture in it.

  What is added to the planes is the difference of the two pictures: where they are the same the
  planes stay what they are, to the last bit, however deep they are; and what RGB cannot tell of
  them stays too.

  Args:
    frame: as decoded.
    image: uint8 [H, W, 3] RGB, the picture wanted instead of `frame.image`.
    info: of the frame's file.
    pixel_format: FFmpeg's name of planar YUV.
  """
  source = as_format(frame, info, pixel_format)
  if frame.source.format.is_rgb or source.format.is_big_endian:
    return from_image(image, info, pixel_format)
  out = av.VideoFrame(source.width, source.height, pixel_format)
  for to, plane in zip(_arrays(out), _arrays(source), strict=True):
    to[...] = plane
  out.color_range, out.colorspace = source.color_range, source.colorspace
  differs = (image != frame.image).any(-1)
  if not differs.any():
    return out
  (top, bottom), (left, right) = (_reach(differs.any(axis), size)
                                  for axis, size in ((1, info.height), (0, info.width)))
  old, new = (_arrays(_convert(x[top:bottom, left:right], info, pixel_format))
              for x in (frame.image, image))
  deepest = (1 << source.format.components[0].bits) - 1
  for plane, before, after in zip(_arrays(out), old, new, strict=True):
    down, across = (round(a / b) for a, b in zip((info.height, info.width), plane.shape,
                                                 strict=True))
    part = plane[top // down:, left // across:][:before.shape[0], :before.shape[1]]
    part[...] = np.clip(part.astype(np.int32) + after - before, 0, deepest)
  return out


def same(one: av.VideoFrame, other: av.VideoFrame) -> bool:
  """Whether two frames have the same format and planes, to the last bit."""
  if (one.format.name, one.width, one.height) != (other.format.name, other.width, other.height):
    return False
  return all(np.array_equal(a, b) for a, b in zip(_arrays(one), _arrays(other), strict=True))


def coarse(frame: av.VideoFrame, count: int) -> np.ndarray:
  """Means of luma over `count` by `count` blocks, float32, on a scale of 255."""
  luma = _arrays(frame)[0]
  count = min(count, *luma.shape)
  tops, lefts = (np.linspace(0, size, count, endpoint=False).astype(int) for size in luma.shape)
  sums = np.add.reduceat(np.add.reduceat(luma, tops, 0, np.int64), lefts, 1)
  heights, widths = (np.diff(np.r_[at, size]) for at, size in zip((tops, lefts), luma.shape,
                                                                  strict=True))
  return np.float32(sums / np.outer(heights, widths) * 255
                    / ((1 << frame.format.components[0].bits) - 1))


def _convert(image, info, pixel_format):
  return av.VideoFrame.from_ndarray(np.ascontiguousarray(image), 'rgb24').reformat(
    format=pixel_format, src_colorspace=info.matrix, dst_colorspace=info.matrix,
    src_color_range=ColorRange.JPEG, dst_color_range=info.color_range or ColorRange.MPEG,
    interpolation=_TO_YUV, threads=1)


def _reach(differs, size):
  """The first and the last place + 1 that a change can reach along one axis."""
  at = np.flatnonzero(differs)
  start = max(int(at[0]) - _MARGIN, 0) // _MARGIN * _MARGIN
  return start, min(-(-(int(at[-1]) + 1 + _MARGIN) // _MARGIN) * _MARGIN, size)


def _arrays(frame):
  """The planes as writable arrays [H, W]."""
  kind = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
  width = np.dtype(kind).itemsize
  return [np.frombuffer(plane, kind).reshape(-1, plane.line_size // width)[:plane.height,
                                                                           :plane.width]
          for plane in frame.planes]

"""A picture's planes: RGB put into YUV, where possible by changing nothing but what differs."""

import dataclasses
import itertools
from fractions import Fraction

import av
import av.filter
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Interpolation

from vidregen_jax.media import video

_TO_YUV = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INP | Interpolation.ACCURATE_RND
# Pixels around a change: the reach of a scaler's taps, and a multiple of every chroma block.
_MARGIN = 16
# Formats in which a pixel's samples lie beside each other: blue, green, red, and one more.
_PACKED = ('bgr0', 'bgra')


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
  """A decoded frame in a pixel format; its own planes if it has that format already.

  In a broken file, samples can exceed their bit depth; they are clipped to it, because x264 ends
  the process at them.

  Raises:
    ValueError: a frame of another size than the file's.
  """
  source = frame.source
  if (source.width, source.height) != (info.width, info.height):
    raise ValueError(f'frame is {source.width}x{source.height}, '
                     f'wanted {info.width}x{info.height}')
  if source.format.name == pixel_format:
    bits = source.format.components[0].bits
    deepest = (1 << bits) - 1
    if bits % 8 == 0 or max(int(plane.max()) for plane in _arrays(source)) <= deepest:
      return source
    source = _through(source, 'null')
    source.make_writable()  # a copy
    for plane in _arrays(source):
      np.minimum(plane, deepest, out=plane)
    return source
  if _is_rgb(source.format):
    if source.format.components[0].bits <= 8 and not _is_rgb(av.VideoFormat(pixel_format)):
      return from_image(frame.image, info, pixel_format)
    return source.reformat(
      format=pixel_format, dst_colorspace=info.matrix, src_color_range=ColorRange.JPEG,
      dst_color_range=info.color_range or ColorRange.MPEG, interpolation=_TO_YUV, threads=1)
  return source.reformat(
    format=pixel_format, src_colorspace=info.matrix, dst_colorspace=info.matrix,
    dst_color_range=info.color_range or ColorRange.MPEG, interpolation=_TO_YUV, threads=1)


def part(frame: video.Frame, box: tuple[int, int, int, int]) -> np.ndarray:
  """`frame.image[top:bottom, left:right]`, to the last bit, without converting the rest.

  Args:
    frame: as decoded.
    box: left, top, right, bottom in pixels, inside the picture.
  """
  left, top, right, bottom = box
  source = frame.source
  if 'image' in vars(frame) or _is_rgb(source.format) or source.width % 2 or source.height % 2:
    return frame.image[top:bottom, left:right]
  x0, y0, x1, y1 = room = _grown(box, _MARGIN, source.width, source.height)
  small = _through(source, 'crop', f'{x1 - x0}:{y1 - y0}:{x0}:{y0}:exact=1')
  small.colorspace = frame.matrix  # untagged, it would be chosen by the small picture's size
  return _inside(dataclasses.replace(frame, source=small).image, room, box)


def with_image(frame: video.Frame, image: np.ndarray, info: video.VideoInfo,
               pixel_format: str, at: tuple[int, int] = (0, 0)) -> av.VideoFrame:
  """A decoded frame with another picture in it.

  The difference of the two pictures is added to the planes: where the pictures agree, the planes
  stay the same to the last bit, at any depth, and so does whatever RGB cannot represent of them.

  Args:
    frame: as decoded.
    image: uint8 [h, w, 3] RGB, the picture to put in place of `frame.image` or of a part of it.
    info: of the frame's file.
    pixel_format: FFmpeg's name of planes, or of packed RGB of 8 bits.
    at: left and top of the part.
  """
  source = as_format(frame, info, pixel_format)
  left, top = at
  box = (left, top, left + image.shape[1], top + image.shape[0])
  out = _through(source, 'null')
  out.make_writable()  # a copy
  if pixel_format in _PACKED:
    plane = np.frombuffer(out.planes[0], np.uint8).reshape(info.height, -1, 4)
    _inside(plane, (0, 0), box)[..., 2::-1] = image
    return out
  room = _grown(box, 2 * _MARGIN, info.width, info.height)  # all that a change can reach
  old = part(frame, room)
  new = old.copy()
  _inside(new, room, box)[...] = image
  differs = cv2.absdiff(new, old).reshape(len(old), -1)
  if not differs.any():
    return out
  rows = np.flatnonzero(differs.any(1)).tolist()
  columns = np.flatnonzero(differs.max(0).reshape(-1, 3).any(1)).tolist()
  changed = (room[0] + columns[0], room[1] + rows[0],
             room[0] + columns[-1] + 1, room[1] + rows[-1] + 1)
  changed = _grown(changed, _MARGIN, info.width, info.height)
  old, new = (_arrays(_convert(_inside(x, room, changed), info, pixel_format)) for x in (old, new))
  deepest = (1 << source.format.components[0].bits) - 1
  for plane, before, after in zip(_arrays(out), old, new, strict=True):
    down, across = (round(a / b) for a, b in zip((info.height, info.width), plane.shape,
                                                 strict=True))
    inside = plane[changed[1] // down:, changed[0] // across:][:before.shape[0], :before.shape[1]]
    inside[...] = np.clip(inside.astype(np.int32) + after - before, 0, deepest)
  return out


def _through(source, name, arguments=None):
  """A frame passed through one of FFmpeg's filters, with its chroma location and captions."""
  graph = av.filter.Graph()
  graph.threads = 1  # starting more would take longer than the work
  way = [graph.add_buffer(width=source.width, height=source.height, format=source.format,
                          time_base=Fraction(1)),
         graph.add(name, arguments), graph.add('buffersink')]
  for before, after in itertools.pairwise(way):
    before.link_to(after)
  graph.configure()
  graph.push(source)
  return graph.pull()


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
  rows = [cv2.reduce(luma[top:bottom], 0, cv2.REDUCE_SUM, dtype=cv2.CV_64F)
          for top, bottom in itertools.pairwise([*tops, len(luma)])]
  sums = np.add.reduceat(np.concatenate(rows), lefts, 1)
  heights, widths = (np.diff(np.r_[at, size]) for at, size in zip((tops, lefts), luma.shape,
                                                                  strict=True))
  return np.float32(sums / np.outer(heights, widths) * 255
                    / ((1 << frame.format.components[0].bits) - 1))


def _is_rgb(kind):
  return kind.is_rgb or kind.has_palette


def _convert(image, info, pixel_format):
  return av.VideoFrame.from_ndarray(np.ascontiguousarray(image), 'rgb24').reformat(
    format=pixel_format, src_colorspace=info.matrix, dst_colorspace=info.matrix,
    src_color_range=ColorRange.JPEG, dst_color_range=info.color_range or ColorRange.MPEG,
    interpolation=_TO_YUV, threads=1)


def _grown(box, margin, width, height):
  """A box with a margin around it, up to multiples of `_MARGIN` or the picture's edge."""
  left, top, right, bottom = box
  left, top = (max(x - margin, 0) // _MARGIN * _MARGIN for x in (left, top))
  right, bottom = (-(-(x + margin) // _MARGIN) * _MARGIN for x in (right, bottom))
  return left, top, min(right, width), min(bottom, height)


def _inside(image, box, smaller):
  """The part of an image of `box` that shows `smaller`."""
  left, top = box[:2]
  return image[smaller[1] - top:smaller[3] - top, smaller[0] - left:smaller[2] - left]


def _arrays(frame):
  """The planes as writable arrays [H, W]."""
  kind = np.uint16 if frame.format.components[0].bits > 8 else np.uint8
  width = np.dtype(kind).itemsize
  return [np.frombuffer(plane, kind).reshape(-1, plane.line_size // width)[:plane.height,
                                                                           :plane.width]
          for plane in frame.planes]

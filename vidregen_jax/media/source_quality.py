"""How well frames are encoded anew: as well as their source was, and a little better.

A source that was quantised coarsely has nothing that a fine quantiser could keep, and files would
grow many times for it. Which quantiser a source had is measured: a few of its frames are encoded by
the encoder that will encode them anew, and what that makes at a rate factor is compared with the
source's own packets. Bytes about double with every six steps of the quantiser, as its step size
does, and so the factor at which both would be equal follows.
"""

import itertools
import math

import av
import numpy as np

from vidregen_jax.media import encoders, opening, video

FINEST, COARSEST = 10.5, 26.0  # rate factors, x264's; the first is about 51 dB from the source
# Steps finer than the source: half its step size, and so a quarter of its error, which adds 1 dB.
_BETTER = 6.0
_ENCODERS = ('libx264', 'libx265')  # whose rate factors are compared
_FRAMES = 10  # that are tried
_FIRST_TRIAL, _NEAR = 20.0, 6.5  # a second trial is made where the first was further off than this
_STEPS_A_DOUBLING = 6.0


def rate_factor(info: video.VideoInfo, coder: encoders.Coder, first: int, preset: str) -> float:
  """The rate factor to encode a source's frames with, x264's, from `FINEST` to `COARSEST`.

  Args:
    info: of the source.
    coder: the encoder, its pixel format, and options beside those of `encoders.settings`.
    first: number of a frame from which on it is tried.
    preset: as for `encoders.settings`.
  """
  first = max(min(first, info.frame_count - _FRAMES), 0)
  sizes = _sizes(info.path)[first:first + _FRAMES]
  pictures = [frame.source for frame in itertools.islice(
    video.frames(info.path, first, first + _FRAMES, stamps=info.stamps), _FRAMES)]
  own = np.mean(sizes) if sizes else 0.0
  if coder.encoder not in _ENCODERS or len(pictures) < _FRAMES or not own:
    return FINEST
  factor = _FIRST_TRIAL
  for _ in range(2):
    try:
      made = _trial(info, coder, pictures, factor, preset)
    except av.error.FFmpegError:
      return FINEST  # whoever writes with this encoder says what it does not take
    apart = _STEPS_A_DOUBLING * math.log2(made / own)
    factor = min(max(factor + apart, FINEST), COARSEST + _BETTER)
    if abs(apart) < _NEAR:
      break
  return min(max(factor - _BETTER, FINEST), COARSEST)


def _sizes(path) -> list[int]:
  """Bytes of a source's pictures as they are shown; of those that depend on others, if any do."""
  with opening.open_input(path) as container:
    stream = video.video_stream(container, path)
    rows = [(packet.pts or 0, packet.size, packet.is_keyframe)
            for packet in container.demux(stream) if packet.size]
  usual = np.mean([size for _, size, is_key in rows if not is_key] or [0])
  return [usual if is_key and usual else size for _, size, is_key in sorted(rows)]


def _trial(info, coder, pictures, factor, preset) -> float:
  """Bytes that an encoder makes of a picture that depends on others, the mean."""
  encoder = av.CodecContext.create(coder.encoder, 'w')
  encoder.width, encoder.height, encoder.pix_fmt = info.width, info.height, coder.pix_fmt
  encoder.time_base, encoder.framerate = info.time_base, info.rate
  encoder.bit_rate = 0
  encoder.options = encoders.settings(coder.encoder, factor, preset, coder.options)
  packets = []
  for picture in pictures:
    picture = picture.reformat(format=coder.pix_fmt)
    picture.pict_type = 0
    packets += encoder.encode(picture)
  packets += encoder.encode(None)
  return max(np.mean([packet.size for packet in packets if not packet.is_keyframe]), 1.0)

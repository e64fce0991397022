"""Videos to measure sync with: at one moment the picture is bright and the sound clicks."""

from fractions import Fraction

import av
import numpy as np

RATE, COUNT = 48_000, 40
FRAME = 20  # the bright one
CLICK = FRAME * RATE // 25  # the sample at which the click begins


def make(path, encoder, sound_encoder, *, offset=0, options=None, tracks=1):
  """Writes 40 frames, 25 a second, with a key frame every 12, and sound of the same length.

  Args:
    path, encoder, sound_encoder: the file, and the FFmpeg names of its encoders.
    offset: seconds by which the file's clock is late.
    options: of the muxer.
    tracks: of sound, all the same.
  """
  with av.open(str(path), 'w', options=options or {}) as out:
    pictures = out.add_stream(encoder, rate=25, options={'g': '12'})
    pictures.width, pictures.height, pictures.pix_fmt = 96, 80, 'yuv420p'
    packets = []
    for _ in range(tracks):
      packets += _sound(out.add_stream(sound_encoder, rate=RATE, layout='stereo'))
    for index in range(COUNT):
      level = 220 if index == FRAME else 20 + index % 3 * 10
      frame = av.VideoFrame.from_ndarray(np.full((80, 96, 3), level, np.uint8), 'rgb24').reformat(
        format='yuv420p')
      frame.pts, frame.time_base = index, Fraction(1, 25)
      packets += pictures.encode(frame)
    packets += pictures.encode(None)
    for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
      later = round(offset / packet.time_base)
      packet.pts, packet.dts = packet.pts + later, packet.dts + later
      out.mux(packet)
  return path


def _sound(stream):
  """Encodes silence with a click, and returns the packets."""
  wave = np.zeros((2, COUNT * RATE // 25), np.float32)
  wave[:, CLICK:CLICK + 200] = .9 * np.sin(.8 * np.arange(200))
  context, packets = stream.codec_context, []
  context.open()
  to_its = av.AudioResampler(context.format.name, 'stereo', RATE)
  step = context.frame_size or 1024
  for begin in range(0, wave.shape[1], step):
    part = np.ascontiguousarray(wave[:, begin:begin + step])
    frame = av.AudioFrame.from_ndarray(part, 'fltp', 'stereo')
    frame.sample_rate, frame.pts, frame.time_base = RATE, begin, Fraction(1, RATE)
    for converted in to_its.resample(frame):
      packets += stream.encode(converted)
  return packets + stream.encode(None)


def seen(frames) -> Fraction:
  """The time in seconds of the bright frame among video.Frames."""
  return max(frames, key=lambda frame: frame.source.to_ndarray()[:80].mean()).time


def heard(sound) -> float:
  """The time in seconds at which the click begins in a sound_file.Recording."""
  level = np.abs(sound[:, :]).max(0)
  return float(sound.start) + int(np.argmax(level > .3 * level.max())) / sound.rate

"""Small sound files in any codec, container and channel layout, with or without video."""

import struct
from fractions import Fraction

import av
import numpy as np

RATE = 48_000


def tones(channels, seconds=1.0, rate=RATE, first=300, step=100, level=0.2):
  """One tone per channel, float32 [channels, n]: channel c is first + c * step Hz."""
  t = np.arange(round(seconds * rate)) / rate
  return np.float32([level * np.sin(2 * np.pi * (first + step * c) * t) for c in range(channels)])


def noise(seconds=1.0, rate=RATE, seed=0, level=0.1):
  """Noise below about 5 kHz, which every codec keeps, float32 [1, n]."""
  made = np.random.default_rng(seed).normal(size=round(seconds * rate))
  made = np.convolve(made, np.hanning(9), 'same')
  return np.float32(made / made.std() * level)[None]


def write(path, codec, samples, rate=RATE, layout='mono', *, muxer=None, options=None, kind=None,
          file=None, pictures=0, late=0):
  """Writes a sound file.

  Args:
    samples: float32 [channels, n].
    muxer, options, kind, file: in FFmpeg's names, the container, the encoder's options, its sample
      format, and the container's options.
    pictures: number of video frames, 25 a second, in H.264 (VP9 in webm).
    late: number of samples by which the sound begins later than the video.
  """
  with av.open(str(path), 'w', format=muxer, options=file or {}) as out:
    shown = None
    if pictures:
      shown = out.add_stream('libvpx-vp9' if path.suffix == '.webm' else 'libx264', rate=25)
      shown.width, shown.height, shown.pix_fmt = 32, 32, 'yuv420p'
    heard = out.add_stream(codec, rate=rate, layout=layout, options=options or {})
    if kind:
      heard.codec_context.format = kind
    for begin in range(0, samples.shape[1], 4800):
      out.mux(heard.encode(frame(samples[:, begin:begin + 4800], rate, begin + late, layout)))
    out.mux(heard.encode(None))
    for index in range(pictures):
      picture = np.full((32, 32, 3), 5 * index % 256, np.uint8)
      out.mux(shown.encode(av.VideoFrame.from_ndarray(picture, 'rgb24')))
    if pictures:
      out.mux(shown.encode(None))
  return path


def frame(samples, rate, pts, layout):
  made = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T).reshape(1, -1), 'flt', layout)
  made.sample_rate, made.pts, made.time_base = rate, pts, Fraction(1, rate)
  return made


def channel(path, index):
  """One channel of a file as FFmpeg's pan filter extracts it, float32 [n]."""
  parts = []
  with av.open(str(path)) as container:
    graph = None
    for decoded in container.decode(audio=0):
      if graph is None:
        graph = av.filter.Graph()
        source = graph.add_abuffer(template=container.streams.audio[0])
        taken = graph.add('pan', f'mono|c0=c{index}')
        packed, sink = graph.add('aformat', 'sample_fmts=flt'), graph.add('abuffersink')
        for one, next_one in ((source, taken), (taken, packed), (packed, sink)):
          one.link_to(next_one)
        graph.configure()
      graph.push(decoded)
      parts.append(graph.pull().to_ndarray()[0])
  return np.concatenate(parts)


def pitch(samples, rate=RATE):
  """The strongest frequency in Hz."""
  heard = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
  return heard.argmax() * rate / len(samples)


def delay(heard, sent):
  """(samples by which `heard` is later than `sent`, similarity at that delay: 1 if equal)."""
  part = sent[len(sent) // 4:len(sent) // 2]
  size = 1 << (len(heard) + len(part)).bit_length()
  across = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(part, size)), size)
  at = int(across[:len(heard)].argmax())
  return at - len(sent) // 4, float(across[at] / np.sum(part.astype(np.float64)**2))


def wav(path, *, channels=1, rate=RATE, bits=16, kind=1, data=b'\0\1' * 4800, claims=None):
  """Writes a wav file whose header may say anything."""
  block = channels * bits // 8
  path.write_bytes(
    b'RIFF' + struct.pack('<I', 2**32 - 1) + b'WAVEfmt '
    + struct.pack('<IHHIIHH', 16, kind, channels, rate, rate * block % 2**32, block % 2**16, bits)
    + b'data' + struct.pack('<I', len(data) if claims is None else claims) + data)
  return path

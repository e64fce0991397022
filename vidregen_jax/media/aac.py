"""A file's soundtrack made of samples: what is encoded, with what."""

import dataclasses
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np

from vidregen_jax import errors
from vidregen_jax.media import sound as sounds

LAYOUTS = {1: 'mono', 2: 'stereo', 3: '3.0', 4: '4.0', 5: '5.0', 6: '5.1', 8: '7.1'}
_OPUS_RATE = 48_000
FRAME = 1024  # samples of an AAC-LC packet


@dataclasses.dataclass(frozen=True)
class Soundtrack:
  """Samples to be encoded as a file's sound.

  Attributes:
    samples: float32 [channels, n] in [-1, 1], or a `sound.Sound`, which is read in pieces.
    rate: Samples per second.
    start: Seconds, on the video's clock, of the first sample.
    bit_rate: Bits per second for AAC.
  """

  samples: np.ndarray | sounds.Sound
  rate: int
  start: Fraction = Fraction(0)
  bit_rate: int = 192_000


def add_stream(container: av.container.OutputContainer, sound: Soundtrack, encoder: str = 'aac'):
  """Adds the stream that a soundtrack is encoded into.

  Args:
    container: to add it to.
    sound: what is to be encoded.
    encoder: `aac`, or `libopus`, which brings rates that Opus does not have to 48 kHz.

  Raises:
    UserError: AAC has no such sample rate.
    ValueError: samples of another shape.
  """
  channels = sound.samples.shape[0] if sound.samples.ndim == 2 else 0
  if channels not in LAYOUTS:
    raise ValueError(f'samples are {sound.samples.shape}, wanted [channels, n] with '
                     f'{", ".join(map(str, LAYOUTS))} channels')
  known = av.Codec(encoder, 'w').audio_rates
  rate = sound.rate if encoder == 'aac' or sound.rate in known else _OPUS_RATE
  stream = container.add_stream(encoder, rate=rate, layout=LAYOUTS[channels])
  if rate not in known:
    raise errors.UserError(f'AAC has no {sound.rate} Hz; resample the sound to 48000 Hz')
  stream.bit_rate = sound.bit_rate
  return stream


def encoded(sound: Soundtrack, stream, begins: Fraction = Fraction(0)) -> Iterator[av.Packet]:
  """The packets of a soundtrack, encoded into `stream`, of a file that begins at some second."""
  offset = round(sound.start * sound.rate)
  end, block = offset + sound.samples.shape[1], stream.codec_context.frame_size or FRAME
  last = round(Fraction(end * stream.rate, sound.rate))
  # From the file's beginning on, in silence up to the start: AAC's priming then lies before that,
  # where the container hides it to the sample.
  for begin in range(int(begins * sound.rate) // block * block, end, block):
    frame = block_of(sound, begin, min(block, end - begin), stream.layout.name)
    yield from _ending(stream.encode(frame), last)
  yield from _ending(stream.encode(None), last)


def block_of(sound: Soundtrack, begin: int, size: int, layout: str) -> av.AudioFrame:
  """`size` samples from `begin` on, counted from time 0, as a frame; silence where there are none.
  """
  offset = round(sound.start * sound.rate)
  piece = np.zeros((sound.samples.shape[0], size), np.float32)
  first, last = max(begin, offset), min(begin + size, offset + sound.samples.shape[1])
  if first < last:
    piece[:, first - begin:last - begin] = sound.samples[:, first - offset:last - offset]
  frame = av.AudioFrame.from_ndarray(piece, 'fltp', layout)
  frame.sample_rate, frame.pts, frame.time_base = sound.rate, begin, Fraction(1, sound.rate)
  return frame


def _ending(packets: Iterable[av.Packet], end: int) -> Iterator[av.Packet]:
  """Ends the last packet at the last sample: the encoder fills it up with silence."""
  for packet in packets:
    packet.duration = min(packet.duration, end - packet.pts)
    if packet.duration > 0:
      yield packet

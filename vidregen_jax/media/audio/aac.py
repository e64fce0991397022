"""Soundtracks encoded from samples, as AAC or Opus."""

import dataclasses
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np

from vidregen_jax.media.audio import channels, waveform
from vidregen_jax.media.audio import lazy as sounds

_MOST_BITS = 256_000  # bits a second and channel, the most that Opus allows
FRAME = 1024  # samples of an AAC-LC packet


@dataclasses.dataclass(frozen=True)
class Soundtrack:
  """Samples to be encoded as a file's sound.

  Attributes:
    samples: float32 [channels, n] in [-1, 1], or a `lazy.Sound`, which is read in pieces.
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
    encoder: `aac` or `libopus`. Sound is converted to rates and channels that it has; `lost` says
      what that loses.

  Raises:
    ValueError: samples of another shape.
  """
  if sound.samples.ndim != 2 or not sound.samples.shape[0]:
    raise ValueError(f'samples are {sound.samples.shape}, wanted [channels, n]')
  layout, places = channels.written(places_of(sound), encoder)
  stream = container.add_stream(encoder, rate=rate_of(sound, encoder), layout=layout)
  stream.bit_rate = min(sound.bit_rate, _MOST_BITS * len(places))
  return stream


def places_of(sound: Soundtrack) -> tuple[str, ...]:
  """Where its channels are."""
  samples = sound.samples
  return samples.places if isinstance(samples, sounds.Sound) else channels.usual(len(samples))


def lost(sound: Soundtrack, encoder: str) -> list[str]:
  """What an encoder cannot hold of a soundtrack, in words."""
  losses, own = [], places_of(sound)
  layout, theirs = channels.written(own, encoder)
  if len(theirs) < len(own):
    losses.append(f'{len(own) - len(theirs)} of {len(own)} channels of the sound (mixed down to '
                  f'{layout})')
  rate = rate_of(sound, encoder)
  if rate < sound.rate:
    losses.append(f'sound above {rate // 2} Hz')
  return losses


def rate_of(sound: Soundtrack, encoder: str) -> int:
  """The rate at which an encoder is given a sound: its lowest that is enough, or its highest."""
  rate, known = sound.rate, av.Codec(encoder, 'w').audio_rates
  enough = [other for other in known if rate <= other <= max(2 * rate, min(known))]
  return min(enough) if enough else max(known)


def encoded(sound: Soundtrack, stream, begins: Fraction = Fraction(0)) -> Iterator[av.Packet]:
  """The packets of a soundtrack, encoded into `stream`, of a file that begins at some second."""
  sound = _fitted(sound, stream)
  offset = round(sound.start * sound.rate)
  end, block = offset + sound.samples.shape[1], stream.codec_context.frame_size or FRAME
  # Encoding begins with the file, in silence up to the start: AAC's priming then lies before that,
  # where the container hides it to the sample.
  for begin in range(int(begins * sound.rate) // block * block, end, block):
    frame = block_of(sound, begin, min(block, end - begin), stream.layout.name)
    yield from _ending(stream.encode(frame), end)
  yield from _ending(stream.encode(None), end)


def _fitted(sound, stream):
  """A soundtrack at a stream's rate and with its channels."""
  samples = sound.samples
  if not isinstance(samples, sounds.Sound):
    samples = sounds.Samples(samples, sound.rate)
  samples = sounds.with_places(samples, channels.places(stream.layout))
  return dataclasses.replace(sound, samples=sounds.at_rate(samples, stream.rate), rate=stream.rate)


def block_of(sound: Soundtrack, begin: int, size: int, layout: str) -> av.AudioFrame:
  """A frame of `size` samples from `begin`, counted from time 0; silence outside the sound."""
  offset = round(sound.start * sound.rate)
  piece = np.zeros((sound.samples.shape[0], size), np.float32)
  first, last = max(begin, offset), min(begin + size, offset + sound.samples.shape[1])
  if first < last:
    piece[:, first - begin:last - begin] = sound.samples[:, first - offset:last - offset]
  return waveform.as_frame(piece, sound.rate, begin, layout)


def _ending(packets: Iterable[av.Packet], end: int) -> Iterator[av.Packet]:
  """Shortens the last packet to the last sample; the encoder pads it with silence."""
  for packet in packets:
    packet.duration = min(packet.duration, end - packet.pts)
    if packet.duration > 0:
      yield packet

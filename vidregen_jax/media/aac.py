"""A file's soundtrack as packets: samples encoded, or the source's packets with some replaced."""

import dataclasses
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np

from vidregen_jax import errors
from vidregen_jax.media import audio
from vidregen_jax.media import sound as sounds

_LAYOUTS = {1: 'mono', 2: 'stereo', 3: '3.0', 4: '4.0', 5: '5.0', 6: '5.1', 8: '7.1'}
_OPUS_RATE = 48_000
_FRAME = 1024  # samples of an AAC-LC packet, whose window is twice as long
_RUN_UP = 4  # packets before and after a patch, for the coder and for the check
# How far a seam may be from what is meant, of the sound's level there and of full scale.
_SEAM_RELATIVE, _SEAM_ABSOLUTE = 0.25, 0.002


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
  if channels not in _LAYOUTS:
    raise ValueError(f'samples are {sound.samples.shape}, wanted [channels, n] with '
                     f'{", ".join(map(str, _LAYOUTS))} channels')
  known = av.Codec(encoder, 'w').audio_rates
  rate = sound.rate if encoder == 'aac' or sound.rate in known else _OPUS_RATE
  stream = container.add_stream(encoder, rate=rate, layout=_LAYOUTS[channels])
  if rate not in known:
    raise errors.UserError(f'AAC has no {sound.rate} Hz; resample the sound to 48000 Hz')
  stream.bit_rate = sound.bit_rate
  return stream


def encoded(sound: Soundtrack, stream) -> Iterator[av.Packet]:
  """The packets of a soundtrack, encoded into `stream`."""
  offset = round(sound.start * sound.rate)
  end, block = offset + sound.samples.shape[1], stream.codec_context.frame_size or _FRAME
  last = round(Fraction(end * stream.rate, sound.rate))
  # From time 0 on, in silence up to the start: AAC's priming then lies before 0, where the
  # container hides it to the sample.
  for begin in range(0, end, block):
    frame = _block(sound, begin, min(block, end - begin), stream.layout.name)
    yield from _ending(stream.encode(frame), last)
  yield from _ending(stream.encode(None), last)


def _block(sound, begin, size, layout):
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


@dataclasses.dataclass(frozen=True)
class Patched:
  """The first soundtrack of a file, with some of its packets replaced.

  Attributes:
    path: The file.
    replaced: New content by pts, in the track's own time base.
  """

  path: str
  replaced: dict[int, bytes]

  def packets(self, source: av.container.InputContainer, stream) -> Iterator[av.Packet]:
    """All packets, for `stream`; those that are not replaced as they are in `source`."""
    for packet in source.demux(source.streams.audio[0]):
      if packet.size == 0:
        continue
      if packet.pts in self.replaced:
        new = av.Packet(self.replaced[packet.pts])
        new.pts, new.dts, new.duration = packet.pts, packet.dts, packet.duration
        new.time_base, new.is_keyframe = packet.time_base, packet.is_keyframe
        packet = new
      packet.stream = stream
      yield packet


def patch(path: str | os.PathLike, sound: Soundtrack, changed) -> Patched | str:
  """Replaces those packets of a file's AAC that a change can be heard in.

  A packet's window reaches over the next packet's samples, and neighbours are added up where their
  windows overlap. So a packet is replaced where its window meets a change, and one before that; at
  both ends a new window and an old one then overlap where nothing has changed, and what they add
  up to is decoded here and held against what is meant.

  Args:
    path: The file whose first soundtrack `sound` was, before the change.
    sound: What is meant.
    changed: (first, last) samples, counted in `sound`.

  Returns:
    A Patched, or the reason why the whole must be encoded, which reads on after "the soundtrack
    cannot be patched: ".
  """
  container, stream = audio.open_sound(path)
  with container:
    context = stream.codec_context
    if context.name != 'aac' or context.profile != 'LC' or context.frame_size != _FRAME:
      return f'it is {context.name} {context.profile or ""}'.rstrip() + ', not AAC LC'
    if stream.time_base != Fraction(1, sound.rate):
      return f'its times are counted in {stream.time_base} s'
    if context.layout.name != _LAYOUTS.get(sound.samples.shape[0]):
      return f'its channels are {context.layout.name}'
    layout, head = context.layout.name, bytes(context.extradata or b'')
    bit_rate = max(stream.bit_rate or 0, sound.bit_rate)
    times = np.sort([packet.pts for packet in container.demux(stream) if packet.size])
  reaches = _reaches(times, changed, round(sound.start * sound.rate))
  near = {seam: _within(times, seam - _RUN_UP * _FRAME, seam + _RUN_UP * _FRAME)
          for reach in reaches for seam in reach}
  old = _packets(path, set().union(*near.values()))
  replaced = {}
  for begin, end in reaches:
    around = _within(times, begin - _RUN_UP * _FRAME, end + _RUN_UP * _FRAME)
    if (np.diff(around) != _FRAME).any():
      return 'packets are missing in it'
    made = _encode(sound, begin, end, bit_rate, layout, head)
    if isinstance(made, str):
      return made
    replaced |= made
    for seam in (begin, end):
      whole = {pts: made[pts] if pts in made else old[pts] for pts in near[seam]}
      if seam in whole and _is_heard(sound, whole, head, seam):
        return f'a seam would be heard at {seam / sound.rate:.2f} s'
  return Patched(os.fspath(path), replaced)


def _within(times, first, last):
  """Those of ascending times from `first` up to, and without, `last`."""
  return times[slice(*np.searchsorted(times, (first, last)))].tolist()


def _packets(path, wanted):
  """Some of a soundtrack's packets, by pts."""
  container, stream = audio.open_sound(path)
  with container:
    return {packet.pts: bytes(packet) for packet in container.demux(stream)
            if packet.size and packet.pts in wanted}


def _reaches(times, changed, offset):
  """(first, end) pts of the packets that changes reach; those that touch are one."""
  reaches = []
  for first, last in sorted(changed):
    before = int(np.searchsorted(times, first + offset - _FRAME, 'right')) - 1
    after = int(np.searchsorted(times, last + offset))
    begin = int(times[max(before, 0)])
    end = int(times[after]) if after < len(times) else int(times[-1]) + _FRAME
    if reaches and begin <= reaches[-1][1] + _FRAME:
      reaches[-1] = (reaches[-1][0], max(end, reaches[-1][1]))
    else:
      reaches.append((begin, end))
  return reaches


def _encode(sound, begin, end, bit_rate, layout, head):
  """New packets from pts `begin` to `end` by pts, or why their header is not the old one's."""
  encoder = av.CodecContext.create('aac', 'w')
  encoder.sample_rate, encoder.layout, encoder.format = sound.rate, layout, 'fltp'
  encoder.bit_rate, encoder.time_base = bit_rate, Fraction(1, sound.rate)
  encoder.open()
  if bytes(encoder.extradata)[:2] != head[:2]:
    return 'its header is not that of plain AAC LC'
  packets = []
  for at in range(begin - _RUN_UP * _FRAME, end + _RUN_UP * _FRAME, _FRAME):
    packets += encoder.encode(_block(sound, at, _FRAME, layout))
  packets += encoder.encode(None)
  return {packet.pts: bytes(packet) for packet in packets if begin <= packet.pts < end}


def _is_heard(sound, packets, head, seam):
  """Whether decoded sound is not what is meant, at a seam between old and new packets."""
  first = seam - round(sound.start * sound.rate)
  meant = sound.samples[:, max(first, 0):max(first, 0) + _FRAME]
  if first < 0 or meant.shape[1] < _FRAME:
    return False  # at the very ends nothing is joined
  decoder = av.CodecContext.create('aac', 'r')
  decoder.extradata = head
  heard = {}
  for pts, data in packets.items():
    packet = av.Packet(data)
    packet.pts = pts
    heard |= {frame.pts: frame.to_ndarray() for frame in decoder.decode(packet)}
  level = lambda x: float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))
  return (seam in heard and level(heard[seam] - meant)
          > _SEAM_RELATIVE * level(meant) + _SEAM_ABSOLUTE)

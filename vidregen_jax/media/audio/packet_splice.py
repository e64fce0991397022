"""A file's soundtrack with a few packets replaced; all others are the file's own.

Packets are not independent: decoded neighbours overlap and are added, and Opus predicts from the
decoder's state. So more packets are replaced than audibly change, and at both ends old and new ones
meet where the sound is the same. What they decode to is compared with the intended sound; where it
differs, the seam is tried a packet farther off.
"""

import dataclasses
import os
from collections.abc import Iterator
from fractions import Fraction

import av
import numpy as np

from vidregen_jax.media import opening
from vidregen_jax.media.audio import aac, channels, opus, waveform

# Tolerated error at a seam, relative to the level of the sound there and to full scale.
_SEAM_RELATIVE, _SEAM_ABSOLUTE = 0.25, 0.002
_COARSE = Fraction(1, 1000)  # seconds: coarser time bases do not give packets' places
_OFF = 2  # units of such a time base by which a packet's time may differ from its place


@dataclasses.dataclass(frozen=True)
class Coding:
  """How the packets of a codec depend on each other; numbers are of packets.

  Attributes:
    encoder: FFmpeg's name.
    samples: of a packet.
    before, after: replaced before and after a change too.
    run_up: encoded and decoded in addition at both ends, for the codec's state.
    checked: compared after a seam.
    tries: by which a seam may be moved outwards.
    options: of the encoder.
  """

  encoder: str
  samples: int
  before: int
  after: int
  run_up: int
  checked: int
  tries: int = 0
  options: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Patched:
  """The first soundtrack of a file, with some of its packets replaced.

  Attributes:
    path: The file.
    codec: FFmpeg's name of its codec.
    replaced: New packets by pts, in the track's own time base.
    first, length, rate: Samples from time 0 to the first packet, of a packet, and per second.
  """

  path: str
  codec: str
  replaced: dict[int, bytes]
  first: int
  length: int
  rate: int

  def packets(self, source: av.container.InputContainer, stream,
              exact: bool = True) -> Iterator[av.Packet]:
    """Yields all packets for `stream`; those that are not replaced are those of `source`.

    Args:
      source: the file, opened.
      stream: of the file that is written.
      exact: whether to count times in samples where the source rounds them; needs an output that
        can represent that.
    """
    unit, at = Fraction(1, self.rate), self.first
    for packet in source.demux(source.streams.audio[0]):
      if packet.size == 0:
        continue
      if packet.pts in self.replaced:
        new = av.Packet(self.replaced[packet.pts])
        new.pts, new.dts, new.duration = packet.pts, packet.dts, packet.duration
        new.time_base, new.is_keyframe = packet.time_base, packet.is_keyframe
        for trimming in packet.iter_sidedata():  # samples to skip at both ends
          new.set_sidedata(trimming)
        packet = new
      if exact and packet.time_base >= _COARSE:
        packet.pts, packet.dts, packet.duration = at, at, self.length - _unheard(packet)[1]
        packet.time_base = unit
      at += self.length
      packet.stream = stream
      yield packet


def patch(path: str | os.PathLike, sound: aac.Soundtrack, changed) -> Patched | str:
  """Replaces those packets of a file's AAC or Opus in which a change is audible.

  Args:
    path: The file; its first soundtrack is `sound` before the change.
    sound: The intended sound.
    changed: (first, last) samples, counted in `sound`.

  Returns:
    A Patched, or the reason why the whole must be encoded, which reads on after "the soundtrack
    cannot be patched: ".
  """
  container, stream = waveform.open_sound(path)
  with container:
    # From here on times are on the file's own clock, as those of its packets.
    sound = dataclasses.replace(sound, start=sound.start + opening.origin(container))
    context = stream.codec_context
    codec, head = context.codec.canonical_name, bytes(context.extradata or b'')
    bit_rate = max(stream.bit_rate or 0, sound.bit_rate)
    rows = [(packet.pts, _unheard(packet)[0], bytes(packet)[:2])
            for packet in container.demux(stream) if packet.size]
    coding = _coding(context, head, [start for *_, start in rows])
    if isinstance(coding, str):
      return coding
    layout, places = channels.written(aac.places_of(sound), coding.encoder)
    if not channels.places(context.layout) == places == aac.places_of(sound):
      return f'its channels are {context.layout.name}'
    at = _places(rows, stream.time_base, context.sample_rate, sound, coding.samples)
  if isinstance(at, str):
    return at
  replaced, length = {}, coding.samples
  pts = dict(zip(at.tolist(), sorted(row[0] for row in rows), strict=True))
  for begin, end in _reaches(at, changed, round(sound.start * sound.rate), coding):
    room = (coding.run_up + coding.tries) * length
    around = at[slice(*np.searchsorted(at, (begin - room, end + room)))].tolist()
    if (np.diff(around) != length).any():
      return 'packets are missing in it'
    old = _packets(path, {pts[place]: place for place in around})
    if codec == 'opus' and not all(map(opus.is_celt, old.values())):
      return 'it is coded as speech there'
    new = _encode(sound, coding, layout, around[0], around[-1] + length, bit_rate, head)
    if isinstance(new, str):
      return new
    seams = (_seam(sound, coding, head, old, new, range(begin, around[0] - 1, -length)),
             _seam(sound, coding, head, new, old, range(end, around[-1] + length + 1, length)))
    for seam, meant in zip(seams, (begin, end), strict=True):
      if seam is None:
        return f'a seam would be heard at {meant / sound.rate:.2f} s'
    replaced |= {pts[place]: new[place] for place in range(*seams, length)}
  return Patched(os.fspath(path), codec, replaced, int(at[0]), length, sound.rate)


def _coding(context, head, starts) -> Coding | str:
  """The Coding of a soundtrack whose packets start with these bytes, or why there is none."""
  if context.codec.canonical_name == 'opus':
    lengths = set(map(opus.samples, starts))
    if len(lengths) != 1 or lengths.isdisjoint(opus.FRAMES):
      return 'its packets are of unlike lengths'
    if len(head) < 19 or head[18]:
      return 'its channels are coded in streams of their own'
    length, = lengths
    settled = -(-opus.SETTLES // length)
    return Coding('libopus', length, before=settled, after=settled, run_up=2 * settled,
                  checked=settled, tries=settled,
                  options={'frame_duration': f'{1000 * length / opus.RATE:g}'})
  if context.name != 'aac' or context.profile != 'LC' or context.frame_size != aac.FRAME:
    return f'it is {context.name} {context.profile or ""}'.rstrip() + ', not AAC LC or Opus'
  return Coding('aac', aac.FRAME, before=1, after=0, run_up=4, checked=1)


def _unheard(packet) -> tuple[int, int]:
  """How many samples are to be skipped from a packet's start, and at its end."""
  if not packet.has_sidedata('skip_samples'):
    return 0, 0
  data = bytes(packet.get_sidedata('skip_samples'))
  return int.from_bytes(data[:4], 'little'), int.from_bytes(data[4:8], 'little')


def _places(rows, base, rate, sound, length) -> np.ndarray | str:
  """Where each packet begins, in samples from time 0, int64 [N] ascending; or why that is unknown.

  Args:
    rows: (pts, samples to skip from there, ...) of each packet.
    base: seconds of a unit of pts.
    rate: of the decoded sound.
    sound: the intended sound.
    length: samples of a packet.
  """
  if any(row[0] is None for row in rows):
    return 'some of its packets have no time'
  pts = np.sort([row[0] for row in rows])
  if base == Fraction(1, sound.rate):
    return waveform.in_line(pts, length, sound.rate)
  if base < _COARSE or rate != sound.rate:
    return f'its times are counted in {base} s'
  at = round(sound.start * sound.rate) - rows[0][1] + length * np.arange(len(pts))
  if (np.abs(at - pts * float(base * rate)) > _OFF * base * rate).any():
    return 'its times are not those of its samples'
  return at


def _reaches(at, changed, offset, coding):
  """(begin, end) of the ranges of packets to replace at least; ranges that touch are merged."""
  reaches, length = [], coding.samples
  for first, last in sorted(changed):
    before = np.searchsorted(at, first + offset - coding.before * length, 'right') - 1
    after = np.searchsorted(at, last + offset + coding.after * length)
    begin = int(at[max(before, 0)])
    end = int(at[after]) if after < len(at) else int(at[-1]) + length
    if reaches and begin <= reaches[-1][1] + (1 + 2 * coding.tries) * length:
      reaches[-1] = (reaches[-1][0], max(end, reaches[-1][1]))
    else:
      reaches.append((begin, end))
  return reaches


def _packets(path, places):
  """Packets of a soundtrack by place, given the places by pts."""
  container, stream = waveform.open_sound(path)
  with container:
    return {places[packet.pts]: bytes(packet) for packet in container.demux(stream)
            if packet.size and packet.pts in places}


def _encode(sound, coding, layout, begin, end, bit_rate, head):
  """New packets from `begin` to `end` by place, or why their header does not fit."""
  encoder = av.CodecContext.create(coding.encoder, 'w')
  encoder.sample_rate, encoder.layout = sound.rate, layout
  encoder.format = 'fltp' if coding.encoder == 'aac' else 'flt'
  encoder.bit_rate, encoder.time_base = bit_rate, Fraction(1, sound.rate)
  encoder.options = dict(coding.options)
  encoder.open()
  lag = 0
  if coding.encoder == 'aac':
    if bytes(encoder.extradata)[:2] != head[:2]:
      return 'its header is not that of plain AAC LC'
  else:
    lag = int.from_bytes(bytes(encoder.extradata)[10:12], 'little')
  packets, room = [], coding.run_up * coding.samples
  for at in range(begin - room + lag, end + room + lag, coding.samples):
    packets += encoder.encode(aac.block_of(sound, at, coding.samples, layout))
  packets += encoder.encode(None)
  return {packet.pts: bytes(packet) for packet in packets if begin <= packet.pts < end}


def _seam(sound, coding, head, before, behind, places):
  """The first of some places at which packets of `behind` may follow those of `before`, or None.

  The first packet of all follows none, and nothing follows the last: these are always possible.
  """
  for place in places[:coding.tries + 1]:
    if (place - coding.samples not in before or place not in behind
        or not _is_heard(sound, coding, head, before, behind, place)):
      return place
  return None


def _is_heard(sound, coding, head, before, behind, seam):
  """Whether the decoded sound after a seam differs from the intended sound."""
  decoder = av.CodecContext.create('aac' if coding.encoder == 'aac' else 'opus', 'r')
  decoder.extradata = head
  length, offset = coding.samples, round(sound.start * sound.rate)
  level = lambda x: float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))
  for at in range(seam - coding.run_up * length, seam + coding.checked * length, length):
    data = (before if at < seam else behind).get(at)
    if data is None:
      continue
    packet = av.Packet(data)
    packet.pts = at
    for frame in decoder.decode(packet):
      first = frame.pts - offset
      meant = sound.samples[:, max(first, 0):max(first, 0) + frame.samples]
      if frame.pts < seam or first < 0 or meant.shape[1] < frame.samples:
        continue
      if (level(waveform.samples_of(frame) - meant)
          > _SEAM_RELATIVE * level(meant) + _SEAM_ABSOLUTE):
        return True
  return False

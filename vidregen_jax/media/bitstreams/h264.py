"""H.264 packets among those of another encoder, with parameter sets of their own.

A stream's sets are in the file's header (ISO 14496-15 allows 31 of a kind); new pictures refer to
theirs by an id that no other set has.
"""

import dataclasses

from vidregen_jax.media.bitstreams import nal

# x264's names by profile_idc (ISO 14496-10 annex A).
_PROFILES = {66: 'baseline', 77: 'main', 100: 'high', 110: 'high10', 122: 'high422', 244: 'high444'}
_IDR, _SEI, _SPS, _PPS = 5, 6, 7, 8
_MOST_SETS = 31


@dataclasses.dataclass(frozen=True)
class Header:
  """An AVCDecoderConfigurationRecord, ISO 14496-15 section 5.3.3.1."""

  start: bytes  # version, profile, compatibility, level
  length_size: int
  sps: tuple[bytes, ...]
  pps: tuple[bytes, ...]
  rest: bytes  # chroma format and bit depths of the high profiles

  @classmethod
  def parse(cls, data: bytes) -> 'Header':
    """Raises ValueError: not such a record."""
    if len(data) < 7 or data[0] != 1:
      raise ValueError('no avcC record')
    at, sets = 5, []
    for mask in (31, 255):
      count, at = data[at] & mask, at + 1
      found = []
      for _ in range(count):
        size = int.from_bytes(data[at:at + 2], 'big')
        found.append(data[at + 2:at + 2 + size])
        at += 2 + size
      if at > len(data):
        raise ValueError('the avcC record is cut short')
      sets.append(tuple(found))
    return cls(data[:4], (data[4] & 3) + 1, *sets, data[at:])

  def pack(self) -> bytes:
    listed = lambda sets: b''.join(len(x).to_bytes(2, 'big') + x for x in sets)
    return (self.start + bytes([0xFC | self.length_size - 1, 0xE0 | len(self.sps)])
            + listed(self.sps) + bytes([len(self.pps)]) + listed(self.pps) + self.rest)

  @property
  def profile(self) -> int:
    return self.start[1]

  def free_number(self) -> int:
    """The lowest id that no parameter set has; x264 gives its two sets the same one.

    Raises:
      ValueError: there is none left.
    """
    taken = {nal.number(nal.bits(unit[:skip + 9]), 8 * skip)[0]
             for sets, skip in ((self.sps, 4), (self.pps, 1)) for unit in sets}
    for number in range(32):
      if number not in taken and max(len(self.sps), len(self.pps)) < _MOST_SETS:
        return number
    raise ValueError('no parameter set number is free')

  def adding(self, sps: tuple[bytes, ...], pps: tuple[bytes, ...]) -> 'Header':
    """The header with more parameter sets of its profile, and the highest level of all."""
    level = max(self.start[3], *(x[3] for x in sps))
    return dataclasses.replace(self, start=self.start[:3] + bytes([level]), sps=self.sps + sps,
                               pps=self.pps + pps)


class Coding:
  """How H.264 packets are read and written, as `smart_render_plan` describes.

  Raises:
    ValueError: the stream cannot be joined; the message says why.
  """

  encoder = 'libx264'

  def __init__(self, head: bytes):
    self._header = Header.parse(head)
    self._number = self._header.free_number()
    if self._header.profile not in _PROFILES:
      raise ValueError(f'its H.264 profile is number {self._header.profile}')
    self._messages = nal.Messages(bytes([_SEI]))

  @property
  def options(self) -> dict[str, str]:
    return {'profile': _PROFILES[self._header.profile], 'a53cc': '0', 'x264-params':
            f'sps-id={self._number}:bframes=0:annexb=1:repeat-headers=0'}

  def entry(self, data: bytes) -> bool:
    found = False
    for unit in nal.units(data, self._header.length_size):
      kind = unit[0] & 31
      known = {_SPS: self._header.sps, _PPS: self._header.pps}.get(kind)
      if known is not None and unit not in known:
        raise ValueError('its parameter sets change on the way')
      found |= kind == _IDR
    return found

  def head(self, made: bytes) -> bytes:
    sets = nal.annex_b_units(made)
    of = lambda kind: tuple(unit for unit in sets if unit[0] & 31 == kind)
    return self._header.adding(of(_SPS), of(_PPS)).pack()

  def kept(self, data: bytes) -> list[bytes]:
    return self._messages.of_picture(
      unit for unit in nal.units(data, self._header.length_size) if unit[0] & 31 == _SEI)

  def made(self, data: bytes, kept: list[bytes], first: bool) -> bytes:
    pictures = [unit for unit in nal.annex_b_units(data) if unit[0] & 31 < _SEI]
    before = (self._messages.lasting() if first else []) + kept
    return nal.sample(before + pictures, self._header.length_size)

  def resumed(self, data: bytes) -> bytes:
    return data

"""HEVC packets among those of another encoder, with parameter sets under ids of their own.

x265 always gives its sets the id 0, so its bitstream is renumbered. Every slice names its picture
parameter set by an Exp-Golomb code near its beginning: 0 takes one bit, and 15 to 30 take nine.
With one of those a slice header grows by exactly a byte, and what follows stays as it is.
"""

import dataclasses

from vidregen_jax.media.bitstreams import nal

_VPS, _SPS, _PPS, _SEI, _RPU = 32, 33, 34, 39, 62
_BLA_N_LP, _IDR, _CRA, _IRAP = 18, (19, 20), 21, range(16, 24)
_NUMBERS = {_VPS: range(16), _SPS: range(16), _PPS: range(15, 31)}
_KNOWN_PROFILES = (1, 2, 4)  # Main, Main 10, range extensions (annex A)


def _kind(unit):
  return unit[0] >> 1 & 63


def _sps_number_at(text):
  """The bit at which a sequence parameter set's id begins (sections 7.3.2.2 and 7.3.3)."""
  layers = int(text[20:23], 2)
  at = 24 + 96
  if layers:
    flags = text[at:at + 16]
    at += 16 + sum(88 * int(flags[2 * i]) + 8 * int(flags[2 * i + 1]) for i in range(layers))
  return at


def _number(unit):
  """A parameter set's own id."""
  text = nal.bits(nal.unescape(unit[:160]))
  if _kind(unit) == _VPS:
    return int(text[16:20], 2)
  return nal.number(text, 16 if _kind(unit) == _PPS else _sps_number_at(text))[0]


@dataclasses.dataclass(frozen=True)
class Header:
  """An HEVCDecoderConfigurationRecord, ISO 14496-15 section 8.3.3.1.

  Attributes:
    start: its first 22 bytes.
    arrays: (completeness and type of unit, units) each.
  """

  start: bytes
  arrays: tuple[tuple[int, tuple[bytes, ...]], ...]

  @classmethod
  def parse(cls, data: bytes) -> 'Header':
    """Raises ValueError: not such a record."""
    if len(data) < 23 or data[0] != 1:
      raise ValueError('no hvcC record')
    at, arrays = 23, []
    for _ in range(data[22]):
      head, count = data[at], int.from_bytes(data[at + 1:at + 3], 'big')
      at, found = at + 3, []
      for _ in range(count):
        size = int.from_bytes(data[at:at + 2], 'big')
        found.append(data[at + 2:at + 2 + size])
        at += 2 + size
      if at > len(data):
        raise ValueError('the hvcC record is cut short')
      arrays.append((head, tuple(found)))
    return cls(data[:22], tuple(arrays))

  def pack(self) -> bytes:
    listed = b''.join(
      bytes([head]) + len(units).to_bytes(2, 'big')
      + b''.join(len(unit).to_bytes(2, 'big') + unit for unit in units)
      for head, units in self.arrays)
    return self.start + bytes([len(self.arrays)]) + listed

  @property
  def length_size(self) -> int:
    return (self.start[21] & 3) + 1

  @property
  def profile(self) -> int:
    return self.start[1] & 31

  def sets(self, kind: int) -> list[bytes]:
    return [unit for head, units in self.arrays if head & 63 == kind for unit in units]

  def free_numbers(self) -> dict[int, int]:
    """By type of parameter set, a suitable id that none has (see above).

    Raises:
      ValueError: there is none left.
    """
    free = {}
    for kind, numbers in _NUMBERS.items():
      taken = {_number(unit) for unit in self.sets(kind)}
      if not taken:
        raise ValueError('its header lacks parameter sets')
      left = [number for number in numbers if number not in taken]
      if not left:
        raise ValueError('no parameter set number is free')
      free[kind] = left[0]
    return free

  def adding(self, sets: list[bytes]) -> 'Header':
    """The header with more parameter sets of its profile, and the highest level of all."""
    levels = [nal.unescape(unit)[14] for unit in sets if _kind(unit) == _SPS]
    level = max(self.start[12], *levels)
    arrays = tuple((head, units + tuple(x for x in sets if _kind(x) == head & 63))
                   for head, units in self.arrays)
    return Header(self.start[:12] + bytes([level]) + self.start[13:], arrays)


def renumbered(unit: bytes, numbers: dict[int, int]) -> bytes:
  """A unit of x265, in which all ids are 0, with other ids.

  Args:
    unit: a parameter set or a slice.
    numbers: ids by type of parameter set; that of the picture parameter set is 15 to 30.
  """
  raw = nal.unescape(unit)
  kind = _kind(unit)
  if kind < _VPS:
    # A slice header begins with: first slice of the picture, in key frames a flag, then the id.
    at = 18 if kind in _IRAP else 17
    head = nal.bits(raw[:3])
    head = head[:at] + nal.exp_golomb(numbers[_PPS]) + head[at + 1:]
    return nal.escape(int(head, 2).to_bytes(4, 'big') + raw[3:])
  text = nal.bits(raw).rstrip('0')[:-1]
  if kind == _VPS:
    text = text[:16] + f'{numbers[_VPS]:04b}' + text[20:]
  elif kind == _SPS:
    at = _sps_number_at(text)
    text = (text[:16] + f'{numbers[_VPS]:04b}' + text[20:at] + nal.exp_golomb(numbers[_SPS])
            + text[at + 1:])
  else:
    text = text[:16] + nal.exp_golomb(numbers[_PPS]) + nal.exp_golomb(numbers[_SPS]) + text[18:]
  return nal.escape(nal.whole_bytes(text))


class Coding:
  """How HEVC packets are read and written, as `smart_render_plan` describes.

  Raises:
    ValueError: the stream cannot be joined; the message says why.
  """

  encoder = 'libx265'
  options = {'x265-params': 'bframes=0:open-gop=0:keyint=-1:scenecut=0:repeat-headers=0:info=0:'
                            'hrd=0:log-level=none'}

  def __init__(self, head: bytes):
    self._header = Header.parse(head)
    self._numbers = self._header.free_numbers()
    if self._header.profile not in _KNOWN_PROFILES:
      raise ValueError(f'its HEVC profile is number {self._header.profile}')
    self._messages = nal.Messages(bytes([_SEI << 1, 1]))

  def entry(self, data: bytes) -> bool:
    found = False
    for unit in nal.units(data, self._header.length_size):
      kind = _kind(unit)
      if (unit[0] & 1) << 5 | unit[1] >> 3:
        raise ValueError('it has several layers')
      if kind in _NUMBERS and unit not in self._header.sets(kind):
        raise ValueError('its parameter sets change on the way')
      found |= kind in _IDR or kind == _CRA
    return found

  def head(self, made: bytes) -> bytes:
    sets = [renumbered(unit, self._numbers) for unit in nal.annex_b_units(made)
            if _kind(unit) in _NUMBERS]
    return self._header.adding(sets).pack()

  def kept(self, data: bytes) -> list[bytes]:
    units = list(nal.units(data, self._header.length_size))
    return (self._messages.of_picture(unit for unit in units if _kind(unit) == _SEI)
            + [unit for unit in units if _kind(unit) == _RPU])

  def made(self, data: bytes, kept: list[bytes], first: bool) -> bytes:
    pictures = [renumbered(unit, self._numbers) for unit in nal.annex_b_units(data)
                if _kind(unit) < _VPS]
    before = self._messages.lasting() if first else []
    before += [unit for unit in kept if _kind(unit) == _SEI]
    # Dolby Vision's data comes last.
    after = [unit for unit in kept if _kind(unit) == _RPU]
    return nal.sample(before + pictures + after, self._header.length_size)

  def resumed(self, data: bytes) -> bytes:
    """The packet with a CRA picture retyped as BLA, which marks a break in the stream.

    A decoder then restarts its picture order count there, as at an IDR. An end-of-sequence unit
    before the CRA would do the same, but some decoders (FFmpeg's before version 7) then drop the
    pictures that still wait to be shown.
    """
    size = self._header.length_size
    return nal.sample(
      (bytes([_BLA_N_LP << 1 | unit[0] & 1]) + unit[1:] if _kind(unit) == _CRA else unit
       for unit in nal.units(data, size)), size)

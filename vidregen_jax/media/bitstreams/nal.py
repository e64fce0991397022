"""NAL units of H.264 and HEVC: split, joined, and their bits read.

ISO 14496-10 and 23008-2; section numbers are those in which they agree.
"""

import re
from collections.abc import Iterable, Iterator

# SEI messages about one picture (user data, registered): captions and dynamic HDR.
_OF_A_PICTURE = (4, )
# Those valid until the next sequence: mastering display, light level, transfer (annex D).
_OF_A_SEQUENCE = (137, 144, 147)


def units(data: bytes, length_size: int) -> Iterator[bytes]:
  """The units of a sample in mp4 or Matroska."""
  at = 0
  while at + length_size < len(data):
    size = int.from_bytes(data[at:at + length_size], 'big')
    yield data[at + length_size:at + length_size + size]
    at += length_size + size


def sample(parts: Iterable[bytes], length_size: int) -> bytes:
  """A sample of these units."""
  return b''.join(len(unit).to_bytes(length_size, 'big') + unit for unit in parts)


def annex_b_units(data: bytes) -> list[bytes]:
  """The units of a stream with start codes (annex B)."""
  parts = data.split(b'\0\0\1')[1:]
  return [part.rstrip(b'\0') for part in parts[:-1]] + parts[-1:]


def unescape(unit: bytes) -> bytes:
  """A unit's content without its emulation prevention bytes."""
  return unit.replace(b'\0\0\3', b'\0\0')


def escape(raw: bytes) -> bytes:
  return re.sub(rb'\0\0(?=[\0-\3])', b'\0\0\3', raw)


def bits(raw: bytes) -> str:
  """Bytes as a string of '0' and '1'."""
  return ''.join(f'{byte:08b}' for byte in raw)


def whole_bytes(text: str) -> bytes:
  """The inverse of `bits`, with the trailing bits of a unit."""
  text += '1'
  text += '0' * (-len(text) % 8)
  return int(text, 2).to_bytes(len(text) // 8, 'big')


def number(text: str, at: int) -> tuple[int, int]:
  """The unsigned Exp-Golomb code at a bit, and where it ends (section 9.1 or 9.2)."""
  zeros = text.index('1', at) - at
  stop = at + 2 * zeros + 1
  return int(text[at + zeros:stop], 2) - 1, stop


def exp_golomb(value: int) -> str:
  text = f'{value + 1:b}'
  return '0' * (len(text) - 1) + text


class Messages:
  """SEI messages of a stream that must stay with its pictures when these are encoded anew.

  Args:
    header: First bytes of an SEI unit.
  """

  def __init__(self, header: bytes):
    self._header = header
    self._lasting: dict[int, bytes] = {}

  def of_picture(self, message_units: Iterable[bytes]) -> list[bytes]:
    """Units with the messages of one picture; longer-lived ones are remembered for `lasting`."""
    kept = []
    for unit in message_units:
      for kind, content in _messages(unescape(unit)[len(self._header):]):
        if kind in _OF_A_SEQUENCE:
          self._lasting[kind] = content
        elif kind in _OF_A_PICTURE:
          kept.append(self._unit(kind, content))
    return kept

  def lasting(self) -> list[bytes]:
    """Units with the latest messages that hold for a whole sequence."""
    return [self._unit(kind, content) for kind, content in sorted(self._lasting.items())]

  def _unit(self, kind, content):
    size = b'\xff' * (len(content) // 255) + bytes([len(content) % 255])
    return escape(self._header + bytes([kind]) + size + content + b'\x80')


def _messages(raw: bytes) -> Iterator[tuple[int, bytes]]:
  """(type, content) of each message (section 7.3.2.3 or 7.3.5)."""
  at = 0
  while at + 2 < len(raw):
    values = []
    for _ in range(2):
      value = 0
      while at < len(raw) and raw[at] == 255:
        value, at = value + 255, at + 1
      if at >= len(raw):
        return
      values.append(value + raw[at])
      at += 1
    yield values[0], raw[at:at + values[1]]
    at += values[1]

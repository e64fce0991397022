"""AV1 packets among those of another encoder: a key frame brings its own sequence header.

AV1 Bitstream & Decoding Process Specification, section 5; AV1 in ISOBMFF, section 2.3.
"""

from collections.abc import Iterator

_SEQUENCE, _DELIMITER, _FRAME_HEADER, _METADATA, _FRAME = 1, 2, 3, 5, 6
_LIGHT_LEVEL, _MASTERING = 1, 2  # metadata that stays valid until it is replaced


def units(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
  """(type, all of it, its content) of each open bitstream unit (section 5.3)."""
  at = 0
  while at < len(data):
    first, head = data[at], 1 + (data[at] >> 2 & 1)
    size, width = 0, 0
    if first & 2:
      while True:
        byte = data[at + head + width]
        size |= (byte & 127) << 7 * width
        width += 1
        if byte < 128:
          break
    else:
      size = len(data) - at - head
    stop = at + head + width + size
    yield first >> 3 & 15, data[at:stop], data[at + head + width:stop]
    at = stop


class Coding:
  """How AV1 packets are read and written, as `smart_render_plan` describes.

  Raises:
    ValueError: the stream cannot be joined; the message says why.
  """

  encoder = 'libsvtav1'
  options: dict[str, str] = {}

  def __init__(self, head: bytes):
    if len(head) < 4 or head[0] != 0x81:
      raise ValueError('no av1C record')
    self._head = head
    self._lasting: dict[int, bytes] = {}

  def entry(self, data: bytes) -> bool:
    kinds = [kind for kind, _, _ in units(data)]
    found = [content[0] for kind, _, content in units(data) if kind in (_FRAME_HEADER, _FRAME)]
    # Bits of each: shows a frame that was decoded earlier (1), frame type (2), is shown (1).
    if sum(bool(first & 0x90) for first in found) != 1:
      raise ValueError('a packet of it shows no frame or several')
    return found[0] >> 4 == 1 and _SEQUENCE in kinds

  def head(self, made: bytes) -> bytes:
    return self._head

  def kept(self, data: bytes) -> list[bytes]:
    kept = []
    for kind, unit, content in units(data):
      if kind == _METADATA and content[0] in (_LIGHT_LEVEL, _MASTERING):
        self._lasting[content[0]] = unit
      elif kind == _METADATA:
        kept.append(unit)
    return kept

  def made(self, data: bytes, kept: list[bytes], first: bool) -> bytes:
    found = [(kind, unit) for kind, unit, _ in units(data) if kind != _DELIMITER]
    before = [unit for kind, unit in found if kind == _SEQUENCE]
    before += (list(self._lasting.values()) if first else []) + kept
    return b''.join(before + [unit for kind, unit in found if kind != _SEQUENCE])

  def resumed(self, data: bytes) -> bytes:
    return data

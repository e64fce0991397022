"""VP9 packets among those of another encoder: key frames are self-contained.

VP9 Bitstream & Decoding Process Specification, sections 6.2 and annex B.
"""

from collections.abc import Iterator


def frames(data: bytes) -> Iterator[bytes]:
  """The frames of a packet, which may be a superframe: only one of them is shown."""
  marker = data[-1]
  if marker & 0xE0 == 0xC0:
    count, width = (marker & 7) + 1, (marker >> 3 & 3) + 1
    index = len(data) - 2 - width * count
    if index >= 0 and data[index] == marker:
      at = 0
      for i in range(count):
        start = index + 1 + i * width
        size = int.from_bytes(data[start:start + width], 'little')
        if size:
          yield data[at:at + size]
        at += size
      return
  yield data


def look(frame: bytes) -> tuple[bool, bool]:
  """Whether it is a key frame, and whether it is shown."""
  text = f'{frame[0]:08b}'
  at = 5 if text[2:4] == '11' else 4
  if text[at] == '1':  # a frame that was decoded earlier
    return False, True
  return text[at + 1] == '0', text[at + 2] == '1'


class Coding:
  """How VP9 packets are read and written, as `smart_render_plan` describes."""

  encoder = 'libvpx-vp9'
  options = {'lag-in-frames': '0', 'auto-alt-ref': '0'}  # a frame a packet, at once

  def __init__(self, head: bytes):
    self._head = head

  def entry(self, data: bytes) -> bool:
    """Raises ValueError: the stream cannot be joined; the message says why."""
    seen = [look(frame) for frame in frames(data)]
    if sum(shown for _, shown in seen) != 1:
      raise ValueError('a packet of it shows no frame or several')
    return seen[0][0]

  def head(self, made: bytes) -> bytes:
    return self._head

  def kept(self, data: bytes) -> list[bytes]:
    return []

  def made(self, data: bytes, kept: list[bytes], first: bool) -> bytes:
    return data

  def resumed(self, data: bytes) -> bytes:
    return data

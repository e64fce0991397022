"""What reaches a terminal."""


def printable(text) -> str:
  """Text in one line, without what could steer a terminal: a file says what its maker likes.

  What is not printable (control characters, line ends, changes of direction, bytes of a name that
  are not UTF-8) is written as Python writes it, such as \\x1b, and so is still told apart.
  """
  return ''.join(c if c.isprintable() else _escaped(c) for c in str(text))


def _escaped(character) -> str:
  code = ord(character)
  if 0xDC80 <= code <= 0xDCFF:  # a byte of a file's name, as Python keeps those (PEP 383)
    return f'\\x{code - 0xDC00:02x}'
  return character.encode('unicode_escape', 'backslashreplace').decode('ascii')

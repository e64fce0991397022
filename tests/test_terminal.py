"""Nothing from a file steers a terminal."""

import pytest

from vidregen_jax import terminal


@pytest.mark.parametrize(('text', 'shown'), [
  ('Zoë and 李', 'Zoë and 李'),
  ('red \x1b[31m', 'red \\x1b[31m'),
  ('two\nlines\r', 'two\\nlines\\r'),
  ('right \u202e to left', 'right \\u202e to left'),
  ('caf\udce9.mp4', 'caf\\xe9.mp4'),  # a name that is not UTF-8
  ('\ud800', '\\ud800'),
])
def test_what_is_not_printable_is_escaped(text, shown):
  assert terminal.printable(text) == shown
  terminal.printable(text).encode()

"""Consent: in words or in a file, never without any."""

import hashlib
import os

import pytest

from vidregen_jax.errors import UserError
from vidregen_jax.provenance import consent


def test_words_are_kept_and_of_a_file_the_digest_alone(tmp_path):
  in_words = consent.from_flags(' Ann Lee agreed ', None)
  assert in_words.statement == 'Ann Lee agreed' and in_words.file is None
  assert in_words.sha256 == hashlib.sha256(b'Ann Lee agreed').hexdigest()
  path = tmp_path / 'ann.json'
  path.write_text('{"who": "Ann Lee, 1 Example Street"}')
  in_file = consent.from_flags(None, path)
  assert in_file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
  assert 'Example Street' not in repr(in_file)


@pytest.mark.parametrize(('words', 'name', 'data', 'cause'), [
  (None, None, b'', '--consent is missing'),
  ('  ', None, b'', '--consent is empty'),
  ('yes', 'a.txt', b'yes', 'exclude each other'),
  (None, 'absent.txt', None, 'no such file'),
  (None, 'a.txt', b' \n', 'is empty'),
  (None, 'a.json', b'{}', 'is empty'),
  (None, 'a.json', b'{"who": ', 'is not JSON'),
  (None, 'a.txt', b'\xff\xfe\x00', 'not text in UTF-8'),
  (None, 'a.json', b'[' * 100_000, 'is not JSON'),
  ('a' * 1_000_000, None, b'', 'give it in a file'),
  ('a\x1b[31m', None, b'', 'which is not text'),
  ('caf\udce9', None, b'', 'which is not text'),
])
def test_what_is_no_consent_is_refused(words, name, data, cause, tmp_path):
  path = name and tmp_path / name
  if path and data is not None:
    path.write_bytes(data)
  with pytest.raises(UserError, match=cause):
    consent.from_flags(words, path)


def test_a_consent_file_is_a_file(tmp_path):
  os.mkfifo(tmp_path / 'pipe.txt')
  for path, cause in ((tmp_path / 'pipe.txt', 'is a pipe'), (tmp_path, 'is a folder'),
                      ('/dev/zero', 'is a device')):
    with pytest.raises(UserError, match=f'--consent_file .*{cause}'):
      consent.from_flags(None, path)

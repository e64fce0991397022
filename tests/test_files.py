"""What may be read is found out before it is opened."""

import os
import socket

import pytest

from vidregen_jax import errors, files


def _socket(path):
  with socket.socket(socket.AF_UNIX) as bound:
    bound.bind(str(path))


@pytest.mark.parametrize(('make', 'cause'), [
  (lambda path: None, 'no such file'),
  (lambda path: path.mkdir(), 'is a folder'),
  (os.mkfifo, 'is a pipe'),
  (_socket, 'is a socket'),
  (lambda path: path.symlink_to('/dev/zero'), 'is a device'),
  (lambda path: path.symlink_to(path), 'Too many levels'),
])
def test_what_is_no_file_is_refused_unopened(make, cause, tmp_path):
  path = tmp_path / 'in.mp4'
  make(path)
  for read in (files.check_readable, files.read_bytes):
    with pytest.raises(errors.UserError, match=f'--audio .*in.mp4: .*{cause}'):
      read(path, '--audio')


def test_a_name_with_a_zero_is_refused():
  with pytest.raises(errors.UserError, match='embedded null'):
    files.check_readable('a\0b')


def test_a_file_may_be_too_large(tmp_path):
  path = tmp_path / 'edits.json'
  path.write_bytes(b'12345')
  assert files.read_bytes(path, most=5) == b'12345'
  with pytest.raises(errors.UserError, match='larger than 4 bytes'):
    files.read_bytes(path, most=4)

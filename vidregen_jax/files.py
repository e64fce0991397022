"""Regular files: checked before they are read, their digests, and JSON."""

import hashlib
import json
import os
import pathlib
import stat

from vidregen_jax import outputs
from vidregen_jax.errors import UserError

# Not regular files: reading them may block for ever, or never end.
_KINDS = {stat.S_IFDIR: 'a folder', stat.S_IFIFO: 'a pipe', stat.S_IFSOCK: 'a socket',
          stat.S_IFCHR: 'a device', stat.S_IFBLK: 'a device'}


def check_readable(path, what='') -> None:
  """Refuses an input that does not exist or is not a regular file, before it is opened.

  Args:
    path: of the input.
    what: its name in messages, before the path: a flag, say; '' for the path alone.

  Raises:
    UserError: it does not exist, or is a folder, a pipe, a socket or a device.
  """
  named = f'{what} {path}'.strip()
  try:
    mode = os.stat(path).st_mode
  except FileNotFoundError as error:
    raise UserError(f'{named}: no such file') from error
  except (OSError, ValueError) as error:  # a name with a zero in it is a ValueError
    raise UserError(f'{named}: cannot be read ({getattr(error, "strerror", None) or error})'
                    ) from error
  if not stat.S_ISREG(mode):
    raise UserError(f'{named}: is {_KINDS.get(stat.S_IFMT(mode), "no file")}, and a file is needed')
  if not os.access(path, os.R_OK):
    raise UserError(f'{named}: cannot be read (Permission denied)')


def read_bytes(path, what='', most: int | None = None) -> bytes:
  """A file's content.

  Args:
    path, what: as in `check_readable`.
    most: maximum size in bytes; None for any.

  Raises:
    UserError: as `check_readable`, it is larger, or it cannot be read.
  """
  check_readable(path, what)
  named = f'{what} {path}'.strip()
  try:
    if most is not None and os.path.getsize(path) > most:
      raise UserError(f'{named}: is larger than {most:,} bytes')
    return pathlib.Path(path).read_bytes()
  except OSError as error:
    raise UserError(f'{named}: cannot be read ({error.strerror})') from error


def digest(path) -> str:
  """SHA-256 of a file, in hexadecimal.

  Raises:
    UserError: it cannot be read.
  """
  try:
    with open(path, 'rb') as file:
      return hashlib.file_digest(file, 'sha256').hexdigest()
  except OSError as error:
    raise UserError(f'{path}: cannot be read ({error.strerror})') from error


def as_json(value):
  """A JSON value as indented text, in bytes."""
  return (json.dumps(value, indent=2) + '\n').encode()


def write_json(path, value, replace=True):
  """Writes a JSON file that appears whole or not at all.

  Args:
    path: pathlib.Path.
    value: JSON value.
    replace: whether to replace a file that is there.

  Raises:
    FileExistsError: `replace` is False and a file is there.
    UserError: it cannot be written.
  """
  try:
    with outputs.whole_file(path, replace) as part:
      part.write_bytes(as_json(value))
  except FileExistsError:
    raise
  except OSError as error:
    raise UserError(f'{path}: cannot be written ({error.strerror}): give another place'
                    ) from error

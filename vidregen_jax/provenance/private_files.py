"""Checks that files and folders are private: a key that others can read or replace is worthless.

The rules are those of ssh for its keys: the owner is the user (or root), nobody else can read the
file, it is not a link, and nobody else can replace it.
"""

import os
import pathlib
import stat

from vidregen_jax import files
from vidregen_jax.errors import UserError


def read(path, what='', most: int | None = None) -> bytes:
  """Reads a file that must be private.

  Args:
    path, what, most: as of `files.read_bytes`.

  Raises:
    UserError: as `files.read_bytes`, or other users can read or replace it.
  """
  path, named = pathlib.Path(path), f'{what} {path}'.strip()
  files.check_readable(path, what)
  if path.is_symlink():
    raise UserError(f'{named}: is a link to {os.path.realpath(path)}: give that file itself')
  status = path.stat()
  _check_owner(status, named)
  if status.st_mode & 0o077:
    raise UserError(f'{named}: others can read it (its mode is '
                    f'{stat.S_IMODE(status.st_mode):03o}): `chmod 600` it, and consider the '
                    'key compromised')
  _check_place(path, named)
  data = files.read_bytes(path, what, most)
  if not os.path.samestat(status, path.lstat()):
    raise UserError(f'{named}: was replaced while it was read: try again')
  return data


def check_folder(path, what='') -> None:
  """Checks that other users cannot write to a folder.

  Raises:
    UserError: it belongs to another user, or other users can write to it or replace it.
  """
  path, named = pathlib.Path(path), f'{what} {path}'.strip()
  status = path.lstat()
  if not stat.S_ISDIR(status.st_mode):
    raise UserError(f'{named}: is no folder: move it away')
  _check_owner(status, named)
  if status.st_mode & 0o022:
    raise UserError(f'{named}: others may write there (its mode is '
                    f'{stat.S_IMODE(status.st_mode):03o}): `chmod 700` it')
  _check_place(path, named)


def _check_owner(status, named):
  if status.st_uid not in (os.geteuid(), 0):
    raise UserError(f'{named}: belongs to another user (number {status.st_uid}): give one of yours')


def _check_place(path, named):
  """Checks that no parent folder is writable by everybody, unless it is sticky."""
  for folder in path.resolve().parents:
    mode = folder.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
      raise UserError(f'{named}: everybody can write to {folder} and replace it: move it to a '
                      'folder of yours')

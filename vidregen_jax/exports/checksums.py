"""The manifest of a pack: sha256 of every file, so that any change is noticed."""

import json
import os
import pathlib

from vidregen_jax import documents, files
from vidregen_jax.errors import UserError

NAME = 'manifest.json'
_FORMAT = 1
_CHECK = documents.record({'format': documents.whole(_FORMAT, _FORMAT),
                           'files': documents.table(documents.sha256, 100_000)})


def write(folder, *elsewhere):
  """Writes the manifest of a folder.

  Args:
    folder: all of its files are listed.
    *elsewhere: further folders to list, relative to it.
  """
  folder = pathlib.Path(folder)
  paths = [path for root in ('.', *elsewhere) for path in (folder / root).rglob('*')
           if path.is_file() and path != folder / NAME]
  listed = {pathlib.Path(os.path.relpath(path, folder)).as_posix(): files.digest(path)
            for path in paths}
  text = json.dumps({'format': _FORMAT, 'files': dict(sorted(listed.items()))}, indent=2)
  (folder / NAME).write_text(text + '\n')


def check(folder):
  """Compares a folder with its manifest; returns the number of files.

  Raises:
    UserError: names the first file that is missing, changed or was not packed.
  """
  folder, listed = pathlib.Path(folder), read(folder)
  if listed is None:
    raise UserError(f'{folder} has no {NAME}: it was not packed by vidregen_jax.export')
  for name, digest in listed.items():
    if not (folder / name).is_file():
      raise UserError(f'{folder / name} is missing: get the whole folder again')
    if files.digest(folder / name) != digest:
      raise _changed(folder / name)
  for path in sorted(folder.rglob('*')):
    name = path.relative_to(folder).as_posix()
    if path.is_file() and name != NAME and name not in listed:
      raise UserError(f'{path} was not packed with the rest: do not trust it, or pack the folder '
                      'again')
  return len(listed)


def check_known(folder, digests):
  """Compares digests of files that have been read with a folder's manifest, if it has one.

  Args:
    folder: where the manifest is.
    digests: sha256 by name in the folder.

  Raises:
    UserError: a file was changed.
  """
  listed = read(folder) or {}
  for name, digest in digests.items():
    if listed.get(name, digest) != digest:
      raise _changed(pathlib.Path(folder) / name)


def read(folder):
  """sha256 by file name, or None where there is no manifest.

  Raises:
    UserError: it is damaged.
  """
  path = pathlib.Path(folder) / NAME
  if not os.path.lexists(path):
    return None
  try:
    listed = _CHECK(documents.read(path), str(path))['files']
  except UserError as error:
    raise UserError(f'{path} is damaged ({error}): get the whole folder again') from error
  for name in listed:
    if os.path.isabs(name) or '\0' in name:
      raise UserError(f'{path} is damaged ({name!r} is not a relative path): get the '
                      'whole folder again')
  return listed


def _changed(path):
  return UserError(f'{path} is not the file that was packed: get the whole folder again, or pack '
                   'it again if you changed it')

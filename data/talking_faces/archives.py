"""Archives that somebody downloaded: checked against a list of hashes, and unpacked."""

import hashlib
import os
import pathlib
import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterator

from vidregen_jax import files, outputs
from vidregen_jax.errors import UserError

_LISTED = re.compile(r'([0-9a-fA-F]{32,64}) [ *](.+)')
_BY_LENGTH = {32: 'md5', 40: 'sha1', 64: 'sha256'}
_POINTER = b'version https://git-lfs'


def check(folder: pathlib.Path, listing) -> int:
  """Compares files with a list of hashes, as `md5sum` and `sha256sum` write it.

  Args:
    folder: that the list's names are seen from.
    listing: path of the list; what it names and is not there is passed over.

  Returns:
    How many files were compared.

  Raises:
    UserError: a file differs, or a line is none.
  """
  count = 0
  for number, line in enumerate(files.read_bytes(listing, '--hashes').decode().splitlines(), 1):
    found = _LISTED.fullmatch(line.strip())
    if not found or len(found[1]) not in _BY_LENGTH:
      raise UserError(f'--hashes {listing}, line {number}: is no hash and name, as md5sum writes')
    path = folder / found[2]
    if not path.is_file():
      continue
    with open(path, 'rb') as file:
      digest = hashlib.file_digest(file, _BY_LENGTH[len(found[1])]).hexdigest()
    if digest != found[1].lower():
      raise UserError(f'{path} is not the file that {listing} lists: download it again')
    count += 1
  return count


def is_pointer(path) -> bool:
  """Whether a file is only Git LFS's pointer to the real one."""
  with open(path, 'rb') as file:
    return file.read(len(_POINTER)) == _POINTER


def members(path: pathlib.Path) -> Iterator[tuple[str, object]]:
  """(name, open file) of each file in a zip or tar archive; links are passed over.

  Raises:
    UserError: it is neither, or damaged.
  """
  try:
    if zipfile.is_zipfile(path):
      with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
          if not info.is_dir():
            with archive.open(info) as file:
              yield info.filename, file
      return
    with tarfile.open(path) as archive:
      for info in archive:
        if info.isfile():
          yield info.name, archive.extractfile(info)
  except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
    raise UserError(f'{path} is no whole zip or tar archive ({error}): download it again'
                    ) from error


def unpack(file, path: pathlib.Path) -> None:
  """Writes an open member to a path of ours, whole or not at all; one that is there is kept."""
  if os.path.exists(path):
    return
  path.parent.mkdir(parents=True, exist_ok=True)
  with outputs.whole_file(path) as part, open(part, 'wb') as out:
    shutil.copyfileobj(file, out)

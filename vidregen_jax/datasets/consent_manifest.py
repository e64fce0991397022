"""Consent manifests: whose footage it is, on what basis it may be learned from, who withdrew.

A manifest is a table in CSV (with a header) or JSON Lines, one row a source:

  source      path of a media file, seen from the manifest's folder
  person      who speaks in it: any name; datasets hold only a salted hash of it
  basis       why it may be learned from: what the person agreed to, or a licence
  date        of that, as 2026-05-01
  withdrawn   optional: yes or no (the default); one such row withdraws all of the person's sources
  language    optional: a tag such as en or pt-BR
  sentence    optional: what is said
  split       optional: train, validation or test; otherwise the person's hash decides
  words       optional, in JSON Lines alone: [[begin, end, word], ...], seconds of the sound

The manifest and its salt, `MANIFEST.salt`, name people: they stay where they are, and neither is
copied into a dataset.
"""

import csv
import dataclasses
import datetime
import hashlib
import hmac
import io
import os
import pathlib
import secrets

from vidregen_jax import documents, files, outputs
from vidregen_jax.errors import UserError
from vidregen_jax.provenance import private_files

_MOST_BYTES = 2_000_000_000  # some ten million rows
_LINE = 1_000_000  # bytes of one JSON Lines row, and characters of a CSV field
_NEEDED = ('source', 'person', 'basis', 'date')
_OPTIONAL = ('withdrawn', 'language', 'sentence', 'split', 'words')
_YES, _NO = ('yes', 'true', '1'), ('', 'no', 'false', '0')
SPLITS = ('train', 'validation', 'test')


@dataclasses.dataclass(frozen=True)
class Row:
  """One source of a manifest.

  Attributes:
    line: of the file, from 1.
    source: its path as the manifest gives it.
    path: the same, found from the manifest's folder.
    person, basis, date, language, sentence: as they are given; the last two may be ''.
    withdrawn: whether the person no longer agrees, by this or by any other row.
    split: 'train', 'validation', 'test', or '' where it was not chosen.
    words: (begin, end, word) of each word, seconds of the source's sound.
  """

  line: int
  source: str
  path: pathlib.Path
  person: str
  basis: str
  date: str
  withdrawn: bool = False
  language: str = ''
  sentence: str = ''
  split: str = ''
  words: tuple[tuple[float, float, str], ...] = ()


def read(path) -> list[Row]:
  """The rows of a manifest, in their order.

  Args:
    path: of a .csv or .jsonl file.

  Raises:
    UserError: it is no such table, a row lacks what it needs (a basis above all), says something
      that means nothing, or names a source again; names the line and its source.
  """
  path = pathlib.Path(path)
  if path.suffix not in ('.csv', '.jsonl'):
    raise UserError(f'--manifest {path}: a manifest is a .csv or a .jsonl file')
  data = files.read_bytes(path, '--manifest', _MOST_BYTES)
  try:
    text = data.decode('utf-8-sig')
  except UnicodeDecodeError as error:
    raise UserError(f'--manifest {path}: is not UTF-8 text: save it as such') from error
  rows, seen = [], {}
  for line, fields in (_csv if path.suffix == '.csv' else _json_lines)(text, path):
    row = _row(fields, line, path)
    if row.source in seen:
      raise UserError(f'{path}, line {line}: {row.source} is already in line {seen[row.source]}: '
                      'name each source once')
    seen[row.source] = line
    rows.append(row)
  if not rows:
    raise UserError(f'--manifest {path}: names no source: give it a row for each')
  gone = {row.person for row in rows if row.withdrawn}
  return [dataclasses.replace(row, withdrawn=row.person in gone) for row in rows]


def _csv(text, path):
  csv.field_size_limit(_LINE)
  reader = csv.DictReader(io.StringIO(text), restkey='more', strict=True)
  try:
    missing = [name for name in _NEEDED if name not in (reader.fieldnames or ())]
    if missing:
      raise UserError(f'{path}, line 1: the header lacks {missing[0]}: the columns are '
                      f'{", ".join(_NEEDED + _OPTIONAL[:-1])}')
    for fields in reader:
      if 'more' in fields:
        raise UserError(f'{path}, line {reader.line_num}: has more fields than the header: put '
                        'what contains a comma in quotes')
      yield reader.line_num, {name: value or '' for name, value in fields.items()}
  except csv.Error as error:
    raise UserError(f'{path}, line {reader.line_num}: is not CSV ({error})') from error


def _json_lines(text, path):
  for line, content in enumerate(text.split('\n'), 1):
    if content.strip():
      where = f'{path}, line {line}'
      if len(content) > _LINE:
        raise UserError(f'{where}: is longer than {_LINE:,} bytes')
      fields = documents.table(lambda value, where: value, 64)(
        documents.parse(content.encode(), where), where)
      yield line, fields


def _row(fields, line, path):
  where = f'{path}, line {line}'
  named = f'{where} ({_shown(fields.get("source"))})'
  for name in fields:
    if name not in _NEEDED + _OPTIONAL:
      raise UserError(f'{named} has a field {documents.short(name)}, which means nothing here: '
                      f'known are {", ".join(_NEEDED + _OPTIONAL)}')
  said = {name: fields.get(name, '') for name in (*_NEEDED, *_OPTIONAL) if name != 'words'}
  if isinstance(said['withdrawn'], bool):
    said['withdrawn'] = 'yes' if said['withdrawn'] else 'no'
  for name, value in said.items():
    if not isinstance(value, str):
      raise UserError(f'{named}: its {name} is {documents.short(value)}, and text is needed')
    said[name] = value.strip()
  for name in ('source', 'person'):
    if not said[name]:
      raise UserError(f'{named} has no {name}: each source needs one')
  if not said['basis']:
    raise UserError(f'{named} has no basis of consent: say what the person agreed to, or under '
                    'what licence it may be learned from; or leave the row out')
  try:
    datetime.date.fromisoformat(said['date'])
  except ValueError as error:
    raise UserError(f'{named}: its date is {documents.short(said["date"])}: say when consent was '
                    'given, as 2026-05-01') from error
  if said['withdrawn'].lower() not in _YES + _NO:
    raise UserError(f'{named}: its withdrawn is {documents.short(said["withdrawn"])}: say yes or '
                    'no')
  if said['split'] not in ('', *SPLITS):
    raise UserError(f'{named}: its split is {documents.short(said["split"])}: say '
                    f'{", ".join(SPLITS)}, or nothing')
  word = documents.row(lambda value, where: value, 3, 3)
  words = documents.row(word, 0, 100_000)(fields.get('words') or [], f'{where}: words')
  for each in words:
    begin, end = (documents.number(0, 1e6)(x, f'{where}: words') for x in each[:2])
    if begin > end or not isinstance(each[2], str):
      raise UserError(f'{named}: {documents.short(each)} of its words is no begin, end and word')
  return Row(line, path=path.parent / said['source'], words=words,
             **said | {'withdrawn': said['withdrawn'].lower() in _YES})


def _shown(source):
  """A source's name for a message; a row may lack it, or give something else."""
  return source if isinstance(source, str) and source else 'no source'


# ------------------------------------------------------------------------------------------------
# People without their names
# ------------------------------------------------------------------------------------------------


def salt_of(manifest) -> pathlib.Path:
  """Where the salt of a manifest is."""
  return pathlib.Path(f'{os.fspath(manifest)}.salt')


def read_salt(manifest, make: bool = False) -> bytes:
  """The secret that makes hashes of names useless to whoever guesses the names.

  Args:
    manifest: path of the manifest.
    make: whether to make it, where there is none.

  Raises:
    UserError: there is none, or others can read it.
  """
  path = salt_of(manifest)
  if make and not os.path.lexists(path):
    try:
      with outputs.whole_file(path, replace=False) as part:
        part.touch(0o600)
        part.write_bytes(secrets.token_bytes(32))
    except FileExistsError:
      pass  # another run made it meanwhile
    except OSError as error:
      raise UserError(f'{path}: cannot be written ({error.strerror}): put the manifest where it '
                      'can') from error
  return private_files.read(path, 'the salt of the manifest,', 4096)


def hashed(salt: bytes, kind: str, name: str) -> str:
  """A name as 16 hexadecimal digits: HMAC-SHA-256 of it.

  Args:
    salt: of `read_salt`.
    kind: what it names, 'person' or 'source', so that one cannot be mistaken for the other.
    name: what the manifest says.
  """
  return hmac.new(salt, f'{kind}:{name}'.encode(), hashlib.sha256).hexdigest()[:16]

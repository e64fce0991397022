"""A list of edits in a JSON file, as an editing program writes it.

  {"audio": "new.wav", "edits": [{"start": 1.2, "stop": 2.04}, ...]}      spans of a new soundtrack
  {"edits": [{"start": 1.2, "stop": 1.95, "audio": "word.wav"}, ...]}     pieces of sound
"""

import collections
import dataclasses
import json
import math
import pathlib

from vidregen_jax import files
from vidregen_jax.editing import soundtrack
from vidregen_jax.errors import UserError

_MOST_BYTES, _MOST_EDITS = 2**24, 10_000
_LONGEST = 60  # characters of a wrong value in a message


@dataclasses.dataclass(frozen=True)
class EditList:
  """The content of a file: either `audio` with spans, or patches.

  Attributes:
    audio: path of the whole new soundtrack; '' with patches.
    spans: (start, stop) seconds.
    patches: soundtrack.Patch of each.
  """

  audio: str
  spans: tuple
  patches: tuple


def read(path) -> EditList:
  """Reads a file; paths in it are relative to its folder.

  Raises:
    UserError: it cannot be read, or is not of the form above.
  """
  path = pathlib.Path(path)
  data = files.read_bytes(path, '--edits', _MOST_BYTES)
  try:
    document = json.loads(data.decode('utf-8-sig'), parse_int=_number,
                          object_pairs_hook=_object_once)
  # A wrong encoding is a ValueError too; deep nesting overflows the parser.
  except (ValueError, RecursionError) as error:
    raise UserError(f'{path}: is not JSON ({error})') from error
  document = _object(path, document, {'edits'}, {'audio'}, 'the file')
  audio, edits = document.get('audio', ''), document['edits']
  if not isinstance(edits, list) or not edits:
    raise UserError(f'{path}: "edits" is not a list of at least one edit')
  if len(edits) > _MOST_EDITS:
    raise UserError(f'{path}: has {len(edits)} edits, more than {_MOST_EDITS}: split it into parts')
  if 'audio' in document:
    audio = _path(path, audio)
  spans, patches = [], []
  for number, edit in enumerate(edits, start=1):
    where = f'edit {number}'
    required = {'start', 'stop'} if audio else {'start', 'stop', 'audio'}
    edit = _object(path, edit, required, set(), where)
    start, stop = (_seconds(path, edit[name], where) for name in ('start', 'stop'))
    if start >= stop:
      raise UserError(f'{path}: {where} starts at {start:g} and stops at {stop:g}: give "start" '
                      'before "stop"')
    if audio:
      spans.append((start, stop))
    else:
      patches.append(soundtrack.Patch(start, stop, _path(path, edit['audio'])))
  return EditList(audio, tuple(spans), tuple(patches))


def _object_once(pairs):
  """A JSON object without duplicate fields, of which parsers disagree on the meaning."""
  fields = dict(pairs)
  if len(fields) < len(pairs):
    counts = collections.Counter(name for name, _ in pairs)
    raise ValueError(f'"{_short(counts.most_common(1)[0][0])}" appears twice')
  return fields


def _number(digits):
  """An integer; very long ones, which int() refuses, become floats and thus infinite."""
  return int(digits) if len(digits) < 16 else float(digits)


def _short(text) -> str:
  return text if len(text) <= _LONGEST else text[:_LONGEST] + '...'


def _described(value) -> str:
  """A JSON value for a message."""
  kinds = {list: 'a list', dict: 'an object'}
  return kinds.get(type(value)) or _short(json.dumps(value))


def _object(path, value, needed, allowed, where):
  """`value`, checked to be an object with all `needed` fields and none but the `allowed` ones."""
  if not isinstance(value, dict):
    raise UserError(f'{path}: {where} is not a JSON object')
  if missing := needed - set(value):
    raise UserError(f'{path}: {where} has no "{min(missing)}"'
                    + '; or give the whole new soundtrack as "audio" beside "edits"'
                    * (missing == {'audio'}))
  if unknown := set(value) - needed - allowed:
    raise UserError(f'{path}: {where} has an unknown field "{_short(min(unknown))}"; known are '
                    f'{", ".join(sorted(needed | allowed))}')
  return value


def _seconds(path, value, where):
  number = isinstance(value, int | float) and not isinstance(value, bool)
  if not number or not math.isfinite(value) or value < 0:
    raise UserError(f'{path}: {where} has {_described(value)} for a time: give seconds, from 0')
  return float(value)


def _path(path, value):
  if not isinstance(value, str) or not value:
    raise UserError(f'{path}: {_described(value)} is not the path of a sound')
  return str(path.parent / value)

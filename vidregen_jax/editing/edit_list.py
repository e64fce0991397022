"""A list of edits in a JSON file, as an editing program writes it; docs/formats.md describes it.

  {"audio": "new.wav", "edits": [{"start": 1.2, "stop": 2.04}, ...]}      spans of a new soundtrack
  {"edits": [{"start": 1.2, "stop": 1.95, "audio": "word.wav"}, ...]}     pieces of sound
  {"edits": [{"start": 1.2, "stop": 1.95, "mute": true}]}              closed mouths, the same sound
"""

import collections
import dataclasses
import json
import math
import pathlib

from vidregen_jax import files
from vidregen_jax.compositing import crossfade
from vidregen_jax.editing import face_selection, soundtrack
from vidregen_jax.errors import UserError
from vidregen_jax.inference import mouth_opening
from vidregen_jax.media.timeline import transcripts
from vidregen_jax.reporting.edit_report import EditOptions

FORMAT, VERSION = 'vidregen_jax.edits', 1
_MOST_BYTES, _MOST_EDITS = 2**24, 10_000
_LONGEST = 60  # characters of a wrong value in a message
_LONGEST_OFFSET = 1000.0  # milliseconds
_MOST_GUIDANCE = 20.0
_OWN = {'face', 'fade', 'guidance', 'mute', 'opening', 'offset_ms'}


@dataclasses.dataclass(frozen=True)
class EditList:
  """The content of a file: either `audio` with spans, or patches.

  Attributes:
    audio: path of the whole new soundtrack; '' with patches, and where all edits are mute.
    spans: (start, stop) seconds.
    patches: soundtrack.Patch of each.
    options: edit_report.EditOptions of each edit, in the order of time; empty if none has any.
  """

  audio: str
  spans: tuple
  patches: tuple
  options: tuple = ()


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
  document = _object(path, document, {'edits'}, {'audio', 'transcript', 'format', 'version'},
                     'the file')
  _check_version(path, document)
  audio, edits = document.get('audio', ''), document['edits']
  if not isinstance(edits, list) or not edits:
    raise UserError(f'{path}: "edits" is not a list of at least one edit')
  if len(edits) > _MOST_EDITS:
    raise UserError(f'{path}: has {len(edits)} edits, more than {_MOST_EDITS}: split it into parts')
  if 'audio' in document:
    audio = _path(path, audio)
  transcript = (transcripts.read(_path(path, document['transcript'], 'a transcript'))
                if 'transcript' in document else None)
  silent = not audio and all(isinstance(edit, dict) and edit.get('mute') is True
                             and 'audio' not in edit for edit in edits)
  rows = []
  for number, edit in enumerate(edits, start=1):
    where = f'edit {number}'
    when = {'words'} if transcript and isinstance(edit, dict) and 'words' in edit else {
      'start', 'stop'}
    required = when if audio or silent else when | {'audio'}
    edit = _object(path, edit, required, _OWN, where)
    start, stop = _said(path, edit, transcript) if 'words' in when else (
      _seconds(path, edit[name], where) for name in ('start', 'stop'))
    if start >= stop:
      raise UserError(f'{path}: {where} starts at {start:g} and stops at {stop:g}: give "start" '
                      'before "stop"')
    sound = _path(path, edit['audio']) if 'audio' in required else ''
    rows.append((start, stop, sound, options(path, edit, where)))
  rows.sort(key=lambda row: row[:2])
  own = tuple(row[3] for row in rows)
  return EditList(audio, tuple(row[:2] for row in rows if not row[2]),
                  tuple(soundtrack.Patch(*row[:3]) for row in rows if row[2]),
                  own if any(one != EditOptions() for one in own) else ())


def _check_version(path, document):
  if document.get('format', FORMAT) != FORMAT:
    raise UserError(f'{path}: "format" is {_described(document["format"])}, not "{FORMAT}"')
  version = document.get('version', VERSION)
  if version != VERSION or isinstance(version, bool):
    raise UserError(f'{path}: is of version {_described(version)}, and this program reads '
                    f'{VERSION}: install a newer one')


def _said(path, edit, transcript):
  if not isinstance(edit['words'], str):
    raise UserError(f'{path}: {_described(edit["words"])} is not words of the transcript')
  found = transcript.find(edit['words'])
  return found.start, found.stop


def options(path, edit: dict, where: str) -> EditOptions:
  """What an edit has of its own.

  Args:
    path: of the file, for messages.
    edit: its fields; others than those of options are left alone.
    where: the edit's name in messages.

  Raises:
    UserError: a field has a wrong value.
  """
  def number(name, least, most, default):
    value = edit.get(name, default)
    if value is default:
      return default
    right = isinstance(value, int | float) and not isinstance(value, bool)
    if not right or not least <= value <= most:
      raise UserError(f'{path}: {where} has {_described(value)} for "{name}": give a number from '
                      f'{least:g} to {most:g}')
    return float(value)

  face, mute = edit.get('face'), edit.get('mute', False)
  if not isinstance(mute, bool):
    raise UserError(f'{path}: {where} has {_described(mute)} for "mute": give true or false')
  if face is not None:
    try:
      face = face_selection.parse(','.join(map(str, face)) if isinstance(face, list) else str(face))
    except UserError as error:
      raise UserError(f'{path}: {where}: {error}') from error
  return EditOptions(
    face=face, mute=mute, fade=number('fade', 0, crossfade.LONGEST, None),
    guidance=number('guidance', 0, _MOST_GUIDANCE, None),
    opening=number('opening', 0, mouth_opening.FURTHEST, None),
    offset=number('offset_ms', -_LONGEST_OFFSET, _LONGEST_OFFSET, 0.0) / 1000)


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


def _path(path, value, what='a sound'):
  if not isinstance(value, str) or not value:
    raise UserError(f'{path}: {_described(value)} is not the path of {what}')
  return str(path.parent / value)

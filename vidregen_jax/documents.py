"""JSON from elsewhere: read within limits, and checked field by field.

A check is a function of a value and its location, such as 'DIR/config.json: model.width'. It
returns the value as it is used (lists as tuples, so that a frozen config is hashable), or raises
UserError.
"""

import json
import math
import re

from vidregen_jax import files
from vidregen_jax.errors import UserError

_MOST_BYTES = 4_000_000
_DEEPEST = 32  # levels of nested lists and objects
_SHOWN = 40  # characters of a value that a message quotes
_SHA256 = re.compile('[0-9a-f]{64}')


# ------------------------------------------------------------------------------------------------
# Reading
# ------------------------------------------------------------------------------------------------


def read(path, what='', most=_MOST_BYTES):
  """The value in a JSON file.

  Args:
    path, what: as in `files.check_readable`.
    most: maximum size in bytes.

  Raises:
    UserError: as `files.read_bytes` and `parse`.
  """
  return parse(files.read_bytes(path, what, most), f'{what} {path}'.strip())


def parse(data: bytes, where: str):
  """The value of a JSON text without duplicate fields and numbers beyond float64.

  Raises:
    UserError: it is not such a text, or nested too deeply.
  """
  try:
    value = json.loads(data.decode(), object_pairs_hook=_once, parse_float=_finite,
                       parse_constant=_finite)
  except ValueError as error:  # not JSON, or not even text
    raise UserError(f'{where} is not JSON ({error})') from error
  except RecursionError as error:
    raise _too_deep(where) from error
  level = [value]
  for _ in range(_DEEPEST):
    level = [item for each in level if isinstance(each, dict | list)
             for item in (each.values() if isinstance(each, dict) else each)]
    if not level:
      return value
  raise _too_deep(where)


def _too_deep(where):
  return UserError(f'{where} is not JSON that means something here: it has more than {_DEEPEST} '
                   'lists and objects within each other')


def _once(pairs):
  fields = dict(pairs)
  if len(fields) < len(pairs):
    names = [name for name, _ in pairs]
    twice = next(name for name in names if names.count(name) > 1)
    raise ValueError(f'{short(twice)} is said twice')
  return fields


def _finite(text):
  if not math.isfinite(value := float(text)):
    raise ValueError(f'{text} is no finite number')
  return value


def short(value) -> str:
  """A value as ASCII JSON, shortened for a message."""
  text = json.dumps(value)
  return text if len(text) <= _SHOWN else f'{text[:_SHOWN - 3]}...'


# ------------------------------------------------------------------------------------------------
# Checking
# ------------------------------------------------------------------------------------------------


def _wrong(value, where, wanted):
  return UserError(f'{where} is {short(value)}: {wanted} is needed')


def whole(least: int, most: int):
  """A check for a whole number."""
  def check(value, where):
    if type(value) is not int or not least <= value <= most:
      raise _wrong(value, where, f'a whole number from {least} to {most}')
    return value
  return check


def number(least: float, most: float):
  """A check for a number."""
  def check(value, where):
    if type(value) not in (int, float) or not least <= value <= most:
      raise _wrong(value, where, f'a number from {least:g} to {most:g}')
    return float(value)
  return check


def flag(value, where):
  """Checks for true or false."""
  if type(value) is not bool:
    raise _wrong(value, where, 'true or false')
  return value


def choice(*known):
  """A check for one of several strings."""
  def check(value, where):
    if value not in known:
      raise _wrong(value, where, f'one of {", ".join(known)}')
    return value
  return check


def text(most: int):
  """A check for a string of 1 to `most` characters."""
  def check(value, where):
    if not isinstance(value, str) or not 1 <= len(value) <= most:
      raise _wrong(value, where, f'a string of 1 to {most} characters')
    return value
  return check


def sha256(value, where):
  """Checks for a SHA-256 digest in hexadecimal."""
  if not isinstance(value, str) or not _SHA256.fullmatch(value):
    raise _wrong(value, where, 'a sha256, 64 hexadecimal digits,')
  return value


def row(item, least: int, most: int, ascending=False):
  """A check for a list of `least` to `most` values, each of which `item` checks."""
  def check(value, where):
    if not isinstance(value, list | tuple) or not least <= len(value) <= most:
      raise _wrong(value, where, f'a list of {least} to {most} values')
    found = tuple(item(each, f'{where}[{index}]') for index, each in enumerate(value))
    if ascending and any(a >= b for a, b in zip(found, found[1:], strict=False)):
      raise _wrong(value, where, 'an ascending list')
    return found
  return check


def table(item, most: int):
  """A check for an object of up to `most` fields of any names, each of which `item` checks."""
  def check(value, where):
    if not isinstance(value, dict) or len(value) > most:
      raise _wrong(value, where, f'an object of up to {most} fields')
    return {name: item(each, f'{where}: {short(name)}') for name, each in value.items()}
  return check


def record(needed: dict, optional: dict | None = None, more: bool = False):
  """A check for an object.

  Args:
    needed: checks of the required fields, by name.
    optional: checks of the optional fields, by name.
    more: whether further fields are allowed; they are left out of the result.
  """
  known = needed | (optional or {})

  def check(value, where):
    if not isinstance(value, dict):
      raise _wrong(value, where, 'an object')
    for name in needed:
      if name not in value:
        raise UserError(f'{where} lacks the field {name}, which is needed')
    for name in value:
      if name not in known and not more:
        raise UserError(f'{where} has a field {short(name)}, which means nothing here: known are '
                        f'{", ".join(sorted(known))}')
    # A file's path is followed by a colon, the name of an outer field by a dot.
    within = f'{where}.' if ': ' in where else f'{where}: '
    return {name: known[name](each, within + name) for name, each in value.items()
            if name in known}
  return check

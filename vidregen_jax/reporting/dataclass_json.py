"""Converts dataclasses to JSON and back; their annotations are the schema.

A field may hold a string, a number, a Fraction (written as a string such as '30000/1001'), a
dataclass, a named tuple, tuples and string-keyed dicts of these, or None.
"""

import dataclasses
import types
import typing
from fractions import Fraction

from vidregen_jax.documents import short
from vidregen_jax.errors import UserError

OMITTED_IF_NONE = types.MappingProxyType({'omitted_if_none': True})  # metadata of a field


def to_json(value):
  """A dataclass as a JSON object, with its fields in order."""
  if dataclasses.is_dataclass(value):
    fields = [(field, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return {field.name: to_json(each) for field, each in fields
            if each is not None or not field.metadata.get('omitted_if_none')}
  if isinstance(value, dict):
    return {name: to_json(each) for name, each in value.items()}
  if isinstance(value, tuple):
    return [to_json(each) for each in value]
  return str(value) if isinstance(value, Fraction) else value


def from_json(kind, value, where: str):
  """Converts a JSON value to a type.

  Unknown fields are ignored; absent ones get their default.

  Args:
    kind: a dataclass, or the type of a field.
    value: the JSON value.
    where: what the value is, for messages.

  Raises:
    UserError: the value does not fit the type.
  """
  origin, inner = typing.get_origin(kind), typing.get_args(kind)
  if origin is types.UnionType:
    if type(value) in inner:  # None too
      return value
    *_, last = (each for each in inner if each is not types.NoneType)
    return from_json(last, value, where)
  if dataclasses.is_dataclass(kind) and isinstance(value, dict):
    return kind(**_fields(kind, value, where))
  if origin is dict and isinstance(value, dict):
    return {name: from_json(inner[1], each, f'{where}: {short(name)}')
            for name, each in value.items()}
  if hasattr(kind, '_fields') and isinstance(value, list):
    return kind(*_items(tuple(typing.get_type_hints(kind).values()), value, where))
  if origin is tuple and isinstance(value, list):
    return _items(inner[:1] * len(value) if inner[-1] is Ellipsis else inner, value, where)
  if kind is Fraction and isinstance(value, str):
    try:
      return Fraction(value)
    except (ValueError, ZeroDivisionError) as error:
      raise UserError(f'{where} is {short(value)}: a fraction is needed') from error
  if kind is float and type(value) is int:
    return float(value)
  if type(value) is not kind:
    raise UserError(f'{where} is {short(value)}, which is not of the kind that is needed there')
  return value


def _fields(kind, value, where):
  hints, built = typing.get_type_hints(kind), {}
  for field in dataclasses.fields(kind):
    if field.name in value:
      built[field.name] = from_json(hints[field.name], value[field.name], f'{where}: {field.name}')
    elif field.default is field.default_factory:  # both are MISSING: it is required
      raise UserError(f'{where} lacks the field {field.name}, which is needed')
  return built


def _items(kinds, value, where):
  if len(kinds) != len(value):
    raise UserError(f'{where} is {short(value)}: {len(kinds)} values are needed')
  return tuple(from_json(kind, each, f'{where}[{index}]')
               for index, (kind, each) in enumerate(zip(kinds, value, strict=True)))

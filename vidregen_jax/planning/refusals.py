"""Reads what XLA's compiler says where a program needs more memory than a chip has."""

import dataclasses
import re

_UNITS = {'B': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
_BYTES = r'([\d.]+)([BKMGT])'


@dataclasses.dataclass(frozen=True)
class Refusal:
  """What a program would need of a chip, bytes; None for what the message does not say.

  Attributes:
    program: all but the arguments.
    temporaries: of that, arrays that live between instructions: activations that wait for the
      backward pass, and weights in another type or gathered.
    gaps: of the temporaries, what lies unused between arrays, because none fitted there.
    arrays: the largest, {'bytes', 'type', 'scope'}; scope is the operation's path in the program,
      '' where the compiler made the array itself.
  """

  program: float | None
  temporaries: float | None
  gaps: float | None
  arrays: tuple[dict, ...]


def read(message: str) -> Refusal:
  """Reads a message that begins with RESOURCE_EXHAUSTED."""
  used = _found(rf'[Uu]sed {_BYTES} of ', message)
  # Some messages count the arguments in, some stop before they are known and say 0.
  arguments = _found(rf'^\s+arguments\s+{_BYTES}', message) or 0.0
  arrays = [{'bytes': _bytes(*size), 'type': type_, 'scope': _scope(operator)}
            for *size, operator, type_ in re.findall(
              rf'^\s+\d+\. Size: {_BYTES}\s+(?:Operator: (.*)\s+)?Shape: (\w+\[[\d,]*\])',
              message, re.M)]
  return Refusal(used and used - arguments, _found(rf'^\s+HLO temp\s+{_BYTES}', message),
                 _found(rf'HLO temp.*fragmentation \({_BYTES}\)', message), tuple(arrays))


def _found(pattern, message):
  match = re.search(pattern, message, re.M)
  return match and _bytes(match[1], match[2])


def _bytes(number, unit):
  return float(number) * _UNITS[unit]


def _scope(operator):
  name = re.search(r'op_name="([^"]*)"', operator)
  return name[1] if name else ''

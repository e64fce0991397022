"""Several datasets read as one, each with its share of the examples."""

import math
import re

import grain

from vidregen_jax.errors import UserError

_PART = re.compile(r'(.+?)(?::(\d+(?:\.\d+)?))?')


def parse(spec: str) -> list[tuple[str, float]]:
  """'out/a:3,out/b:1' to [('out/a', 3.0), ('out/b', 1.0)]; a folder without a weight has 1.

  Raises:
    UserError: a part is empty, or its weight 0.
  """
  parts = []
  for part in str(spec).split(','):
    found = _PART.fullmatch(part.strip())
    if not found or (found[2] and not float(found[2])):
      raise UserError(f'the dataset {spec!r} has a part {part!r}: give folders with weights above '
                      '0, as in out/a:3,out/b:1')
    parts.append((found[1], float(found[2] or 1)))
  return parts


def mixed(parts, weights) -> grain.MapDataset:
  """Datasets as one in which every run of examples has them in the given shares.

  It is as long as needed for each example to occur at least once; those of a dataset that has fewer
  than its share are repeated. It is indexed like any other, so shuffling it resumes exactly.

  Args:
    parts: grain.MapDataset of each.
    weights: of each, above 0.
  """
  if len(parts) == 1:
    return parts[0]
  total = sum(weights)
  length = max(math.ceil(len(part) * total / weight)
               for part, weight in zip(parts, weights, strict=True))
  return grain.MapDataset.mix([part.repeat() for part in parts], weights)[:length]

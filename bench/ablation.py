"""Ablations: trainings with one thing changed at a time; finished ones are not repeated."""

import json

from vidregen_jax import files
from vidregen_jax.errors import UserError


def run(variants, only, path, run_variant):
  """Runs variants and prints what was measured.

  Args:
    variants: dict by name; only its keys are looked at.
    only: names to run, or None for all.
    path: JSON file of what is done, written after each.
    run_variant: function of a name; returns a dict of figures, the same keys for all, None where
      there is none.

  Raises:
    UserError: a name that is not among the variants.
  """
  names = only or list(variants)
  if unknown := set(names) - set(variants):
    raise UserError(f'there is no variant {unknown.pop()!r}: choose from {"; ".join(variants)}')
  table = json.loads(path.read_text()) if path.exists() else {}
  for name in names:
    if name not in table:
      table[name] = run_variant(name)
      files.write_json(path, table)
  columns = list(next(iter(table.values())))
  print(f'| variant | {" | ".join(columns)} |\n|---|{"---|" * len(columns)}')
  for name, row in table.items():
    cells = ('' if row[x] is None else f'{row[x]:.4g}' for x in columns)
    print(f'| {name} | {" | ".join(cells)} |')

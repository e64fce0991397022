"""What would make a training step fit that the compiler refused, counted without compiling.

A layout changes what a chip holds of the state, which is counted, and the temporaries: those of the
refused program in proportion to the examples that are computed at once, and to what `remat` keeps
of each for the backward pass. That is a rule of thumb: gaps between arrays and what is there
whatever the batch do not shrink in proportion.
"""

import functools
import itertools

from vidregen_jax.errors import UserError
from vidregen_jax.planning import abstract_steps, search

_FULL = 0.8  # of a chip's memory; the rest is for what the rule does not see


def named(config, count: int, make, memory: float, temporaries: float) -> list[dict]:
  """Changes of a config that should fit: of `fsdp`, `accumulate` and `remat`, one or two of them.

  Of each kind the smallest is named that should do, and none that changes more than another.

  Args:
    config: the refused one.
    count: number of devices.
    make: function from a config to its program.
    memory: bytes of a chip.
    temporaries: bytes that those of the refused program took.

  Returns:
    [{'fields': {name as in `search.Choice`: value}, 'bytes': of a chip}].
  """
  @functools.cache
  def kept(remat):
    return make(search.changed(config, {'remat': remat})).kept()

  def needed(fields):
    program = make(search.changed(config, fields))
    held = {kind: abstract_steps.bytes_on_a_device(tree) for kind, tree in program.held.items()}
    # Parts of a batch add their gradients to those of the parts before.
    sums = held['parameters'] if 'accumulate' in fields else 0
    share = config.accumulate / fields.get('accumulate', config.accumulate)
    if 'remat' in fields:
      share *= kept(fields['remat']) / kept(config.model.remat)
    return sum(held.values()) + sums + share * temporaries

  sparing = search.most_sparing(config)
  values = {'accumulate': _multiples(config.accumulate, config.batch_size),
            'fsdp': _multiples(config.fsdp, count // config.tensor),
            'remat': [sparing] if sparing != config.model.remat else []}
  found = []
  for names in (*((name,) for name in values), *itertools.combinations(values, 2)):
    for chosen in itertools.product(*(values[name] for name in names)):
      fields = dict(zip(names, chosen, strict=True))
      if any(_within(row['fields'], fields) for row in found):
        continue
      try:
        total = needed(fields)
      except UserError:  # no such mesh on this slice, or a batch that does not divide
        continue
      if total < _FULL * memory:
        found.append({'fields': fields, 'bytes': total})
        break
  return found


def _within(fields, more):
  """Whether some changes are among others, or smaller than they."""
  return all(name in more and value <= more[name] for name, value in fields.items())


def _multiples(number, whole):
  """Multiples of a number, larger than it, that divide another."""
  return [n for n in range(2 * number, whole + 1, number) if whole % n == 0]

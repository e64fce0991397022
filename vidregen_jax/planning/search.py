"""The best layout, batch and remat that fit: tried from the most promising on, few compiled."""

import collections
import dataclasses
import itertools

from vidregen_jax.errors import UserError
from vidregen_jax.planning import abstract_steps

_REMAT = {'codec': (False, True)}  # of a stage; a generator's are these:
_GENERATOR_REMAT = ('none', 'dots', 'kernels', 'full')
_COMPILED = 4  # at most, of each remat: what it changes besides work, no count says


@dataclasses.dataclass(frozen=True)
class Choice:
  """What is varied: see the fields of the same names in configs/."""

  fsdp: int
  tensor: int
  batch_size: int
  accumulate: int
  remat: str | bool

  def set(self, config):
    """A copy of a config with this choice."""
    config = config.copy_and_resolve_references()
    with config.unlocked():
      for name in ('fsdp', 'tensor', 'batch_size', 'accumulate'):
        config[name] = getattr(self, name)
      config.model.remat = self.remat
    return config


def choices(config, count) -> list[Choice]:
  """All that are tried on `count` devices; the batch is the config's, its half, and its double."""
  sizes = [n for n in (1, 4, 16, 64, 256) if count % n == 0]
  found = []
  for fsdp, tensor, batch, accumulate, remat in itertools.product(
      sizes, (1, 2), (config.batch_size // 2, config.batch_size, 2 * config.batch_size), (1, 2, 4),
      _REMAT.get(config.stage, _GENERATOR_REMAT)):
    shares = count if config.stage == 'codec' else count // tensor
    if count % (fsdp * tensor) == 0 and batch and batch % (shares * accumulate) == 0:
      found.append(Choice(fsdp, tensor, batch, accumulate, remat))
  return found


def best(config, count, figures, make, memory, say):
  """The config of the quickest step a clip that fits; by the compiler's cycles, where it counts.

  A step cannot be quicker than what it computes, and that is known without a compiler. So the
  choices are compiled in that order, until none that is left can be better. One that does not fit
  rules out all that need more of a chip.

  Args:
    config: what is varied.
    count: devices.
    figures: function of a config to `estimate.figures`.
    make: function of a config to its program.
    memory: bytes of a chip.
    say: function that takes a line of what was tried.

  Raises:
    UserError: nothing fits.
  """
  work = {}

  def least(choice):
    if choice.remat not in work:
      work[choice.remat] = make(choice.set(config)).work().done / choice.batch_size
    return work[choice.remat]

  def order(choice):
    # Of equals, first what talks least and needs least: weights gathered for a large batch, once.
    return (least(choice), choice.tensor, choice.accumulate, -choice.fsdp, choice.batch_size)

  found, failed, compiled = None, [], collections.Counter()
  for choice in sorted(choices(config, count), key=order):
    if compiled[choice.remat] == _COMPILED or any(_needs_more(choice, small) for small in failed):
      continue
    arguments = sum(map(abstract_steps.bytes_on_a_device, make(choice.set(config)).held.values()))
    if arguments > memory:
      failed.append(choice)
      continue
    if found and least(choice) >= found[1] * (1 - 1e-6):
      break
    compiled[choice.remat] += 1
    told = figures(choice.set(config))
    if not told['memory']['fits']:
      failed.append(choice)
      say(f'{choice}: does not fit')
      continue
    # In the units of `least`: operations a clip that the step's time would have been enough for.
    seconds = told['seconds']
    spent = (seconds['expected'] or seconds['step']) / seconds['compute'] * least(choice)
    say(f'{choice}: MFU at most {told["mfu"]:.1%}, {told["memory"]["total"] / 1e9:.1f} GB a chip, '
        f'{seconds["binds"]} binds'
        + (f"; by the compiler's cycles {told['mfu_expected']:.1%}" if seconds['expected'] else ''))
    if found is None or spent < found[1]:
      found = choice, spent
  if found is None:
    raise UserError('nothing that was tried fits: choose more chips, or a smaller model')
  say(f'best: {found[0]}')
  return found[0].set(config)


def _needs_more(choice, failed):
  """Whether a choice needs at least as much of a chip as one that did not fit."""
  part = lambda x: x.batch_size / x.accumulate
  return (choice.remat == failed.remat and choice.tensor <= failed.tensor
          and choice.fsdp <= failed.fsdp and part(choice) >= part(failed))

"""Searches for the best layout, batch and remat that fit, and compiles only the most promising."""

import collections
import dataclasses
import itertools

from vidregen_jax.errors import UserError
from vidregen_jax.planning import abstract_steps

_REMAT = {'codec': (False, True)}  # choices of a stage; those of a generator:
_GENERATOR_REMAT = ('none', 'dots', 'kernels', 'full')
_COMPILED = 4  # most choices compiled for each remat, which changes more than the counted work


@dataclasses.dataclass(frozen=True)
class Choice:
  """The fields that are varied, named as in configs/."""

  fsdp: int
  tensor: int
  batch_size: int
  accumulate: int
  remat: str | bool

  def set(self, config):
    """A copy of a config with this choice made."""
    return changed(config, dataclasses.asdict(self))


def changed(config, fields):
  """A copy of a config with some fields of `Choice` changed, by name."""
  config = config.copy_and_resolve_references()
  with config.unlocked():
    for name, value in fields.items():
      (config.model if name == 'remat' else config)[name] = value
  return config


def most_sparing(config):
  """The `remat` that keeps least for the backward pass."""
  return _REMAT.get(config.stage, _GENERATOR_REMAT)[-1]


def choices(config, count) -> list[Choice]:
  """All candidates for `count` devices; batches are the config's, half of it, and twice it."""
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
  """The config that fits with the least time per clip, by the compiler's cycles if it has them.

  A step's operations give a lower bound of its time, and are known without a compiler. So choices
  are compiled in the order of that bound, until no remaining one can be better. A choice that does
  not fit rules out all that need more of a chip.

  Args:
    config: the config to vary.
    count: number of devices.
    figures: function from a config to its `estimate.figures`.
    make: function from a config to its program.
    memory: bytes of a chip.
    say: function that takes a line about each choice tried.

  Raises:
    UserError: nothing fits.
  """
  work = {}

  def least(choice):
    if choice.remat not in work:
      work[choice.remat] = make(choice.set(config)).work().done / choice.batch_size
    return work[choice.remat]

  def order(choice):
    # Among equals, first those that communicate least: large batches gather weights only once.
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
    result = figures(choice.set(config))
    if not result['memory']['fits']:
      failed.append(choice)
      say(f'{choice}: does not fit')
      continue
    # In the units of `least`: operations per clip that the step's time would have sufficed for.
    seconds = result['seconds']
    spent = (seconds['expected'] or seconds['step']) / seconds['compute'] * least(choice)
    say(f'{choice}: MFU at most {result["mfu"]:.1%}, {result["memory"]["total"] / 1e9:.1f} GB a '
        f'chip, {seconds["binds"]} binds'
        + (f"; by the compiler's cycles {result['mfu_expected']:.1%}"
           if seconds['expected'] else ''))
    if found is None or spent < found[1]:
      found = choice, spent
  if found is None:
    raise UserError('nothing that was tried fits: choose more chips, or a smaller model')
  say(f'best: {found[0]}')
  return found[0].set(config)


def _needs_more(choice, failed):
  """Whether a choice needs at least as much memory as one that did not fit."""
  part = lambda x: x.batch_size / x.accumulate
  return (choice.remat == failed.remat and choice.tensor <= failed.tensor
          and choice.fsdp <= failed.fsdp and part(choice) >= part(failed))

"""What a training or sampling step takes of machines that are not here.

  python -m vidregen_jax.plan --config=configs/generator.py:large --topology=v5e:16x16
  python -m vidregen_jax.plan --config=configs/generator.py:large --topology=v5e:4x4 --search
  python -m vidregen_jax.plan --config=configs/codec.py:512-v5e-256 --topology=v5e:16x16 \
    --cycles_by=stage

The very step that training runs is compiled by the real TPU compiler (the `tpu` extra; no TPU),
with no data and no weights. Printed are the memory that a chip needs, what is computed and moved,
and the time that a step takes at least: the longest of computing, reading memory and talking to
other chips, each at the maker's figure. Nothing is taken off for what real programs lose: waiting,
norms and softmax (which matrix units do not do), kernels' rereading, the host. Beside it stands the
time by the TPU compiler's own count of cycles, which knows these, one instruction after another.
Exit status 1 says that it does not fit; where the compiler refused it for that, the largest arrays
are printed, and changes of the config that should fit.

`--topology=here` plans for this machine's own devices. For GPUs that are not here (`h100:8`) there
is no compiler: only what the arguments take and the operations are counted, and the plan says so.
"""

import collections
import os
import pathlib
import sys

import jax
from absl import flags
from ml_collections import config_flags

from vidregen_jax import cli, files, terminal
from vidregen_jax.errors import UserError
from vidregen_jax.planning import accelerators, estimate, remedies, search

_ARRAYS = 5  # the largest, of a refused program
_SHARE = 0.005  # of a step's cycles, below which a stage has no line of its own

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Config file and size, such as configs/generator.py:large.', lock_config=True)
_TOPOLOGY = flags.DEFINE_string('topology', 'here', 'Slice, such as v5e:16x16 or h100:8, or here.')
_WHAT = flags.DEFINE_enum('what', 'train', ['train', 'sample', 'codec'],
                          'A step of training, of the sampler, or of the codec in a stream.')
_INIT = flags.DEFINE_bool('init', False, 'Also plan how the state before the first step is made.')
_CYCLES = flags.DEFINE_enum('cycles_by', None, ['stage', 'function'],
                            "Also print where the compiler's cycles of a step go.")
_SEARCH = flags.DEFINE_bool('search', False, 'Try layouts, batches and remat; name the best.')
_MEMORY = flags.DEFINE_float('memory_gb', None, 'Memory of a chip, GB, in place of the real.')
_PRICE = flags.DEFINE_float('price_per_chip_hour', None, 'Dollars.', lower_bound=0)
_CLIPS = flags.DEFINE_integer('clips', 100_000, 'Of an epoch.', lower_bound=1)
_LAYERS = flags.DEFINE_integer('audio_layers', 3, 'Whisper states that are kept.', lower_bound=1)
_WIDTH = flags.DEFINE_integer('audio_width', 512, 'Channels of Whisper states.', lower_bound=1)
_JSON = flags.DEFINE_string('json', None, "File for all figures, or '-' for stdout alone.")


def describe(found, config) -> str:
  """The figures as lines of text."""
  memory, seconds, flop = found['memory'], found['seconds'], found['flops']
  layout = ' x '.join(f'{name} {n}' for name, n in found['mesh'].items())
  lines = [f'{found["chips"]} chips ({layout}), {found["examples"]} examples a step, accumulate '
           f'{config.accumulate}, remat {config.model.remat}; '
           + (f'compiled in {found["compile_seconds"]:.0f} s' if found['compiled'] else
              'counted, not compiled: there is no compiler for such chips here, so temporaries, '
              'what is moved, and whether it fits are unknown'), '', 'memory of a chip']
  lines += [f'  {kind:14}{_gb(n):>10}' for kind, n in memory['held'].items()]
  lines += [f'  {kind:14}{_gb(memory[kind]):>10}' for kind in ('temporaries', 'results', 'code')]
  fits = {True: 'fits', False: 'DOES NOT FIT', None: 'whether it fits is unknown'}[memory['fits']]
  lines.append(f'  {"total":14}{_gb(memory["total"]):>10} of {_gb(memory["of"])}: {fits}')
  if memory['refusal']:
    lines += ['', *describe_refusal(memory['refusal'], found['remedies'], found['what'])]
  lines += ['', f'work of a step: {flop["needed"] / 1e12:,.3f} TFLOP needed, '
            f'{flop["done"] / 1e12:,.3f} done (repeated work and kernels\' padding in)']
  if found['collectives'] and found['chips'] > 1:
    lines += ['', 'between chips                                     each in   runs       MB  '
              'carries, for']
    lines += [f'  {row["kind"]:20}{"/".join(row["types"]):>12}{row["group"]:>21}{row["runs"]:>7}'
              f'{row["bytes"] / 1e6:>9.1f}  {row["carries"]}, {row["function"]}'
              for row in found['collectives'] if row['bytes'] > 1e5]
    small = [row['bytes'] for row in found['collectives'] if row['bytes'] <= 1e5]
    lines.append(f'  and {len(small)} kinds of less than .1 MB, {sum(small) / 1e6:.2f} MB')
  if 'init' in found:
    created = found['init']['memory']
    lines += ['', f'the state before the first step: {_gb(created["results"])} of a chip, '
              f'{_gb(created["temporaries"])} more to make it, together {_gb(created["total"])} of '
              f'{_gb(created["of"])}; compiled in {found["init"]["compile_seconds"]:.0f} s']
  if seconds['step']:
    parts = ', '.join(f'{part} {seconds[part] * 1e3:.2f}' for part in (
      'compute', 'memory', 'network') if seconds[part] is not None)
    lines += ['', f'a step takes at least {seconds["step"] * 1e3:.2f} ms ({parts}): '
              f'{seconds["binds"]} binds',
              f'MFU at most {found["mfu"]:.1%}, with repeated work {found["hfu"]:.1%}; '
              f'{found["examples_a_second"]:.1f} examples a second'
              + ('' if found['compiled'] else '; these by arithmetic alone')]
    if seconds['expected']:
      lines.append("by the compiler's cycles, one instruction after another, with kernels at the "
                   f'peak: {seconds["expected"] * 1e3:.2f} ms, MFU {found["mfu_expected"]:.1%}')
      if found['flops']['kernels']:
        lines.append('and with kernels as the instructions of a v5e are scheduled: '
                     f'{seconds["scheduled"] * 1e3:.2f} ms, MFU {found["mfu_scheduled"]:.1%}')
    if 'times_real_time' in found:
      lines.append(f'{found["times_real_time"]:.1f} times real time')
  if 'epoch' in found:
    dollars = found['epoch']['dollars']
    lines.append(f'an epoch of {found["epoch"]["clips"]:,} examples: '
                 f'{found["epoch"]["chip_hours"]:.2f} chip-hours'
                 + (f', ${dollars:,.2f}' if dollars is not None else ''))
  return '\n'.join(lines)


def describe_refusal(refusal, remedies_, what) -> list[str]:
  """What the compiler's refusal means and what to do, as lines of text.

  Args:
    refusal: a `refusals.Refusal`, as a dict.
    remedies_: of `remedies.named`.
    what: the step that was planned, as in the flag.
  """
  lines = ['the compiler refused it, as what the program keeps in memory is more than a chip has']
  if refusal['temporaries']:
    lines[0] += (
      ':\ntemporaries (activations that wait for the backward pass, gathered or converted '
      f'weights) take {_gb(refusal["temporaries"])} at once,\n{_gb(refusal["gaps"])} of it gaps '
      'between arrays where nothing fitted; state and batch come on top. The largest:')
  lines += [f'  {_gb(array["bytes"]):>10}  {array["type"]:34} {array["scope"] or "(the compiler)"}'
            for array in refusal['arrays'][:_ARRAYS]]
  if what != 'train':
    return [*lines, 'a stream runs on one chip: choose one with more memory, '
            + ' or '.join(f'{name} ({_gb(chip.memory)})' for name, chip in sorted(
              accelerators.CHIPS.items(), key=lambda item: -item[1].memory)[:2])]
  if not remedies_:
    return [*lines, 'no fsdp, accumulate or remat makes up for that: choose more chips, a smaller '
            'batch_size, or a smaller model']
  named = lambda field: f'--config.{"model." if field == "remat" else ""}{field}'
  written = lambda fields: ' '.join(f'{named(field)}={value}' for field, value in fields.items())
  return [*lines, 'what should fit (counted from the state and its share of these temporaries, of '
          'which a compiler takes more where there is room):',
          *(f'  {written(row["fields"]):48}{_gb(row["bytes"])}' for row in remedies_)]


def describe_cycles(rows, by, rate) -> list[str]:
  """Where the compiler's cycles go, as lines of text, the dearest first.

  Args:
    rows: of `hlo.cycles_by_stage`.
    by: 'stage' or 'function'.
    rate: cycles per second.
  """
  total = sum(row['cycles'] for row in rows)
  turns = {name: collections.Counter() for name in ('forward', 'again', 'backward')}
  for row in rows:
    turns[row['pass']][row[by]] += row['cycles']
  summed = sum(turns.values(), collections.Counter())
  lines = [f"the compiler's cycles by {by}, {total / 1e6:,.1f} million; it has none for kernels",
           f'  {"million":>9}{"ms":>9}{"share":>7}{"forward":>9}{"again":>9}'
           f'{"backward":>9}']
  shown = [(name, count) for name, count in summed.most_common() if count >= _SHARE * total]
  lines += [f'  {count / 1e6:9,.1f}{count / rate * 1e3:9.2f}{count / total:7.1%}'
            + ''.join(f'{turn[name] / 1e6:9,.1f}' for turn in turns.values()) + f'  {name}'
            for name, count in shown]
  rest = total - sum(count for _, count in shown)
  return [*lines, f'  {rest / 1e6:9,.1f}{rest / rate * 1e3:9.2f}{rest / total:7.1%}{"":27}  '
          f'{len(summed) - len(shown)} more of less than {_SHARE:.1%} each']


def _gb(size) -> str:
  return 'unknown' if size is None else f'{size / 1e9:.3f} GB'


def run():
  """Prints the plan.

  Raises:
    UserError: a mistake in the flags or the config, with the way out.
  """
  config = _CONFIG.value
  if config is None:
    raise UserError('name a config: --config=configs/generator.py:large')
  try:
    stage = config.stage
  except OSError as error:  # config_flags keeps it until the config is first looked at
    raise UserError(str(error)) from None
  if _JSON.value not in (None, '-') and not os.path.isdir(pathlib.Path(_JSON.value).parent):
    raise UserError(f'{_JSON.value}: there is no such folder: make it, or give another place')
  if _TOPOLOGY.value != 'here':
    # Nothing runs: this machine's own accelerators are left alone.
    jax.config.update('jax_platforms', 'cpu')
  aim = estimate.target(_TOPOLOGY.value, _MEMORY.value and _MEMORY.value * 1e9)
  audio = _LAYERS.value, _WIDTH.value
  if _SEARCH.value:
    if _WHAT.value != 'train' or aim.devices is None or aim.chip is None:
      raise UserError('--search is for training, on chips with a compiler and known figures')
    make = lambda tried: estimate.make_program(tried, 'train', aim, audio)
    config = search.best(config, aim.count, lambda tried: estimate.figures(make(tried), aim), make,
                         aim.memory, terminal.tell)
  program = estimate.make_program(config, _WHAT.value, aim, audio)
  created = {'init': estimate.init_figures(program, aim)} if _INIT.value else {}
  found = estimate.figures(program, aim) | created
  temporaries, found['remedies'] = found['memory']['temporaries'], []
  if _WHAT.value == 'train' and found['memory']['fits'] is False and temporaries:
    found['remedies'] = remedies.named(
      config, aim.count, lambda tried: estimate.make_program(tried, 'train', aim, audio),
      aim.memory, temporaries)
  found = {'stage': stage, 'size': config.size, 'what': _WHAT.value,
           'topology': _TOPOLOGY.value} | found
  if _WHAT.value == 'train' and found['seconds']['step']:
    hours = _CLIPS.value / found['examples_a_second'] * found['chips'] / 3600
    found['epoch'] = {'clips': _CLIPS.value, 'chip_hours': hours,
                      'dollars': _PRICE.value and hours * _PRICE.value}
  if _JSON.value == '-':
    terminal.say_text(files.as_json(found).decode().rstrip())
  else:
    terminal.say_text(describe(found, config))
    if _CYCLES.value and found['stages'] and aim.chip and aim.chip.cycles:
      lines = describe_cycles(found['stages'], _CYCLES.value, aim.chip.cycles)
      terminal.say_text('\n'.join(['', *lines]))
    if _JSON.value:
      files.write_json(pathlib.Path(_JSON.value), found)
  if False in [part['memory']['fits'] for part in (found, *created.values())]:
    sys.exit(1)


if __name__ == '__main__':
  cli.run(run, 'nothing was written')

"""What a training or sampling step takes of machines that are not here.

  python -m vidregen_jax.plan --config=configs/generator.py:large --topology=v5e:16x16
  python -m vidregen_jax.plan --config=configs/generator.py:large --topology=v5e:4x4 --search

The very step that training runs is compiled by the real TPU compiler (the `tpu` extra; no TPU),
with no data and no weights. Printed are the memory that a chip needs, what is computed and moved,
and the time that a step takes at least: the longest of computing, reading memory and talking to
other chips, each at the maker's figure. Nothing is taken off for what real programs lose: waiting,
norms and softmax (which matrix units do not do), kernels' rereading, the host. Beside it stands the
time by the TPU compiler's own count of cycles, which knows these, one instruction after another.
Exit status 1 says that it does not fit.

`--topology=here` plans for this machine's own devices. For GPUs that are not here (`h100:8`) there
is no compiler: only what the arguments take and the operations are counted.
"""

import os
import pathlib
import sys

import jax
from absl import flags
from ml_collections import config_flags

from vidregen_jax import cli, files, terminal
from vidregen_jax.errors import UserError
from vidregen_jax.planning import estimate, search

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Config file and size, such as configs/generator.py:large.', lock_config=True)
_TOPOLOGY = flags.DEFINE_string('topology', 'here', 'Slice, such as v5e:16x16 or h100:8, or here.')
_WHAT = flags.DEFINE_enum('what', 'train', ['train', 'sample', 'codec'],
                          'A step of training, of the sampler, or of the codec in a stream.')
_INIT = flags.DEFINE_bool('init', False, 'Also plan how the state before the first step is made.')
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
  gb = lambda x: 'unknown' if x is None else f'{x / 1e9:.3f} GB'
  layout = ' x '.join(f'{name} {n}' for name, n in found['mesh'].items())
  lines = [f'{found["chips"]} chips ({layout}), {found["examples"]} examples a step, accumulate '
           f'{config.accumulate}, remat {config.model.remat}; compiled in '
           f'{found["compile_seconds"]:.0f} s', '', 'memory of a chip']
  lines += [f'  {kind:14}{gb(n):>10}' for kind, n in memory['held'].items()]
  lines += [f'  {kind:14}{gb(memory[kind]):>10}' for kind in ('temporaries', 'results', 'code')]
  fits = {True: 'fits', False: 'DOES NOT FIT', None: 'whether it fits is unknown'}[memory['fits']]
  lines += [f'  {"total":14}{gb(memory["total"]):>10} of {gb(memory["of"])}: {fits}', '',
            f'work of a step: {flop["needed"] / 1e12:,.3f} TFLOP needed, '
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
    lines += ['', f'the state before the first step: {gb(created["results"])} of a chip, '
              f'{gb(created["temporaries"])} more to make it, together {gb(created["total"])} of '
              f'{gb(created["of"])}; compiled in {found["init"]["compile_seconds"]:.0f} s']
  if seconds['step']:
    parts = ', '.join(f'{part} {seconds[part] * 1e3:.2f}' for part in (
      'compute', 'memory', 'network') if seconds[part] is not None)
    lines += ['', f'a step takes at least {seconds["step"] * 1e3:.2f} ms ({parts}): '
              f'{seconds["binds"]} binds',
              f'MFU at most {found["mfu"]:.1%}, with repeated work {found["hfu"]:.1%}; '
              f'{found["examples_a_second"]:.1f} examples a second']
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
    if _JSON.value:
      files.write_json(pathlib.Path(_JSON.value), found)
  if False in [part['memory']['fits'] for part in (found, *created.values())]:
    sys.exit(1)


if __name__ == '__main__':
  cli.run(run, 'nothing was written')

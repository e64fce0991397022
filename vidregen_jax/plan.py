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

import dataclasses
import os
import pathlib
import re
import sys
import time

import jax
from absl import flags
from ml_collections import config_flags

from vidregen_jax import cli, files, terminal
from vidregen_jax.distributed import sharding
from vidregen_jax.errors import UserError
from vidregen_jax.planning import abstract_steps, accelerators, hlo, search, tpu_topologies

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Config file and size, such as configs/generator.py:large.', lock_config=True)
_TOPOLOGY = flags.DEFINE_string('topology', 'here', 'Slice, such as v5e:16x16 or h100:8, or here.')
_WHAT = flags.DEFINE_enum('what', 'train', ['train', 'sample', 'codec'],
                          'A step of training, of the sampler, or of the codec in a stream.')
_SEARCH = flags.DEFINE_bool('search', False, 'Try layouts, batches and remat; name the best.')
_MEMORY = flags.DEFINE_float('memory_gb', None, 'Memory of a chip, GB, in place of the real.')
_PRICE = flags.DEFINE_float('price_per_chip_hour', None, 'Dollars.', lower_bound=0)
_CLIPS = flags.DEFINE_integer('clips', 100_000, 'Of an epoch.', lower_bound=1)
_LAYERS = flags.DEFINE_integer('audio_layers', 3, 'Whisper states that are kept.', lower_bound=1)
_WIDTH = flags.DEFINE_integer('audio_width', 512, 'Channels of Whisper states.', lower_bound=1)
_JSON = flags.DEFINE_string('json', None, "File for all figures, or '-' for stdout alone.")

_BACKENDS = {'v5e': 'tpu', 'v5p': 'tpu', 'v6e': 'tpu', 'h100': 'gpu'}


@dataclasses.dataclass(frozen=True)
class Target:
  """What is planned for.

  Attributes:
    backend: 'cpu', 'gpu' or 'tpu'.
    devices: to compile for, or None where there is no compiler.
    count: how many devices.
    chip: accelerators.Chip, or None for a device without known figures.
    memory: bytes of a chip that programs get, or None.
    ring: bytes a second, of `accelerators.ring`, or None.
  """

  backend: str
  devices: list | None
  count: int
  chip: accelerators.Chip | None
  memory: float | None
  ring: float | None


def target(topology: str, memory=None) -> Target:
  """The devices of a topology.

  Args:
    topology: 'here', or as `accelerators.read` takes it.
    memory: bytes of a chip, in place of what is known.

  Raises:
    UserError: no such topology, or no compiler for it.
  """
  if topology == 'here':
    devices = jax.devices()
    name = accelerators.of_kind(devices[0].device_kind)
    chip = accelerators.CHIPS[name] if name else None
    # How a slice is wired is not asked for here: as if its sides were open.
    return Target(jax.default_backend(), devices, len(devices), chip,
                  memory or (chip and chip.memory), chip and chip.link)
  name, sides = accelerators.read(topology)
  chip, devices = accelerators.CHIPS[name], None
  if _BACKENDS[name] == 'tpu':
    devices = tpu_topologies.devices(topology)
  return Target(_BACKENDS[name], devices, accelerators.count(sides), chip, memory or chip.memory,
                accelerators.ring(chip, sides))


def make_mesh(config, aim: Target):
  """The mesh of a config on a target; abstract where there are no devices."""
  if aim.devices is not None:
    return sharding.make_mesh(config.fsdp, config.tensor, list(aim.devices))
  if aim.count % (config.fsdp * config.tensor):
    raise UserError(f'{aim.count} devices cannot be split into fsdp {config.fsdp} x tensor '
                    f'{config.tensor}: choose divisors')
  return jax.sharding.AbstractMesh(
    (aim.count // (config.fsdp * config.tensor), config.fsdp, config.tensor),
    (sharding.DATA, sharding.FSDP, sharding.TENSOR),
    axis_types=(jax.sharding.AxisType.Auto,) * 3)


def make_program(config, what, aim: Target, audio) -> abstract_steps.Program:
  """The step that is planned.

  Raises:
    UserError: the config is not of a stage that has such a step.
  """
  if what == 'train':
    return abstract_steps.of_training(config, make_mesh(config, aim), aim.backend, audio)
  if aim.devices is None:
    raise UserError(f'--what={what} needs a compiler, and there is none for such chips here')
  mesh = sharding.make_mesh(devices=list(aim.devices)[:1])
  if what == 'codec':
    if config.stage != 'codec':
      raise UserError('--what=codec takes a config of the codec: --config=configs/codec.py:512')
    return abstract_steps.of_codec_stream(config, mesh, aim.backend)
  if config.stage == 'codec':
    raise UserError('--what=sample takes a config of the generator: '
                    '--config=configs/generator.py:large')
  return abstract_steps.of_sampling(config, mesh, aim.backend, audio)


def compiled(program: abstract_steps.Program):
  """The compiled step, or what the compiler says where a chip's memory does not hold it."""
  with jax.set_mesh(program.mesh):
    lowered = program.step.trace(*program.arguments).lower(
      lowering_platforms=(program.mesh.devices.flat[0].platform,))
    try:
      return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
      if 'RESOURCE_EXHAUSTED' not in str(error):
        raise
      return str(error)


def figures(program: abstract_steps.Program, aim: Target) -> dict:
  """All that is known of a step, as a JSON value; None for what is not.

  Times are the least that a chip of these figures needs, see the module's own words.
  """
  began = time.monotonic()
  made = compiled(program) if aim.devices is not None else None
  found = {'chips': program.mesh.size, 'mesh': dict(program.mesh.shape),
           'examples': program.examples, 'compile_seconds': round(time.monotonic() - began, 1)}
  found['memory'] = _memory(program, made, aim)
  found['flops'] = dataclasses.asdict(program.work())
  text = made.as_text() if hasattr(made, 'as_text') else None
  module = hlo.parse(text) if text else None
  kernels = [x.shape for x in jax.tree.leaves(program.held['parameters']) if len(x.shape) > 1]
  found['collectives'] = _collectives(module, kernels) if module else None
  found['traffic'] = hlo.traffic(module) if module else None
  found['cycles'] = hlo.cycles(module) or None if module else None
  found['seconds'] = _seconds(found, aim)
  step = found['seconds']['step']
  if step:
    peak = step * program.mesh.size * aim.chip.flops
    found |= {'mfu': found['flops']['needed'] / peak, 'hfu': found['flops']['done'] / peak,
              'examples_a_second': program.examples / step}
    expected = found['seconds']['expected']
    found['mfu_expected'] = expected and found['mfu'] * step / expected
    if program.seconds:
      found['times_real_time'] = program.seconds / step
  return found


def _memory(program, made, aim):
  """Bytes on a chip, by what they are for."""
  held = {kind: abstract_steps.bytes_on_a_device(tree) for kind, tree in program.held.items()}
  memory = {'held': held, 'arguments': sum(held.values()), 'temporaries': None, 'results': None,
            'code': None, 'total': None, 'of': aim.memory, 'fits': None}
  if hasattr(made, 'memory_analysis'):
    told = made.memory_analysis()
    memory |= {'arguments': told.argument_size_in_bytes, 'temporaries': told.temp_size_in_bytes,
               'results': told.output_size_in_bytes - told.alias_size_in_bytes,
               'code': told.generated_code_size_in_bytes}
    memory['total'] = sum(memory[part] for part in ('arguments', 'temporaries', 'results', 'code'))
  elif made is not None:
    # 'Used 20.1G of 15.75G hbm': what it needs, were there room.
    used = re.search(r'[Uu]sed ([\d.]+)([KMG]) of ', made)
    memory['total'] = used and float(used[1]) * 2**{'K': 10, 'M': 20, 'G': 30}[used[2]]
    memory['fits'] = False
  least = memory['total'] or memory['arguments']
  if aim.memory and memory['fits'] is None and (memory['total'] or least > aim.memory):
    memory['fits'] = least <= aim.memory
  return memory


def _collectives(module, kernels):
  """What devices say to each other, the same things together: a list, dearest first."""
  sides = {tuple(sorted(n for n in whole if n > 1)) for shape in kernels
           for whole in (shape, shape[1:])}  # of a stack, one layer at a time
  rows = {}
  for x in hlo.collectives(module):
    carried = hlo.purpose(x, sides)
    row = rows.setdefault((x.kind, carried, x.function, x.group), {
      'kind': x.kind, 'carries': carried, 'function': x.function, 'group': x.group, 'runs': 0,
      'bytes': 0, 'received': 0.0, 'types': []})
    row['runs'] += x.runs
    row['bytes'] += x.runs * x.bytes
    row['received'] += x.received
    kind = x.type.partition('[')[0]
    row['types'] = sorted({*row['types'], kind})
  return sorted(rows.values(), key=lambda row: -row['received'])


def _seconds(found, aim):
  seconds = dict.fromkeys(('compute', 'memory', 'network', 'step', 'binds', 'expected'))
  if aim.chip is None:
    return seconds
  seconds['compute'] = found['flops']['done'] / found['chips'] / aim.chip.flops
  if found['traffic'] is not None:
    seconds['memory'] = found['traffic'] / aim.chip.bandwidth
    seconds['network'] = sum(row['received'] for row in found['collectives']) / aim.ring
  known = {part: s for part, s in seconds.items() if s is not None}
  seconds['binds'] = max(known, key=known.get)
  seconds['step'] = known[seconds['binds']]
  if found['cycles'] and aim.chip.cycles:
    kernels = found['flops']['kernels'] / found['chips'] / aim.chip.flops
    seconds['expected'] = max(seconds['network'], found['cycles'] / aim.chip.cycles + kernels)
  return seconds


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
  aim = target(_TOPOLOGY.value, _MEMORY.value and _MEMORY.value * 1e9)
  audio = _LAYERS.value, _WIDTH.value
  if _SEARCH.value:
    if _WHAT.value != 'train' or aim.devices is None or aim.chip is None:
      raise UserError('--search is for training, on chips with a compiler and known figures')
    make = lambda tried: make_program(tried, 'train', aim, audio)
    config = search.best(config, aim.count, lambda tried: figures(make(tried), aim), make,
                         aim.memory, terminal.tell)
  found = figures(make_program(config, _WHAT.value, aim, audio), aim)
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
  if found['memory']['fits'] is False:
    sys.exit(1)


if __name__ == '__main__':
  cli.run(run, 'nothing was written')

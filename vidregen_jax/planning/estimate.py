"""Estimates what a step takes on given machines: memory, work, traffic and time.

The step is compiled for them if there is a compiler, as there is for TPUs without a TPU. Otherwise
only the size of the arguments and the number of operations are known.
"""

import dataclasses
import time

import jax

from vidregen_jax.distributed import libtpu_flags, sharding
from vidregen_jax.errors import UserError
from vidregen_jax.planning import abstract_steps, accelerators, hlo, refusals, tpu_topologies

_BACKENDS = {'v5e': 'tpu', 'v5p': 'tpu', 'v6e': 'tpu', 'h100': 'gpu'}


@dataclasses.dataclass(frozen=True)
class Target:
  """The machines that are planned for.

  Attributes:
    backend: 'cpu', 'gpu' or 'tpu'.
    devices: to compile for, or None if there is no compiler.
    count: number of devices.
    chip: accelerators.Chip, or None for a device without known figures.
    memory: bytes of a chip that programs can use, or None.
    ring: bytes per second, from `accelerators.ring`, or None.
    options: the compiler's, by name: those that launch/ trains with.
  """

  backend: str
  devices: list | None
  count: int
  chip: accelerators.Chip | None
  memory: float | None
  ring: float | None
  options: dict


def target(topology: str, memory=None) -> Target:
  """The devices of a topology.

  Args:
    topology: 'here', or as `accelerators.read` takes it.
    memory: bytes of a chip, in place of the known figure.

  Raises:
    UserError: no such topology, or no compiler for it.
  """
  if topology == 'here':
    devices = jax.devices()
    name = accelerators.of_kind(devices[0].device_kind)
    chip = accelerators.CHIPS[name] if name else None
    # The wiring of this machine's slice is unknown: its sides are taken to be open.
    return Target(jax.default_backend(), devices, len(devices), chip,
                  memory or (chip and chip.memory), chip and chip.link,
                  libtpu_flags.compiler_options(name))
  name, sides = accelerators.read(topology)
  chip, devices = accelerators.CHIPS[name], None
  if _BACKENDS[name] == 'tpu':
    devices = tpu_topologies.devices(topology)
  return Target(_BACKENDS[name], devices, accelerators.count(sides), chip, memory or chip.memory,
                accelerators.ring(chip, sides), libtpu_flags.compiler_options(name))


def make_mesh(config, aim: Target):
  """The mesh of a config on a target; abstract if there are no devices."""
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
    UserError: the config's stage has no such step.
  """
  if config.stage == 'sync':
    raise UserError('the scorer of lip sync is small, and its step is not planned: name a config '
                    'of the codec, the generator or the student')
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


def compiled(function, arguments, mesh, options):
  """A compiled function, or the compiler's message if a chip's memory is too small.

  Args:
    function: jitted; arguments: its arguments as shapes.
    mesh: of the devices to compile for.
    options: of a Target.
  """
  with jax.set_mesh(mesh):
    lowered = function.trace(*arguments).lower(
      lowering_platforms=(mesh.devices.flat[0].platform,))
    try:
      return lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
      if 'RESOURCE_EXHAUSTED' not in str(error):
        raise
      return str(error)


def figures(program: abstract_steps.Program, aim: Target) -> dict:
  """All that is known of a step, as a JSON value, with None for what is not known.

  Times are lower bounds, one each for computing, reading memory and communication between chips;
  `expected` is the time by the compiler's own estimate of cycles with kernels at the chip's peak,
  `scheduled` with kernels as a v5e's compiler schedules them.
  """
  began = time.monotonic()
  executable = None
  if aim.devices is not None:
    executable = compiled(program.step, program.arguments, program.mesh, aim.options)
  found = {'chips': program.mesh.size, 'mesh': dict(program.mesh.shape),
           'examples': program.examples, 'compiled': executable is not None,
           'compile_seconds': round(time.monotonic() - began, 1)}
  found['memory'] = _memory(program.held, executable, aim)
  found['flops'] = dataclasses.asdict(program.work())
  text = executable.as_text() if hasattr(executable, 'as_text') else None
  module = hlo.parse(text) if text else None
  kernels = [x.shape for x in jax.tree.leaves(program.held['parameters']) if len(x.shape) > 1]
  found['collectives'] = _collectives(module, kernels) if module else None
  found['traffic'] = hlo.traffic(module) if module else None
  found['cycles'] = hlo.cycles(module) or None if module else None
  found['stages'] = hlo.cycles_by_stage(module) if found['cycles'] else None
  found['seconds'] = _seconds(found, aim)
  step = found['seconds']['step']
  if step:
    peak = step * program.mesh.size * aim.chip.flops
    found |= {'mfu': found['flops']['needed'] / peak, 'hfu': found['flops']['done'] / peak,
              'examples_a_second': program.examples / step}
    for name in ('expected', 'scheduled'):
      seconds = found['seconds'][name]
      found[f'mfu_{name}'] = seconds and found['mfu'] * step / seconds
    if program.seconds:
      found['times_real_time'] = program.seconds / step
  return found


def init_figures(program: abstract_steps.Program, aim: Target) -> dict:
  """Memory (as in `figures`) and compile time of the program that makes the first state.

  Raises:
    UserError: the program does not train, or there is no compiler.
  """
  if program.create is None or aim.devices is None:
    raise UserError('--init is for training, on chips with a compiler')
  began = time.monotonic()
  executable = compiled(program.create, (jax.eval_shape(jax.random.key, 0),), program.mesh,
                        aim.options)
  seconds = round(time.monotonic() - began, 1)
  return {'memory': _memory({}, executable, aim), 'compile_seconds': seconds}


def _memory(arguments, executable, aim):
  """Bytes on a chip, by purpose.

  Args:
    arguments: {kind: tree of shapes with shardings} of the program's arguments.
    executable: from `compiled`, or None.
    aim: Target.
  """
  held = {kind: abstract_steps.bytes_on_a_device(tree) for kind, tree in arguments.items()}
  memory = {'held': held, 'arguments': sum(held.values()), 'temporaries': None, 'results': None,
            'code': None, 'total': None, 'of': aim.memory, 'fits': None, 'refusal': None}
  if hasattr(executable, 'memory_analysis'):
    analysis = executable.memory_analysis()
    memory |= {'arguments': analysis.argument_size_in_bytes,
               'temporaries': analysis.temp_size_in_bytes,
               'results': analysis.output_size_in_bytes - analysis.alias_size_in_bytes,
               'code': analysis.generated_code_size_in_bytes}
    memory['total'] = sum(memory[part] for part in ('arguments', 'temporaries', 'results', 'code'))
  elif executable is not None:
    refusal = refusals.read(executable)
    memory |= {'temporaries': refusal.temporaries, 'fits': False,
               'refusal': dataclasses.asdict(refusal)}
    memory['total'] = refusal.program and memory['arguments'] + refusal.program
  least = memory['total'] or memory['arguments']
  if aim.memory and memory['fits'] is None and (memory['total'] or least > aim.memory):
    memory['fits'] = least <= aim.memory
  return memory


def _collectives(module, kernels):
  """Collectives between devices, grouped by what they carry; a list, the largest first."""
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
  seconds = dict.fromkeys(('compute', 'memory', 'network', 'step', 'binds', 'expected',
                           'scheduled'))
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
    others = found['cycles'] / aim.chip.cycles
    for name, kernels in (('expected', 'kernels'), ('scheduled', 'kernels_scheduled')):
      inside = found['flops'][kernels] / found['chips'] / aim.chip.flops
      seconds[name] = max(seconds['network'], others + inside)
  return seconds

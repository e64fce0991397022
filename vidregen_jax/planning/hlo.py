"""What a compiled program moves, read from the text of XLA's optimised HLO.

Loops count as often as they run. Sizes are per device: XLA compiles one program for all of them.
"""

import dataclasses
import functools
import math
import re

COLLECTIVES = ('all-gather', 'reduce-scatter', 'all-reduce', 'all-to-all', 'collective-permute')
_BITS = {'pred': 8, 's4': 4, 'u4': 4, 's8': 8, 'u8': 8, 's16': 16, 'u16': 16, 'bf16': 16, 'f16': 16,
         's32': 32, 'u32': 32, 'f32': 32, 's64': 64, 'u64': 64, 'f64': 64, 'c64': 64}
_SMALL = 2**16  # bytes; losses and norms are smaller
_ARRAY = re.compile(r'(\w+)\[([\d,]*)\](\{[^}]*\})?')
_ON_CHIP = re.compile(r'S\([1-9]\)')  # a memory space other than the main one
_MESH = re.compile(
  r'replica_groups=mesh\[([^\]]*)\](?:, device_ids=\([^)]*\))? \{([^}]*)\}')
# Parts of an operation's path that no `jax.named_scope` made.
_FLOW = re.compile(r'while|body|cond|closed_call|checkpoint|rematted_computation|shard_map|remat\d*'
                   r'|branch_\d+_fun|custom_[jv][vj]p_call|pallas_call|splash_mha_\w+')
_CALLED = re.compile(r'\b(condition|body|calls|to_apply|branch_computations)=(\{[^}]*\}|%[\w.-]+)')
# Opcodes that move nothing, or only finish what another instruction started.
_STILL = {'parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'after-all', 'while',
          'conditional', 'call', 'partition-id', 'iota', 'opt-barrier', 'copy-done', 'slice-done',
          'all-gather-done', 'all-reduce-done', 'collective-permute-done', 'async-done',
          'async-update', 'send-done', 'recv-done', 'add-dependency'}


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line: its name, result type, opcode, names of operands, and the rest."""

  name: str
  type: str
  opcode: str
  operands: tuple[str, ...]
  rest: str
  root: bool
  literal: str  # what is in the brackets if that is no operand: a number

  def called(self, *kinds) -> list[str]:
    """Names of the computations that it calls as any of `kinds`, such as 'body'."""
    return [name for kind, names in _CALLED.findall(self.rest) if kind in kinds
            for name in re.findall(r'%([\w.-]+)', names)]


@dataclasses.dataclass(frozen=True)
class Module:
  """A program.

  Attributes:
    computations: lists of Instruction by name.
    entry: name of the entry computation.
    runs: how often each reachable computation runs.
    frames: for each stack frame, [(file, function), ...], innermost first.
  """

  computations: dict
  entry: str
  runs: dict
  frames: dict


@dataclasses.dataclass(frozen=True)
class Collective:
  """A collective operation.

  Attributes:
    kind: one of COLLECTIVES.
    bytes: of its result on one device.
    group: number of devices that take part.
    runs: how often it runs.
    type: of its result, without layout.
    function: the package's function that it comes from.
    backward: whether it is part of a gradient.
  """

  kind: str
  bytes: int
  group: int
  runs: int
  type: str
  function: str
  backward: bool

  @property
  def received(self) -> float:
    """Bytes that a device must receive, in all runs, if the group is a ring."""
    rest = self.group - 1
    share = {'reduce-scatter': rest, 'all-reduce': 2 * rest / self.group,
             'collective-permute': 1.0}.get(self.kind, rest / self.group)
    return self.runs * self.bytes * share


def parse(text: str) -> Module:
  """Reads `compiled.as_text()`."""
  computations, entry, body = {}, '', None
  for line in text.splitlines():
    if line.endswith('{') and ' = ' not in line and (
        head := re.match(r'(ENTRY )?%?([\w.-]+) \(', line)):
      body = computations.setdefault(head[2], [])
      entry = head[2] if head[1] else entry
    elif line == '}':  # a kernel's metadata has brackets too, on lines of their own
      body = None
    elif body is not None and ' = ' in line:
      body.append(_instruction(line.strip()))
  return Module(computations, entry, _runs(computations, entry), _frames(text))


def size(type_: str, everywhere: bool = True) -> int:
  """Bytes of a type, or of all in a tuple. Without `everywhere`, only those in main memory."""
  return sum(math.prod(int(n) for n in dims.split(',') if n) * _BITS.get(kind, 0) // 8
             for kind, dims, layout in _ARRAY.findall(type_)
             if everywhere or not _ON_CHIP.search(layout))


def collectives(module: Module) -> list[Collective]:
  """All collectives of a program. One that is split into steps, beside other work, counts once."""
  found = {}
  for name, runs in module.runs.items():
    for at, outer in _within(module, name):
      kind = at.opcode.removesuffix('-start')
      if kind not in COLLECTIVES:
        continue
      scattered = kind == 'all-reduce' and '=%all-reduce-scatter' in outer.rest
      channel = re.search(r'channel_id=(\d+)', at.rest)
      type_ = outer.type if scattered else at.type  # of a sum, each device keeps a part
      arrays = [f'{kind}[{dims}]' for kind, dims, _ in _ARRAY.findall(type_)]
      # The start of an asynchronous one also lists its operands; its result is the last or largest.
      type_ = ', '.join(arrays) if at.opcode == kind else max(arrays, key=size)
      function, backward = _asked(module, at if 'op_name=' in at.rest else outer)
      # Steps of one collective share a channel; but so do all reduce-scatters.
      alone = scattered or not channel
      found.setdefault((kind, outer.name if alone else channel[1], type_), Collective(
        'reduce-scatter' if scattered else kind, size(type_), _group(at.rest), runs, type_,
        function, backward))
  return [x for x in found.values() if x.group > 1]


def purpose(collective: Collective, kernels) -> str:
  """What a collective carries: 'weights', 'gradients', 'activations', or small 'sums'.

  Args:
    collective: one of `collectives`.
    kernels: set of the parameters' dimensions, ascending and without ones, since compilers
      transpose kernels and split their dimensions.
  """
  sides = sorted(int(n) for n in _ARRAY.search(collective.type)[2].split(',') if n and int(n) > 1)
  if collective.kind == 'all-gather' and math.prod(sides) in map(math.prod, kernels):
    return 'weights again' if collective.backward else 'weights'
  if collective.kind == 'all-reduce' and collective.bytes < _SMALL:
    return 'sums'
  if collective.kind in ('all-reduce', 'reduce-scatter'):
    return 'gradients'
  # A product that is split into steps passes parts of a kernel, or of its gradient, round a ring.
  if collective.kind == 'collective-permute' and any(_is_part(sides, whole) for whole in kernels):
    return 'gradients' if collective.backward else 'weights'
  return 'activations'


def _is_part(sides, whole):
  """Whether the dimensions are an array's with one of them divided."""
  return any(sorted((*rest, side // n)) == sides for i, side in enumerate(whole)
             for rest in [whole[:i] + whole[i + 1:]]
             for n in range(2, side + 1) if side % n == 0)


def traffic(module: Module) -> float:
  """Bytes that one device reads and writes in its main memory.

  Every operand and result of an instruction counts once; if a fusion only reads a slice, only the
  slice counts. Data that stays on the chip between instructions does not count, nor does what a
  kernel reads more than once.
  """
  total = 0
  for name, runs in module.runs.items():
    total += runs * sum(_moved(module, name, at) for at in module.computations[name])
  return float(total)


def cycles(module: Module) -> int:
  """The TPU compiler's estimate of cycles, summed over one device's instructions.

  It has no estimate for kernels or for work that overlaps with other work; those count as zero.
  """
  return sum(row['cycles'] for row in cycles_by_stage(module))


def cycles_by_stage(module: Module) -> list[dict]:
  """The same, by where in the model an instruction comes from; the dearest first.

  An instruction that the compiler made of several counts as its last.

  Returns:
    [{'stage': path of `jax.named_scope`, or the function where there is none; 'function': the
    package's innermost; 'pass': 'forward', 'again' where remat repeats it, or 'backward';
    'cycles'}].
  """
  rows = {}
  for name, runs in module.runs.items():
    for at in module.computations[name]:
      if match := re.search(r'"estimated_cycles":"(\d+)"', at.rest):
        source = _source(module, at)
        rows[source] = rows.get(source, 0) + runs * int(match[1])
  return [{'stage': stage, 'function': function, 'pass': turn, 'cycles': count}
          for (stage, function, turn), count in sorted(rows.items(), key=lambda row: -row[1])]


# ------------------------------------------------------------------------------------------ reading


def _instruction(line):
  root, line = line.startswith('ROOT '), line.removeprefix('ROOT ')
  name, _, right = line.partition(' = ')
  end = _closing(right) if right.startswith('(') else right.index(' ')
  type_, right = right[:end], right[end:].lstrip()
  opcode, _, _ = right.partition('(')
  end = _closing(right[len(opcode):]) + len(opcode)
  inside = right[len(opcode) + 1:end - 1]
  operands = tuple(re.findall(r'%([\w.-]+)', inside))
  return Instruction(name.lstrip('%'), type_, opcode, operands, right[end:], root,
                     '' if operands else inside)


def _closing(text):
  """The position at which a text's first bracket is closed."""
  depth = 0
  for i, letter in enumerate(text):
    depth += (letter == '(') - (letter == ')')
    if not depth:
      return i + 1
  raise ValueError(f'brackets do not close: {text[:80]}')


def _runs(computations, entry):
  """How often each computation runs, except for the insides of fused instructions."""
  runs, ahead = {}, [(entry, 1)]
  while ahead:
    name, times = ahead.pop()
    runs[name] = runs.get(name, 0) + times
    for at in computations[name]:
      if at.opcode == 'while':
        turns = _turns(computations, at)
        ahead += [(body, times * turns) for body in at.called('body')]
      elif at.opcode in ('call', 'conditional'):
        ahead += [(inner, times) for inner in at.called(
          'calls', 'to_apply', 'branch_computations')]
  return runs


def _turns(computations, loop):
  """Iterations of a loop: the compiler's count, or the bound of its counter."""
  if known := re.search(r'known_trip_count\W+n\W+(\d+)', loop.rest):
    return int(known[1])
  limits = [int(n) for name in loop.called('condition') for at in computations[name]
            if at.opcode == 'constant' and at.type.startswith(('s32[]', 'u32[]'))
            for n in re.findall(r'^-?\d+', at.literal)]
  return max(limits, default=1)


def _within(module, computation):
  """Pairs of a computation's instructions (and those inside them) and the enclosing instruction."""
  for at in module.computations[computation]:
    yield at, at
    if at.opcode in ('fusion', 'async-start'):
      for name in at.called('calls'):
        yield from ((inner, at) for inner, _ in _within(module, name))


def _group(rest):
  """Number of devices in a group of a collective, in any of HLO's notations."""
  # Some axes of a mesh, with or without the order of the devices.
  if mesh := re.search(_MESH, rest):
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", mesh[1]))
    return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", mesh[2]))
  if tiled := re.search(r'replica_groups=\[(\d+),(\d+)\]', rest):
    return int(tiled[2])
  if listed := re.search(r'replica_groups=\{\{([\d,]*)\}', rest):
    return len(listed[1].split(','))
  if 'source_target_pairs=' in rest:
    return 2
  raise ValueError(f'a way to write groups of devices that is not known here: {rest[:120]}')


def _asked(module, at):
  """The package's innermost function that an instruction comes from, and if as a gradient."""
  frame = re.search(r'stack_frame_id=(\d+)', at.rest)
  op = re.search(r'op_name="([^"]*)"', at.rest)
  backward = bool(op) and 'transpose(' in op[1]
  own = [f'{file.rpartition("/")[2].removesuffix(".py")}.' + re.sub(r'\.<\w+>', '', function)
         for file, function in module.frames.get(frame[1], ()) if '/vidregen_jax/' in file
         and not file.endswith(('/sharding.py', '/layers.py'))] if frame else []
  if own:
    return own[0], backward
  return (op[1] if op else 'unnamed'), backward


def _source(module, at):
  """Stage, function and pass that an instruction comes from, as in `cycles_by_stage`."""
  if 'op_name=' not in at.rest and at.opcode == 'fusion':
    inside = module.computations[at.called('calls')[0]]
    at = next((x for x in reversed(inside) if 'op_name=' in x.rest), at)
  path = re.search(r'op_name="([^"]*)"', at.rest)
  if not path or '/' not in path[1]:  # the compiler's own
    return f'no name: {at.opcode}', f'no name: {at.opcode}', 'forward'
  function, backward = _asked(module, at)
  turn = 'again' if 'rematted_computation' in path[1] else 'backward' if backward else 'forward'
  scopes = [word for part in path[1].split('/')[:-1]
            if (word := re.sub(r'^(?:transpose|jvp|vmap)\(+(?:jvp\(|vmap\()*|\)+$', '', part))
            and re.fullmatch(r'[a-z][a-z0-9_]*', word) and not re.fullmatch(_FLOW, word)]
  return '/'.join(scopes) or function, function, turn


def _frames(text):
  """The stack frames in a program's metadata."""
  def table(title):
    part = re.search(rf'^{title}\n(.*?)\n\n', text, re.M | re.S)
    return dict(line.split(' ', 1) for line in part[1].splitlines()) if part else {}

  files, functions, places, frames = map(table, (
    'FileNames', 'FunctionNames', 'FileLocations', 'StackFrames'))
  number = lambda line, field: re.search(rf'{field}=(\d+)', line)[1]
  # Parents are numbered one too high: the first frame, which has none, names itself.
  off = int(number(frames['1'], 'parent_frame_id')) if frames else 0

  @functools.cache
  def stack(frame):
    place = places[number(frames[frame], 'file_location_id')]
    parent = str(int(number(frames[frame], 'parent_frame_id')) - off)
    here = (files[number(place, 'file_name_id')].strip('"'),
            functions[number(place, 'function_name_id')].strip('"'))
    return (here, *(stack(parent) if parent in frames else ()))

  return {frame: stack(frame) for frame in frames}


# ------------------------------------------------------------------------------------------ traffic


def _moved(module, computation, at):
  if at.opcode in _STILL:
    return 0
  if at.opcode in ('copy-start', 'slice-start'):  # results: the copy, and its source
    result = [array[0] for array in re.finditer(_ARRAY, at.type)][at.opcode == 'slice-start']
    source = [array[0] for array in re.finditer(_ARRAY, at.type)][at.opcode == 'copy-start']
    return size(result, False) + (size(result) if size(source, False) else 0)
  types = _types(module, computation)
  operands = [types.get(name, '') for name in at.operands]
  inner = at.called('calls') if at.opcode == 'fusion' else []
  if not inner:
    if at.opcode == 'dynamic-slice':
      return 2 * size(at.type, False)
    if at.opcode == 'dynamic-update-slice':
      return 2 * size(operands[1], False)
    return size(at.type, False) + sum(size(x, False) for x in operands)
  return _written(module.computations[inner[0]], at) + sum(
    _read(module, inner[0], i) for i, type_ in enumerate(operands) if size(type_, False))


@functools.lru_cache(4096)
def _types_of(instructions):
  return {at.name: at.type for at in instructions}


def _types(module, computation):
  return _types_of(tuple(module.computations[computation]))


def _read(module, computation, index):
  """Bytes that a fusion reads of an operand: only the slices, if it only takes slices."""
  body = module.computations[computation]
  given = next(at for at in body if at.opcode == 'parameter' and at.literal == str(index))
  return min(size(given.type), _used(module, body, given.name))


def _used(module, body, name):
  """Bytes that a fusion's instructions read of one of its values."""
  total = 0
  for at in body:
    for i, operand in enumerate(at.operands):
      if operand != name:
        continue
      if at.opcode == 'bitcast':
        total += _used(module, body, at.name)
      elif at.opcode == 'dynamic-slice' and not i:
        total += size(at.type)
      elif at.opcode == 'fusion':
        total += _read(module, at.called('calls')[0], i)
      elif at.opcode != 'dynamic-update-slice' or i:  # else written in place
        total += size(_types_of(tuple(body))[name])
  return total


def _written(body, at):
  """Bytes that a fusion writes of its result: of an update in place, only the new part."""
  types = _types_of(tuple(body))
  by_name = {x.name: x for x in body}
  root = next(x for x in body if x.root)
  outs = [by_name[name] for name in root.operands] if root.opcode == 'tuple' else [root]
  total = size(at.type, False)
  for out in outs:
    while out.opcode == 'bitcast':
      out = by_name[out.operands[0]]
    if out.opcode == 'dynamic-update-slice':
      total -= size(out.type, False) - size(types[out.operands[1]])
  return max(total, 0)

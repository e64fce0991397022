"""Cycles of attention's kernel on a TPU, from the instructions that its compiler schedules.

XLA counts no cycles for a kernel. The compiler writes down, on request, the bundles of instructions
that a core executes, one a cycle; how often each part of a kernel runs follows from the blocks that
its rule leaves (`kernels.cycles`). What is not in the count: waiting for memory, where blocks come
slower than they are worked on.
"""

import dataclasses
import os
import pathlib
import re

_DELAY = 5  # bundles from a branch to the first that it may jump over
_DUMPS = '--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true'


@dataclasses.dataclass(frozen=True)
class Schedule:
  """Bundles of a kernel, by how often they are executed.

  Attributes:
    steps: of the grid, for one clip, empty blocks included.
    step: bundles in every step.
    block: bundles where a block is worked on.
    row: bundles where a row of blocks begins or ends.
  """

  steps: int
  step: int
  block: int
  row: int


def dump_to(folder):
  """Has libtpu write its schedules to a folder; before it is loaded."""
  flags = os.environ.get('LIBTPU_INIT_ARGS', '')
  os.environ['LIBTPU_INIT_ARGS'] = f'{flags} {_DUMPS.format(folder=folder)}'.strip()


def read(folder) -> dict[str, Schedule]:
  """The schedules of the splash kernels in a folder: 'fwd', 'dq' and 'dkv'.

  Args:
    folder: of `dump_to`, with one program's in it.
  """
  found = {}
  for path in pathlib.Path(folder).glob('*splash_mha_*-final_bundles.txt'):
    if 'schedule-analysis' in path.name:
      continue
    name = re.search(r'splash_mha_(fwd|dq|dkv)', path.name)[1]
    used, = path.parent.glob(re.sub(r'^\d+(.*)-\d+-final_bundles.txt$',
                                    r'*\1-*-final_hlo-static-per-bundle-utilization.txt',
                                    path.name))
    found[name] = schedule(path.read_text(), used.read_text())
  return found


def schedule(bundles: str, utilization: str) -> Schedule:
  """The schedule of one kernel.

  Args:
    bundles: the compiler's `final_bundles`: a line a bundle, with the regions that begin and end
      in it. A branch names the region that it jumps to.
    utilization: its `final_hlo-static-per-bundle-utilization`: a line a bundle, how many
      instructions each unit is given; the first column is the matrix unit's.
  """
  lines = re.findall(r'^ *0x[0-9a-f]+ .*', bundles, re.M)
  rows = re.findall(r'^[\d ]+$', utilization, re.M)
  products = [int(row.split()[0]) for row in rows][-len(lines):]
  begins = {}
  for at, line in enumerate(lines):
    for names in re.findall(r'Start(?:/End empty)? region \d+', line):
      begins[names.split()[-1]] = at
  first = next(i for i, line in enumerate(lines) if re.search(r' LB:', line))
  last, steps = next((i, int(found[1])) for i, line in enumerate(lines) if i >= first and (
    found := re.search(r'scmp\.ge\.s32\.totalorder %\w+, (\d+) /\* loop exit test', line)))
  # What branches jump over; those that hold others are the pipeline's, taken in every step.
  spans = []
  for at in range(first, last):
    for region in re.findall(r'sbr\.rel \(.*?\) target = \$region(\d+)', lines[at]):
      if at + _DELAY < begins[region] <= last:
        spans.append((at + _DELAY, begins[region]))
  spans = [(a, b) for a, b in spans
           if not any(a <= c and d <= b and (a, b) != (c, d) for c, d in spans)]
  work = [span for span in spans if sum(products[slice(*span)])]
  edges = [span for span in spans if not sum(products[slice(*span)])]
  length = lambda spans: sum(b - a for a, b in spans)
  return Schedule(steps, last + 1 - first - length(spans), length(work), length(edges))


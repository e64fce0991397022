"""Flags of the TPU compiler, by chip: what launch/ trains with, and `plan` compiles with.

  python -m vidregen_jax.distributed.libtpu_flags v5e   # the flags, as LIBTPU_INIT_ARGS takes them

But for one value they are the sets of public trainers: of MaxText
(github.com/AI-Hypercomputer/maxtext at e591f30) src/maxtext/configs/tpu/v5e/16b.sh,
v5p/llama2_7b.sh and v6e/gpt3_175b.sh, which are also those of their neighbours there; what each is
for, by its benchmarks/xla_flags_library.py and
docs/guides/optimization/benchmark_and_performance.md. maxdiffusion's set for Wan on a v5p (its
README at 7cfb880) has those of the v5p here, and more for activations kept on the host, of which
there are none.
"""

import os
import sys

from vidregen_jax import cli
from vidregen_jax.errors import UserError

# {flag: what it is for}. Nothing here changes what is computed.
PURPOSES = {
  'xla_tpu_enable_async_collective_fusion': 'computes while data is under way between chips',
  'xla_tpu_enable_async_collective_fusion_fuse_all_gather': 'does so for gathered weights',
  'xla_tpu_enable_async_collective_fusion_multiple_steps':
    'spreads one transfer over several computations',
  'xla_tpu_overlap_compute_collective_tc': 'lets the tensor core compute meanwhile',
  'xla_enable_async_all_gather': 'starts a gather early, and waits where it is needed',
  'xla_enable_async_collective_permute': 'the same for what is passed on round a ring',
  'xla_tpu_enable_data_parallel_all_reduce_opt':
    'overlaps the sums of gradients between slices with the backward pass',
  'xla_tpu_data_parallel_opt_different_sized_ops':
    'does so also where gradients differ in size, over several turns of a loop',
  'xla_tpu_enable_ag_backward_pipelining':
    "gathers the next layer's weights during a layer's backward pass",
  'xla_tpu_megacore_fusion_allow_ags': "keeps gathers out of what a chip's two cores share",
  'xla_tpu_use_minor_sharding_for_major_trivial_input':
    'turns a sum of which each keeps its part into one transfer, a reduce-scatter',
  'xla_tpu_relayout_group_size_threshold_for_reduce_scatter': 'does so in groups of any size',
  'xla_tpu_scoped_vmem_limit_kib':
    "on-chip memory that one kernel or fusion may take, of a v6e's 128 MiB",
}

_OVERLAP = {
  'xla_tpu_enable_async_collective_fusion': 'true',
  'xla_tpu_enable_async_collective_fusion_fuse_all_gather': 'true',
  'xla_tpu_enable_async_collective_fusion_multiple_steps': 'true',
  'xla_tpu_overlap_compute_collective_tc': 'true',
  'xla_enable_async_all_gather': 'true',
  'xla_tpu_enable_data_parallel_all_reduce_opt': 'true',
  'xla_tpu_data_parallel_opt_different_sized_ops': 'true',
}

# {chip, as in planning/accelerators: {flag: value}}.
FLAGS = {
  'v5e': _OVERLAP,
  'v5p': _OVERLAP | {
    'xla_enable_async_collective_permute': 'true',
    'xla_tpu_enable_ag_backward_pipelining': 'true',
    'xla_tpu_megacore_fusion_allow_ags': 'false',
  },
  'v6e': _OVERLAP | {
    'xla_tpu_use_minor_sharding_for_major_trivial_input': 'true',
    'xla_tpu_relayout_group_size_threshold_for_reduce_scatter': '1',
    # MaxText: 98304. With that, arrays between fusions go to main memory: a step of `large` moves
    # 1.7 times the bytes (docs/pods.md). This is libtpu's own.
    'xla_tpu_scoped_vmem_limit_kib': '32768',
  },
}


def init_args(chip: str) -> str:
  """A chip's flags on one line, as LIBTPU_INIT_ARGS takes them.

  Raises:
    UserError: the chip is unknown.
  """
  if chip not in FLAGS:
    raise UserError(f'chip {chip!r} has no flags here: it is {", ".join(FLAGS)}')
  return ' '.join(f'--{name}={value}' for name, value in FLAGS[chip].items())


def compiler_options(chip: str | None) -> dict[str, str]:
  """The same for one compilation, without those that LIBTPU_INIT_ARGS already sets.

  There the user's own are last and prevail; here they are not overridden.

  Args:
    chip: its name, or None; one without flags, such as a GPU, has no options.
  """
  own = {word.lstrip('-').partition('=')[0] for word in os.environ.get(
    'LIBTPU_INIT_ARGS', '').split()}
  return {name: value for name, value in FLAGS.get(chip, {}).items() if name not in own}


def run(given):
  """Prints the flags of a chip."""
  print(init_args(given.chip))


if __name__ == '__main__':
  parser = cli.Parser(prog='python -m vidregen_jax.distributed.libtpu_flags', description=__doc__)
  parser.add_argument('chip', help=', '.join(FLAGS))
  sys.exit(cli.command(parser, run, 'nothing was done'))

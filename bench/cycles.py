"""Clock rates that the TPU compiler assumes: `Chip.cycles` of planning/accelerators.py.

  python -m bench.cycles

The compiler counts cycles, but does not say how long one lasts. A large matrix product is compiled
for each chip (`pip install libtpu`; no TPU), and assumed to run at the maker's peak.
"""

import sys

import jax
import jax.numpy as jnp

from vidregen_jax import cli
from vidregen_jax.distributed import libtpu_flags
from vidregen_jax.planning import accelerators, hlo, tpu_topologies

_SIDES = 8192, 8192, 4096


def run(_):
  """Prints a line for each chip."""
  rows, inner, columns = _SIDES
  for name, topology in (('v5e', 'v5e:2x2'), ('v5p', 'v5p:2x2x1'), ('v6e', 'v6e:2x2')):
    place = jax.sharding.SingleDeviceSharding(tpu_topologies.devices(topology)[0])
    given = [jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=place)
             for shape in ((rows, inner), (inner, columns))]
    program = jax.jit(jnp.matmul).trace(*given).lower(lowering_platforms=('tpu',)).compile(
      compiler_options=libtpu_flags.compiler_options(name))
    count = hlo.cycles(hlo.parse(program.as_text()))
    seconds = 2 * rows * inner * columns / accelerators.CHIPS[name].flops
    print(f'{name}: {count:,} cycles in {seconds * 1e3:.3f} ms: {count / seconds / 1e9:.2f} a ns')


if __name__ == '__main__':
  parser = cli.Parser(prog='python -m bench.cycles', description=__doc__)
  sys.exit(cli.command(parser, run, 'nothing was written'))

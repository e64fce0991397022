"""Cycles of splash's kernels by the sides of their blocks: `kernels.BLOCKS` and its costs.

  python -m bench.splash_blocks --topology=v5e:2x2

Each pair of sides is compiled for the chip (`pip install -e '.[tpu]'`; no TPU), forward and
backward, over a rule of a few blocks; the bundles that the compiler schedules are counted where
they are executed (`planning/kernel_cycles`). Printed are bundles in each step of the grid, in a
block that is worked on, and where a row of blocks begins and ends; and a block's bundles beside
those that its products take at the chip's peak.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile

SIDES = ((256, 256), (384, 256), (512, 256), (256, 512), (384, 384), (384, 512), (512, 512),
         (256, 1024), (384, 768), (512, 1024), (768, 512), (768, 768), (1024, 1024))
_COMPILE = '''
import sys
folder, topology = sys.argv[1:3]
block_q, block_k, size, fused = map(int, sys.argv[3:])
from vidregen_jax.planning import kernel_cycles
kernel_cycles.dump_to(folder)
import jax, numpy as np
import jax.numpy as jnp
from vidregen_jax.models import kernels
from vidregen_jax.planning import tpu_topologies
place = jax.sharding.SingleDeviceSharding(tpu_topologies.devices(topology)[0])
given = lambda *shape, dtype=jnp.bfloat16: jax.ShapeDtypeStruct(shape, dtype, sharding=place)
queries, keys, heads = 2 * block_q, 3 * block_k, 2
rule = np.tril(np.ones((queries, keys), bool), block_k)
kernels.blocks = lambda rule: kernels.Sides(block_q, block_k, block_q, block_k, bool(fused))
q, k = given(1, 1, heads, queries, size), given(1, 1, heads, keys, size)
def total(q, k, v, visible, sink):
  return kernels._KERNELS['splash'](rule, q, [k], [v], visible, sink).astype(jnp.float32).sum()
gradients = jax.jit(jax.grad(total, argnums=(0, 1, 2)))
gradients.trace(q, k, k, given(1, 1, keys, dtype=bool), given(heads, dtype=jnp.float32)).lower(
  lowering_platforms=('tpu',)).compile()
for name, x in sorted(kernel_cycles.read(folder).items()):
  print(name, x.steps, x.step, x.block, x.row)
'''


def schedules(topology, block_q, block_k, size, fused):
  """Name of each kernel with (step, block, row) bundles; or the compiler's last line."""
  folder = tempfile.mkdtemp()
  try:
    numbers = map(str, (block_q, block_k, size, int(fused)))
    ran = subprocess.run([sys.executable, '-c', _COMPILE, folder, topology, *numbers],
                         capture_output=True, text=True, check=False,
                         env=os.environ | {'JAX_PLATFORMS': 'cpu'})
    rows = [line.split() for line in ran.stdout.splitlines()]
    if ran.returncode:
      return ran.stderr.strip().splitlines()[-1][:160]
    return {name: tuple(map(int, counts[1:])) for name, *counts in rows}
  finally:
    shutil.rmtree(folder)


def main():
  parser = argparse.ArgumentParser(description='Cycles of splash by the sides of its blocks.')
  parser.add_argument('--topology', default='v5e:2x2')
  parser.add_argument('--size', type=int, default=128, help='channels of a head')
  parser.add_argument('--sides', default=','.join(f'{q}x{k}' for q, k in SIDES))
  parser.add_argument('--unfused', action='store_true', help='gradients by two kernels')
  given = parser.parse_args()
  for pair in given.sides.split(','):
    block_q, block_k = map(int, pair.split('x'))
    counts = schedules(given.topology, block_q, block_k, given.size, not given.unfused)
    print(pair, counts, flush=True)


if __name__ == '__main__':
  main()

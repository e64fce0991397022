"""A kernel's cycles: bundles by how often they run, and blocks by the cycles that they take."""

import numpy as np

from vidregen_jax.models import kernels
from vidregen_jax.planning import kernel_cycles


def test_bundles_are_told_apart_by_how_often_they_run():
  plain, more = '  0x1 : { %1 = sst }', 20
  jump = lambda region: f'  0x1 : > {{ %2 = sbr.rel (%p1) target = $region{region} }}'
  bundles = [
    plain, '  0x1 LB: > { %3 = sst }',
    # Where a row ends, and where a block is worked on.
    jump(8), *[plain] * 4, *[plain] * more, '  0x1 PF: > {} /* Start region 8 */',
    jump(9), *[plain] * 4, *[plain] * 3 * more, '  0x1 PF: > {} /* Start/End empty region 9 */',
    '  0x1 : > { %p2 = scmp.ge.s32.totalorder %s1, 818 /* loop exit test */ }', plain]
  products = [int(35 < at < 60) for at in range(len(bundles))]
  utilization = ''.join(f'{product} 0 2\n' for product in products)
  found = kernel_cycles.schedule('\n'.join(bundles), '4 3 4\n' + utilization)
  around = len(bundles) - 2 - 4 * more  # all of the loop, less what is jumped over
  assert found == kernel_cycles.Schedule(steps=818, step=around, block=3 * more, row=more)


def test_blocks_fit_a_rule_and_no_kernel_is_quicker_than_the_peak():
  frames = np.kron(np.tril(np.ones((8, 8), bool)), np.ones((192, 192), bool))
  for rule in (frames, np.ones((1024, 4096), bool), np.ones((100, 56), bool)):
    found = kernels.blocks(rule)
    assert (rule.shape[0] + 127) // 128 * 128 >= found.forward_q and found.forward_q % 128 == 0
    worked = kernels.worked_on(rule, found.forward_q, found.forward_k)
    assert worked >= rule.sum()
    # At the matrix units' peak it cannot be quicker: 2 products forward, 4 of gradients.
    assert kernels.cycles(rule, 128) > 6 * 2 * 128 * rule.sum() / kernels.OPERATIONS

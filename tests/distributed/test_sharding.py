"""Every layout of devices trains alike, and gives each device its share of the state."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidregen_jax.distributed import sharding
from vidregen_jax.errors import UserError
from vidregen_jax.training import train_step

ROOT = pathlib.Path(__file__).resolve().parents[2]
# A few of the ten; all of them are `python tests/support/mesh_shapes.py generator`, and `codec`.
LAYOUTS = {'generator': ('2x2x2', '1x8x1'), 'codec': ('2x2x2',)}


@pytest.fixture(scope='module', params=sorted(LAYOUTS))
def told(request):
  ran = subprocess.run(
    [sys.executable, 'tests/support/mesh_shapes.py', request.param, *LAYOUTS[request.param]],
    cwd=ROOT, capture_output=True, text=True, env=os.environ | {
      'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': f'{ROOT}:{ROOT / "tests" / "support"}',
      # Half the time to compile, for code that runs once.
      'XLA_FLAGS': '--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 '
                   '--xla_llvm_disable_expensive_passes=true'})
  assert ran.returncode == 0, ran.stderr
  return json.loads(ran.stdout)


def test_loss_and_gradients_are_those_of_one_device(told):
  for layout, found in told.items():
    # What is left is the order in which float32 is summed.
    assert found['loss'] < 1e-5 and found['gradients'] < 1e-5, layout


def test_every_kernel_its_average_and_its_moments_are_shared_out(told):
  for layout, found in told.items():
    _, fsdp, tensor = map(int, layout.split('x'))
    kernels = {name: shapes for name, shapes in found['placed'].items() if 'kernel' in name}
    assert {name.split('/')[0] for name in kernels} == {'params', 'ema', 'opt_state'}
    for name, (whole, part) in found['placed'].items():
      expected = list(whole)
      if name in kernels:
        # A matrix is split along its inputs; a convolution, and maps of cells, along outputs.
        axis = -2 if len(whole) - ('/layers/' in name) == 2 else -1
        expected[axis] //= max(
          n for n in (1, fsdp, tensor, fsdp * tensor) if whole[axis] % n == 0)
      assert part == expected, name
    split = [name for name, (whole, part) in kernels.items() if whole != part]
    assert len(split) >= 0.8 * len(kernels)  # but for what has one channel, or twelve


def test_an_axis_that_is_too_small_stays_whole():
  mesh = jax.sharding.AbstractMesh((2, 4, 2), ('data', 'fsdp', 'tensor'))
  axes = {('a', 'kernel'): (None, 'features')}

  def spec(size):
    tree = {'moment': {'a': {'kernel': jax.ShapeDtypeStruct((3, size), jnp.float32)}}}
    return sharding.place(tree, mesh, axes)['moment']['a']['kernel'].spec
  assert spec(16) == jax.P(None, ('fsdp', 'tensor'))
  assert spec(12) == jax.P(None, 'fsdp')
  assert spec(6) == jax.P(None, 'tensor')
  assert spec(5) == jax.P(None, None)


def test_a_batch_in_parts_gives_the_mean_of_its_parts():
  batch, key = {'x': jnp.arange(12.0).reshape(6, 2)}, jax.random.key(0)

  def gradients(batch, key):
    drawn = jax.random.uniform(key)
    return {'w': (batch['x'] * drawn).sum(0)}, {'loss': batch['x'].sum(), 'drawn': drawn}
  grads, measured = jax.jit(train_step.accumulated, static_argnums=(0, 3))(
    gradients, batch, key, 3)
  draws = [float(jax.random.uniform(k)) for k in jax.random.split(key, 3)]
  parts = [np.asarray(batch['x'])[i::3] for i in range(3)]
  np.testing.assert_allclose(
    grads['w'], np.mean([x.sum(0) * d for x, d in zip(parts, draws, strict=True)], 0), rtol=1e-6)
  np.testing.assert_allclose(measured['loss'], np.mean([x.sum() for x in parts]), rtol=1e-6)
  np.testing.assert_allclose(measured['drawn'], np.mean(draws), rtol=1e-6)
  whole, _ = train_step.accumulated(gradients, batch, key, 1)
  np.testing.assert_allclose(whole['w'], batch['x'].sum(0) * jax.random.uniform(key), rtol=1e-6)


def test_a_batch_that_cannot_be_shared_out_in_parts_is_refused():
  mesh = jax.sharding.AbstractMesh((2, 2, 2), ('data', 'fsdp', 'tensor'))
  sharding.check_batch(24, mesh, 3)
  with pytest.raises(UserError, match='batch_size 20 .* 4 devices that share it in 3 parts: try '
                                      '--config.batch_size=12'):
    sharding.check_batch(20, mesh, 3)
  with pytest.raises(UserError, match='batch_size 20 .* 8 devices that share it: try .*=16'):
    sharding.check_batch(20, mesh, axis='crops')
  with pytest.raises(UserError, match='accumulate is 0'):
    sharding.check_batch(24, mesh, 0)

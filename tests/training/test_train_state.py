import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from vidregen_jax.distributed import sharding
from vidregen_jax.errors import UserError
from vidregen_jax.training import train_state


def config(**changes):
  fields = dict(
    learning_rate=0.1, warmup_steps=2, num_steps=10, weight_decay=0.5, clip_norm=1.0,
    adam_b1=0.9, adam_b2=0.99,
  )
  return ConfigDict(fields | changes)


def init(key):
  return {'a': {'w': jnp.full((3, 2), 2.0), 'b': jnp.zeros(2)}}


def fresh(**changes):
  optimizer = train_state.make_optimizer(config(**changes))
  abstract = train_state.abstract(init, optimizer, sharding.make_mesh(), {})
  return optimizer, train_state.create(init, optimizer, abstract, seed=0)


def test_a_fresh_state_has_the_types_of_one_after_a_step():
  # Or the second step would be compiled anew: `jnp.full` makes a weak type of a number.
  _, created = fresh()
  assert [x for x in jax.tree.leaves(created) if x.weak_type] == []


def test_every_array_of_a_fresh_state_has_the_sharding_that_the_rule_gives():
  optimizer, created = fresh()
  abstract = train_state.abstract(init, optimizer, sharding.make_mesh(), {})
  assert jax.tree.structure(created) == jax.tree.structure(abstract)
  for made, promised in zip(jax.tree.leaves(created), jax.tree.leaves(abstract), strict=True):
    assert made.shape == promised.shape and made.dtype == promised.dtype
    assert made.sharding == promised.sharding


def test_a_state_can_be_donated_at_once():
  _, created = fresh()
  step = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
  assert float(step(created).ema['a']['w'][0, 0]) == 3.0


def test_average_warms_up_and_then_keeps_its_decay():
  optimizer, created = fresh()
  grads = jax.tree.map(jnp.zeros_like, created.params)
  move = jax.jit(lambda s, ceiling: train_state.apply_gradients(s, grads, optimizer, ceiling)[0])
  for step, ceiling, decay in [(0, 0.99, 0.1), (90, 0.99, 0.91), (10**6, 0.99, 0.99)]:
    before = dataclasses.replace(created, step=jnp.int32(step), ema=grads)
    after = move(before, ceiling)
    expected = (1 - decay) * np.asarray(after.params['a']['w'])
    np.testing.assert_allclose(after.ema['a']['w'], expected, rtol=1e-5)  # 1 - .99 in float32
    assert int(after.step) == step + 1


def test_biases_do_not_decay_and_kernels_do():
  optimizer, created = fresh(warmup_steps=0)
  grads = jax.tree.map(jnp.zeros_like, created.params)
  created = dataclasses.replace(
    created, params={'a': {'w': jnp.full((3, 2), 2.0), 'b': jnp.ones(2)}}
  )
  move = jax.jit(lambda s: train_state.apply_gradients(s, grads, optimizer, 0.9))
  after, updates = move(created)
  np.testing.assert_array_equal(updates['a']['b'], 0)
  np.testing.assert_allclose(after.params['a']['w'], 2.0 * (1 - 0.1 * 0.5), rtol=1e-6)


def test_schedule_warms_up_to_the_rate_and_ends_at_a_hundredth():
  schedule = train_state.learning_rate(config())
  assert float(schedule(0)) == 0
  assert float(schedule(2)) == pytest.approx(0.1)
  assert float(schedule(10)) == pytest.approx(0.001)


def test_a_batch_that_does_not_divide_is_refused_with_a_way_out():
  mesh = sharding.make_mesh()
  assert len(sharding.process_rows(6 * mesh.size, mesh)) == 6 * mesh.size
  with pytest.raises(UserError, match='devices cannot be split into fsdp 7 x tensor 11'):
    sharding.make_mesh(fsdp=7, tensor=11)

"""Products in 8 bits are near those in full, teach as much, and need their extra."""

import dataclasses
import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_generator

from vidregen_jax.errors import UserError
from vidregen_jax.models import generator, layers, quantized

with_qwix = pytest.mark.skipif(importlib.util.find_spec('qwix') is None, reason=(
  "products in 8 bits: there is no qwix, pip install 'vidregen_jax[quantized]'"))


def draw(*shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


@with_qwix
@pytest.mark.parametrize(('dtype', 'error'), [('int8', 0.02), ('float8_e4m3fn', 0.06)])
def test_a_product_and_its_gradients_are_near_the_full_ones(dtype, error):
  x, kernel, slope = draw(2, 5, 64), draw(64, 32, seed=1), draw(2, 5, 32, seed=2)
  x[0, 0] *= 100  # a row that is larger than others does not take their digits
  full, back = jax.vjp(jnp.matmul, x, kernel)
  rough, rough_back = jax.vjp(lambda *given: quantized.product(dtype, *given), x, kernel)
  of_x, of_kernel = back(slope)
  rough_of_x, rough_of_kernel = rough_back(slope)
  for a, b in ((full, rough), (of_x, rough_of_x)):
    off = jnp.linalg.norm(a - b, axis=-1) / jnp.linalg.norm(a, axis=-1)
    assert 0 < off.max() < error
  np.testing.assert_allclose(rough_of_kernel, of_kernel, rtol=1e-4, atol=1e-3)


@with_qwix
def test_a_layer_in_8_bits_learns_as_much():
  config = dataclasses.replace(test_generator.CONFIG, layers=1)
  x, attended = draw(4, 32, 32), draw(4, 2, 32, 16, seed=1)
  target = x + jnp.tanh(x @ draw(32, 32, seed=2) / 4)

  def definition(mlp_dtype):
    model = dataclasses.replace(config, mlp_dtype=mlp_dtype)
    return layers.Definition(functools.partial(generator.Layer, model))

  def loss(params, mlp_dtype):
    made = definition(mlp_dtype).bind(params).finish(x, attended, 0.0, 0.0)
    return jnp.mean(jnp.square(made - target))

  step = jax.jit(jax.value_and_grad(loss), static_argnums=1)
  start = definition('same').init(jax.random.key(0))
  ends = {}
  for dtype in ('same', 'int8'):
    params = start
    for _ in range(60):
      ends[dtype], slopes = step(params, dtype)
      params = jax.tree.map(lambda x, slope: x - 0.3 * slope, params, slopes)
  first = step(start, 'same')[0]
  assert ends['same'] < 0.7 * first
  assert ends['same'] != ends['int8']
  assert abs(ends['int8'] - ends['same']) < 0.03 * (first - ends['same'])


def test_without_qwix_the_extra_is_named(monkeypatch):
  monkeypatch.setattr(quantized.importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(UserError, match=r"pip install 'vidregen_jax\[quantized\]'"):
    dataclasses.replace(test_generator.CONFIG, mlp_dtype='int8')
  with pytest.raises(UserError, match="mlp_dtype 'int4' does not exist: use same, int8 or"):
    dataclasses.replace(test_generator.CONFIG, mlp_dtype='int4')

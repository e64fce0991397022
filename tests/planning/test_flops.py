"""Operations are counted as often as they are done, and as XLA counts where it can."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidregen_jax.models import codec, kernels, layers
from vidregen_jax.planning import flops

pytestmark = pytest.mark.optimized

CODEC = codec.CodecConfig(32, (8, 16), (1, 1), (1, 1), (2, 3), 4, latent_stages=1, conv='native')
F32 = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)


def codec_loss(params, frames):
  (mean, _), _ = codec.encode(CODEC, params, frames, codec.init_encoder_cache(CODEC, 2))
  made, _ = codec.decode(CODEC, params, mean, codec.init_decoder_cache(CODEC, 2))
  return jnp.square(made - frames).sum()


def products(left, right):
  return jnp.square(jnp.tanh(jnp.einsum('BTAC,CD->BTAD', left, right))).sum()


@pytest.mark.parametrize(('loss', 'given'), [
  (products, (F32((2, 3, 4, 64)), F32((64, 32)))),
  (codec_loss, (jax.eval_shape(functools.partial(codec.init, CODEC), jax.random.key(0)),
                F32((2, 8, 32, 32, 3)))),
])
def test_a_program_without_loops_counts_what_xla_counts(loss, given):
  for function in (loss, jax.value_and_grad(loss, argnums=(0, 1))):
    traced = jax.jit(function).trace(*given)
    xla = traced.lower().cost_analysis()['flops']
    # XLA counts additions of arrays too, which are few.
    assert 0.93 * xla < flops.count(traced.jaxpr) <= xla


def test_a_loop_counts_every_turn_and_what_nobody_uses_counts_nothing():
  def step(x, w):
    return x @ w, (x @ w.T).sum()

  def looped(x, w):
    _ = w @ w  # dropped
    return jax.lax.scan(lambda x, _: (step(x, w)[0], None), x, None, length=5)[0]
  x, w = F32((4, 8)), F32((8, 8))
  assert flops.count(jax.make_jaxpr(looped)(x, w)) == 5 * 2 * 4 * 8 * 8
  assert flops.count(jax.make_jaxpr(lambda x, w: step(x, w)[0])(x, w)) == 2 * 4 * 8 * 8


def test_work_that_remat_repeats_is_counted():
  layer = lambda x, w: jnp.tanh(jnp.tanh(x @ w) @ w)
  x, w = F32((4, 8)), F32((8, 8))

  def of(function):
    return flops.count(jax.make_jaxpr(
      jax.grad(lambda x, w: jnp.square(function(x, w)).sum(), (0, 1)))(x, w))
  once = 2 * 4 * 8 * 8
  assert of(layer) == 6 * once
  assert of(jax.checkpoint(layer)) == 8 * once


def test_what_only_moves_numbers_is_counted_or_left_out():
  def loss(x, w):
    return jnp.square(layers.moved('LD,DE->LE', x @ w, jnp.eye(8, 16))).sum()
  jaxpr = jax.make_jaxpr(jax.grad(jax.checkpoint(loss), (0, 1)))(F32((4, 8)), F32((8, 8)))
  product, moved = 2 * 4 * 8 * 8, 2 * 4 * 8 * 16
  assert flops.count(jaxpr, without=('moved',)) == 3 * product
  assert flops.count(jaxpr) == 3 * product + 2 * moved


@pytest.mark.parametrize('fused', [True, False])
def test_splash_skips_blocks_and_saves_what_it_is_told_to(monkeypatch, fused):
  rule = np.tril(np.ones((1024, 1024), bool))
  q = F32((2, 1, 3, 1024, 128))
  visible, sink = jax.ShapeDtypeStruct((2, 1, 1024), bool), F32((3,))
  sides = kernels.Sides(512, 512, 256, 256, fused)
  monkeypatch.setattr(kernels, 'blocks', lambda rule: sides)
  forward, backward = kernels.worked_on(rule, 512, 512), kernels.worked_on(rule, 256, 256)
  assert rule.sum() < backward < forward < rule.size

  def of(useful, policy=None):
    def loss(q, k, v, visible, sink):
      run = functools.partial(kernels._KERNELS['splash'], rule)
      if policy:
        run = jax.checkpoint(run, policy=policy)
      return jnp.square(run(q, [k], [v], visible, sink)).sum()
    jaxpr = jax.make_jaxpr(jax.grad(loss, (0, 1, 2)))(q, q, q, visible, sink)
    return flops.count(jaxpr, kernels.splash_flops([rule], useful), without=('moved',))

  each = 2 * 2 * 3 * 128  # operations a pair of a product: clips, heads, channels
  about = functools.partial(pytest.approx, rel=0.01)  # a sum over channels is a product too
  assert of(useful=True) == about(6 * each * rule.sum())
  # Weights are made once more; by two kernels, they and their gradients twice.
  gradients = (5 if fused else 7) * each * backward
  assert of(useful=False) == about(2 * each * forward + gradients)
  nothing, names = (jax.checkpoint_policies.nothing_saveable,
                    jax.checkpoint_policies.save_only_these_names(kernels.SAVED))
  assert of(False, nothing) == about(4 * each * forward + gradients)
  assert of(False, names) == about(of(False))

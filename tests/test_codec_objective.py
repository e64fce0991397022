"""The codec's gradients, taken in one pass where losses meet, are those of their weighted sum."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidregen_jax import codec_objective, losses, pixels
from vidregen_jax.errors import UserError
from vidregen_jax.models import codec, discriminators, layers, perceptual, teacher

STEP = 3


@pytest.fixture(autouse=True)
def quick_random_numbers():
  with jax.default_prng_impl('unsafe_rbg'):
    yield


@pytest.fixture(scope='module')
def frozen():
  """A network built like VGG16, with one narrow convolution a block: it compiles fast."""
  rng, convolutions, inputs, widths = np.random.default_rng(0), [], 3, (4, 4, 6, 6, 512)
  for width in widths:
    kernel = rng.normal(0, (2 / (9 * inputs))**0.5, (3, 3, inputs, width))
    convolutions.append([(jnp.float32(kernel), jnp.full(width, 0.05))])
    inputs = width
  vgg16 = {'convolutions': convolutions, 'heads': [jnp.full(width, 1 / width) for width in widths]}
  return {'vgg16': vgg16, 'teacher': vgg16}


@pytest.fixture(scope='module')
def objective():
  return codec_objective.Objective(
    model=codec.CodecConfig(32, (8, 8, 8), (1, 1, 1), (1, 1, 1), (2, 1, 1), 4),
    discriminators=discriminators.DiscriminatorConfig((4, 8), 8), teacher=teacher.Teacher(2),
    mouth_weight=4.0, perceptual_weight=0.5, perceptual_frames=0, kl_weight=1e-2,
    kl_warmup_steps=6, align_weight=0.3, align_frames=0, cosine_margin=0.1, distance_margin=0.05,
    gan_weight=0.2, penalty_weight=0.7, parts=('encoder', 'decoder'))


@pytest.fixture(scope='module')
def batch():
  rng = np.random.default_rng(0)
  return {'frames': rng.integers(0, 256, (2, 8, 32, 32, 3)).astype(np.uint8),
          'mouth_box': np.tile(np.float32([0.3, 0.6, 0.7, 0.9]), (2, 8, 1)),
          'masked': np.array([False, True])}


def gradients(objective, params, frozen, batch, adversarial=True):
  made = jax.jit(codec_objective.gradients, static_argnums=(0, 6))
  return made(objective, params, frozen, batch, jax.random.key(1), jnp.int32(STEP), adversarial)


def plain(objective, params, frozen, batch, weights):
  """The sum of all losses, written down as one function."""
  model, frames = objective.model, pixels.to_float(batch['frames'])
  own = {part: params[part] for part in ('encoder', 'decoder')}
  judges = params['discriminators']
  boxes = batch['mouth_box'] * ~batch['masked'][:, None, None]
  (mean, logvar), _ = codec.encode(model, own, frames, codec.init_encoder_cache(model, 2))
  key = jax.random.split(jax.random.key(1), 3)[0]
  made, _ = codec.decode(model, own, codec.draw(model, mean, logvar, key),
                         codec.init_decoder_cache(model, 2))
  flat = lambda x: x.reshape(-1, *x.shape[2:])
  total = losses.reconstruction(made, frames, boxes, objective.mouth_weight)
  total += objective.perceptual_weight * losses.perceptual_distance(
    perceptual.lpips_map(frozen['vgg16'], flat(made), flat(frames)), flat(boxes), model.size,
    objective.mouth_weight)
  total += objective.kl_weight * (STEP / objective.kl_warmup_steps) * losses.kl(mean, logvar)

  wanted = perceptual.features(frozen['vgg16'], flat(frames))[-1]
  wanted = wanted.reshape(4, 4, 2, 2, -1).mean(1)
  head = layers.Definition(lambda draws: layers.Linear(4, 512, draws, bias=False))
  terms = losses.alignment(head.bind(params['align'])(flat(mean)), wanted,
                           objective.cosine_margin, objective.distance_margin)
  total += objective.align_weight * weights['align_balance'] * sum(terms)

  shape, stop = objective.discriminators, jax.lax.stop_gradient
  shown = jnp.array([1.0, 1.0, 0.0, 0.0])
  seen = lambda x: discriminators.views(shape, x, batch['mouth_box'])
  fooled = discriminators.judge(shape, stop(judges), *seen(made))
  total += objective.gan_weight * weights['gan_balance'] * (
    losses.fooled(fooled[0]) + losses.fooled(fooled[1], shown))
  real = discriminators.judge(shape, judges, *seen(frames))
  fake = discriminators.judge(shape, judges, *seen(stop(made)))
  total += losses.hinge(real[0], fake[0]) + losses.hinge(real[1], fake[1], shown)
  for i in range(2):
    def verdict(x, i=i):
      views = list(seen(frames))
      views[i] = x
      return discriminators.judge(shape, judges, *views)[i]
    total += objective.penalty_weight * losses.gradient_penalty(verdict, seen(frames)[i])
  return total


def test_gradients_are_those_of_the_weighted_sum(objective, frozen, batch):
  params = codec_objective.init(objective, jax.random.key(0))
  found, terms = gradients(objective, params, frozen, batch)
  assert set(codec_objective.TERMS) <= set(terms)
  wanted = jax.jit(jax.grad(plain, argnums=1), static_argnums=0)(
    objective, params, frozen, batch, terms)
  assert jax.tree.structure(found) == jax.tree.structure(wanted)
  for path, a in jax.tree_util.tree_leaves_with_path(found):
    b = wanted
    for step in path:
      b = b[step.key]
    # float32, and sums in another order.
    np.testing.assert_allclose(a, b, atol=1e-4 * max(np.abs(b).max(), 1e-3), err_msg=str(path))


def test_before_the_discriminators_start_they_get_no_gradient(objective, frozen, batch):
  params = codec_objective.init(objective, jax.random.key(0))
  found, terms = gradients(objective, params, frozen, batch, adversarial=False)
  assert not any(x.any() for x in jax.tree.leaves(found['discriminators']))
  assert 'gan' not in terms


def test_a_frozen_encoder_gets_no_gradient_and_the_decoder_its_own(objective, frozen, batch):
  objective = dataclasses.replace(objective, teacher=None)
  params = codec_objective.init(objective, jax.random.key(0))
  both, _ = gradients(objective, params, frozen, batch)
  found, _ = gradients(dataclasses.replace(objective, parts=('decoder',)), params, frozen, batch)
  assert not any(x.any() for x in jax.tree.leaves(found['encoder']))
  assert any(x.any() for x in jax.tree.leaves(both['encoder']))
  for a, b in zip(jax.tree.leaves(found['decoder']), jax.tree.leaves(both['decoder']), strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_lpips_and_teacher_can_look_at_some_frames_only(objective, frozen, batch):
  params = codec_objective.init(objective, jax.random.key(0))
  some = dataclasses.replace(objective, perceptual_frames=2, align_frames=1, discriminators=None)
  found, terms = gradients(some, params, frozen, batch, adversarial=False)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))
  assert terms['perceptual'] > 0


def test_weights_that_make_no_sense_are_refused(objective):
  with pytest.raises(UserError, match='gan_weight is -1'):
    dataclasses.replace(objective, gan_weight=-1)
  with pytest.raises(UserError, match="'encoder', 'decoder' or both"):
    dataclasses.replace(objective, parts=('decoders',))

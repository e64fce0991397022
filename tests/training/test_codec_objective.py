"""The codec's gradients, taken in one pass where losses meet, are those of their weighted sum."""

import dataclasses

import fake_codec
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from vidregen_jax.errors import UserError
from vidregen_jax.models import codec, discriminators, layers, perceptual, pixels, teacher
from vidregen_jax.training import codec_objective, losses

STEP = 2  # a third of the KL's warm-up


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
    mouth_weight=4.0, perceptual_weight=0.5, perceptual_frames=0,
    perceptual_crop=0, perceptual_dtype='float32', kl_weight=1e-2, kl_warmup_steps=6,
    align_weight=0.3, align_frames=0, cosine_margin=0.1, distance_margin=0.05,
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
  weights = {'l1': 1.0, 'perceptual': objective.perceptual_weight,
             'kl': objective.kl_weight * STEP / objective.kl_warmup_steps,
             'cosine': objective.align_weight * terms['align_balance'],
             'pairwise': objective.align_weight * terms['align_balance'],
             'gan': objective.gan_weight * terms['gan_balance']}
  np.testing.assert_allclose(
    terms['loss'], sum(x * terms[k] for k, x in weights.items()), rtol=1e-4)
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


# What follows compiles in no time: the codec is a stand-in, and so are other networks.


def _pooled(config, params, frames, cache):
  batch, length = frames.shape[:2]
  mean = frames.reshape(batch, length // 4, 4, 2, 16, 2, 16, 3).mean((2, 4, 6))
  return (mean, jnp.zeros_like(mean)), cache


@pytest.mark.parametrize('seed', range(3))
def test_both_sides_of_a_comparison_see_the_same_frames(objective, seed, monkeypatch):
  # A codec that changes nothing: pictures of 2 x 2 even cells, which stay for 4 frames.
  monkeypatch.setattr(fake_codec, 'encode', _pooled)
  monkeypatch.setattr(fake_codec, 'decode', lambda config, params, z, cache: (
    z.repeat(4, 1).repeat(16, 2).repeat(16, 3), cache))
  monkeypatch.setattr(fake_codec, 'draw', lambda config, mean, logvar, key: mean)
  monkeypatch.setattr(codec_objective, 'codec', fake_codec)
  seen = []
  monkeypatch.setattr(perceptual, 'lpips_map', lambda params, a, b, dtype: (
    seen.append(len(a)) or [jnp.abs(a - b).mean(-1)]))
  monkeypatch.setattr(teacher, 'features', lambda taught, params, frames: (
    seen.append(len(frames)) or frames[:, ::16, ::16]))
  some = dataclasses.replace(
    objective, model=fake_codec.CodecConfig(32, 3), perceptual_frames=5, align_frames=2,
    discriminators=None, cosine_margin=0.0, distance_margin=0.0)
  cells = np.random.default_rng(0).integers(0, 256, (2, 8, 2, 2, 3)).astype(np.uint8)
  batch = {'frames': cells.repeat(4, 1).repeat(16, 2).repeat(16, 3),
           'mouth_box': np.zeros((2, 32, 4), np.float32), 'masked': np.zeros(2, bool)}
  params = {'encoder': {}, 'decoder': {}, 'align': {'kernel': jnp.eye(3)}}
  _, terms = codec_objective.gradients(
    some, params, {'vgg16': None, 'teacher': None}, batch, jax.random.key(seed), 1, False)
  assert seen == [2 * 5, 2 * 2 * 4]
  for name in ('perceptual', 'cosine', 'pairwise'):
    np.testing.assert_allclose(terms[name], 0, atol=1e-5, err_msg=name)


def test_lpips_of_the_mouth_alone_is_that_of_its_cuts_and_of_visible_mouths(
    objective, frozen, batch, monkeypatch):
  monkeypatch.setattr(codec_objective, 'codec', fake_codec)
  alone = dataclasses.replace(
    objective, model=fake_codec.CodecConfig(32, 4), perceptual_crop=16, discriminators=None,
    teacher=None)
  params = codec_objective.init(alone, jax.random.key(0))
  grads, terms = gradients(alone, params, frozen, batch, adversarial=False)
  key = jax.random.split(jax.random.key(1), 3)[0]
  frames = pixels.to_float(batch['frames'])
  mean, logvar = fake_codec.encode(
    alone.model, params, frames, fake_codec.init_encoder_cache(alone.model, 2))[0]
  made = fake_codec.decode(alone.model, params, fake_codec.draw(
    alone.model, mean, logvar, key), None)[0]
  views = [discriminators.cut(x[0], batch['mouth_box'][0], 16) for x in (made, frames)]
  wanted = sum(tap.mean() for tap in perceptual.lpips_map(frozen['vgg16'], *views))
  np.testing.assert_allclose(terms['perceptual'], wanted, rtol=1e-4)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads))


def test_losses_in_bfloat16_pull_where_those_in_float32_do(objective, frozen, batch, monkeypatch):
  monkeypatch.setattr(codec_objective, 'codec', fake_codec)
  exact = dataclasses.replace(objective, model=fake_codec.CodecConfig(32, 4), teacher=None)
  judges = dataclasses.replace(exact.discriminators, dtype='bfloat16')
  rough = dataclasses.replace(exact, perceptual_dtype='bfloat16', discriminators=judges)
  params = codec_objective.init(exact, jax.random.key(0))
  (wanted, terms), (found, others) = (
    gradients(each, params, frozen, batch) for each in (exact, rough))
  assert terms['perceptual'] != others['perceptual'] and terms['gan'] != others['gan']
  for part in ('decoder', 'encoder', 'discriminators'):
    a, b = (ravel_pytree(tree[part])[0] for tree in (wanted, found))
    assert b.dtype == jnp.float32
    assert jnp.vdot(a, b) > 0.99 * jnp.linalg.norm(a) * jnp.linalg.norm(b), part
    np.testing.assert_allclose(jnp.linalg.norm(a), jnp.linalg.norm(b), rtol=0.05)


@pytest.fixture
def plain_objective(objective, monkeypatch):
  monkeypatch.setattr(codec_objective, 'codec', fake_codec)
  return dataclasses.replace(
    objective, model=fake_codec.CodecConfig(32, 4), perceptual_weight=0.0, teacher=None,
    kl_weight=0.0)


def test_verdicts_pull_as_hard_however_loud_they_are(plain_objective, batch):
  params = codec_objective.init(plain_objective, jax.random.key(0))
  _, terms = gradients(plain_objective, params, {}, batch)
  loud = jax.tree.map(jnp.copy, params)
  for judge in loud['discriminators'].values():
    judge['out'] = jax.tree.map(lambda x: 10 * x, judge['out'])
  _, others = gradients(plain_objective, loud, {}, batch)
  np.testing.assert_allclose(others['gan'], 10 * terms['gan'], rtol=1e-3)
  np.testing.assert_allclose(others['gan_balance'], terms['gan_balance'] / 10, rtol=1e-3)


def test_alignment_pulls_in_step_with_the_pixels(plain_objective, batch, monkeypatch):
  monkeypatch.setattr(teacher, 'features', lambda taught, params, frames: frames[:, ::16, ::16])
  objective = dataclasses.replace(
    plain_objective, discriminators=None, teacher=teacher.Teacher(2), mouth_weight=0.0)
  params = codec_objective.init(plain_objective, jax.random.key(0))
  params['align'] = {'kernel': jnp.eye(4, 3)}
  everywhere = batch | {'mouth_box': np.tile(np.float32([0, 0, 1, 1]), (2, 8, 1)),
                        'masked': np.zeros(2, bool)}
  # With a mouth that is everywhere, a mouth_weight of 4 makes the pixels' loss 5 times as strong.
  weights = [codec_objective.gradients(
    dataclasses.replace(objective, mouth_weight=weight), params, {'teacher': None}, everywhere,
    jax.random.key(1), 1, False)[1]['align_balance'] for weight in (0.0, 4.0)]
  np.testing.assert_allclose(weights[1], 5 * weights[0], rtol=1e-4)


@pytest.mark.parametrize(('trained', 'still'), [('encoder', 'decoder'), ('decoder', 'encoder')])
def test_a_frozen_part_gets_no_gradient_and_the_other_its_own(
    plain_objective, batch, trained, still):
  objective = dataclasses.replace(plain_objective, discriminators=None)
  params = codec_objective.init(objective, jax.random.key(0))
  both, one = (
    codec_objective.gradients(dataclasses.replace(objective, parts=parts), params, {}, batch,
                              jax.random.key(1), 1, False)[0]
    for parts in (('encoder', 'decoder'), (trained,)))
  assert not one[still]['w'].any()
  assert both[still]['w'].any()
  np.testing.assert_array_equal(one[trained]['w'], both[trained]['w'])


def test_the_kl_weight_grows_and_then_stays(plain_objective, batch):
  objective = dataclasses.replace(plain_objective, kl_weight=0.5, discriminators=None)
  params = codec_objective.init(objective, jax.random.key(0))
  shares = []
  for step in (0, 2, 6, 60):
    _, terms = codec_objective.gradients(
      objective, params, {}, batch, jax.random.key(1), step, False)
    shares.append((terms['loss'] - terms['l1']) / terms['kl'])
  np.testing.assert_allclose(shares, [0, 0.5 / 3, 0.5, 0.5], atol=1e-4)


def test_weights_that_make_no_sense_are_refused(objective):
  with pytest.raises(UserError, match='gan_weight is -1'):
    dataclasses.replace(objective, gan_weight=-1)
  with pytest.raises(UserError, match="'encoder', 'decoder' or both"):
    dataclasses.replace(objective, parts=('decoders',))
  with pytest.raises(UserError, match='perceptual_crop is 8: VGG16 needs at least 16'):
    dataclasses.replace(objective, perceptual_crop=8)
  with pytest.raises(UserError, match="perceptual_dtype is 'float16'"):
    dataclasses.replace(objective, perceptual_dtype='float16')
  small = codec.CodecConfig(8, (8,), (1,), (1,), (1,), 4)
  with pytest.raises(UserError, match='VGG16 needs crops of at least 16 pixels, not 8'):
    dataclasses.replace(objective, model=small)

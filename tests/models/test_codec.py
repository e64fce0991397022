"""The codec never looks ahead, and is the same function whole, in chunks and scanned."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import codec as codec_config
from vidregen_jax.models import codec, layers
from vidregen_jax.training import codec_setup

pytestmark = pytest.mark.optimized

CONFIG = codec.CodecConfig(32, (16, 24, 32), (1, 1, 1), (1, 1, 1), (2, 1, 3), 6, latent_stages=1)


def run(config, params, frames):
  """Whole: latents and reconstruction."""
  batch = frames.shape[0]
  (mean, _), _ = codec.encode(config, params, frames, codec.init_encoder_cache(config, batch))
  made, _ = codec.decode(config, params, mean, codec.init_decoder_cache(config, batch))
  return mean, made


whole = jax.jit(run, static_argnums=0)


@pytest.fixture(scope='module')
def params():
  return codec.init(CONFIG, jax.random.key(0))


@pytest.fixture(scope='module')
def frames():
  return np.random.default_rng(0).uniform(-1, 1, (1, 16, 32, 32, 3)).astype(np.float32)


@pytest.mark.parametrize('changed', [15, 8, 7])
def test_changing_a_frame_leaves_everything_before_bit_identical(params, frames, changed):
  other = frames.copy()
  other[:, changed:] *= -1
  (latents, made), (latents2, made2) = whole(CONFIG, params, frames), whole(CONFIG, params, other)
  group = changed // 4
  np.testing.assert_array_equal(latents[:, :group], latents2[:, :group])
  np.testing.assert_array_equal(made[:, :4 * group], made2[:, :4 * group])
  assert np.abs(latents[:, group] - latents2[:, group]).max() > 1e-3


def test_group_norm_leaks_the_future(params, frames):
  leaky = dataclasses.replace(CONFIG, norm='group')
  other = frames.copy()
  other[:, 8:] *= -1
  latents, latents2 = (whole(leaky, params, x)[0] for x in (frames, other))
  assert np.abs(latents[:, :2] - latents2[:, :2]).max() > 1e-4


@pytest.mark.parametrize('chunk', [4, 8, 12])
def test_chunks_equal_the_whole(params, frames, chunk):
  mean, made = whole(CONFIG, params, frames)
  encode = jax.jit(codec.encode, static_argnums=0)
  decode = jax.jit(codec.decode, static_argnums=0)
  encoder, decoder = codec.init_encoder_cache(CONFIG, 1), codec.init_decoder_cache(CONFIG, 1)
  means, parts = [], []
  for start in range(0, 16, chunk):
    (part, _), encoder = encode(CONFIG, params, frames[:, start:start + chunk], encoder)
    means.append(part)
    part, decoder = decode(CONFIG, params, part, decoder)
    parts.append(part)
  # A matrix product of another height may sum in another order: float32 rounding of values near 1.
  np.testing.assert_allclose(np.concatenate(means, 1), mean, atol=2e-5)
  np.testing.assert_allclose(np.concatenate(parts, 1), made, atol=2e-5)


def test_a_scan_over_chunks_equals_chunks_one_by_one_to_rounding(params, frames):
  chunks = np.moveaxis(frames.reshape(1, 4, 4, 32, 32, 3), 1, 0)

  def step(cache, chunk):
    (mean, _), cache = codec.encode(CONFIG, params, chunk, cache)
    return cache, mean
  scanned = jax.jit(lambda x: jax.lax.scan(step, codec.init_encoder_cache(CONFIG, 1), x)[1])(chunks)
  cache, streamed = codec.init_encoder_cache(CONFIG, 1), []
  one = jax.jit(step)
  for chunk in chunks:
    cache, mean = one(cache, chunk)
    streamed.append(mean)
  # The same shapes, but a loop body and a program of its own are compiled apart: equal to rounding.
  np.testing.assert_allclose(np.stack(streamed), scanned, atol=2e-5)


def test_jitted_equals_eager(params, frames):
  """jax 0.10.2 miscompiles convolutions on CPU; this is how one would notice."""
  np.testing.assert_allclose(run(CONFIG, params, frames[:, :4])[1],
                             whole(CONFIG, params, frames[:, :4])[1], atol=2e-5)


def test_sum_of_2d_convolutions_is_the_3d_one(params, frames):
  native = dataclasses.replace(CONFIG, conv='native')
  np.testing.assert_allclose(whole(native, params, frames)[1], whole(CONFIG, params, frames)[1],
                             atol=2e-5)


def test_blocks_as_a_loop_are_the_blocks_one_by_one():
  config = codec.CodecConfig(8, (8,), (2,), (3,), (2,), 4, remat=True)
  params = codec.init(config, jax.random.key(0))
  rng = np.random.default_rng(0)
  frames = rng.uniform(-1, 1, (2, 8, 8, 8, 3)).astype(np.float32)
  caches = jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(np.float32), (
    codec.init_encoder_cache(config, 2), codec.init_decoder_cache(config, 2)))

  def loss(params, caches, config):
    (mean, _), encoder = codec.encode(config, params, frames, caches[0])
    made, decoder = codec.decode(config, params, mean, caches[1])
    return jnp.mean(jnp.square(made)), (made, encoder, decoder)

  run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True), static_argnums=2)
  apart = run(params, caches, config)
  looped = run(params, caches, dataclasses.replace(config, loop_from=2))
  assert jax.tree.structure(apart) == jax.tree.structure(looped)
  for path, x in jax.tree_util.tree_leaves_with_path(apart):
    y = looped
    for step in path:
      y = y[getattr(step, 'key', getattr(step, 'idx', None))]
    np.testing.assert_allclose(y, x, atol=2e-6 * max(np.abs(x).max(initial=0), 1e-3),
                               err_msg=str(path))


def test_principal_maps_are_the_best_linear_codec_before_any_training():
  config = dataclasses.replace(CONFIG, aligned=True, latent_channels=8)
  rng = np.random.default_rng(0)
  # Every cell's pixels lie near a space of 8 dimensions, another one in each cell.
  basis = rng.standard_normal((2, 2, 8, config.patch_values)).astype(np.float32)

  def groups(count):
    patches = np.einsum('NHWK,HWKP->NHWP', rng.standard_normal((count, 2, 2, 8)), basis)
    patches = 0.1 * patches + 0.01 * rng.standard_normal(patches.shape) + 0.2
    return np.asarray(codec.from_patches(patches[:, None].astype(np.float32), config.factor))

  params = codec.init(config, jax.random.key(0))
  maps = codec.principal_maps(config, groups(200))
  started = {part: params[part] | {'maps': maps[part]} for part in params}
  unseen = groups(50)
  latents, made = whole(config, started, unseen)
  assert np.abs(made - unseen).std() < 0.012  # what is left is the noise
  assert 0.8 < latents.std() < 1.2
  # The latents keep distances, so a likely latent is a likely picture.
  apart = np.linalg.norm((unseen[:-1] - unseen[1:]).reshape(49, -1), axis=1)
  between = np.linalg.norm((latents[:-1] - latents[1:]).reshape(49, -1), axis=1)
  assert (apart / between).std() < 0.02 * (apart / between).mean()


def test_shortcuts_average_and_duplicate():
  x = jnp.arange(6.0)
  np.testing.assert_allclose(layers.resample_channels(x, 3), [0.5, 2.5, 4.5])
  np.testing.assert_allclose(layers.resample_channels(x[:2], 4), [0, 0, 1, 1])
  np.testing.assert_allclose(layers.resample_channels(x[:3], 2), [1 / 3, 5 / 3], atol=1e-6)


def test_folding_space_and_time_is_undone():
  x = np.random.default_rng(0).standard_normal((2, 8, 4, 6, 16)).astype(np.float32)
  np.testing.assert_array_equal(layers.depth_to_space(layers.space_to_depth(x, 2), 2), x)
  np.testing.assert_array_equal(layers.depth_to_time(layers.time_to_depth(x, 4), 4), x)


@pytest.mark.parametrize('size', ['tiny', 'talkers', '256', '512'])
def test_every_size_has_the_shapes_it_says(size):
  model = codec_setup.model_config(codec_config.get_config(size))
  params = jax.eval_shape(lambda: codec.init(model, jax.random.key(0)))
  frames = jax.ShapeDtypeStruct((1, 8, model.size, model.size, 3), jnp.float32)
  latents, made = jax.eval_shape(lambda p, x: run(model, p, x), params, frames)
  assert latents.shape == (1, 2, model.cells, model.cells, model.latent_channels)
  assert made.shape == frames.shape


@pytest.mark.parametrize('shape', [(1, 6, 32, 32, 3), (1, 4, 16, 32, 3), (1, 4, 32, 32, 1)])
def test_frames_of_another_shape_are_refused(params, shape):
  with pytest.raises(ValueError, match='the codec takes'):
    codec.encode(CONFIG, params, np.zeros(shape, np.float32), codec.init_encoder_cache(CONFIG, 1))


@pytest.mark.parametrize('levels', [2, 5, 8])
def test_discrete_latents_have_their_levels_and_gradients_pass_straight(levels):
  made = codec.quantize(jnp.linspace(-20, 20, 2001), levels)
  values = np.unique(np.round(made, 4))
  assert len(values) == levels
  np.testing.assert_allclose(values, np.linspace(-3, 3, levels), atol=1e-3)
  slope = jax.grad(lambda x: codec.quantize(x, levels).sum())(jnp.array([0.0, 0.3, -1.0]))
  assert (slope > 0.8).all()  # tanh's own


def test_latents_are_drawn_with_their_deviation_and_discrete_ones_are_not():
  mean, logvar = jnp.full(4000, 5.0), jnp.full(4000, np.log(4.0))
  drawn = codec.draw(CONFIG, mean, logvar, jax.random.key(0))
  assert drawn.mean() == pytest.approx(5, abs=0.2)
  assert drawn.std() == pytest.approx(2, abs=0.1)
  discrete = dataclasses.replace(CONFIG, levels=4)
  np.testing.assert_array_equal(codec.draw(discrete, mean, logvar, jax.random.key(0)), mean)


@pytest.mark.parametrize('shortcut', [True, False])
def test_only_shortcuts_pass_what_the_convolutions_beside_them_do_not(shortcut):
  config = codec.CodecConfig(16, (4, 4), (0, 0), (0, 0), (1, 1), 4, shortcut=shortcut)
  params = codec.init(config, jax.random.key(0))
  zeros = functools.partial(jax.tree.map, jnp.zeros_like)
  encoder, decoder = params['encoder'], params['decoder']
  params = {'encoder': encoder | {name: zeros(encoder[name]) for name in ('downs', 'down_time')},
            'decoder': decoder | {name: zeros(decoder[name]) for name in ('ups', 'up_time')}}
  frames = np.random.default_rng(0).uniform(-1, 1, (1, 4, 16, 16, 3)).astype(np.float32)
  latents, _ = whole(config, params, frames)
  made, _ = codec.decode(config, params, jnp.ones((1, 1, 2, 2, 4)),
                         codec.init_decoder_cache(config, 1))
  assert bool(np.ptp(latents) > 1e-3) == shortcut
  assert bool(np.abs(made).max() > 1e-3) == shortcut


@pytest.mark.parametrize('latent_stages', range(4))
def test_any_number_of_stages_can_run_at_the_latent_rate(latent_stages):
  config = dataclasses.replace(CONFIG, latent_stages=latent_stages)
  shapes = jax.eval_shape(lambda: codec.init(config, jax.random.key(0)))
  frames = jax.ShapeDtypeStruct((1, 8, 32, 32, 3), jnp.float32)
  latents, made = jax.eval_shape(functools.partial(run, config), shapes, frames)
  assert latents.shape == (1, 2, 2, 2, 6)
  assert made.shape == frames.shape


@pytest.mark.parametrize(('backend', 'convolution', 'activations'), [
  ('cpu', 'sum2d', 'float32'), ('gpu', 'native', 'bfloat16'), ('tpu', 'native', 'bfloat16')])
def test_auto_is_decided_by_the_backend_and_only_auto(
    backend, convolution, activations, monkeypatch):
  monkeypatch.setattr(jax, 'default_backend', lambda: backend)
  assert (CONFIG.convolution, CONFIG.activations) == (convolution, activations)
  fixed = dataclasses.replace(CONFIG, conv='sum2d', dtype='float32')
  assert (fixed.convolution, fixed.activations) == ('sum2d', 'float32')

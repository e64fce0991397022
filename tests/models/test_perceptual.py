"""VGG16 and LPIPS: read whole or told, a distance, and the same numbers as the lpips package's."""

import jax
import jax.numpy as jnp
import numpy as np
import parity
import pytest
import random_weights
import safetensors.numpy

from vidregen_jax.errors import UserError
from vidregen_jax.models import perceptual

pytestmark = pytest.mark.optimized


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return random_weights.vgg16(tmp_path_factory.mktemp('vgg16'))


@pytest.fixture(scope='module')
def images():
  rng = np.random.default_rng(1)
  smooth = jax.image.resize(rng.uniform(-1, 1, (2, 6, 6, 3)), (2, 32, 48, 3), 'cubic')
  return np.asarray(smooth, np.float32)


def test_a_distance_is_zero_for_the_same_and_grows_with_the_error(folder, images):
  params = perceptual.load(folder)
  noise = np.random.default_rng(2).normal(size=images.shape).astype(np.float32)
  distances = [perceptual.lpips(params, images, images + size * noise) for size in (0, 0.05, 0.3)]
  assert (distances[0] == 0).all()
  assert (distances[0] < distances[1]).all()
  assert (distances[1] < distances[2]).all()
  np.testing.assert_allclose(distances[2], perceptual.lpips(params, images + 0.3 * noise, images),
                             rtol=1e-5)


def test_the_gradient_is_finite_where_the_images_are_equal(folder, images):
  params = perceptual.load(folder)
  grad = jax.grad(lambda x: perceptual.lpips(params, x, images).sum())(jnp.zeros_like(images) + 1)
  assert jnp.isfinite(grad).all()
  assert jnp.abs(grad).max() > 0


def test_weights_choose_where_the_distance_is_measured(folder, images):
  params = perceptual.load(folder)
  other = images.copy()
  other[:, :, :16] += 0.5
  left, right = np.zeros((2, 2, 32, 48), np.float32)
  left[..., :16], right[..., -8:] = 1, 1
  plain = perceptual.lpips(params, images, other)
  np.testing.assert_allclose(perceptual.lpips(params, images, other, np.ones_like(left)), plain,
                             rtol=1e-4)
  assert (perceptual.lpips(params, images, other, left) > plain).all()
  assert (perceptual.lpips(params, images, other, right) < plain).all()


def test_what_is_missing_is_named(folder, tmp_path):
  tensors = random_weights.vgg16_tensors()
  del tensors['features.28.bias'], tensors['lin4.model.1.weight']
  safetensors.numpy.save_file(tensors, tmp_path / 'model.safetensors')
  with pytest.raises(UserError, match=r'features\.28\.bias is missing and 1 more faults'):
    perceptual.load(tmp_path)
  with pytest.raises(UserError, match='no VGG16 folder at ./none'):
    perceptual.load('./none')


@pytest.mark.parametrize('cut', parity.LPIPS_CUTS)
def test_taps_and_distance_equal_those_of_the_lpips_package(folder, cut):
  params, golden, name = perceptual.load(folder), parity.golden('lpips'), '{}x{}'.format(*cut)
  images = parity.images(*cut)
  for i, ours in enumerate(perceptual.features(params, images)):
    theirs = golden[f'tap{i}_{name}']
    # Thirteen convolutions in float32, summed in another order.
    np.testing.assert_allclose(ours[..., ::parity.CHANNELS], theirs,
                               atol=1e-4 * np.abs(theirs).max())
  distance = perceptual.lpips(params, images, np.roll(images, 5, axis=2))
  np.testing.assert_allclose(distance, golden[f'distance_{name}'], rtol=1e-4)

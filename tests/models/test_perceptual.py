"""VGG16 and LPIPS: read whole or told, a distance, and the same numbers as the lpips package's."""

import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import random_weights
import safetensors.numpy

from vidregen_jax.errors import UserError
from vidregen_jax.models import perceptual


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


@pytest.fixture
def reference(monkeypatch):
  """The lpips package's own LPIPS with the random tensors; of torchvision it needs layers only."""
  torch = pytest.importorskip('torch')
  tensors = {name: torch.from_numpy(x) for name, x in random_weights.vgg16_tensors().items()}
  layers, inputs = [], 3
  for count, width in zip(perceptual.BLOCKS, perceptual.WIDTHS, strict=True):
    for _ in range(count):
      layers += [torch.nn.Conv2d(inputs, width, 3, padding=1), torch.nn.ReLU(inplace=True)]
      inputs = width
    layers.append(torch.nn.MaxPool2d(2, 2))
  trunk = types.SimpleNamespace(features=torch.nn.Sequential(*layers))
  trunk.features.load_state_dict({name.removeprefix('features.'): x for name, x in tensors.items()
                                  if name.startswith('features.')})
  torchvision = types.ModuleType('torchvision')
  torchvision.models = types.SimpleNamespace(vgg16=lambda pretrained: trunk)
  monkeypatch.setitem(sys.modules, 'torchvision', torchvision)
  lpips = pytest.importorskip('lpips')
  monkeypatch.setattr(lpips.pretrained_networks, 'tv', torchvision.models)
  model = lpips.LPIPS(net='vgg', pretrained=False, pnet_rand=True, verbose=False)
  heads = {name: x for name, x in tensors.items() if name.startswith('lin')}
  assert not model.load_state_dict(heads, strict=False).unexpected_keys
  return model


@pytest.mark.parametrize('cut', [(32, 48), (31, 45)])
def test_taps_and_distance_equal_those_of_the_lpips_package(folder, images, reference, cut):
  torch, params = pytest.importorskip('torch'), perceptual.load(folder)
  images = images[:, :cut[0], :cut[1]]
  other = np.roll(images, 5, axis=2)
  first = lambda x: torch.from_numpy(np.moveaxis(x, -1, 1).copy())
  with torch.no_grad():
    taps = reference.net(reference.scaling_layer(first(images)))
    distance = reference(first(images), first(other)).numpy().reshape(-1)
  for ours, theirs in zip(perceptual.features(params, images), taps, strict=True):
    theirs = np.moveaxis(theirs.numpy(), 1, -1)
    # Thirteen convolutions in float32, summed in another order.
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
  np.testing.assert_allclose(perceptual.lpips(params, images, other), distance, rtol=1e-4)

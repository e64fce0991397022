"""I3D: read whole or told, the numbers of the common port; the Frechet distance of Gaussians."""

import jax
import numpy as np
import parity
import pytest
import random_weights
import safetensors.numpy

from vidregen_jax.errors import UserError
from vidregen_jax.models import i3d

pytestmark = pytest.mark.optimized


@pytest.fixture(scope='module')
def tensors():
  return random_weights.i3d_tensors()


@pytest.fixture(scope='module')
def folder(tensors, tmp_path_factory):
  folder = tmp_path_factory.mktemp('i3d')
  safetensors.numpy.save_file(tensors, folder / 'model.safetensors')
  return folder


def test_what_is_missing_is_named(tensors, tmp_path):
  kept = {name: x for name, x in tensors.items()
          if name not in ('Mixed_4c.b2b.bn.running_var', 'logits.conv3d.bias')}
  safetensors.numpy.save_file(kept, tmp_path / 'model.safetensors')
  with pytest.raises(UserError, match=r'Mixed_4c\.b2b\.bn\.running_var is missing and 1 more'):
    i3d.load(tmp_path)
  with pytest.raises(UserError, match='no I3D folder at ./none'):
    i3d.load('./none')


def test_logits_equal_those_of_the_common_port(folder):
  ours = np.asarray(jax.jit(i3d.logits)(i3d.load(folder), parity.clips()))
  theirs = parity.golden('i3d')['logits']
  # Twenty layers in float32, summed in another order and with the normalisation folded in.
  np.testing.assert_allclose(ours, theirs, atol=2e-4 * np.abs(theirs).max())
  assert np.abs(ours[0] - ours[1]).max() > 0.01 * np.abs(theirs).max()


def test_any_size_is_resized_to_what_the_network_was_trained_on(folder):
  params = jax.eval_shape(lambda: i3d.load(folder))
  clips = jax.ShapeDtypeStruct((2, i3d.FRAMES, 64, 64, 3), np.float32)
  assert jax.eval_shape(i3d.features, params, clips).shape == (2, i3d.CLASSES)
  program = str(jax.make_jaxpr(i3d.features)(params, clips))
  assert 'f32[2,16,224,224,3]' in program


def random_covariance(rng, size):
  root = rng.normal(size=(size, size))
  return root @ root.T


def test_the_distance_of_gaussians_is_the_closed_form():
  rng = np.random.default_rng(0)
  means = rng.normal(size=(2, 5))
  apart = np.square(means[0] - means[1]).sum()
  # Covariances with the same axes: deviations are told apart one by one.
  axes, _ = np.linalg.qr(rng.normal(size=(5, 5)))
  a, b = rng.uniform(0.1, 3, (2, 5))
  found = i3d.frechet_distance(means[0], axes * a**2 @ axes.T, means[1], axes * b**2 @ axes.T)
  np.testing.assert_allclose(found, apart + np.square(a - b).sum(), rtol=1e-10)
  # Two dimensions and any axes: the trace of a root is the root of trace + 2 sqrt(determinant).
  first, second = random_covariance(rng, 2), random_covariance(rng, 2)
  product = first @ second
  root = np.sqrt(np.trace(product) + 2 * np.sqrt(np.linalg.det(product)))
  found = i3d.frechet_distance(np.zeros(2), first, np.zeros(2), second)
  np.testing.assert_allclose(found, np.trace(first + second) - 2 * root, rtol=1e-10)


def test_the_distance_holds_where_covariances_lack_rank():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(3, 40))  # three clips say little of 40 dimensions
  mean, covariance = x.mean(0), np.cov(x, rowvar=False)
  same = i3d.frechet_distance(mean, covariance, mean, covariance)
  np.testing.assert_allclose(same, 0, atol=1e-6 * np.trace(covariance))
  far = i3d.frechet_distance(mean, covariance, mean + 2, 4 * covariance)
  np.testing.assert_allclose(far, 4 * 40 + np.trace(covariance), rtol=1e-6)

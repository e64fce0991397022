"""I3D: read whole or told, the same numbers as PyTorch's; the Frechet distance of Gaussians."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from vidregen_jax.errors import UserError
from vidregen_jax.models import i3d


def random_tensors():
  """I3D with He-initialised kernels and lively batch statistics, under the stored names."""
  rng, tensors = np.random.default_rng(0), {}
  draw = lambda *shape: rng.standard_normal(shape, dtype=np.float32)
  for name, c_in, c_out, kernel in i3d.units():
    scale = np.float32(np.sqrt(2 / (kernel**3 * c_in)))
    tensors[f'{name}.conv3d.weight'] = scale * draw(c_out, c_in, kernel, kernel, kernel)
    tensors[f'{name}.bn.weight'] = 1 + 0.1 * draw(c_out)
    tensors[f'{name}.bn.bias'] = 0.1 * draw(c_out)
    tensors[f'{name}.bn.running_mean'] = 0.1 * draw(c_out)
    tensors[f'{name}.bn.running_var'] = np.exp(0.1 * draw(c_out))
    tensors[f'{name}.bn.num_batches_tracked'] = np.array(7)
  tensors['logits.conv3d.weight'] = 0.03 * draw(i3d.CLASSES, 1024, 1, 1, 1)
  tensors['logits.conv3d.bias'] = draw(i3d.CLASSES)
  return tensors


@pytest.fixture(scope='module')
def tensors():
  return random_tensors()


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


def test_logits_equal_those_of_torch(tensors, folder):
  torch = pytest.importorskip('torch')
  nn = torch.nn.functional
  stored = {name: torch.from_numpy(x) for name, x in tensors.items()}

  def padded(x, window, strides):
    """As TensorFlow pads: as little as fills the last window, the odd one behind."""
    pads = []
    for size, w, s in zip(x.shape[2:], window, strides, strict=True):
      total = max((-(-size // s) - 1) * s + w - size, 0)
      pads = [total // 2, total - total // 2, *pads]
    return nn.pad(x, pads)  # zeros, also before pooling: nothing there is below zero

  def unit(name, x, stride=1):
    kernel = stored[f'{name}.conv3d.weight']
    x = nn.conv3d(padded(x, kernel.shape[2:], [stride] * 3), kernel, stride=stride)
    mean, variance, gain, shift = (
      stored[f'{name}.bn.{part}'] for part in ('running_mean', 'running_var', 'weight', 'bias'))
    return torch.relu(nn.batch_norm(x, mean, variance, gain, shift, eps=1e-3))

  def pool(x, window, strides):
    return nn.max_pool3d(padded(x, window, strides), window, strides)

  def mixed(name, x):
    return torch.cat([
      unit(f'{name}.b0', x), unit(f'{name}.b1b', unit(f'{name}.b1a', x)),
      unit(f'{name}.b2b', unit(f'{name}.b2a', x)),
      unit(f'{name}.b3b', pool(x, (3, 3, 3), (1, 1, 1)))], 1)

  def logits(x):
    x = pool(unit('Conv3d_1a_7x7', x, 2), (1, 3, 3), (1, 2, 2))
    x = pool(unit('Conv3d_2c_3x3', unit('Conv3d_2b_1x1', x)), (1, 3, 3), (1, 2, 2))
    x = pool(mixed('Mixed_3c', mixed('Mixed_3b', x)), (3, 3, 3), (2, 2, 2))
    for letter in 'bcdef':
      x = mixed(f'Mixed_4{letter}', x)
    x = pool(x, (2, 2, 2), (2, 2, 2))
    x = mixed('Mixed_5c', mixed('Mixed_5b', x))
    x = nn.avg_pool3d(x, (2, *x.shape[3:]), stride=1)
    x = nn.conv3d(x, stored['logits.conv3d.weight'], stored['logits.conv3d.bias'])
    return x[..., 0, 0].mean(2)

  # Odd sizes, so that padding is uneven everywhere; longer than 16, so that time is averaged.
  clips = np.random.default_rng(1).uniform(-1, 1, (2, 25, 45, 38, 3)).astype(np.float32)
  ours = np.asarray(jax.jit(i3d.logits)(i3d.load(folder), clips))
  theirs = logits(torch.from_numpy(np.moveaxis(clips, -1, 1).copy())).numpy()
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

"""I3D (Carreira and Zisserman, 2017, arXiv 1705.07750) and the Frechet video distance made of it.

Inception-v1 with three-dimensional kernels, for inference: batch normalisation is folded into the
convolutions. Parameters are named as in the common PyTorch port (piergiaj/pytorch-i3d), and
padding is TensorFlow's, which the network was trained with. The distance is that of Unterthiner et
al. (2018, arXiv 1812.01717): between Gaussians fitted to the logits of 16-frame clips.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vidregen_jax.models import pretrained

FRAMES = 16  # length of the clips whose logits are compared
SIZE = 224  # side of the network's input, pixels
CLASSES = 400

STEM = (('Conv3d_1a_7x7', 3, 64, 7), ('Conv3d_2b_1x1', 64, 64, 1), ('Conv3d_2c_3x3', 64, 192, 3))
# Channels of each block's branches: 1x1; 1x1 then 3x3; 1x1 then 3x3; pooling then 1x1.
MIXED = {
  'Mixed_3b': (64, 96, 128, 16, 32, 32),
  'Mixed_3c': (128, 128, 192, 32, 96, 64),
  'Mixed_4b': (192, 96, 208, 16, 48, 64),
  'Mixed_4c': (160, 112, 224, 24, 64, 64),
  'Mixed_4d': (128, 128, 256, 24, 64, 64),
  'Mixed_4e': (112, 144, 288, 32, 64, 64),
  'Mixed_4f': (256, 160, 320, 32, 128, 128),
  'Mixed_5b': (256, 160, 320, 32, 128, 128),
  'Mixed_5c': (384, 192, 384, 48, 128, 128),
}
# Pooling before each block: the window, which is also the stride unless the windows overlap.
_POOLS = {'Mixed_4b': ((3, 3, 3), (2, 2, 2)), 'Mixed_5b': ((2, 2, 2), (2, 2, 2))}
_EPSILON = 1e-3  # of the batch normalisation


def units():
  """The convolutions with batch normalisation: (name, channels in, channels out, kernel side)."""
  yield from STEM
  inputs = STEM[-1][2]
  for block, (b0, b1a, b1b, b2a, b2b, b3b) in MIXED.items():
    for branch, c_in, c_out, kernel in (
        ('b0', inputs, b0, 1), ('b1a', inputs, b1a, 1), ('b1b', b1a, b1b, 3),
        ('b2a', inputs, b2a, 1), ('b2b', b2a, b2b, 3), ('b3b', inputs, b3b, 1)):
      yield f'{block}.{branch}', c_in, c_out, kernel
    inputs = b0 + b1b + b2b + b3b


def load(source) -> dict:
  """Reads the network.

  Args:
    source: a folder with model.safetensors, or a hub id. Of the PyTorch port's state dict, that is
      `safetensors.torch.save_file(torch.load('rgb_imagenet.pt'), 'model.safetensors')`.

  Returns:
    Dict of (kernel DHWIO, bias) by the names of `units`, and 'logits'.

  Raises:
    UserError: no such folder or hub id, or something is missing in it.
  """
  folder = pretrained.locate(source, 'I3D', 'name/i3d')
  tensors = pretrained.read_tensors(folder, 'I3D', _wanted)
  taken = pretrained.Tensors(tensors, folder, 'I3D of 400 classes')
  params = {}
  for name, c_in, c_out, kernel in units():
    weight = taken.take(f'{name}.conv3d.weight', c_out, c_in, kernel, kernel, kernel)
    gain, shift, mean, variance = (taken.take(f'{name}.bn.{part}', c_out) for part in
                                   ('weight', 'bias', 'running_mean', 'running_var'))
    gain = gain / np.sqrt(variance + _EPSILON)
    params[name] = (weight.transpose(2, 3, 4, 1, 0) * gain, shift - mean * gain)
  width = sum(MIXED['Mixed_5c'][i] for i in (0, 2, 4, 5))
  weight = taken.take('logits.conv3d.weight', CLASSES, width, 1, 1, 1)
  params['logits'] = (weight[:, :, 0, 0, 0].T, taken.take('logits.conv3d.bias', CLASSES))
  taken.check()
  return params


def _wanted(name):
  return name if name.startswith(('Conv3d_', 'Mixed_', 'logits.')) else None


def _unit(params, name, x, stride=1):
  kernel, bias = params[name]
  return jax.nn.relu(lax.conv_general_dilated(
    x, kernel, (stride,) * 3, 'SAME', dimension_numbers=('NDHWC', 'DHWIO', 'NDHWC')) + bias)


def _pool(x, window, strides):
  return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), 'SAME')


def _mixed(params, name, x):
  branch = lambda part, x: _unit(params, f'{name}.{part}', x)
  return jnp.concatenate([
    branch('b0', x),
    branch('b1b', branch('b1a', x)),
    branch('b2b', branch('b2a', x)),
    branch('b3b', _pool(x, (3, 3, 3), (1, 1, 1))),
  ], axis=-1)


def logits(params, clips):
  """The network's logits for clips.

  Args:
    params: of `load`.
    clips: [N, F, H, W, 3] in [-1, 1], F of at least 9; it was trained on 224 x 224 pixels.

  Returns:
    [N, 400], averaged over time.
  """
  x = _unit(params, 'Conv3d_1a_7x7', clips, stride=2)
  x = _pool(x, (1, 3, 3), (1, 2, 2))
  x = _unit(params, 'Conv3d_2c_3x3', _unit(params, 'Conv3d_2b_1x1', x))
  x = _pool(x, (1, 3, 3), (1, 2, 2))
  for name in MIXED:
    if name in _POOLS:
      x = _pool(x, *_POOLS[name])
    x = _mixed(params, name, x)
  x = x.mean((2, 3))
  kernel, bias = params['logits']
  # The head sees two neighbours in time at once.
  return ((x[:, :-1] + x[:, 1:]) / 2 @ kernel + bias).mean(1)


def features(params, clips):
  """The logits of clips of any size: [N, 16, H, W, 3] in [-1, 1] -> [N, 400].

  Clips are resized bilinearly, without a filter where that shrinks them, as is usual for this
  distance: figures with another resizing cannot be compared.
  """
  shape = (*clips.shape[:2], SIZE, SIZE, 3)
  return logits(params, jax.image.resize(clips, shape, 'linear', antialias=False))


def frechet_distance(mean_a, covariance_a, mean_b, covariance_b) -> float:
  """The squared Frechet distance of two Gaussians (Dowson and Landau, 1982), in float64.

  |mean_a - mean_b|^2 + trace(A + B - 2 (AB)^(1/2)) for covariances A and B, which need not have
  full rank. The trace of the root is the sum of the singular values of A^(1/2) B^(1/2).

  Args:
    mean_a, mean_b: [D].
    covariance_a, covariance_b: [D, D].
  """
  roots = []
  for covariance in (covariance_a, covariance_b):
    values, vectors = np.linalg.eigh(np.asarray(covariance, np.float64))
    roots.append(vectors * np.sqrt(np.maximum(values, 0.0)))
  overlap = np.linalg.svd(roots[0].T @ roots[1], compute_uv=False).sum()
  apart = np.asarray(mean_a, np.float64) - np.asarray(mean_b, np.float64)
  return float(apart @ apart + np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap)

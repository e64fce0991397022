"""VGG16's features (Simonyan and Zisserman, 2014) and LPIPS (Zhang et al., 2018, arXiv 1801.03924).

Constants are those of the PerceptualSimilarity repository, lpips/lpips.py and
lpips/pretrained_networks.py: five taps after relu1_2, 2_2, 3_3, 4_3 and 5_3; features of unit
length over channels; squared differences weighted by learned heads, averaged over the picture, and
summed over the taps.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vidregen_jax.models import pretrained

BLOCKS = (2, 2, 3, 3, 3)  # convolutions between poolings
WIDTHS = (64, 128, 256, 512, 512)
# ImageNet's mean and deviation, for images in [-1, 1].
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32)


def load(source) -> dict:
  """Reads VGG16 and the LPIPS heads.

  Args:
    source: a folder with model.safetensors, or a hub id. The convolutions are named as in
      torchvision, `features.N.weight` and `.bias`, the heads as in the lpips package,
      `linN.model.1.weight`.

  Returns:
    Dict of 'convolutions', for each block a list of (kernel HWIO, bias), and 'heads', [C] each.

  Raises:
    UserError: no such folder or hub id, or something is missing in it.
  """
  folder = pretrained.locate(source, 'VGG16', 'name/vgg16-lpips')
  tensors = pretrained.read_tensors(folder, 'VGG16', _wanted)
  return _arrange(pretrained.Tensors(tensors, folder, 'VGG16 with the LPIPS heads'))


def shapes(_) -> dict:
  """What `load` returns, whatever the source, as shapes and types."""
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype),
                      _arrange(pretrained.Absent()))


def _arrange(taken):
  convolutions, index, inputs = [], 0, 3
  for count, width in zip(BLOCKS, WIDTHS, strict=True):
    block = []
    for _ in range(count):
      kernel = taken.take(f'features.{index}.weight', width, inputs, 3, 3)
      block.append((kernel.transpose(2, 3, 1, 0), taken.take(f'features.{index}.bias', width)))
      index, inputs = index + 2, width  # a ReLU stands after each convolution
    convolutions.append(block)
    index += 1  # and a pooling after each block
  heads = [taken.take(f'lin{i}.model.1.weight', 1, width, 1, 1).reshape(-1)
           for i, width in enumerate(WIDTHS)]
  taken.check()
  return {'convolutions': convolutions, 'heads': heads}


def _wanted(name):
  return name if name.startswith(('features.', 'lin')) else None


def features(params, images, dtype=jnp.float32) -> list:
  """The five taps.

  Args:
    params: of `load`.
    images: [N, H, W, 3] in [-1, 1], sides of at least 16 pixels.
    dtype: of activations.

  Returns:
    [N, H / 2^i, W / 2^i, C_i] for i = 0 to 4, before normalisation to unit length.
  """
  x, taps = ((images - _SHIFT) / _SCALE).astype(dtype), []
  for i, block in enumerate(params['convolutions']):
    if i:
      x = _halved(x)
    for kernel, bias in block:
      x = convolved(x, kernel, bias)
    taps.append(x)
  return taps


def convolved(x, kernel, bias):
  """A convolution of VGG16 and its ReLU, [N, H, W, C] -> [N, H, W, C'], in x's type."""
  y = lax.conv_general_dilated(x, kernel.astype(x.dtype), (1, 1), 'SAME',
                               dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
  return jax.nn.relu(y + bias.astype(x.dtype))


def _halved(x):
  """The largest of each 2 x 2 pixels; an odd last row or column is left out."""
  count, height, width, channels = x.shape
  x = x[:, :height // 2 * 2, :width // 2 * 2]
  # Not lax.reduce_window: on a CPU, XLA's gradient of it is many times slower.
  return x.reshape(count, height // 2, 2, width // 2, 2, channels).max((2, 4))


def _unit(x):
  # The lpips package adds 1e-10 to the length; here it is also added under the root, since the
  # gradient of the length of a zero vector would be infinite.
  return x / (jnp.sqrt(jnp.sum(jnp.square(x), -1, keepdims=True) + 1e-20) + 1e-10)


def lpips_map(params, images, others, dtype=jnp.float32) -> list:
  """LPIPS before its averages: for each tap [N, H_i, W_i] float32; `dtype` as in `features`."""
  taps = zip(features(params, images, dtype), features(params, others, dtype), strict=True)
  return [jnp.square(_unit(a.astype(jnp.float32)) - _unit(b.astype(jnp.float32))) @ head
          for (a, b), head in zip(taps, params['heads'], strict=True)]


def lpips(params, images, others, weight=None):
  """The LPIPS distance.

  Args:
    params: of `load`.
    images, others: [N, H, W, 3] in [-1, 1].
    weight: optional [N, H, W] weights of each tap's average, resized to the tap's size. Ones give
      the plain distance.

  Returns:
    [N].
  """
  total = 0.0
  for distance in lpips_map(params, images, others):
    if weight is None:
      total += distance.mean((1, 2))
      continue
    near = jax.image.resize(weight, distance.shape, 'linear', antialias=True)
    total += jnp.sum(distance * near, (1, 2)) / jnp.maximum(jnp.sum(near, (1, 2)), 1e-8)
  return total

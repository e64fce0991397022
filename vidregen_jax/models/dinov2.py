"""The DINOv2 image encoder (Oquab et al., 2023, arXiv 2304.07193), reading Hugging Face weights.

Small, base and large, with or without register tokens (Darcet et al., 2023, arXiv 2309.16588). It
is a teacher: the codec's latents are aligned to its patch tokens.
"""

import dataclasses
import os
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax import documents, errors
from vidregen_jax.models import pretrained

# ImageNet's mean and deviation of pixels in [0, 1], which DINOv2 was trained with.
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)
_EPS = 1e-6
_FIELDS = {
  'hidden_size': documents.whole(1, 65_536), 'num_hidden_layers': documents.whole(1, 256),
  'num_attention_heads': documents.whole(1, 1024), 'mlp_ratio': documents.number(0.01, 64),
  'patch_size': documents.whole(1, 1024), 'image_size': documents.whole(1, 65_536),
}
_KNOWN = {'small': (384, 12), 'base': (768, 12), 'large': (1024, 24)}  # width, layers


@dataclasses.dataclass(frozen=True)
class Dinov2Config:
  """What the encoder's shapes follow from.

  Attributes:
    width: E, channels of a token; layers; heads; mlp_width.
    patch: side of a patch, pixels.
    positions: patches a side of the picture that the stored positions are for.
    registers: register tokens, 0 for a model without.
  """

  width: int
  layers: int
  heads: int
  mlp_width: int
  patch: int
  positions: int
  registers: int


def load(source):
  """Reads an encoder from a folder or the Hugging Face hub.

  Args:
    source: a folder with config.json and model.safetensors, or a hub id such as
      'facebook/dinov2-base' or 'facebook/dinov2-with-registers-base'.

  Returns:
    (Dinov2Config, params): a nested dict of float32 NumPy arrays, every layer's weights stacked
    along a first axis.

  Raises:
    UserError: neither a folder nor the hub gives a DINOv2 encoder of a size that is known here.
  """
  folder = pretrained.locate(source, 'DINOv2', 'facebook/dinov2-base')
  config = _read_config(folder)
  tensors = pretrained.read_tensors(folder, 'DINOv2', lambda name: name.removeprefix('dinov2.'))
  return config, _arrange(config, pretrained.Tensors(
    tensors, folder, 'the encoder that its config.json describes'))


def shapes(source):
  """What `load` returns, with shapes and types instead of arrays.

  Args:
    source: a folder with config.json, or the hub id of a model that is known here.

  Raises:
    UserError: it is neither.
  """
  if os.path.isdir(source):
    config = _read_config(pathlib.Path(source))
  elif known := re.fullmatch(r'facebook/dinov2-(with-registers-)?(small|base|large)', source):
    width, layers = _KNOWN[known[2]]
    config = Dinov2Config(width, layers, width // 64, 4 * width, 14, 37, 4 if known[1] else 0)
  else:
    raise errors.UserError(f'the shape of the teacher {source!r} is not known here: give its '
                           "folder, or 'facebook/dinov2-base'")
  return config, jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype),
                              _arrange(config, pretrained.Absent()))


def _read_config(folder):
  path = folder / 'config.json'
  fields = pretrained.read_json(path, 'DINOv2')
  kind = fields.get('model_type') if isinstance(fields, dict) else None
  if kind not in ('dinov2', 'dinov2_with_registers'):
    raise errors.UserError(f"{path} does not say model_type 'dinov2'; give a DINOv2 model")
  if fields.get('use_swiglu_ffn'):
    raise errors.UserError(f'{path} is of the giant model, whose MLP is another; give the small, '
                           'the base or the large one')
  registers = {'num_register_tokens': documents.whole(0, 64)} if kind != 'dinov2' else {}
  values = pretrained.read_fields(fields, path, _FIELDS | registers)
  if values['hidden_size'] % values['num_attention_heads']:
    raise errors.UserError(f'{path}: hidden_size {values["hidden_size"]} is not divisible by '
                           f'{values["num_attention_heads"]} heads; copy the model again')
  return Dinov2Config(
    width=values['hidden_size'],
    layers=values['num_hidden_layers'],
    heads=values['num_attention_heads'],
    mlp_width=int(values['hidden_size'] * values['mlp_ratio']),
    patch=values['patch_size'],
    positions=values['image_size'] // values['patch_size'],
    registers=values.get('num_register_tokens', 0),
  )


def _arrange(config, tensors):
  e, hidden = config.width, config.mlp_width

  def stacked(name, *shape):
    return tensors.stack([tensors.take(f'encoder.layer.{i}.{name}', *shape)
                          for i in range(config.layers)])

  def norm(name, take):
    return {'scale': take(f'{name}.weight', e), 'bias': take(f'{name}.bias', e)}

  def linear(name, inputs, outputs):  # out, in -> in, out
    return {'kernel': stacked(f'{name}.weight', outputs, inputs).transpose(0, 2, 1),
            'bias': stacked(f'{name}.bias', outputs)}

  attention = {name: linear(f'attention.attention.{name}', e, e)
               for name in ('query', 'key', 'value')}
  patch = tensors.take('embeddings.patch_embeddings.projection.weight', e, 3, config.patch,
                       config.patch)
  params = {
    'patch': {'kernel': patch.transpose(2, 3, 1, 0).reshape(-1, e),
              'bias': tensors.take('embeddings.patch_embeddings.projection.bias', e)},
    'first': tensors.take('embeddings.cls_token', 1, 1, e)[0],
    'positions': tensors.take('embeddings.position_embeddings', 1, config.positions**2 + 1, e)[0],
    'layers': attention | {
      'out': linear('attention.output.dense', e, e),
      'norm1': norm('norm1', stacked),
      'norm2': norm('norm2', stacked),
      'scale1': stacked('layer_scale1.lambda1', e),
      'scale2': stacked('layer_scale2.lambda1', e),
      'mlp_in': linear('mlp.fc1', e, hidden),
      'mlp_out': linear('mlp.fc2', hidden, e),
    },
    'norm': norm('layernorm', tensors.take),
  }
  if config.registers:
    params['registers'] = tensors.take('embeddings.register_tokens', 1, config.registers, e)[0]
  tensors.check()
  return params


# ------------------------------------------------------------------------------------- positions


def _cubic(x, a):
  """Keys' cubic convolution kernel (1981) with parameter a."""
  x = np.abs(x)
  near = (a + 2) * x**3 - (a + 3) * x**2 + 1
  far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
  return np.where(x <= 1, near, np.where(x < 2, far, 0.0))


def _resize(inputs, outputs, antialias):
  """Bicubic resizing as a matrix [outputs, inputs], the two ways PyTorch has.

  The plain one has a = -.75 and repeats the edge; the antialiased one has a = -.5, is stretched
  when it shrinks, and shares what falls over the edge among the rest.
  """
  scale = inputs / outputs
  centres = (np.arange(outputs) + 0.5) * scale - 0.5
  matrix = np.zeros((outputs, inputs))
  stretch = max(scale, 1.0) if antialias else 1.0
  reach = int(np.ceil(2 * stretch)) + 1
  for row, centre in enumerate(centres):
    taps = np.arange(int(np.floor(centre)) - reach, int(np.floor(centre)) + reach + 1)
    weights = _cubic((taps - centre) / stretch, -0.5 if antialias else -0.75)
    if antialias:
      weights = np.where((taps >= 0) & (taps < inputs), weights, 0.0)
      weights /= weights.sum()
    np.add.at(matrix[row], np.clip(taps, 0, inputs - 1), weights)
  return matrix.astype(np.float32)


def _positions(config, params, rows, columns):
  """Positions [1 + rows * columns, E] of the first token and the patches."""
  stored = params['positions']
  side = config.positions
  if (rows, columns) == (side, side):
    return stored
  smooth = config.registers > 0  # the two released kinds resize in two ways
  grid = jnp.einsum('YH,XW,HWE->YXE', _resize(side, rows, smooth), _resize(side, columns, smooth),
                    stored[1:].reshape(side, side, -1))
  return jnp.concatenate([stored[:1], grid.reshape(rows * columns, -1)])


# --------------------------------------------------------------------------------------- encoder


def normalize(images):
  """Images in [-1, 1] as DINOv2 was trained to see them."""
  return ((images + 1) / 2 - _MEAN) / _STD


def patch_tokens(config: Dinov2Config, params: dict, images):
  """The last layer's patch tokens, after the final norm.

  Args:
    config, params: of `load`.
    images: [N, H, W, 3], normalised; sides are multiples of the patch.

  Returns:
    [N, H / patch, W / patch, E].

  Raises:
    ValueError: a side is not a multiple of the patch.
  """
  count, height, width, _ = images.shape
  p = config.patch
  if height % p or width % p:
    raise ValueError(f'images are {height}x{width}; sides must be multiples of {p}')
  rows, columns = height // p, width // p
  x = images.reshape(count, rows, p, columns, p, 3).transpose(0, 1, 3, 2, 4, 5)
  x = x.reshape(count, rows * columns, -1) @ params['patch']['kernel'] + params['patch']['bias']
  first = jnp.broadcast_to(params['first'], (count, 1, config.width))
  x = jnp.concatenate([first, x], 1) + _positions(config, params, rows, columns)
  if config.registers:
    registers = jnp.broadcast_to(params['registers'], (count, config.registers, config.width))
    x = jnp.concatenate([x[:, :1], registers, x[:, 1:]], 1)  # registers have no position

  def layer(x, weights):
    y = _normalize(weights['norm1'], x)
    q, k, v = (_linear(weights[name], y).reshape(*y.shape[:2], config.heads, -1)
               for name in ('query', 'key', 'value'))
    y = jax.nn.dot_product_attention(q, k, v).reshape(y.shape)
    x = x + weights['scale1'] * _linear(weights['out'], y)
    y = jax.nn.gelu(_linear(weights['mlp_in'], _normalize(weights['norm2'], x)), approximate=False)
    return x + weights['scale2'] * _linear(weights['mlp_out'], y), None

  x, _ = jax.lax.scan(layer, x, params['layers'])
  x = _normalize(params['norm'], x)[:, 1 + config.registers:]
  return x.reshape(count, rows, columns, config.width)


def _linear(weights, x):
  return x @ weights['kernel'] + weights['bias']


def _normalize(weights, x):
  centred = x - x.mean(-1, keepdims=True)
  spread = jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + _EPS)
  return centred * spread * weights['scale'] + weights['bias']

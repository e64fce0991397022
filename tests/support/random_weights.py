"""Folders of other people's networks with random weights, under the names they are stored by.

The numbers are made of a bit generator's raw bits, which no release of NumPy changes, as it may
change the draws of a `Generator`: tests compare what networks make of them with stored results.
"""

import json
import math

import numpy as np
import safetensors.numpy

from vidregen_jax.models import i3d, perceptual, syncnet

DINOV2 = dict(width=16, layers=2, side=3, patch=4)


def uniform(bits, *shape, low=-3**0.5, high=3**0.5):
  """Float32 numbers of mean 0 and variance 1, unless other bounds are given.

  Args:
    bits: np.random.PCG64.
  """
  unit = (bits.random_raw(math.prod(shape)).reshape(shape) >> np.uint64(11)) / 2**53
  return np.float32(low + (high - low) * unit)


def vgg16_tensors():
  """VGG16 with kernels scaled as He's and positive LPIPS heads."""
  bits, tensors, index, inputs = np.random.PCG64(0), {}, 0, 3
  for count, width in zip(perceptual.BLOCKS, perceptual.WIDTHS, strict=True):
    for _ in range(count):
      scale = np.float32(np.sqrt(2 / (9 * inputs)))
      tensors[f'features.{index}.weight'] = scale * uniform(bits, width, inputs, 3, 3)
      tensors[f'features.{index}.bias'] = np.float32(0.05) * uniform(bits, width)
      index, inputs = index + 2, width
    index += 1
  for i, width in enumerate(perceptual.WIDTHS):
    tensors[f'lin{i}.model.1.weight'] = uniform(bits, 1, width, 1, 1, low=0, high=1)
  return tensors


def vgg16(folder):
  """Writes one, and returns the folder."""
  safetensors.numpy.save_file(vgg16_tensors(), folder / 'model.safetensors')
  return folder


def i3d_tensors():
  """I3D with kernels scaled as He's and lively batch statistics."""
  bits, tensors = np.random.PCG64(0), {}
  for name, c_in, c_out, kernel in i3d.units():
    scale = np.float32(np.sqrt(2 / (kernel**3 * c_in)))
    tensors[f'{name}.conv3d.weight'] = scale * uniform(bits, c_out, c_in, kernel, kernel, kernel)
    tensors[f'{name}.bn.weight'] = 1 + np.float32(0.1) * uniform(bits, c_out)
    tensors[f'{name}.bn.bias'] = np.float32(0.1) * uniform(bits, c_out)
    tensors[f'{name}.bn.running_mean'] = np.float32(0.1) * uniform(bits, c_out)
    tensors[f'{name}.bn.running_var'] = np.exp(np.float32(0.1) * uniform(bits, c_out))
    tensors[f'{name}.bn.num_batches_tracked'] = np.array(7)
  tensors['logits.conv3d.weight'] = np.float32(0.03) * uniform(bits, i3d.CLASSES, 1024, 1, 1, 1)
  tensors['logits.conv3d.bias'] = uniform(bits, i3d.CLASSES)
  return tensors


def syncnet_tensors():
  """SyncNet with kernels scaled as He's and lively batch statistics."""
  bits, tensors = np.random.PCG64(0), {}
  for name, normalisation, shape in syncnet.units():
    scale = np.float32(np.sqrt(2 / math.prod(shape[1:])))
    tensors[f'{name}.weight'] = scale * uniform(bits, *shape)
    tensors[f'{name}.bias'] = np.float32(0.1) * uniform(bits, shape[0])
    tensors[f'{normalisation}.weight'] = 1 + np.float32(0.1) * uniform(bits, shape[0])
    for part in ('bias', 'running_mean'):
      tensors[f'{normalisation}.{part}'] = np.float32(0.1) * uniform(bits, shape[0])
    tensors[f'{normalisation}.running_var'] = np.exp(np.float32(0.1) * uniform(bits, shape[0]))
    tensors[f'{normalisation}.num_batches_tracked'] = np.array(7)
  for name in ('netfclip.3', 'netfcaud.3'):
    tensors[f'{name}.weight'] = np.float32(0.06) * uniform(bits, syncnet.WIDTH, 512)
    tensors[f'{name}.bias'] = np.float32(0.1) * uniform(bits, syncnet.WIDTH)
  return tensors


def dinov2(folder, registers=2, embedding=0.3):
  """Writes a small encoder, and returns the folder.

  Args:
    registers: number of register tokens; 0 writes the kind of model that knows none.
    embedding: deviation of the weights that tokens are made with.
  """
  bits, (e, layers, side, patch) = np.random.PCG64(0), DINOV2.values()
  shapes = {'embeddings.cls_token': (1, 1, e), 'embeddings.mask_token': (1, e),
            'embeddings.register_tokens': (1, registers, e),
            'embeddings.position_embeddings': (1, side**2 + 1, e),
            'embeddings.patch_embeddings.projection.weight': (e, 3, patch, patch),
            'embeddings.patch_embeddings.projection.bias': (e,),
            'layernorm.weight': (e,), 'layernorm.bias': (e,)}
  if not registers:
    del shapes['embeddings.register_tokens']
  for i in range(layers):
    layer = {f'attention.attention.{name}': (e, e) for name in ('query', 'key', 'value')}
    layer |= {'attention.output.dense': (e, e), 'mlp.fc1': (4 * e, e), 'mlp.fc2': (e, 4 * e),
              'norm1': (e,), 'norm2': (e,)}
    for name, shape in layer.items():
      shapes[f'encoder.layer.{i}.{name}.weight'] = shape
      shapes[f'encoder.layer.{i}.{name}.bias'] = shape[:1]
    shapes |= {f'encoder.layer.{i}.layer_scale{k}.lambda1': (e,) for k in (1, 2)}
  tensors = {
    name: np.float32(embedding if name.startswith('embeddings.') else 0.3) * uniform(bits, *shape)
    for name, shape in shapes.items()}
  safetensors.numpy.save_file(tensors, folder / 'model.safetensors')
  fields = dict(
    model_type='dinov2', hidden_size=e, num_hidden_layers=layers, num_attention_heads=2,
    mlp_ratio=4, patch_size=patch, image_size=side * patch)
  if registers:
    fields |= {'model_type': 'dinov2_with_registers', 'num_register_tokens': registers}
  (folder / 'config.json').write_text(json.dumps(fields))
  return folder

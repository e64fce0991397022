"""Folders of other people's networks with random weights, under the names they are stored by."""

import json

import numpy as np
import safetensors.numpy

from vidregen_jax.models import perceptual

DINOV2 = dict(width=16, layers=2, side=3, patch=4)


def vgg16_tensors():
  """VGG16 with He-initialised weights and positive LPIPS heads."""
  rng, tensors, index, inputs = np.random.default_rng(0), {}, 0, 3
  for count, width in zip(perceptual.BLOCKS, perceptual.WIDTHS, strict=True):
    for _ in range(count):
      scale = np.sqrt(2 / (9 * inputs))
      tensors[f'features.{index}.weight'] = np.float32(
        rng.normal(0, scale, (width, inputs, 3, 3)))
      tensors[f'features.{index}.bias'] = np.float32(rng.normal(0, 0.05, width))
      index, inputs = index + 2, width
    index += 1
  for i, width in enumerate(perceptual.WIDTHS):
    tensors[f'lin{i}.model.1.weight'] = np.float32(rng.random((1, width, 1, 1)))
  return tensors


def vgg16(folder):
  """Writes one, and returns the folder."""
  safetensors.numpy.save_file(vgg16_tensors(), folder / 'model.safetensors')
  return folder


def dinov2(folder):
  """Writes a small encoder with registers, and returns the folder."""
  rng, (e, layers, side, patch) = np.random.default_rng(0), DINOV2.values()
  shapes = {'embeddings.cls_token': (1, 1, e), 'embeddings.register_tokens': (1, 2, e),
            'embeddings.position_embeddings': (1, side**2 + 1, e),
            'embeddings.patch_embeddings.projection.weight': (e, 3, patch, patch),
            'embeddings.patch_embeddings.projection.bias': (e,),
            'layernorm.weight': (e,), 'layernorm.bias': (e,)}
  for i in range(layers):
    layer = {f'attention.attention.{name}': (e, e) for name in ('query', 'key', 'value')}
    layer |= {'attention.output.dense': (e, e), 'mlp.fc1': (4 * e, e), 'mlp.fc2': (e, 4 * e),
              'norm1': (e,), 'norm2': (e,)}
    for name, shape in layer.items():
      shapes[f'encoder.layer.{i}.{name}.weight'] = shape
      shapes[f'encoder.layer.{i}.{name}.bias'] = shape[:1]
    shapes |= {f'encoder.layer.{i}.layer_scale{k}.lambda1': (e,) for k in (1, 2)}
  tensors = {name: np.float32(rng.normal(0, 0.3, shape)) for name, shape in shapes.items()}
  safetensors.numpy.save_file(tensors, folder / 'model.safetensors')
  (folder / 'config.json').write_text(json.dumps(dict(
    model_type='dinov2_with_registers', hidden_size=e, num_hidden_layers=layers,
    num_attention_heads=2, mlp_ratio=4, patch_size=patch, image_size=side * patch,
    num_register_tokens=2)))
  return folder

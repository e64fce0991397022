"""DINOv2: the tokens of transformers (`goldens/make.py`), and damaged folders are told."""

import json

import numpy as np
import parity
import pytest
import random_weights

from vidregen_jax.errors import UserError
from vidregen_jax.models import dinov2

pytestmark = pytest.mark.optimized

WIDTH = random_weights.DINOV2['width']


@pytest.fixture
def folder(tmp_path):
  """A small encoder with registers and random weights, under the stored names."""
  return random_weights.dinov2(tmp_path)


def change_config(folder, **changes):
  path = folder / 'config.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_every_patch_has_a_token_and_sees_the_others(folder):
  config, params = dinov2.load(folder)
  images = np.random.default_rng(1).normal(size=(2, 12, 20, 3)).astype(np.float32)
  tokens = np.asarray(dinov2.patch_tokens(config, params, images))
  assert tokens.shape == (2, 3, 5, WIDTH)
  images[0, 0, 0] += 1
  changed = np.abs(np.asarray(dinov2.patch_tokens(config, params, images)) - tokens).max(-1)
  assert (changed[0] > 0).all()
  assert (changed[1] == 0).all()
  assert changed[0].argmax() == 0  # the patch itself changes most


def test_a_side_that_is_no_multiple_of_the_patch_is_refused(folder):
  config, params = dinov2.load(folder)
  with pytest.raises(ValueError, match='13x12; sides must be multiples of 4'):
    dinov2.patch_tokens(config, params, np.zeros((1, 13, 12, 3)))


def test_normalized_grey_is_what_the_training_saw():
  grey = np.full((1, 1, 1, 3), 2 * 0.456 - 1, np.float32)
  np.testing.assert_allclose(dinov2.normalize(grey)[..., 1], 0, atol=1e-6)
  np.testing.assert_allclose(dinov2.normalize(np.ones((1, 1, 1, 3)))[0, 0, 0],
                             (1 - np.array([.485, .456, .406])) / [.229, .224, .225], rtol=1e-6)


@pytest.mark.parametrize(('change', 'told'), [
  ({'model_type': 'vit'}, "does not say model_type 'dinov2'"),
  ({'use_swiglu_ffn': True}, 'is of the giant model'),
  ({'hidden_size': 32}, r'query\.weight is \(16, 16\), not \(32, 32\) and'),
  ({'num_register_tokens': 4}, r'register_tokens is \(1, 2, 16\), not \(1, 4, 16\)'),
  ({'num_hidden_layers': 3}, r'layer\.2\..* is missing and \d+ more faults'),
])
def test_a_folder_that_does_not_fit_is_told(folder, change, told):
  change_config(folder, **change)
  with pytest.raises(UserError, match=told):
    dinov2.load(folder)


@pytest.mark.parametrize('registers', parity.DINOV2_REGISTERS)
@pytest.mark.parametrize('shape', parity.DINOV2_SHAPES)
def test_tokens_equal_those_of_transformers(tmp_path, registers, shape):
  config, params = dinov2.load(
    random_weights.dinov2(tmp_path, registers, parity.DINOV2_EMBEDDING))
  ours = np.asarray(dinov2.patch_tokens(config, params, parity.images(*shape)))
  theirs = parity.golden('dinov2')['{}_{}x{}'.format(registers, *shape)]
  # Float32 on both sides; the sums are ordered differently.
  np.testing.assert_allclose(ours, theirs, atol=1e-4)

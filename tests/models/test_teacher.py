"""A teacher's features stand on the codec's own grid, whichever network they are from."""

import jax
import numpy as np
import pytest
import random_weights

from vidregen_jax.models import dinov2, teacher


@pytest.fixture(scope='module', params=['vgg16', 'dinov2'])
def folder(request, tmp_path_factory):
  return getattr(random_weights, request.param)(tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize('cells', [2, 4])
def test_features_stand_on_the_codecs_cells(folder, cells):
  taught, params = teacher.load(folder, cells)
  frames = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
  before = jax.jit(teacher.features, static_argnums=0)(taught, params, frames)
  assert before.shape == (2, cells, cells, taught.width)
  # A change at the lower right is seen more on that side.
  other = frames.copy()  # JAX may still be reading the first
  other[:, -16:, -32:] *= -1
  apart = np.abs(teacher.features(taught, params, other) - before).sum((0, 3))
  half = cells // 2
  assert apart[half:].sum() > apart[:half].sum()
  assert apart[:, half:].sum() > apart[:, :half].sum()


def test_dinov2_sees_frames_at_its_own_size_and_scale(tmp_path):
  taught, params = teacher.load(random_weights.dinov2(tmp_path), 3)
  side = 3 * random_weights.DINOV2['patch']  # no resizing
  frames = np.random.default_rng(0).uniform(-1, 1, (1, side, side, 3)).astype(np.float32)
  # ImageNet's statistics of values in [0, 1], as Hugging Face's BitImageProcessor has them.
  seen = ((frames + 1) / 2 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
  wanted = dinov2.patch_tokens(taught.network, params, np.float32(seen))
  np.testing.assert_allclose(teacher.features(taught, params, frames), wanted, atol=1e-4)

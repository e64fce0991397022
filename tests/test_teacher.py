"""A teacher's features stand on the codec's own grid, whichever network they are from."""

import jax
import numpy as np
import pytest
import random_weights

from vidregen_jax.models import teacher


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
  frames[:, -16:, -32:] *= -1
  apart = np.abs(teacher.features(taught, params, frames) - before).sum((0, 3))
  half = cells // 2
  assert apart[half:].sum() > apart[:half].sum()
  assert apart[:, half:].sum() > apart[:, :half].sum()

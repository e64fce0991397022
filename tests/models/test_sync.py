"""The sync scorer's networks: unit vectors of a few frames each, without light and loudness."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from vidregen_jax.errors import UserError
from vidregen_jax.models import sync

CONFIG = sync.SyncConfig(size=16, stem=2, widths=(4, 8), audio_width=8, embedding=12, blocks=1)
REACH = CONFIG.reach
embed_mouth = jax.jit(functools.partial(sync.embed_mouth, CONFIG))
embed_sound = jax.jit(functools.partial(sync.embed_sound, CONFIG))


@pytest.fixture(scope='module')
def params():
  return sync.init(CONFIG, jax.random.key(0))


def mouths(frames, seed=0):
  return np.random.default_rng(seed).integers(40, 160, (1, frames, 16, 16)).astype(np.uint8)


def test_vectors_have_unit_length_and_follow_the_frames(params):
  frames = 2 * REACH + 5
  mouth = embed_mouth(params, mouths(frames))
  sound = embed_sound(params, np.random.default_rng(0).uniform(
    -1, 1, (1, sync.COLUMNS * frames, sync.MEL_BINS)).astype(np.float32))
  assert mouth.shape == sound.shape == (1, 5, CONFIG.embedding)
  np.testing.assert_allclose(np.linalg.norm(mouth, axis=-1), 1, rtol=1e-4)
  np.testing.assert_allclose(np.linalg.norm(sound, axis=-1), 1, rtol=1e-4)


def test_a_vector_depends_on_its_reach_and_on_nothing_else(params):
  frames, at = 2 * REACH + 5, REACH + 2
  rng = np.random.default_rng(1)
  seen = mouths(frames)
  heard = rng.uniform(-1, 1, (1, sync.COLUMNS * frames, sync.MEL_BINS)).astype(np.float32)
  for embed, x, rows in ((embed_mouth, seen, 1), (embed_sound, heard, sync.COLUMNS)):
    changed = x.copy()
    changed[:, at * rows:(at + 1) * rows] = changed[:, at * rows:(at + 1) * rows][:, ::-1, ::-1]
    apart = np.abs(np.asarray(embed(params, x)) - np.asarray(embed(params, changed))).max((0, 2))
    numbers = np.arange(5) + REACH
    assert (apart[np.abs(numbers - at) > REACH] == 0).all()
    assert (apart > 1e-6).all()  # all five are within reach
    changed = x.copy()
    # The first frame is within reach of the first vector alone, the last of the last.
    changed[:, :rows] = 0
    apart = np.abs(np.asarray(embed(params, x)) - np.asarray(embed(params, changed))).max((0, 2))
    assert apart[0] > 1e-6 and (apart[1:] == 0).all()
    changed = x.copy()
    changed[:, -rows:] = 0
    apart = np.abs(np.asarray(embed(params, x)) - np.asarray(embed(params, changed))).max((0, 2))
    assert apart[-1] > 1e-6 and (apart[:-1] == 0).all()


def test_light_and_loudness_hardly_matter(params):
  x = mouths(2 * REACH + 1)
  vector = np.asarray(embed_mouth(params, x))
  lit = np.asarray(embed_mouth(params, (x * 1.5).astype(np.uint8)))
  other = np.asarray(embed_mouth(params, mouths(2 * REACH + 1, seed=5)))
  assert np.abs(lit - vector).max() < 0.15 * np.abs(other - vector).max()
  sound = np.random.default_rng(0).normal(0, 0.05, 16_000).astype(np.float32)
  np.testing.assert_allclose(sync.spectrogram(4 * sound), sync.spectrogram(sound), atol=1e-4)
  assert sync.spectrogram(sound).shape == (100, sync.MEL_BINS)
  assert sync.spectrogram(sound).max() == 1


def test_a_picture_that_stages_do_not_divide_is_refused():
  with pytest.raises(UserError, match='mouths of 18 pixels cannot be divided by 4'):
    dataclasses.replace(CONFIG, size=18)

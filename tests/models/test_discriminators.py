"""The discriminators see the crop and the mouth, through cuts that gradients pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidregen_jax.errors import UserError
from vidregen_jax.models import discriminators

CONFIG = discriminators.DiscriminatorConfig((4, 8), 8)
WHOLE = np.array([[0, 0, 1, 1]], np.float32)


def pictures(size=16, channels=3):
  return np.random.default_rng(0).normal(size=(1, size, size, channels)).astype(np.float32)


def test_a_cut_of_everything_at_its_own_size_is_the_picture():
  x = pictures()
  np.testing.assert_allclose(discriminators.cut(x, WHOLE, 16), x, atol=1e-6)


def test_a_cut_shows_its_box():
  x = pictures()
  box = np.array([[4 / 16, 8 / 16, 12 / 16, 16 / 16]], np.float32)
  np.testing.assert_allclose(discriminators.cut(x, box, 8), x[:, 8:16, 4:12], atol=1e-6)


def test_a_smaller_cut_averages_instead_of_skipping_pixels():
  stripes = np.tile(np.array([1, -1], np.float32), 16)[None, None, :, None] * np.ones((1, 32, 1, 1))
  # At a quarter of the size, columns picked one by one would still be +-1.
  assert np.abs(discriminators.cut(stripes, WHOLE, 8)).max() < 0.1


def test_what_a_box_has_beyond_the_picture_shows_its_edge():
  x = pictures()
  made = discriminators.cut(x, np.array([[-0.5, 0, 0.5, 1]], np.float32), 16)
  np.testing.assert_allclose(made[:, :, :7], np.broadcast_to(x[:, :, :1], (1, 16, 7, 3)), atol=1e-6)


def test_gradients_of_a_cut_reach_its_box_and_nothing_else():
  box = np.array([[0.25, 0.5, 0.75, 1.0]], np.float32)
  slope = jax.grad(lambda x: jnp.sum(jnp.square(discriminators.cut(x, box, 8))))(pictures())
  assert np.abs(slope[:, 8:, 4:12]).min() > 0
  outside = np.asarray(slope).copy()
  outside[:, 8:, 4:12] = 0
  assert not outside.any()


def test_a_mouth_moves_in_its_view_because_its_4_frames_share_one_box():
  frames = np.zeros((1, 4, 16, 16, 3), np.float32)
  boxes = np.zeros((1, 4, 4), np.float32)
  for i in range(4):  # a bright 4 x 4 mouth that moves right
    frames[0, i, 8:12, 4 + i:8 + i] = 1
    boxes[0, i] = np.array([4 + i, 8, 8 + i, 12]) / 16
  whole, mouth = discriminators.views(CONFIG, frames, boxes)
  assert whole.shape == (1, 16, 16, 12)
  assert mouth.shape == (1, 8, 8, 12)
  centres = [np.average(np.arange(8), weights=mouth[0, ..., i].sum(0)) for i in range(4)]
  assert np.diff(centres).min() > 0.5
  masses = [mouth[0, ..., i].sum() for i in range(4)]
  assert min(masses) > 0.95 * max(masses)  # none of them stands out of the view


def test_both_give_a_verdict_for_each_patch_and_have_weights_of_their_own():
  params = discriminators.init(CONFIG, jax.random.key(0))
  x = pictures(16, 12)
  whole, mouth = discriminators.judge(CONFIG, params, x, x)
  assert whole.shape == mouth.shape == (1, 4, 4)
  assert np.abs(whole - mouth).max() > 1e-3
  silent = params | {'mouth': jax.tree.map(jnp.zeros_like, params['mouth'])}
  found = discriminators.judge(CONFIG, silent, x, x)
  np.testing.assert_array_equal(found[0], whole)
  assert not found[1].any()


def test_a_verdict_is_no_linear_function_of_the_picture():
  params = discriminators.init(CONFIG, jax.random.key(0))
  x = pictures(16, 12)
  there, back = (discriminators.judge(CONFIG, params, y, y)[0] for y in (x, -x))
  assert np.abs(there + back).max() > 0.1 * np.abs(there).max()


def test_a_mouth_too_small_for_the_stages_is_refused():
  with pytest.raises(UserError, match='at least 8 pixels, not 4'):
    discriminators.DiscriminatorConfig((4, 8, 16), 4)


@pytest.mark.parametrize('widths', [(), (4, 0)])
def test_stages_without_channels_are_refused(widths):
  with pytest.raises(UserError, match='one stage or more'):
    discriminators.DiscriminatorConfig(widths, 8)

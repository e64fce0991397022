"""Steps between a decoder's cells go, and a picture's own edges stay."""

import cv2
import numpy as np
import pytest

from vidregen_jax.models import pixels

SIZE, CELLS = 96, 6


def smooth_picture():
  rng = np.random.default_rng(0)
  coarse = cv2.GaussianBlur(rng.normal(0, 1, (SIZE, SIZE, 3)), (0, 0), 6)
  return 120 + 30 * coarse / coarse.std()


def step_at(frame, at, axis):
  lines = np.moveaxis(frame.astype(float), axis, 0)
  return np.abs(lines[at] - lines[at - 1]).mean()


@pytest.mark.parametrize('axis', [0, 1])
def test_steps_between_cells_go(axis):
  rng = np.random.default_rng(1)
  offsets = np.kron(rng.choice([-8., 8.], (CELLS, CELLS)), np.ones((16, 16)))[..., None]
  made = np.uint8(np.broadcast_to(120 + offsets, (SIZE, SIZE, 3)))
  joined = pixels.join_cells(made, CELLS)
  for at in range(16, SIZE, 16):
    # A quarter of the step: a ramp over 4 pixels; cells' corners and rounding add a little.
    assert step_at(joined, at, axis) < .35 * step_at(made, at, axis)
  np.testing.assert_array_equal(joined[4:12, 20:28], made[4:12, 20:28])


def test_a_smooth_picture_and_an_edge_between_boundaries_stay():
  picture = np.uint8(smooth_picture())
  assert np.abs(pixels.join_cells(picture, CELLS).astype(int) - picture).max() <= 2
  picture[:, 40:] = 20
  np.testing.assert_array_equal(pixels.join_cells(picture, CELLS)[:, 36:44], picture[:, 36:44])


def test_frames_of_a_stack_are_joined_alike_and_none_is_changed_in_place():
  frames = np.random.default_rng(2).integers(0, 256, (2, 3, 32, 32, 3), np.uint8)
  before = frames.copy()
  joined = pixels.join_cells(frames, 2)
  np.testing.assert_array_equal(frames, before)
  np.testing.assert_array_equal(joined[1, 2], pixels.join_cells(frames[1, 2], 2))

"""A mouth's sharpness is measured where the mouth is, and as a share of the true one's."""

import types

import cv2
import numpy as np
import pytest

from vidregen_jax.evaluation import mouth_quality
from vidregen_jax.models import pixels

BOXES = np.tile(np.float32([0.3, 0.6, 0.7, 0.8]), (2, 4, 1))


@pytest.fixture(scope='module')
def true():
  return np.random.default_rng(0).integers(0, 256, (2, 4, 48, 48, 3)).astype(np.uint8)


def blurred(frames, rows):
  """The frames with some rows blurred."""
  soft = np.stack([[cv2.GaussianBlur(frame, (0, 0), 2) for frame in clip] for clip in frames])
  made = frames.copy()
  made[:, :, rows] = soft[:, :, rows]
  return made


def test_blur_counts_in_the_mouth_alone(true):
  made = {'same': true, 'above': blurred(true, slice(0, 24)), 'mouth': blurred(true, slice(24, 44))}
  found = mouth_quality.figures(made, true, BOXES)
  assert found['sharpness_same'] == found['sharpness_above'] == 1
  assert found['sharpness_mouth'] < 0.3
  assert not any(name.startswith('lpips') for name in found)


def test_the_square_of_a_closed_mouth_is_that_of_a_usual_one():
  closed, wide = pixels.mouth_squares(np.float32([[.45, .66, .55, .7], [.2, .6, .8, .8]]))
  for square, box_middle in ((closed, .68), (wide, .7)):
    np.testing.assert_allclose(square[2:] - square[:2], square[2] - square[0], rtol=1e-5)
    np.testing.assert_allclose((square[1] + square[3]) / 2, box_middle, rtol=1e-5)
  assert wide[2] - wide[0] > .6 and 0.32 < closed[2] - closed[0] < .6


def test_written_mouths_are_cut_at_the_films_own_size(true, monkeypatch):
  """Frames of 48 px in which the crop is 32 px wide, at (8, 8); one frame shows no face."""
  films = {'true': true[0], 'edit': blurred(true, slice(0, 48))[0]}
  monkeypatch.setattr(mouth_quality.video, 'frames', lambda path, start, stop: [
    types.SimpleNamespace(index=i, image=films[path][i]) for i in range(start, stop)])
  affine = np.tile(np.float64([[32, 0, 7.5], [0, 32, 7.5]]), (4, 1, 1))
  affine[2] = np.nan
  track = types.SimpleNamespace(affine=affine, valid=np.isfinite(affine[:, 0, 0]),
                                mouth_box=BOXES[0])
  assert mouth_quality.own_size(track, [0, 1, 3]) == 32
  cut = mouth_quality.crops('true', track, [1, 3], 32)
  np.testing.assert_array_equal(cut[0], true[0, [1, 3], 8:40, 8:40])
  assert mouth_quality.of_videos('true', 'true', track, range(4)) == {'sharpness': 1}
  assert mouth_quality.of_videos('edit', 'true', track, range(4))['sharpness'] < .3

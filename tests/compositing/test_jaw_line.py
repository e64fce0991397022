"""A made face ends where the frame's own does, and shows one chin."""

import numpy as np
import pytest
import rendered_crops

from vidregen_jax.compositing import jaw_line, lip_edges
from vidregen_jax.faces import landmarks

SIZE = 288
CHIN, LOWER_LIP = 152, 17


@pytest.fixture(scope='module')
def points():
  return lip_edges.Points()


@pytest.fixture(scope='module')
def person(pack_folder):
  return rendered_crops.widest_and_closed(pack_folder, SIZE)


def jaw_of(points, crop):
  return points(crop)[list(landmarks.JAW), :2] / SIZE


def painted(crop, rows, columns):
  """A crop with green at these rows of these columns, three pixels high."""
  crop = crop.copy()
  for row, column in zip(rows, columns, strict=True):
    crop[round(row) - 1:round(row) + 2, column - 1:column + 2] = (0, 255, 0)
  return crop


def green(crop, columns):
  """The greenest row of each of these columns."""
  return np.argmax(crop[:, columns].astype(int) @ (-1, 2, -1), axis=0)


@pytest.mark.parametrize('made, own', [(1, 0), (0, 1)])
def test_a_chin_is_where_the_frames_own_is(points, person, made, own):
  """A closed mouth in the place of an open one, and the other way round."""
  crop, target = person[made], jaw_of(points, person[own])
  before = points(crop)
  columns = round(before[CHIN, 0]) + np.arange(-24, 25, 8)
  there, wanted = (np.interp(columns, *line.T) for line in (
    before[list(landmarks.JAW), :2], target * SIZE))
  assert np.abs(wanted - there).min() > 3
  shown, moved = jaw_line.met(painted(crop, there, columns), before, target)
  assert np.abs(green(shown, columns) - wanted).max() < .35 * np.abs(wanted - there).min()
  assert moved[CHIN, 1] == pytest.approx(target[11, 1] * SIZE, abs=2)
  lips = int(before[LOWER_LIP, 1])
  np.testing.assert_array_equal(shown[:lips - 3], crop[:lips - 3])
  np.testing.assert_array_equal(moved[before[:, 1] < lips], before[before[:, 1] < lips])


def test_what_is_between_lips_and_chin_goes_part_of_the_way(points, person):
  seen = points(person[1])
  chin, lips, column = seen[CHIN, 1], seen[LOWER_LIP, 1], round(seen[CHIN, 0])
  middle = round((chin + lips) / 2)
  jaw = seen[list(landmarks.JAW), :2] / SIZE + (0, 12 / SIZE)
  shown, _ = jaw_line.met(painted(person[1], [middle], [column]), seen, jaw)
  assert green(shown, [column])[0] == pytest.approx(
    middle + 12 * (middle - lips) / (chin - lips), abs=1.5)
  assert shown.shape == person[1].shape and shown.dtype == np.uint8


def test_far_below_the_chin_nothing_moves(points, person):
  """A collar stays where it is."""
  seen = points(person[1]) - (0, 80, 0)
  jaw = seen[list(landmarks.JAW), :2] / SIZE + (0, 10 / SIZE)
  shown, _ = jaw_line.met(person[1], seen, jaw)
  changed = np.flatnonzero((shown != person[1]).any((1, 2)))
  chin = round(seen[CHIN, 1])
  assert changed[0] < chin < changed[-1] < chin + 10 + .12 * SIZE + 2 < SIZE


def test_a_face_with_its_own_jaw_stays_as_it_is(points, person):
  seen = points(person[0])
  shown, moved = jaw_line.met(person[0], seen, seen[list(landmarks.JAW), :2] / SIZE)
  assert np.abs(shown.astype(int) - person[0]).max() <= 1
  np.testing.assert_allclose(moved, seen)


def test_a_mouth_at_the_end_of_a_crop_moves_nothing(points, person):
  seen = points(person[0]) + (0, SIZE / 2, 0)
  shown, moved = jaw_line.met(person[0], seen, seen[list(landmarks.JAW), :2] / SIZE + .05)
  np.testing.assert_array_equal(shown, person[0])
  np.testing.assert_array_equal(moved, seen)

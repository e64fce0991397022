"""Likeness sees a change of person, colour and sharpness, each where it is and nowhere else."""

import numpy as np

from vidregen_jax.evaluation import identity_metrics

SIZE = 32


def people(count=3, frames=4):
  rng = np.random.default_rng(0)
  faces = rng.integers(40, 200, (count, 1, SIZE, SIZE, 3))
  return (faces + rng.integers(-3, 4, (count, frames, SIZE, SIZE, 3))).astype(np.uint8)


def test_a_swapped_face_is_another_identity_but_a_swapped_forehead_is_not():
  true, face = people(), identity_metrics.lower_face(SIZE)
  assert identity_metrics.nearest_identity(true, true) == 1.0
  swapped = true.copy()
  swapped[:2] = true[1::-1]
  assert identity_metrics.nearest_identity(swapped, true) == 1 / 3
  forehead = true.copy()
  forehead[:, :, ~face] = swapped[:, :, ~face]
  assert identity_metrics.nearest_identity(forehead, true) == 1.0


def test_the_rim_lies_inside_and_next_to_what_is_kept():
  face, rim = identity_metrics.lower_face(SIZE), identity_metrics.rim(SIZE)
  assert (face & rim).sum() == rim.sum() < face.sum()
  assert rim[np.flatnonzero(face.any(1))[0]].any()
  middle = [np.mean(axis).astype(int) for axis in np.nonzero(face)]
  assert not rim[tuple(middle)]


def test_colour_is_of_the_rim_alone():
  true = np.full((2, 3, SIZE, SIZE, 3), 120, np.uint8)
  made, rim = true.copy(), identity_metrics.rim(SIZE)
  made[1, :, ~rim] = 200
  np.testing.assert_allclose(identity_metrics.colour_difference(made, true), 0, atol=1e-4)
  made[1, :, rim] = 122  # two grey levels of 255 are about .8 of lightness
  found = identity_metrics.colour_difference(made, true)
  assert found[0] < 1e-4 and 0.6 < found[1] < 1.0


def test_the_colour_of_skin_is_not_that_of_lips():
  true, boxes = np.full((1, 2, SIZE, SIZE, 3), 120, np.uint8), np.float32([[[.4, .6, .6, .8]] * 2])
  made = true.copy()
  made[:, :, 21:24, 14:18] = 250  # within the box
  np.testing.assert_allclose(identity_metrics.skin_difference(made, true, boxes), 0, atol=1e-4)
  made[:, :, identity_metrics.lower_face(SIZE)] = 122
  assert 0.6 < identity_metrics.skin_difference(made, true, boxes)[0] < 1.0


def test_psnr_sharpness_and_jumps_are_of_the_place_that_is_asked_for():
  true, where = people(), np.zeros((SIZE, SIZE), bool)
  where[8:16, 8:16] = True
  made = true.copy()
  made[:, :, where] += 10
  np.testing.assert_allclose(identity_metrics.psnr(made, true, where), 20 * np.log10(255 / 10),
                             rtol=1e-6)
  assert (identity_metrics.psnr(made, true, ~where) > 100).all()
  blurred = true.copy()
  blurred[:, :, where] = 100
  inner = np.zeros_like(where)
  inner[10:14, 10:14] = True  # where no pixel's neighbours are outside
  assert (identity_metrics.sharpness(blurred, inner) == 0).all()
  assert (identity_metrics.sharpness(true, inner) > 1).all()
  still = np.repeat(true[:, :1], 3, 1)
  assert (identity_metrics.jumps(still, where) == 0).all()
  still[:, 1, where] += 5
  np.testing.assert_allclose(identity_metrics.jumps(still, where), 5)
  assert (identity_metrics.jumps(still, ~where) == 0).all()

"""Cuts and cross-fades are found; flashes, pans and jerks are told apart from them."""

import cv2
import numpy as np
import pytest

from vidregen_jax.faces import shot_boundaries


def scene(seed, width=160):
  """A smooth picture, uint8 [90, width, 3], unlike those of other seeds."""
  coarse = np.random.default_rng(seed).integers(0, 256, (9, width // 10, 3), np.uint8)
  return cv2.resize(coarse, (width, 90), interpolation=cv2.INTER_CUBIC)


def live(picture, count, seed=0):
  """The picture with a little noise and motion."""
  rng = np.random.default_rng(seed)
  for i in range(count):
    moved = np.roll(picture, round(2 * np.sin(i)), 1)
    yield np.clip(moved + rng.normal(0, 3, moved.shape), 0, 255).astype(np.uint8)


def cuts(images):
  watch = shot_boundaries.Watch()
  for image in images:
    watch(image)
  return (np.flatnonzero(np.diff(watch.shots())) + 1).tolist()


def test_cuts_are_found_where_they_are():
  assert cuts([*live(scene(0), 20), *live(scene(1), 7), *live(scene(0), 20)]) == [20, 27]
  assert cuts(live(scene(0), 1)) == [] and cuts([]) == []


@pytest.mark.parametrize('count', [1, 2, 4])
def test_a_flash_is_none(count):
  bright = [np.clip(image.astype(int) + 120, 0, 255).astype(np.uint8)
            for image in live(scene(0), count)]
  assert cuts([*live(scene(0), 20), *bright, *live(scene(0), 20)]) == []


def test_motion_is_none():
  wide = scene(2, 1600)
  at = np.r_[[0] * 10, np.cumsum(np.r_[np.linspace(0, 60, 10), np.linspace(60, 0, 10)]), [600] * 10]
  pan = [wide[:, int(x):int(x) + 160] for x in at]
  assert cuts(pan) == []
  jerk = [wide[:, 300:460]] * 15 + [wide[:, 315:475]] * 15
  assert cuts(jerk) == []


def test_a_cross_fade_has_its_cut_in_its_middle():
  one, other = list(live(scene(0), 60)), list(live(scene(1), 60, 1))
  share = np.clip((np.arange(60) - 20) / 24, 0, 1)
  mixed = [cv2.addWeighted(a, 1 - s, b, s, 0) for a, b, s in zip(one, other, share, strict=True)]
  at, = cuts(mixed)
  assert 28 <= at <= 36


def test_a_picture_of_one_colour_is_empty():
  watch = shot_boundaries.Watch()
  for image in (scene(0), np.full((90, 160, 3), 30, np.uint8)):
    watch(image)
  assert watch.empty().tolist() == [False, True]

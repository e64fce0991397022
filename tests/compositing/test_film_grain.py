"""Grain is as strong, as coarse and as still as the footage's, and the same for the same seed."""

import cv2
import numpy as np
import pytest

from vidregen_jax.compositing import film_grain

SHAPE = 160, 200
CENTRE = np.array([100., 80.])
ALL = np.ones(SHAPE, bool)


def film(seed, sigma=1.2, strength=5., colour=(1., 1., 1.)):
  """Grain float32 [H, W, 3], as a coarse film has it."""
  white = np.random.default_rng(seed).standard_normal((*SHAPE, 1), np.float32)
  coarse = cv2.GaussianBlur(white, (0, 0), sigma)[..., None]
  return strength * coarse / coarse.std() * np.float32(colour)


def next_to(values):
  """Correlation of neighbouring pixels."""
  return np.corrcoef(values[:, 1:].ravel(), values[:, :-1].ravel())[0, 1]


@pytest.mark.parametrize('sigma', [.6, 1.2])
@pytest.mark.parametrize('strength', [2., 8.])
def test_it_is_as_strong_and_as_coarse_as_the_footages(sigma, strength):
  detail = film(0, sigma, strength)
  made = film_grain.Grain(0)(3, detail, ALL, CENTRE)
  # The calmer tiles are measured: of equal tiles of 500 pixels these are a few percent below all.
  assert made.std() == pytest.approx(strength, rel=.15)
  assert next_to(made[..., 0]) == pytest.approx(next_to(detail[..., 0]), abs=.08)
  assert abs(np.corrcoef(made.ravel(), detail.ravel())[0, 1]) < .05


def test_its_colours_are_the_footages():
  made = film_grain.Grain(0)(0, film(0, colour=(1., .5, 0.)), ALL, CENTRE)
  assert made[..., 1].std() == pytest.approx(.5 * made[..., 0].std(), rel=.02)
  assert np.abs(made[..., 2]).max() < 1e-3


def test_edges_are_not_taken_for_grain():
  detail = film(0, strength=2.)
  detail[:, 60:64] += 60
  detail[90:94] -= 60
  assert film_grain.Grain(0)(0, detail, ALL, CENTRE).std() == pytest.approx(2., rel=.25)


def test_the_same_seed_and_frame_give_the_same_and_others_give_others():
  detail = film(0)
  one, same, other, later = (film_grain.Grain(seed)(index, detail, ALL, CENTRE)
                             for seed, index in ((7, 2), (7, 2), (8, 2), (7, 3)))
  np.testing.assert_array_equal(one, same)
  for different in (other, later):
    assert abs(np.corrcoef(one.ravel(), different.ravel())[0, 1]) < .05


def run_of(details, centres):
  makes = film_grain.Grain(0)
  return [makes(index, detail, ALL, centre)
          for index, (detail, centre) in enumerate(zip(details, centres, strict=True))]


def test_what_is_new_in_every_frame_is_new_here_too():
  made = run_of([film(seed) for seed in range(4)], [CENTRE] * 4)
  assert abs(np.corrcoef(made[2].ravel(), made[3].ravel())[0, 1]) < .15


def test_what_stands_still_stands_still_here_too_and_goes_with_the_face():
  still = film(0)
  made = run_of([np.roll(still, 3 * i, axis=1) for i in range(4)],
                [CENTRE + (3 * i, 0) for i in range(4)])
  moved = np.roll(made[3], -3, axis=1)[:, 10:-10]
  assert np.corrcoef(made[2][:, 10:-10].ravel(), moved.ravel())[0, 1] > .9
  assert np.corrcoef(made[2].ravel(), made[3].ravel())[0, 1] < .5


def test_where_nothing_is_usable_there_is_no_grain():
  assert not film_grain.Grain(0)(0, film(0), ~ALL, CENTRE).any()
  strip = film(0)[:5]  # of a face that leaves the picture
  assert not film_grain.Grain(0)(0, strip, ALL[:5], CENTRE).any()

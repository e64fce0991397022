"""Lips move as is heard: they close in time, no faster than the person's, and are as wide."""

import numpy as np
import pytest

from vidregen_jax.editing import lip_motion, speaking_manner
from vidregen_jax.models import lip_listener

MANNER = speaking_manner.Manner(share=.6, pace=2.5, rounding=.5)


def motion_of(gaps, widths, manner=MANNER):
  """A motion that has heard latent frames of such lips, the same in all windows."""
  frames = zip(np.reshape(gaps, (-1, 4)), np.reshape(widths, (-1, 4)), strict=True)
  motion = lip_motion.LipMotion(lambda lips: lip_listener.Lips(*(np.tile(of, (4, 1))
                                                                 for of in lips)), manner)
  for each in frames:
    motion.hear(each)
  return motion


def test_lips_go_by_the_persons_manner():
  """Steady ones: .1 apart, and a tenth wider than those of people who speak."""
  motion = motion_of(np.full(12, .1), np.full(12, lip_motion._SPEAKING + .1))
  gap, width = motion.next(1 / 25)
  np.testing.assert_allclose(gap, lip_motion.gaps(np.full(4, .1), .6), rtol=1e-6)
  np.testing.assert_allclose(width, 1 + .05 * lip_motion._ROUNDER, rtol=1e-6)
  motion.hear((np.full(4, .1), np.full(4, np.nan)), False)  # past the end of the sound
  later = [motion.next(1 / 25).gap for _ in range(3)]
  assert later[1][-1] > later[2][0] > later[2][-1] == 0


def test_what_comes_is_known_and_what_was_is_kept():
  """Lips that will close begin to close in the latent frame before, and none is skipped."""
  gaps = np.repeat([.2, .2, 0, .2], 4)
  motion = motion_of(gaps, np.ones(16), speaking_manner.Manner(1., 1., 1.))
  made = np.concatenate([motion.next(.04).gap for _ in range(4)])
  step = .04 + 1e-6
  assert (np.abs(np.diff(made)) < step).all()
  assert made[3] - made[7] > .08 and made[11] < 1e-6


def test_a_mouth_is_as_wide_as_it_was_made_of_late_and_as_is_heard_at_once():
  """One that smiles from a second on is wider some time later; what is heard shows at once."""
  width = lip_motion.MouthWidth()
  made = np.r_[np.full(25, .5), np.full(50, .6)]
  seen = np.array([width(1., each, .04) for each in made])
  np.testing.assert_allclose(seen[:25], .5)
  assert seen[26] < .52 and seen[-1] == pytest.approx(.6, abs=.01) and (np.diff(seen) >= 0).all()
  assert width(.9, .6, .04) == pytest.approx(.9 * .6, abs=.01)
  assert np.isnan(width(np.nan, .6, .04))
  rough = .5 + .05 * np.random.default_rng(0).normal(size=500)
  width = lip_motion.MouthWidth()
  assert np.std([width(1., each, .04) for each in rough][50:]) < .4 * rough.std()


def test_lips_close_in_time_and_open_no_faster_than_the_person_does():
  """Whatever comes in between, from latent frame to latent frame; what is closed stays closed."""
  rng = np.random.default_rng(0)
  coming = rng.uniform(0, .2, 48) * (rng.uniform(size=48) < .7)
  step, made = .04, []
  for start in range(0, 44, 4):
    before = made[-1] if made else None
    made += lip_motion.paced(coming[start:start + 8], before, step).tolist()
  made, coming = np.array(made), coming[:44]
  assert (made <= coming).all() and (made[coming == 0] == 0).all()
  assert np.diff(made).max() <= step + 1e-9 and -np.diff(made).min() <= step + 1e-9
  steady = np.full(8, .1)
  np.testing.assert_array_equal(lip_motion.paced(steady, .1, step), steady[:4])
  np.testing.assert_array_equal(lip_motion.paced(steady, None, step), steady[:4])
  np.testing.assert_allclose(lip_motion.paced(steady, 0., step), [.04, .08, .1, .1])


def test_what_is_heard_of_closed_lips_is_nothing_and_manner_scales_the_rest():
  heard = np.array([-.02, .005, .1])
  usual, half = lip_motion.gaps(heard, .8), lip_motion.gaps(heard, .4)
  assert usual[:2].tolist() == [0, 0] and usual[2] == pytest.approx(2 * half[2])

"""Scores of lip sync: the sums that the field reports, and parts of which nothing is known."""

import numpy as np
import parity
import pytest

from vidregen_jax.evaluation import sync_score
from vidregen_jax.evaluation.sync_score import REACH

FRAMES = 60


def vectors(late=0, noise=0.1, frames=FRAMES, seed=0):
  """A mouth, and a sound that is the same some frames later, with noise."""
  rng = np.random.default_rng(seed)
  mouth = rng.normal(size=(frames, 8))
  return mouth, np.roll(mouth, late, 0) + noise * rng.normal(size=(frames, 8))


def test_scores_are_those_of_the_authors_of_syncnet():
  theirs = parity.golden('syncnet')
  rows = sync_score.distances(*parity.vectors(), padded=True)
  np.testing.assert_allclose(rows.mean(0), theirs['mean'], rtol=1e-5)
  found = sync_score.score(rows)
  # Their offset has the other sign: where the sound is late, they shift it by a negative number.
  np.testing.assert_allclose([-found.offset, found.distance, found.confidence], theirs['scores'],
                             rtol=1e-5)
  assert found.offset == 4


@pytest.mark.parametrize('late', [-REACH, -3, 0, 7])
def test_the_offset_is_how_late_the_sound_is(late):
  found = sync_score.score(sync_score.distances(*vectors(late)))
  assert found.offset == late and found.frames == FRAMES
  assert found.confidence > 5 * found.distance
  # Without noise to speak of the rest of the row varies little: few deviations are chance.
  assert (found.fit > 8) == (late == 0) and (found.fit < 3) == (late != 0)


def test_sound_from_before_the_first_frame_is_looked_at():
  mouth, sound = vectors()
  rows = sync_score.distances(mouth[10:], sound, lead=10)
  assert np.isfinite(rows[5, REACH - 10]) and np.isnan(rows[0, REACH - 11])
  assert sync_score.score(rows).offset == 0
  assert sync_score.score(sync_score.distances(mouth[10:], sound)).offset == 10


def test_frames_of_which_nothing_is_known_do_not_count():
  mouth, sound = vectors(2)
  mouth[20:40] = np.random.default_rng(3).normal(size=(20, 8))
  known = np.ones(FRAMES, bool)
  known[20:40] = False
  rows = sync_score.distances(mouth, sound, known)
  found = sync_score.score(rows)
  assert found.frames == FRAMES - 20 and found.offset == 2
  assert found.distance < sync_score.score(sync_score.distances(mouth, sound)).distance / 2
  nothing = sync_score.score(rows[20:40])
  assert nothing.frames == 0 and np.isnan([nothing.fit, nothing.confidence]).all()


def test_an_offset_that_few_frames_have_is_not_judged():
  mouth, sound = vectors(0, frames=20)
  sound[0] = mouth[-1]  # would be perfect 19 frames early, but there is one such pair
  sound[4] = mouth[19]
  found = sync_score.score(sync_score.distances(mouth, sound))
  assert found.offset == 0


def test_a_part_that_does_not_fit_shows_by_frame():
  mouth, sound = vectors()
  sound[25:40] = np.random.default_rng(7).normal(size=(15, 8))
  fits = sync_score.by_frame(sync_score.distances(mouth, sound))
  assert fits.shape == (FRAMES,)
  assert fits[28:36].max() < 0.5 < 2 < np.r_[fits[:20], fits[46:]].min()


def test_the_limit_is_where_most_are_told_rightly():
  limit, right = sync_score.threshold([0.5, 0.6, 0.7, 0.1], [0.0, 0.2, 0.3, 0.05])
  assert 0.3 < limit < 0.5 and right == 7 / 8
  assert sync_score.told_apart([0.5, 0.6, 0.7, 0.1], [0.0, 0.2, 0.3, 0.05], limit) == right
  assert sync_score.told_apart([0.5], [0.4], 0.3) == 0.5


def test_moved_sound_is_sound_moved_further_than_is_noticed():
  fit, moved = sync_score.spread(sync_score.distances(*vectors()))
  assert len(moved) == 2 * (REACH - 2) and fit > moved.max() + 5


def test_the_fit_has_no_unit():
  mouth, sound = vectors()
  rows = sync_score.distances(mouth, sound)
  fit = sync_score.score(rows).fit
  np.testing.assert_allclose(sync_score.score(7 * rows + 3).fit, fit)
  short = sync_score.distances(mouth[:5], sound[:5])
  assert np.isnan(sync_score.score(short).fit)  # too few other times are there
  assert np.isnan(sync_score.score(np.ones_like(rows)).fit)

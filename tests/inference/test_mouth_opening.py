"""A mouth opens further where it opens, and closes as the person's own does."""

import numpy as np
import pytest

from vidregen_jax.inference import mouth_opening

CELLS, CHANNELS, COUNT = 3, 4, 40


@pytest.fixture(scope='module')
def person():
  """(residuals, gaps, the direction in which they open) of real frames."""
  rng = np.random.default_rng(0)
  direction = rng.standard_normal((CELLS, CHANNELS))
  direction /= np.linalg.norm(direction)
  gaps = rng.uniform(0, .2, COUNT)
  noise = .3 * rng.standard_normal((COUNT, CELLS, CHANNELS))
  return 100 * (gaps - gaps.mean())[:, None, None] * direction + noise, gaps, direction


@pytest.fixture(scope='module')
def opening(person):
  return mouth_opening.fit(*person[:2])


def along(person, residual):
  return float((np.asarray(residual).reshape(-1, CELLS, CHANNELS)[0] * person[2]).sum())


def test_the_direction_is_that_in_which_the_persons_mouth_opens(person, opening):
  assert (np.asarray(opening.direction) * person[2]).sum() > .99


def test_nothing_is_stretched_beyond_the_largest_real_residual(person, opening):
  largest = np.linalg.norm(person[0].reshape(COUNT, -1), axis=1).max()
  size = lambda length: float(np.linalg.norm(opening(length * person[2][None])))
  assert size(.8 * largest) == pytest.approx(largest, rel=.01)
  assert size(2 * largest) == pytest.approx(2 * largest, rel=.01)  # as it was generated


def test_what_opens_is_stretched_and_what_closes_is_drawn_to_the_closed_mouth(person, opening):
  wide, shut = (at * person[2][None] for at in (4., -8.))
  assert along(person, opening(wide)) > 1.7 * along(person, wide)
  away = lambda residual: np.linalg.norm(residual - opening.closed)
  assert away(opening(shut)) < .5 * away(shut)


def test_more_is_wider_and_nothing_is_the_persons_own_closed_mouth(person, opening):
  wide = 2 * person[2][None]
  amounts = [0, .5, 1, 1.5, mouth_opening.FURTHEST]
  widths = [along(person, opening.by(amount)(wide)) for amount in amounts]
  assert (np.diff(widths) > .5).all()
  np.testing.assert_allclose(opening.by(0)(wide)[0, 0], opening.closed, atol=1e-5)
  resting = person[0][np.argsort(person[1])[:COUNT // 5]].mean(0)
  np.testing.assert_allclose(opening.closed, resting, atol=1e-5)


@pytest.mark.parametrize('made', [-8., 0., 6.])
def test_lips_go_as_far_apart_as_they_should_whatever_was_made(person, opening, made):
  """As far along as the person's real frames with such a gap; no further than a little beyond."""
  residuals, gaps, direction = person
  made = made * direction[None] + .1
  for gap in (.02, .1, .18):
    real = 100 * (gap - gaps.mean())
    assert along(person, opening.by(1, gap)(made)) == pytest.approx(real, abs=.6)
  furthest = along(person, opening.by(1, 1.25 * gaps.max())(made))
  assert along(person, opening.by(1, 9.)(made)) == pytest.approx(furthest, abs=.01)
  assert along(person, opening.by(2, .05)(made)) == pytest.approx(
    along(person, opening.by(1, .1)(made)), abs=.5)
  np.testing.assert_allclose(opening.by(0, .1)(made)[0, 0], opening.closed, atol=1e-5)
  each = np.float32([.02, .1, .05, .18])
  for frame, gap in zip(opening.by(1, each)(made), each, strict=True):
    np.testing.assert_allclose(frame, opening.by(1, gap)(made)[0], atol=1e-5)


def test_frames_of_unknown_mouths_do_not_count(person, opening):
  residuals, gaps, _ = person
  unknown = mouth_opening.fit(np.r_[residuals, 50 * np.ones((2, CELLS, CHANNELS))],
                              np.r_[gaps, np.nan, np.nan])
  np.testing.assert_array_equal(unknown.direction, opening.direction)


@pytest.mark.parametrize('part, scale', [(slice(4), 1), (slice(None), .02)])
def test_mouths_that_are_few_or_do_not_move_show_no_direction(person, part, scale):
  residuals, gaps, _ = person
  assert mouth_opening.fit(residuals[part], scale * gaps[part]) is None

"""At an edge of a span a made face becomes the real one."""

import numpy as np
import pytest

from vidregen_jax.compositing import crossfade

SHAPE = (4, 4, 3)


def gray(level):
  return np.full(SHAPE, level, np.uint8)


def test_at_the_edge_it_is_the_real_face_and_far_away_the_made_one():
  real, generated = gray(200), gray(90)
  residuals = [(1.0, crossfade.residual(real, generated))]
  np.testing.assert_array_equal(crossfade.mend(generated, 1.0, residuals, 0.2), real)
  np.testing.assert_array_equal(crossfade.mend(generated, 1.2, residuals, 0.2), generated)
  np.testing.assert_array_equal(crossfade.mend(generated, 0.8, residuals, 0.2), generated)
  np.testing.assert_array_equal(crossfade.mend(generated, 1.05, residuals, 0.2),
                                gray(round(90 + 0.75 * 110)))


def test_both_edges_of_a_short_span_are_shared_and_none_is_nothing():
  generated = gray(100)
  residuals = [(0.0, crossfade.residual(gray(160), generated)),
               (0.1, crossfade.residual(gray(40), generated))]
  # Half-way between opposite residuals, and twice as near to the first as to the second.
  np.testing.assert_array_equal(crossfade.mend(generated, 0.05, residuals, 1.0), generated)
  np.testing.assert_array_equal(crossfade.mend(generated, 0.1 / 3, residuals, 0.1), gray(120))
  np.testing.assert_array_equal(crossfade.mend(generated, 0.0, [], 0.0), generated)


def test_no_face_is_brighter_than_white():
  generated = gray(250)
  residuals = [(0.0, crossfade.residual(gray(255), gray(200)))]
  assert crossfade.mend(generated, 0.01, residuals, 0.2).min() == 255


@pytest.mark.parametrize('time', [0.0, 0.05, 0.3])
def test_more_than_a_byte_of_difference_is_kept(time):
  residuals = [(0.0, crossfade.residual(gray(0), gray(255)))]
  assert abs(int(crossfade.mend(gray(255), time, residuals, 0.1)[0, 0, 0]) - 255 * min(time / 0.1,
                                                                                   1)) <= 1

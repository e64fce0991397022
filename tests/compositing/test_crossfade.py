"""At an edge of a span a made face becomes the real one."""

import numpy as np
import pytest

from vidregen_jax.compositing import crossfade

SHAPE = (4, 4, 3)


def gray(level):
  return np.full(SHAPE, level, np.uint8)


def test_at_the_edge_it_is_the_real_face_and_far_away_the_made_one():
  real, made = gray(200), gray(90)
  lacks = [(1.0, crossfade.lack(real, made))]
  np.testing.assert_array_equal(crossfade.mend(made, 1.0, lacks, 0.2), real)
  np.testing.assert_array_equal(crossfade.mend(made, 1.2, lacks, 0.2), made)
  np.testing.assert_array_equal(crossfade.mend(made, 0.8, lacks, 0.2), made)
  np.testing.assert_array_equal(crossfade.mend(made, 1.05, lacks, 0.2),
                                gray(round(90 + 0.75 * 110)))


def test_both_edges_of_a_short_span_are_shared_and_none_is_nothing():
  made = gray(100)
  lacks = [(0.0, crossfade.lack(gray(160), made)), (0.1, crossfade.lack(gray(40), made))]
  # Half-way between opposite lacks, and twice as near to the first as to the second.
  np.testing.assert_array_equal(crossfade.mend(made, 0.05, lacks, 1.0), made)
  np.testing.assert_array_equal(crossfade.mend(made, 0.1 / 3, lacks, 0.1), gray(120))
  np.testing.assert_array_equal(crossfade.mend(made, 0.0, [], 0.0), made)


def test_no_face_is_brighter_than_white():
  made = gray(250)
  lacks = [(0.0, crossfade.lack(gray(255), gray(200)))]
  assert crossfade.mend(made, 0.01, lacks, 0.2).min() == 255


@pytest.mark.parametrize('time', [0.0, 0.05, 0.3])
def test_more_than_a_byte_of_difference_is_kept(time):
  lacks = [(0.0, crossfade.lack(gray(0), gray(255)))]
  assert abs(int(crossfade.mend(gray(255), time, lacks, 0.1)[0, 0, 0]) - 255 * min(time / 0.1,
                                                                                   1)) <= 1

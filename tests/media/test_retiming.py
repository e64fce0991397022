"""Timelines: every frame is somewhere, times rise, and the pace has no jump."""

import numpy as np
import pytest

from vidregen_jax import errors
from vidregen_jax.media.timeline import retiming

STEP = 512
STEADY = retiming.of_source(range(100, 100 + 40 * STEP, STEP), 100 + 40 * STEP)
UNEVEN = retiming.of_source([0, 700, 1100, 1700, 2300, 2900, 3300, 4000], 4600)


def whole(made, base=STEADY):
  assert (np.diff(made.pts) > 0).all() and made.pts[-1] < made.end
  assert len(made.pts) == len(made.source) and made.source.max() < len(base)
  return made


@pytest.mark.parametrize('frames', [4, 7, 10, 11, 16, 25])
def test_a_retimed_span_has_its_length_and_the_rest_only_moves(frames):
  made = whole(retiming.retime(STEADY, 12, 22, frames * STEP))
  assert len(made) == 40 + frames - 10
  np.testing.assert_array_equal(made.source[:12], np.arange(12))
  np.testing.assert_array_equal(made.pts[:12], STEADY.pts[:12])
  np.testing.assert_array_equal(made.source[12 + frames:], np.arange(22, 40))
  np.testing.assert_array_equal(made.pts[12 + frames:], STEADY.pts[22:] + (frames - 10) * STEP)
  assert made.end == STEADY.end + (frames - 10) * STEP
  assert set(np.diff(made.pts)) == {STEP}  # a steady rate stays one
  inside = made.source[12:12 + frames]
  assert (np.diff(inside) >= 0).all() and inside.min() >= 12 and inside.max() <= 21
  if frames > 6:  # near its ends the span runs at the source's pace
    assert inside[0] == 12 and inside[-1] == 21
  if frames == 10:
    assert made.is_the_sources


def test_a_part_of_a_frame_is_a_whole_one_and_uneven_frames_share_exactly():
  assert retiming.retime(STEADY, 0, 4, 3 * STEP + 1).pts[4] == STEADY.pts[4]
  made = whole(retiming.retime(UNEVEN, 2, 6, 3333), UNEVEN)
  assert made.end - UNEVEN.end == 3333 - (3300 - 1100)
  assert made.pts[np.flatnonzero(made.source == 6)[0]] == 1100 + 3333


def test_the_pace_at_a_spans_ends_is_the_sources():
  many = retiming.of_source(range(1000), 1000)
  made = retiming.retime(many, 0, 1000, 1800)
  np.testing.assert_allclose(made.source[:20], np.arange(20), atol=2)
  np.testing.assert_allclose(made.source[-20:], np.arange(980, 1000), atol=2)
  assert np.diff(made.source).max() <= 1


@pytest.mark.parametrize('how', retiming.FITS)
def test_a_shorter_dub_leaves_out_or_is_faster(how):
  made = whole(retiming.fit(STEADY, 30 * STEP, how))
  assert len(made) == 30 and made.end == 100 + 30 * STEP
  if how == 'retime':
    assert made.source[0] == 0 and made.source[-1] == 39
  else:
    np.testing.assert_array_equal(made.source, np.arange(30))


def test_a_longer_dub_holds_goes_back_or_is_slower():
  length = 100 * STEP
  hold, back, slow = (whole(retiming.fit(STEADY, length, how))
                      for how in ('hold', 'pingpong', 'retime'))
  assert [len(x) for x in (hold, back, slow)] == [100] * 3
  assert {x.end for x in (hold, back, slow)} == {100 + length}
  assert (hold.source[40:] == 39).all()
  expected = np.r_[np.arange(40), np.arange(39, -1, -1), np.arange(20)]
  np.testing.assert_array_equal(back.source, expected)
  assert slow.source[-1] == 39 and (np.diff(slow.source) >= 0).all()
  with pytest.raises(errors.UserError, match='2.50 times as long'):
    retiming.fit(STEADY, length, 'trim')


@pytest.mark.parametrize('call', [
  lambda: retiming.retime(STEADY, 5, 5, STEP), lambda: retiming.retime(STEADY, 5, 9, 0),
  lambda: retiming.fit(STEADY, STEP, 'stretch')])
def test_what_makes_no_sense_is_refused(call):
  with pytest.raises(errors.UserError):
    call()

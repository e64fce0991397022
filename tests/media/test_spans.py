"""Spans of time become runs of frames, and mistakes become one line."""

import numpy as np
import pytest

from vidregen_jax.editing import run_plan
from vidregen_jax.errors import UserError
from vidregen_jax.media.timeline import spans

TIMES = np.arange(60) / 25


def plan(wanted, valid=None, window=3, shot=None):
  return run_plan.plan(wanted, TIMES, np.ones(60, bool) if valid is None else valid,
                    np.zeros(60, int) if shot is None else shot, window)


def test_a_span_takes_the_frames_that_start_in_it():
  run, = plan([(0.8, 1.0)])  # frames 20 to 24
  assert (run.start, run.stop, run.padded) == (20, 25, 28)
  assert (run.warm, run.anchor) == (8, 28)


def test_warm_up_is_whole_groups_and_does_not_reach_before_the_video():
  run, = plan([(0.24, 0.4)])  # from frame 6
  assert (run.start, run.warm) == (6, 2)


def test_an_edit_at_the_end_has_no_anchor():
  run, = plan([(2.2, 2.4)])
  assert (run.stop, run.anchor) == (60, None)


def test_frames_without_a_face_end_a_run():
  valid = np.ones(60, bool)
  valid[22:24] = False
  first, second = plan([(0.8, 1.2)], valid)
  assert (first.start, first.stop, second.start, second.stop) == (20, 22, 24, 30)
  assert second.warm == 24  # nothing real and seen lies between
  assert first.anchor is None  # its next group of four is in the second run


def test_the_old_mouth_of_another_run_warms_nothing_up():
  first, second = plan([(0.4, 0.8), (1.0, 1.2)])
  assert (first.stop, second.start) == (20, 25)
  assert second.warm == 21


def test_a_cut_ends_a_run_and_nothing_reaches_over_it():
  cut = lambda frame: (np.arange(60) >= frame).astype(int)
  first, second = plan([(0.8, 1.2)], shot=cut(25))  # frames 20 to 29
  assert (first.start, first.stop, second.start, second.stop) == (20, 25, 25, 30)
  assert (first.warm, first.anchor) == (8, None)
  assert (second.warm, second.anchor) == (25, 33)  # nothing before it is of its shot
  run, = plan([(0.8, 1.2)], shot=cut(15))
  assert run.warm == 16  # whole groups of the run's own shot
  assert plan([(0.8, 1.2)], shot=cut(34))[0].anchor is None  # two of its four frames are beyond
  assert plan([(0.8, 1.2)], shot=cut(36))[0].anchor == 32


def test_a_shot_that_comes_again_is_another():
  back_and_forth = np.r_[[0] * 18, [1] * 7, [0] * 35]
  run, = plan([(1.0, 1.2)], shot=back_and_forth)
  assert (run.start, run.warm) == (25, 25)


def test_no_face_at_all_gives_no_run():
  assert plan([(0.4, 0.8)], np.zeros(60, bool)) == []


def test_touching_and_overlapping_spans_are_one():
  assert spans.merge([(1, 2), (0, 0.5), (1.5, 3), (3, 4)]) == [(0, 0.5), (1, 4)]


@pytest.mark.parametrize(('text', 'cause'), [
    ('1.0-1.0', 'empty'), ('2-1', 'reversed'), ('1,2', 'START-END'), ('a-b', 'START-END')])
def test_wrong_spans_are_refused(text, cause):
  with pytest.raises(UserError, match=cause):
    spans.parse(text)


def test_a_span_outside_the_video_is_refused():
  spans.check([(0, 2.4)], 0.0, 2.4, 'x.mp4')
  with pytest.raises(UserError, match='does not lie in x.mp4'):
    spans.check([(2.0, 2.5)], 0.0, 2.4, 'x.mp4')


def test_a_run_is_of_one_edit():
  owner = np.repeat([0, 1], [24, 36])
  first, second = run_plan.plan([(0.8, 1.2)], TIMES, np.ones(60, bool), np.zeros(60, int), 3, owner)
  assert (first.start, first.stop, first.edit) == (20, 24, 0)
  assert (second.start, second.stop, second.edit, second.warm) == (24, 30, 1, 24)

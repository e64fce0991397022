"""Frames that are fitted lie outside what is made with the fit."""

import dataclasses
import types
from fractions import Fraction

import numpy as np
import pytest

from vidregen_jax.compositing import jaw_line, mouth_shape
from vidregen_jax.editing import face_fit, lip_motion, speaking_manner
from vidregen_jax.models import codec, linear_prior, lip_listener

RATE, FADE = 25, .2


def chosen(spans, count=200, shot=None, source=None, hidden=()):
  film = types.SimpleNamespace(
    info=types.SimpleNamespace(duration=Fraction(count, RATE)),
    timeline=types.SimpleNamespace(source=np.arange(count) if source is None else source))
  valid, in_spans = np.ones(count, bool), np.zeros(count, bool)
  valid[list(hidden)] = False
  for start, stop in spans:
    in_spans[start:stop] = True
  track = types.SimpleNamespace(valid=valid, filled=~valid,
                                shot=np.zeros(count, int) if shot is None else shot)
  return face_fit.choose(film, track, in_spans, FADE)


def frames_of(groups):
  return np.array([start + i for start in groups for i in range(codec.TIME_FACTOR)])


def test_no_frame_of_a_span_or_its_crossfade_is_fitted():
  choice = chosen([(80, 110)], hidden=(20, 21))
  frames = frames_of(choice.groups)
  assert not choice.crossed
  assert ((frames < 80 - FADE * RATE) | (frames >= 110 + FADE * RATE)).all()
  assert not {20, 21} & set(frames.tolist())
  assert (frames < 80).sum() > 60 and (frames >= 110).sum() > 70


def test_a_retimed_films_other_showings_of_a_spans_frames_are_not_fitted():
  source = np.r_[np.arange(100), np.arange(80, 180)]  # 80 to 99 are shown twice
  frames = frames_of(chosen([(85, 95)], source=source).groups)
  assert not set(source[frames].tolist()) & set(range(85, 95))


def test_groups_lie_in_one_shot_and_are_few_in_a_long_video():
  shot = np.repeat([0, 1], 101)[:200]
  groups = chosen([(0, 30)], shot=shot).groups
  assert all(shot[start] == shot[start + 3] for start in groups)
  assert len(chosen([(0, 30)], count=20000).groups) == len(set(
    chosen([(0, 30)], count=20000).groups)) == 64


@pytest.mark.parametrize('count, crossed, some', [(200, True, True), (20, False, False)])
def test_a_dub_crosses_its_fits_if_it_has_frames_enough(count, crossed, some):
  choice = chosen([(0, count)], count=count)
  assert (choice.crossed, bool(choice.groups)) == (crossed, some)


@pytest.fixture
def crossed_fit():
  frames = np.arange(0, 240, 2)
  kept = face_fit.kept(frames, crossed=True)
  regressions = tuple(types.SimpleNamespace(kept=each) for each in kept)
  errors = np.random.default_rng(0).normal(size=(len(frames), 4)).astype(np.float32)
  return face_fit.PersonFit(frames, True, errors, None, None, regressions, mouth_shape.Mouth())


def test_no_part_is_made_by_a_fit_to_itself(crossed_fit):
  for index in range(0, 240, 4):
    part = crossed_fit.frames * 6 // 240 == index * 6 // 240
    mixture = crossed_fit.mixture(index)
    assert sum(share for share, _ in mixture) == pytest.approx(1)
    assert all(regression.kept.any() and not (regression.kept & part).any()
               for _, regression in mixture)


def test_crossed_fits_blend_into_each_other(crossed_fit):
  expectation = linear_prior.Expectation(np.zeros((4, 4)), np.zeros(4), np.ones(1), np.arange(1))
  bias = np.stack([crossed_fit.adapted(expectation, i).bias for i in range(240)])
  whole = np.ptp(bias, axis=0).max()
  assert np.abs(np.diff(bias, axis=0)).max() < .05 * whole


def test_a_frame_moves_no_prediction_that_is_made_without_it(crossed_fit):
  expectation = linear_prior.Expectation(np.zeros((4, 4)), np.zeros(4), np.ones(1), np.arange(1))
  before = crossed_fit.adapted(expectation, 100).bias
  crossed_fit.errors[(crossed_fit.frames >= 80) & (crossed_fit.frames < 120)] += 100
  np.testing.assert_array_equal(before, crossed_fit.adapted(expectation, 100).bias)
  assert (crossed_fit.adapted(expectation, 0).bias > before + 10).all()


JAWS = np.arange(4)


def shaping(monkeypatch, seen):
  """Makes a crop its gap in hundredths; `seen(gap)` is the gap that is seen in it."""
  given = []

  def shaped(crop, points, gap, width, mouth, more=0.):
    given.append((points, width, mouth))
    return np.full_like(crop, round(100 * (gap + more)))

  monkeypatch.setattr(jaw_line, 'met', lambda crop, points, jaw: (
    crop, f'{points}{jaw}' if isinstance(points, str) else points))
  monkeypatch.setattr(mouth_shape, 'shaped', shaped)
  monkeypatch.setattr(mouth_shape.landmarks, 'lip_gap', seen)
  monkeypatch.setattr(mouth_shape.landmarks, 'mouth_width', lambda points: .5)
  return given


def lips(*gaps, width=np.nan):
  return lip_listener.Lips(np.array(gaps), np.full(4, width))


def test_lips_of_who_is_fitted_are_shaped_and_no_others(crossed_fit, monkeypatch):
  """A crop without a face stays as it is."""
  given = shaping(monkeypatch, lambda points: points)
  fit = dataclasses.replace(crossed_fit, mouth='theirs', rest=.05)
  faces = iter(['a', None, 'b', 'c'])
  fitted = face_fit.Fitted(8, {1: fit}, lambda crop, near=None: (
    crop[0, 0, 0] / 100 if near else next(faces)))
  crops = np.full((4, 8, 8, 3), 255, np.uint8)
  assert fitted.motion(0, 'listener') is fitted.read(0, np.ones(4)) is None
  wide = lip_motion.MouthWidth()
  made = fitted.shaped(1, crops, JAWS, lips(.1, .25, 0, .4, width=1.1), 1., wide, .04)
  assert made[:, 0, 0, 0].tolist() == [10, 255, 0, 40]
  assert [each[1] for each in given] == pytest.approx([.55] * 3)
  assert [each[0] for each in given] == ['a0', 'b2', 'c3']  # each with its own jaw
  assert {each[2] for each in given} == {'theirs'}


@pytest.mark.parametrize('amount, gap, width', [(0., 0, .5), (.5, 5, .525), (2., 20, .55)])
def test_a_mouth_that_should_open_less_is_rounded_less(crossed_fit, monkeypatch, amount, gap,
                                                       width):
  given = shaping(monkeypatch, lambda points: points)
  fitted = face_fit.Fitted(8, {1: crossed_fit}, lambda crop, near=None: (
    crop[0, 0, 0] / 100 if near else 'a'))
  made = fitted.shaped(1, np.zeros((4, 8, 8, 3), np.uint8), JAWS,
                       lips(.1, .1, .1, .1, width=1.1), amount, lip_motion.MouthWidth(), .04)
  assert made[0, 0, 0, 0] == gap and given[0][1] == pytest.approx(width)


@pytest.mark.parametrize('share, made', [(.8, 12), (1.2, 8), (.2, 13), (.97, 10)])
def test_a_mouth_that_is_seen_less_open_than_it_should_be_is_made_again(crossed_fit, monkeypatch,
                                                                        share, made):
  """By no more than .03, however far it is off."""
  shaping(monkeypatch, lambda points: share * points)
  fit = dataclasses.replace(crossed_fit, rest=.0)
  fitted = face_fit.Fitted(8, {1: fit}, lambda crop, near=None: (
    crop[0, 0, 0] / 100 if near else 'a'))
  crops = np.zeros((4, 8, 8, 3), np.uint8)
  shown = fitted.shaped(1, crops, JAWS, lips(.1, .1, .1, .1), 1., lip_motion.MouthWidth(), .04)
  assert shown[0, 0, 0, 0] == made


def test_nobodys_lips_are_further_shut_than_closed(crossed_fit):
  """Of this person, closed lips are read .05 open; what is heard goes by their manner."""
  manner = speaking_manner.Manner(.6, 2.5, .4)
  fit = face_fit.Fitted(8, {1: dataclasses.replace(crossed_fit, rest=.05, manner=manner)})
  read, width = fit.read(1, np.array([.05, .04, .25, .45]))
  assert read[:2].tolist() == [0, 0] and read[3] == pytest.approx(2 * read[2])
  assert np.isnan(width).all()
  heard = lip_listener.Lips(np.tile([-.01, .2, .1, 0.], (4, 1)), np.full((4, 4), .9))
  motion, of_them = fit.motion(1, lambda windows: heard), lip_motion.LipMotion(
    lambda windows: heard, manner)
  for each in (motion, of_them):
    each.hear(None)
  np.testing.assert_array_equal(motion.next(.04), of_them.next(.04))
  assert fit.motion(1, None) is fit.read(1, None) is None


def test_lips_that_are_read_open_at_rest_are_told():
  """Where readings are .1 too far open; of frames without a face nothing is known."""
  gaps = np.array([.01, .3, .2, .02, .25, np.nan, .3, .2, .2, .2])
  lips = lambda residuals: residuals[:, :, 0].repeat(2, 1)
  assert face_fit._rest(lips, gaps[:, None, None] + .1, gaps) == pytest.approx(.1)
  assert face_fit._rest(None, gaps[:, None, None], gaps) is None
  assert face_fit._rest(lips, None, gaps) == 0
  assert face_fit._rest(lips, gaps[:, None, None], gaps * np.nan) == 0


@pytest.mark.parametrize('opening, rest, hears, told', [
  (None, None, False, None), (None, 0., False, .5), ('known', None, False, .5),
  (None, None, True, .5)])
def test_an_opening_is_reported_if_anything_says_how_far_a_mouth_opens(crossed_fit, opening, rest,
                                                                       hears, told):
  regressions = (types.SimpleNamespace(windows={(2, 2): types.SimpleNamespace(penalty=1.)}), )
  fit = dataclasses.replace(crossed_fit, opening=opening, rest=rest, regressions=regressions)
  assert face_fit.Fitted(8, {1: fit}, hears=hears).report(.5).people['1'].opening == told

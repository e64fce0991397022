"""Whose mouth is changed: as asked, the same person after a cut, and nobody by chance."""

import dataclasses

import numpy as np
import pytest

from vidregen_jax.editing import face_selection
from vidregen_jax.errors import UserError
from vidregen_jax.faces import face_track

COUNT, SIZE = 60, (400, 200)
RNG = np.random.default_rng(0)
DESCRIPTORS = {name: np.r_[x / np.linalg.norm(x), 0, 0]
         for name, x in ((name, RNG.normal(size=40)) for name in 'abc')}
# Somebody who may be 'a' in other light: likeness .8.
DESCRIPTORS['a?'] = np.r_[.8 * DESCRIPTORS['a'][:-2] + .6 * DESCRIPTORS['b'][:-2], 0, 0]


def piece(person, start, stop, shot, x=100., y=100., side=60.):
  count = stop - start
  times, every = np.arange(start, stop) / 25, lambda value: np.full(count, value, np.float32)
  nobody = face_track.FaceTracks(times, np.full(count, shot, np.int32), [], SIZE).track([])
  affine = np.array([(1.5 * side, 0, x), (0, 1.5 * side, y)], np.float32)
  track = dataclasses.replace(
    nobody, valid=every(1) > 0, reason=np.zeros(count, np.int8), score=every(1),
    affine=np.repeat(affine[None], count, 0),
    lip_gap=every(x), mouth_width=every(y))  # so that it can be told whose they are
  box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], np.float32)
  return face_track.Piece(start, track, np.repeat(box[None], count, 0), DESCRIPTORS[person][None])


def choose(rule, pieces, shot=None, spans=((0, COUNT),), agree=None, turns=0):
  shot = np.zeros(COUNT, np.int32) if shot is None else np.array(shot, np.int32)
  faces = face_track.FaceTracks(np.arange(COUNT) / 25, shot, pieces, SIZE, turns)
  weights = np.zeros(COUNT, int)
  for start, stop in spans:
    weights[start:stop] = 1
  return face_selection.choose(rule, faces, weights, list(spans), agree)


def of(selection):
  return selection.track.lip_gap  # the x of the face that each frame takes


LEFT, RIGHT = piece('a', 0, COUNT, 0, x=80), piece('b', 0, 40, 0, x=300, side=70)


def test_the_largest_is_that_of_the_spans():
  assert (of(choose('largest', [LEFT, RIGHT])) == 80).all()  # it is there all the time
  selection = choose('largest', [LEFT, RIGHT], spans=[(0, 20)])
  assert (of(selection)[:40] == 300).all()
  assert selection.choice.chosen == (2,)
  assert (selection.track.reason[40:] == face_track.ANOTHER).all()
  assert not selection.track.valid[40:].any()


def test_a_face_by_number_and_by_place():
  assert (of(choose(2, [LEFT, RIGHT]))[:40] == 300).all()
  assert (of(choose((.2, .5), [LEFT, RIGHT])) == 80).all()
  with pytest.raises(UserError, match='there is only face 1 at 0.20,0.50; face 2'):
    choose(3, [LEFT, RIGHT])
  with pytest.raises(UserError, match='no face is there at 0.00 s, but face 1 at 0.20,0.50'):
    choose((.5, .9), [LEFT, RIGHT])


def test_a_place_is_one_in_the_picture_as_it_is_shown():
  # Turned clockwise by a quarter, what is stored on the left is shown above.
  assert (of(choose((.5, .2), [LEFT, RIGHT], turns=1)) == 80).all()
  assert (of(choose((.5, .75), [LEFT, RIGHT], turns=1))[:40] == 300).all()


def test_a_place_is_looked_up_at_every_span():
  pieces = [piece('a', 0, 30, 0, x=80), piece('b', 0, 30, 0, x=300),
            piece('b', 30, COUNT, 1, x=80), piece('a', 30, COUNT, 1, x=300)]
  shot = [0] * 30 + [1] * 30
  selection = choose((.2, .5), pieces, shot, spans=[(5, 10), (40, 50)])
  # From half way between the spans on it is the second's, wherever that person was before.
  assert selection.track.person.tolist() == [1] * 25 + [2] * 35
  assert of(selection).tolist() == [80] * 25 + [300] * 5 + [80] * 30
  assert (of(choose((.2, .5), pieces, shot, spans=[(5, 50)])) == [80] * 30 + [300] * 30).all()


def test_where_the_face_becomes_anothers_a_shot_ends():
  # One leaves the place, one comes to it.
  pieces = [piece('a', 0, 30, 0, x=80), piece('b', 30, COUNT, 0, x=90)]
  selection = choose((.2, .5), pieces, spans=[(0, 10), (50, 60)])
  assert np.unique(selection.track.shot[:30]).tolist() == [0]
  assert np.unique(selection.track.shot[30:]).tolist() == [1]


SHOTS = [0] * 20 + [1] * 20 + [2] * 20


def test_after_a_cut_the_person_is_known_and_another_left_alone():
  pieces = [piece('a', 0, 20, 0), piece('b', 20, 40, 1, side=90), piece('a', 40, 60, 2, x=250)]
  selection = choose(1, pieces, SHOTS)
  assert selection.track.valid.tolist() == [True] * 20 + [False] * 20 + [True] * 20
  assert face_selection.skipped(selection.track, np.ones(COUNT, bool)) == (
    (20, 40, 'another person'), )
  assert selection.choice.notes == () and [face.id for face in selection.choice.faces] == [1, 2]
  assert selection.track.person[[0, 30, 50]].tolist() == [1, -1, 1]


@pytest.mark.parametrize('rule', ['largest', 1, (.25, .5), 'speaking'])
def test_a_doubt_is_noted_and_the_rule_applied_anew(rule):
  agree = lambda times, gap, width: .9 if np.isfinite(gap[0]) else .5
  pieces = [piece('a', 0, 20, 0), piece('a?', 20, 40, 1), piece('c', 20, 40, 1, x=300, side=20),
            piece('a', 40, 60, 2)]
  selection = choose(rule, pieces, SHOTS, agree=agree)
  assert (of(selection) == 100).all()
  note = selection.choice.notes[-1]
  assert 'from 0.80 to 1.56 s it is uncertain' in note and 'face 1' in note
  assert selection.track.person[30] != selection.track.person[0]  # references are their own
  # Where nothing is to be changed nobody has to be guessed.
  assert not choose(1, pieces, SHOTS, spans=[(0, 15)]).choice.notes


def test_who_speaks_is_said_or_refused():
  def by(**scores):
    return lambda times, gap, width: scores['left' if gap[0] == 80 else 'right']
  selection = choose('speaking', [LEFT, RIGHT], agree=by(left=.3, right=.6))
  assert selection.choice.chosen == (2,)
  assert 'face 2 by 0.60, face 1 by 0.30' in selection.choice.notes[0]
  for scores, why in ((dict(left=.53, right=.6), 'about equally'),
                      (dict(left=.1, right=.0), 'no lips'),
                      (dict(left=np.nan, right=np.nan), 'no lips')):
    with pytest.raises(UserError, match=why):
      choose('speaking', [LEFT, RIGHT], agree=by(**scores))
  assert choose('speaking', [LEFT]).choice.chosen == (1,)  # of one nothing need be heard


def test_nobody_at_all():
  selection = choose('largest', [])
  assert not selection.track.valid.any() and selection.choice.faces == ()


def test_rules_are_read_or_refused():
  assert [face_selection.parse(text) for text in ('largest', 'speaking', '2', '0.25,0.4')] == [
      'largest', 'speaking', 2, (.25, .4)]
  for text in ('0', '-1', '1.5', '2,3', '300,200', 'left', '', '0.1,0.2,0.3', 'nan,0.5'):
    with pytest.raises(UserError, match='is not largest'):
      face_selection.parse(text)


def test_a_track_is_made_once_and_cannot_be_written_to():
  track = choose('largest', [LEFT, RIGHT]).track
  with pytest.raises(ValueError, match='read-only'):
    track.shot[:] = 0
  assert LEFT.track.person.tolist() == [-1] * COUNT  # who was chosen is said of the copy alone

"""Who is shown to the generator: sharp, unlike one another, never inside a span, or as asked."""

import types

import numpy as np
import pytest

from vidregen_jax.editing import reference_frames
from vidregen_jax.errors import UserError
from vidregen_jax.faces import tracks


def track(frames=60, **changes):
  rng = np.random.default_rng(0)
  fields = dict(
    times=np.arange(frames) / 25, valid=np.ones(frames, bool), filled=np.zeros(frames, bool),
    lip_gap=rng.uniform(0, 0.3, frames), mouth_width=rng.uniform(0.4, 0.6, frames),
    yaw=rng.uniform(-20, 20, frames), sharpness=np.full(frames, 5.0),
    affine=np.tile(np.float32([(200, 0, 0), (0, 200, 0)]), (frames, 1, 1)))
  return types.SimpleNamespace(**fields | changes)


NOTHING = np.zeros(60, bool)


def test_blurred_frames_frames_without_a_face_and_spans_are_left_out():
  sharp, valid, span = np.full(60, 5.0), np.ones(60, bool), NOTHING.copy()
  sharp[:18], valid[30:40], span[45:50] = 1.0, False, True
  frames = reference_frames.choose(track(sharpness=sharp, valid=valid), span, 4)
  assert len(frames) == 4
  assert (sharp[frames] == 5.0).all() and valid[frames].all()
  assert ((frames < 41) | (frames >= 54)).all()


def test_unlike_mouths_are_chosen():
  gap = np.where(np.arange(60) < 57, 0.01, 0.3)
  face = track(lip_gap=gap, mouth_width=np.full(60, 0.5), yaw=np.zeros(60))
  assert reference_frames.choose(face, NOTHING, 2).tolist()[1] == 57


def test_what_is_known_of_a_face_is_spread_over_what_is_outside_the_spans():
  span = NOTHING.copy()
  span[20:40] = True
  frames = reference_frames.variety(track(), span, 10)
  assert len(frames) == 10 and (np.diff(frames) > 0).all()
  assert frames[0] == 0 and frames[-1] == 59
  assert ((frames < 16) | (frames >= 44)).all()
  assert len(reference_frames.variety(track(), ~NOTHING, 10)) == 10
  assert len(reference_frames.variety(track(valid=NOTHING), NOTHING, 10)) == 0


def test_where_only_profiles_are_outside_a_still_is_from_inside_and_it_is_said():
  span = NOTHING.copy()
  span[20:40] = True
  yaw = np.where(span, 0.0, 55.0)
  frames = reference_frames.choose(track(yaw=yaw), span, 2)
  assert len(frames) == 2 and span[frames].all()
  assert span[reference_frames.variety(track(yaw=yaw), span, 10)].all()
  assert 'from inside' in reference_frames.doubts({1: frames}, span)[0]
  # In a span of profiles, profiles are what is wanted.
  frames = reference_frames.choose(track(yaw=np.full(60, 55.0)), span, 2)
  assert not span[frames].any() and reference_frames.doubts({1: frames}, span) == []


@pytest.mark.parametrize('worse', [
  {'sharpness': 1.0}, {'affine': np.float32([(60, 0, 0), (0, 60, 0)])}])
def test_where_the_face_is_blurred_or_far_outside_stills_are_from_inside(worse):
  span = NOTHING.copy()
  span[20:40] = True
  (name, value), = worse.items()
  values = getattr(track(), name).copy()
  values[~span] = value
  assert span[reference_frames.choose(track(**{name: values}), span, 2)].all()


def test_a_few_good_frames_outside_are_enough():
  span = NOTHING.copy()
  span[20:40] = True
  yaw = np.where(span, 0.0, 55.0)
  yaw[:10] = 5.0
  frames = reference_frames.choose(track(yaw=yaw), span, 2)
  assert (frames < 10).all()


def test_a_whole_video_and_one_without_a_face():
  assert len(reference_frames.choose(track(), ~NOTHING, 2)) == 2
  assert len(reference_frames.choose(track(valid=NOTHING), NOTHING, 2)) == 0


def test_times_that_are_asked_for():
  span = NOTHING.copy()
  span[10:20] = True
  assert reference_frames.parse('1.2, 0.04') == (1.2, 0.04)
  assert reference_frames.at((1.2, 0.04), track(), span, 2).tolist() == [1, 30]
  # A whole video has no outside.
  assert reference_frames.at((0.5,), track(), ~NOTHING, 2).tolist() == [12]
  lost = track(valid=np.arange(60) != 30)
  for seconds, face, cause in (
      ((1.0, 2.0, 0.0), track(), 'names 3 times and the model takes 2'),
      ((9.0,), track(), 'is not in the video, which is from 0.00 to 2.36'),
      ((1.2,), lost, 'no face is found there'), ((0.5,), track(), 'is inside a span')):
    with pytest.raises(UserError, match=cause):
      reference_frames.at(seconds, face, span, 2)
  with pytest.raises(UserError, match='is no list of seconds'):
    reference_frames.parse('soon')


def test_a_blurred_face_is_less_sharp(pack_folder):
  import cv2

  from vidregen_jax.media import video

  frames = [f.image for f in video.frames(sorted((pack_folder / 'test').glob('*.mp4'))[0], 0, 4)]
  frames[2] = cv2.GaussianBlur(frames[2], (0, 0), 2)
  sharp = tracks.track(frames).sharpness
  assert sharp[2] < 0.7 * sharp[[0, 1, 3]].min()

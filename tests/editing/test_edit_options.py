"""Edits of one list may differ: each run is made by its own edit's options."""

import json

import numpy as np
import pytest

import vidregen_jax
from vidregen_jax.editing import edit_options, face_selection
from vidregen_jax.errors import UserError
from vidregen_jax.media import video
from vidregen_jax.media.audio import waveform
from vidregen_jax.reporting.edit_report import EditOptions

CONSENT = 'a rendered person; nobody had to be asked'


@pytest.fixture(scope='module')
def clip(pack_folder):
  return sorted((pack_folder / 'test').glob('*.mp4'))[0]


def made(clip, model, folder, edits, audio=None):
  """The frames of an edit, uint8 [F, H, W, 3], and its report."""
  path = folder / 'edits.json'
  path.write_text(json.dumps({'edits': edits} | ({'audio': str(audio)} if audio else {})))
  report = vidregen_jax.edit(clip, edits=path, model=model, consent=CONSENT, fit_face=False,
                             page=False, overwrite=True, out=folder / 'out.mkv', lossless=True)
  return np.stack([frame.image for frame in video.frames(report.out)]), report


def test_a_mute_mouth_is_one_that_hears_nothing(tiny_model, clip, tmp_path):
  samples, rate, _ = waveform.read(clip)
  silence = tmp_path / 'silence.wav'
  waveform.write_wav(silence, np.zeros_like(samples), rate)
  span = {'start': .6, 'stop': 1.}
  mute, report = made(clip, tiny_model, tmp_path, [span | {'mute': True}])
  assert report.options == (EditOptions(mute=True), )
  silent, _ = made(clip, tiny_model, tmp_path, [span], silence)
  other, _ = made(clip, tiny_model, tmp_path, [span], clip)
  np.testing.assert_array_equal(mute, silent)
  assert (mute != other).any()


def test_each_edit_has_its_own_options(tiny_model, clip, tmp_path):
  spans = [{'start': .5, 'stop': .8}, {'start': 1.2, 'stop': 1.5}]
  plain, _ = made(clip, tiny_model, tmp_path, spans, clip)
  for own in ({'offset_ms': 120}, {'fade': 0, 'guidance': 3}):
    changed, report = made(clip, tiny_model, tmp_path, [spans[0], spans[1] | own], clip)
    differs = np.array([(a != b).any() for a, b in zip(plain, changed, strict=True)])
    times = np.arange(len(plain)) / 25
    assert differs[(times > 1.2) & (times < 1.5)].any(), own
    assert not differs[times < 1.1].any(), own
    assert len(report.options) == 2 and report.options[0] == EditOptions()


def test_frames_belong_to_the_nearest_edit():
  times = np.arange(10) / 10
  assert edit_options.owners(times, [(.1, .3), (.6, .8)]).tolist() == [0] * 5 + [1] * 5


def test_edits_that_touch_cannot_differ():
  one, other = EditOptions(fade=.1), EditOptions(fade=.2)
  assert edit_options.aligned((one, one), [(0, 2)]) == (one, )
  assert edit_options.aligned((), [(0, 2), (3, 4)]) == (EditOptions(), ) * 2
  with pytest.raises(UserError, match='leave at least a frame'):
    edit_options.aligned((one, other), [(0, 2)])


def test_an_opening_that_nothing_makes_is_refused(tiny_model, clip, tmp_path):
  with pytest.raises(UserError, match='--opening needs the fit to the face'):
    made(clip, tiny_model, tmp_path, [{'start': .5, 'stop': .8, 'opening': 1.2}], clip)


def test_every_edit_changes_the_face_that_it_names():
  """Two people beside each other: their tracks alternate, and no run reaches across."""
  def selection(person):
    values = {name: np.zeros((6, 4)) for name in ('mouth_box', )}
    fields = {field: np.full(6, person) for field in (
      'times', 'affine', 'valid', 'filled', 'score', 'yaw', 'jaw', 'lip_gap', 'mouth_width',
      'sharpness', 'confidence', 'cover', 'reason', 'person')}
    track = face_selection.face_track.Track(**values | fields, shot=np.array([0, 0, 0, 1, 1, -1]),
                                            landmarks=None)
    return face_selection.Selection(track, face_selection.edit_report.FaceChoice(
      rule=person, faces=(), chosen=(person, ), notes=()))

  both = face_selection.combined({1: selection(1), 2: selection(2)}, [1, 1, 2, 2, 1, 1])
  assert both.track.person.tolist() == [1, 1, 2, 2, 1, 1]
  assert both.track.shot.tolist() == [0, 0, 1, 3, 2, -1]
  assert both.choice.chosen == (1, 2)

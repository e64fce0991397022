"""An edit as it is by default: the bundled model, fitted to the person, and mouths shaped."""

import numpy as np
import pytest

import vidregen_jax
from vidregen_jax.compositing import jaw_line
from vidregen_jax.evaluation import lip_gap_probe, lip_sync
from vidregen_jax.faces import tracks

pytestmark = pytest.mark.fitted

SPAN = .4, 1.6


@pytest.fixture(scope='module')
def clips(pack_folder):
  return lip_sync.read_clips(pack_folder, 'test')[4:6]


@pytest.fixture(scope='module')
def jaws():
  """Those at which made faces were to end, in order, of both edits."""
  met, given = jaw_line.met, []
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jaw_line, 'met', lambda crop, points, jaw: (
      given.append(jaw), met(crop, points, jaw))[1])
    yield given


@pytest.fixture(scope='module')
def edits(clips, jaws, tmp_path_factory):
  """(report, track) by opening, of the first clip with the second one's sound."""
  folder, found = tmp_path_factory.mktemp('edits'), {}
  for opening in (1., 0.):
    out = folder / f'{opening:g}.mp4'
    report = vidregen_jax.edit(
      clips[0].path, audio=clips[1].path, spans=[SPAN], model='talkers', opening=opening,
      consent='a rendered person; nobody had to be asked', page=False, out=out)
    found[opening] = report, tracks.track_file(out)
  return found


def gaps(track):
  """Lip gaps within the span, where nothing of the real frames is blended in."""
  inside = (track.times >= SPAN[0] + .2) & (track.times < SPAN[1] - .2)
  return track.times[inside], track.lip_gap[inside]


def test_lips_open_as_the_sound_says(clips, edits):
  """As decoded, these lips are open a seventh as wide as the truth's, and follow it at .71.

  As far as their latents say, they follow it at .85: it is what is heard that they follow.
  """
  report, track = edits[1.]
  assert report.fitted.people['1'].opening == 1 and .6 < report.fitted.people['1'].manner < .9
  times, found = gaps(track)
  truth = clips[1].truth(times)
  assert lip_gap_probe.correlation(found, truth) > .9
  assert np.ptp(found) > .6 * np.ptp(truth)


def test_a_mouth_that_is_to_stay_closed_is_closed(edits):
  report, track = edits[0.]
  assert report.fitted.people['1'].opening == 0
  _, found = gaps(track)
  assert (found <= lip_sync.OPEN).all()


def test_a_made_face_ends_at_its_own_frames_jaw(clips, edits, jaws):
  (start, stop), = edits[0.][0].regenerated_frames
  own = tracks.track_file(clips[0].path).jaw
  first = next(i for i in range(start + 1) if (own[i] == jaws[0]).all())
  count = len(jaws) // 2
  assert first + count >= stop
  np.testing.assert_array_equal(jaws[:count], own[first:first + count])

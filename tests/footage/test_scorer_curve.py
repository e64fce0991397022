"""The scorer's part in offsets: what it looks at, what it hears, and how it counts."""

import dataclasses

import footage
import numpy as np
import pytest

from data.talking_faces import build, probing, scorer_curve, sync_offset, workers
from vidregen_jax.evaluation import sync_scorer
from vidregen_jax.faces import tracks
from vidregen_jax.media import video

NAME = 'test_00008'


@pytest.fixture(scope='module')
def clip():
  """(info, face, mouth, sound) of a clip that the scorer was not trained on."""
  info = video.probe(footage.PACK / 'test' / f'{NAME}.mp4')
  (piece,) = tracks.follow_parts(info, [(0, info.frame_count)]).pieces
  mouth = scorer_curve.look(info, piece, piece.start, piece.stop)
  return info, piece, mouth, probing.sound(info)


@pytest.mark.parametrize('late', [-0.4, -0.13, 0.0, 0.26])
def test_it_finds_how_late_sound_is(clip, late):
  _, _, mouth, sound = clip
  moved = dataclasses.replace(sound, start=sound.start + late)
  found = sync_offset.estimate(scorer_curve.curve(mouth, moved))
  assert abs(found.seconds - late) <= 0.04


def test_a_part_of_a_source_is_looked_at_as_in_the_whole(clip, monkeypatch):
  info, piece, whole, _ = clip
  part = scorer_curve.look(info, piece, 12, 52)
  np.testing.assert_allclose(part.times, whole.times[12:52], atol=1e-6)
  inner = slice(4, -4)
  np.testing.assert_allclose(part.vectors[inner], whole.vectors[12:52][inner], atol=1e-5)
  # Of more than is needed, the middle.
  monkeypatch.setattr(scorer_curve, '_MOST', 1.0)
  middle = scorer_curve.look(info, piece, 12, 52).times
  assert middle[-1] - middle[0] <= 1.001 and abs(middle.mean() - part.times.mean()) <= 0.04


def test_what_is_heard_elsewhere_does_not_count(clip):
  _, _, mouth, sound = clip
  rng = np.random.default_rng(0)
  bang = (rng.normal(0, 0.3, 5 * 16_000) * 32767).clip(-32767, 32767).astype(np.int16)
  curves = []
  for before in (bang, bang * 0):
    longer = np.concatenate([before, np.zeros(16_000, np.int16), sound.samples])
    curves.append(scorer_curve.curve(mouth, probing.Sound(longer, sound.start - 6.0, 1)))
  np.testing.assert_array_equal(curves[0].agreement, curves[1].agreement)
  assert curves[0].agreement.max() > 0.2


@pytest.mark.parametrize('late', [-0.3, 0.0, 0.38])
def test_both_together_are_certain_of_what_is_right(clip, late):
  _, piece, mouth, sound = clip
  moved = dataclasses.replace(sound, start=sound.start + late)
  noise = np.random.default_rng(0).normal(0, 0.1, len(sound.samples))
  noise = probing.Sound((noise * 32767).astype(np.int16), sound.start, 1)
  found, chance = (sync_offset.estimate(sync_offset.together(
    sync_offset.curve(piece.track.times, piece.track.lip_gap, piece.track.mouth_width,
                      sync_offset.prediction(sync_offset.bands(each.samples)), each.start),
    scorer_curve.curve(mouth, each))) for each in (moved, noise))
  assert found.sure and abs(found.seconds - late) <= 0.04
  assert not chance.sure and found.evidence > chance.evidence + 1


def test_without_lips_or_sound_nothing_is_said(clip):
  _, _, mouth, sound = clip
  unseen = sync_scorer.Mouth(np.zeros(0), np.zeros((0, 192), np.float32), np.zeros(0, bool))
  assert scorer_curve.curve(unseen, sound).seconds == 0
  later = dataclasses.replace(sound, start=sound.start + 100)
  assert scorer_curve.curve(mouth, later).seconds == 0
  filtered = sync_offset.Curve(np.linspace(0, 1, 121), 3.0)
  alone = sync_offset.together(filtered, scorer_curve.curve(unseen, sound))
  np.testing.assert_array_equal(alone.agreement, filtered.agreement)


def test_the_two_judges_are_summed_by_their_seconds():
  lags = np.arange(-60, 61)
  peak = lambda at, height: height * np.exp(-((lags - at) / 5) ** 2)
  filtered = sync_offset.Curve(peak(-40, 0.31) + peak(10, 0.3), 9.0)
  at = lambda seconds, height: sync_offset.estimate(
    sync_offset.together(filtered, sync_offset.Curve(peak(10, height), seconds)))
  assert sync_offset.estimate(filtered).seconds == -0.4
  assert at(9.0, 0.2).seconds == 0.1
  # The same agreement is worth half as much evidence if it is of a quarter of the seconds.
  gain = [at(seconds, 0.2).evidence - 3 * 0.3 for seconds in (9.0, 2.25)]
  assert gain[1] == pytest.approx(gain[0] / 2, rel=1e-3)


def test_workers_leave_accelerators_alone(tmp_path, monkeypatch):
  monkeypatch.setenv('JAX_PLATFORMS', 'tpu')  # there is none: it could not be opened
  worker = workers.Worker()
  try:
    worker.give(footage.job(footage.copy(tmp_path, NAME), tmp_path / 'work'))
    assert len(worker.answer()['clips']) == 1
  finally:
    worker.close()


def test_a_build_without_the_scorer_says_so(tmp_path, monkeypatch, capsys):
  footage.copy(tmp_path, NAME)
  manifest = footage.manifest(tmp_path, [(f'{NAME}.mp4', 'Ann', {})])
  monkeypatch.setattr(scorer_curve, 'SCORER', tmp_path / 'none')
  scorer_curve.digest.cache_clear()
  try:
    assert build.main(['--manifest', str(manifest), '--data_dir', str(tmp_path / 'out'),
                       '--sizes', '64', '--workers', '1']) == 2
  finally:
    scorer_curve.digest.cache_clear()
  assert 'no scorer of lip sync here' in capsys.readouterr().err
  assert not (tmp_path / 'out').exists()

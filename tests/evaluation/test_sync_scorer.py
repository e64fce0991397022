"""Mouths and sounds are compared at the same times: any frame rate, any start, with gaps.

The scorer here is one that anybody can check: its vectors are how bright a picture is, and how loud
a fifth of a second.
"""

import types
from fractions import Fraction

import av
import jax
import numpy as np
import pytest

from vidregen_jax.evaluation import sync_scorer
from vidregen_jax.faces import landmarks, mouth_view
from vidregen_jax.media import video
from vidregen_jax.media.audio import waveform
from vidregen_jax.models import sync, syncnet

RATE = 16_000
SECONDS = 4.0


class Plain:
  view = mouth_view.View(0, 0, 1, 16)
  reach, padded, limit = 1, False, 0.0

  def mouth(self, views):
    return np.array([[view.mean() / 255] for view in views], np.float32).reshape(-1, 1)

  def sound(self, samples):
    count = len(samples) // 640
    return np.abs(samples[:count * 640]).reshape(count, 640).max(1, keepdims=True)


def level(seconds):
  """Something between 0 and 1 that changes all the time."""
  return 0.5 + 0.2 * np.sin(9 * seconds) + 0.25 * np.sin(23 * seconds + 1)


def film(path, rate, begin=0.0):
  """Writes pictures as bright as `level`, and returns how a face in them would be followed."""
  rate = Fraction(rate)
  times = begin + np.arange(round((SECONDS - begin) * rate)) / float(rate)
  with av.open(str(path), 'w') as container:
    stream = container.add_stream('mpeg4', rate=rate)
    stream.width = stream.height = 64
    stream.time_base = Fraction(1, 90_000)
    stream.codec_context.bit_rate = 4_000_000
    for time in times:
      image = np.full((64, 64, 3), np.rint(255 * level(time)), np.uint8)
      frame = av.VideoFrame.from_ndarray(image, 'rgb24')
      frame.pts, frame.time_base = round(time * 90_000), Fraction(1, 90_000)
      container.mux(stream.encode(frame))
    container.mux(stream.encode())
  affine = np.tile(np.array([(64, 0, 0), (0, 64, 0)], np.float32), (len(times), 1, 1))
  return types.SimpleNamespace(times=times, affine=affine, valid=np.ones(len(times), bool),
                               shot=np.zeros(len(times), int))


def voice(path, late=0.0):
  """Writes sound whose pieces of a 25th of a second are as loud as `level` at their beginning."""
  at = np.arange(round(SECONDS * RATE)) / RATE
  tone = np.sin(2 * np.pi * 400 * at) * level(at - 0.02 - late) * 0.9
  waveform.write_wav(path, tone.astype(np.float32), RATE)


@pytest.mark.parametrize(('rate', 'late'), [('25', 0.0), ('25', 0.2), ('30000/1001', -0.24),
                                            ('50', 0.08)])
def test_the_offset_is_found_at_any_rate(tmp_path, rate, late):
  track = film(tmp_path / 'a.mp4', rate)
  voice(tmp_path / 'a.wav', late)
  found = sync_scorer.of_video(Plain(), tmp_path / 'a.mp4', tmp_path / 'a.wav', track)
  assert found.score().offset == round(late * 25)
  assert len(found.times) == round(SECONDS * 25)
  np.testing.assert_allclose(np.diff(found.times), 1 / 25)


def test_pictures_that_begin_later_than_their_sound(tmp_path):
  track = film(tmp_path / 'a.mp4', '25')
  track = types.SimpleNamespace(**vars(track) | {'valid': track.times > 0.9})
  for late in (0.0, -0.4, 0.4):
    voice(tmp_path / 'a.wav', late)
    found = sync_scorer.of_video(Plain(), tmp_path / 'a.mp4', tmp_path / 'a.wav', track)
    assert found.score().offset == round(late * 25)
    assert abs(found.times[0] - 0.92) < 1e-6
  # Sound from before the first face is there, and was heard.
  assert np.isfinite(found.values[0]).all()


def test_frames_without_a_face_and_cuts_are_unknown(tmp_path):
  track = film(tmp_path / 'a.mp4', '25')
  voice(tmp_path / 'a.wav')
  track.valid[30:40] = False
  track.shot[60:] = 1
  found = sync_scorer.of_video(Plain(), tmp_path / 'a.mp4', tmp_path / 'a.wav', track)
  known = np.isfinite(found.values).any(1)
  assert not known[30:40].any() and known[:30].all() and known[40:59].all()
  assert not known[59:61].any() and known[61:].all()  # within reach of the cut
  assert found.score(0, 1).frames == 25 and found.score(1.2, 1.6).frames == 0
  track.valid[:] = False
  assert sync_scorer.of_video(Plain(), tmp_path / 'a.mp4', tmp_path / 'a.wav',
                              track).score().frames == 0


def test_vectors_in_blocks_are_those_of_the_whole():
  config = sync.SyncConfig(size=8, stem=2, widths=(4,), audio_width=4, embedding=6, blocks=1)
  params = sync.init(config, jax.random.key(0))
  scorer = sync_scorer.Scorer(config, params, 0.0)
  rng = np.random.default_rng(0)
  views = rng.integers(0, 255, (150, 8, 8, 3)).astype(np.uint8)
  blocks, reach = scorer.mouth(views), config.reach
  whole = sync_scorer._compiled(sync.embed_mouth, config)(
    params, mouth_view.grey(views)[None])[0]
  np.testing.assert_allclose(blocks[reach:-reach], whole, atol=1e-5)
  assert np.isnan(blocks[:reach]).all() and np.isnan(blocks[-reach:]).all()
  samples = rng.normal(0, 0.1, 70_000).astype(np.float32)
  whole = sync_scorer._compiled(sync.embed_sound, config)(
    params, sync.spectrogram(samples)[None, :436])[0]
  blocks = scorer.sound(samples)
  assert blocks.shape == (109, 6)
  np.testing.assert_allclose(blocks[reach:-reach], whole, atol=1e-5)
  assert scorer.mouth(views[:3]).shape == (3, 6) and scorer.sound(samples[:100]).shape == (0, 6)


def test_syncnet_sees_every_five_frames_once_and_in_its_colours(monkeypatch):
  seen = []

  def embed(params, windows):
    seen.append(np.array(windows))
    return windows[:, :, 0, 0].reshape(len(windows), -1).astype(np.float32)

  monkeypatch.setattr(sync_scorer, '_syncnet_mouth', embed)
  monkeypatch.setattr(sync_scorer, '_syncnet_sound', lambda params, x: np.pad(
    x.reshape(len(x), -1), ((0, 0), (0, syncnet.WIDTH - 260))))
  scorer = sync_scorer.SyncNet({})
  views = np.arange(23 * 3, dtype=np.uint8).reshape(23, 1, 1, 3)
  vectors = scorer.mouth(iter(views))
  assert vectors.shape == (19, 15)
  expected = np.stack([views[i:i + 5, 0, 0, ::-1].ravel() for i in range(19)])
  np.testing.assert_array_equal(vectors, expected)
  assert len({x.shape for x in seen}) == 1  # one program
  assert scorer.mouth(iter(views[:4])).shape[0] == 0
  samples = np.random.default_rng(0).normal(0, 0.1, 50_000).astype(np.float32)
  windows = syncnet.windows(samples).reshape(-1, 260)
  np.testing.assert_array_equal(scorer.sound(samples)[:, :260], windows)


def test_views_of_crops_are_their_pixels():
  crops = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3)).astype(np.uint8)
  np.testing.assert_array_equal(mouth_view.of_crops(crops, mouth_view.mouth(8)),
                                crops[:, 8:, 4:12])
  with pytest.raises(sync_scorer.mouth_view.UserError, match='from crops of 20, not of 16'):
    mouth_view.of_crops(crops, mouth_view.mouth(10))
  affine = mouth_view.mouth(8).affine(np.array([(100, 0, 7), (0, 100, 9)]))
  np.testing.assert_allclose(affine @ (0, 0, 1), (32, 59))
  np.testing.assert_allclose(affine @ (1, 1, 1), (82, 109))


def test_the_bundled_scorer_finds_how_far_sound_was_moved(pack_folder):
  scorer = sync_scorer.load(pack_folder.parents[2] / 'checkpoints' / 'sync')
  clip = pack_folder / 'test' / 'test_00001.mp4'
  mouth = sync_scorer.look(scorer, clip)
  samples, begin = sync_scorer.read_sound(clip)
  for late in (0.0, 0.31, -0.22):
    score = sync_scorer.hear(scorer, mouth, samples, begin + late).score()
    assert abs(score.offset / 25 - late) <= 1 / 25
    assert (score.fit > scorer.limit) == (late == 0)


def test_views_of_a_video_are_those_of_its_whole_pictures(pack_folder):
  path, view = pack_folder / 'test' / 'test_00001.mp4', mouth_view.mouth(24)
  affine = np.array([[(90 + at, 5, 30), (-5, 90 + at, at - 60)] for at in range(6)], np.float32)
  affine[3] = np.nan  # where no face is
  track = types.SimpleNamespace(affine=affine)
  found = list(mouth_view.of_video(path, track, view, np.array([1, 2, 2, 5]), 7))
  images = {frame.index: frame.image for frame in video.frames(path, 7, 13)}
  expected = [landmarks.crop(images[7 + at], view.affine(affine[at]), 24) for at in (1, 2, 2, 5)]
  np.testing.assert_array_equal(found, expected)

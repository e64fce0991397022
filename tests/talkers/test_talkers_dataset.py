"""Packs of clips, their truth, and the TFDS records made of them."""

import collections
import dataclasses
import json
import sys
from fractions import Fraction

import numpy as np
import pytest

from data.talkers import make_pack, mesh, sentences, truth
from vidregen_jax import errors
from vidregen_jax.media import video, video_writer

SIZE, FRAMES = 96, 8


def _truth(clip_id='train_00000', split='train', identity=0, **changes):
  """A truth whose crop is the image's middle half."""
  random = np.random.default_rng(identity)
  affine = np.array([[SIZE / 2, 0, SIZE / 4 - 0.5], [0, SIZE / 2, SIZE / 4 - 0.5]], np.float32)
  plan = dict(
    clip_id=clip_id, split=split, language='en', voice_name='espeak:en-us', identity=identity,
    sentence='Mama.', rate='25', attempt=0,
    seed=0, size=SIZE,
  )  # fmt: skip
  fields = dict(
    plan=json.dumps(plan),
    times=np.arange(FRAMES) / 25,
    points68=random.uniform(SIZE / 4, 3 * SIZE / 4, (FRAMES, 68, 2)).astype(np.float32),
    phonemes=(('_', 0.0, 0.1), ('ˈɑː', 0.1, 0.32)),
    lip_gap=random.uniform(0, 0.2, FRAMES).astype(np.float32),
    mouth_width=np.full(FRAMES, 0.5, np.float32),
    affine=np.tile(affine, (FRAMES, 1, 1)),
    valid=np.ones(FRAMES, bool),
    mouth_box=np.tile(np.float32([0.3, 0.6, 0.7, 0.9]), (FRAMES, 1)),
    tracked_gap=random.uniform(0, 0.2, FRAMES).astype(np.float32),
  )
  return truth.Truth(**fields | changes)


@pytest.fixture
def small_pack(tmp_path):
  """Four clips: a bright square where the crop is, and a click with the fifth frame."""
  pack = tmp_path / 'pack'
  indices = dict(train=[0, 1], validation=[0], test=[0])
  image = np.full((SIZE, SIZE, 3), 40, np.uint8)
  image[SIZE // 4 : 3 * SIZE // 4, SIZE // 4 : 3 * SIZE // 4] = 200
  sound = np.zeros((1, FRAMES * 960), np.float32)
  sound[0, 4 * 960 : 4 * 960 + 240] = 0.8 * np.sin(np.arange(240) * 0.3)
  for n, split in enumerate(indices):
    (pack / split).mkdir(parents=True)
    for index in indices[split]:
      path = pack / split / f'{split}_{index:05d}.mp4'
      video_writer.write_clip(path, [image] * FRAMES, 25, sound, 24000)
      _truth(path.stem, split, 10 * n + index).save(path.with_suffix('.npz'))
  make_pack.write_index(pack, 0, SIZE, indices)
  return pack


def test_a_truth_comes_back_as_it_was_saved(tmp_path):
  saved = _truth()
  saved.save(tmp_path / 'clip.npz')
  loaded = truth.Truth.load(tmp_path / 'clip.npz')
  np.testing.assert_allclose(loaded.points68, saved.points68, atol=truth.POINT_STEP / 2)
  for field in ('times', 'lip_gap', 'affine', 'valid', 'mouth_box'):
    np.testing.assert_array_equal(getattr(loaded, field), getattr(saved, field))
  assert [p[0] for p in loaded.phonemes] == ['_', 'ˈɑː'] and loaded['sentence'] == 'Mama.'
  assert [f.name for f in tmp_path.iterdir()] == ['clip.npz']


def test_a_broken_truth_or_no_index_is_one_clear_error(tmp_path):
  (tmp_path / 'clip.npz').write_bytes(b'PK half a file')
  with pytest.raises(errors.UserError, match='no readable truth'):
    truth.Truth.load(tmp_path / 'clip.npz')
  with pytest.raises(errors.UserError, match='make_pack'):
    truth.read_index(tmp_path)


def test_plans_repeat_and_splits_share_no_person_voice_or_sentence():
  indices = make_pack.split_indices(240)
  counts = {split: len(of) for split, of in indices.items()}
  assert counts == dict(train=216, validation=16, test=32)
  plans = {s: [make_pack.draw_plan(0, s, i, 256) for i in of] for s, of in indices.items()}
  assert plans['test'][3] == make_pack.draw_plan(0, 'test', 3, 256)
  assert plans['test'][3] != make_pack.draw_plan(1, 'test', 3, 256)
  # espeak-ng's speakers are its variants; hibari's one speaker is another at another shift.
  variant = lambda plan: plan.voice.partition('+')[2] or plan.shift
  for trait in (lambda p: p.identity, variant, lambda p: p.sentence):
    sets = [{trait(plan) for plan in plans[split]} for split in sentences.SPLITS]
    assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2])
  assert {p.language for p in plans['train']} == set(sentences.GRAMMARS)
  tested = collections.Counter(p.language for p in plans['test'])
  assert tested['en'] >= 8 and len(tested) > 5
  rates = collections.Counter(Fraction(p.rate) for p in plans['train'])
  assert {Fraction(24), Fraction(25), Fraction(30), Fraction(30000, 1001)} <= set(rates)
  assert 0.3 < rates[Fraction(25)] / 216 < 0.6


def test_a_resting_mouth_is_long_at_rest_and_half_of_them_in_no_sound_at_all():
  indices = make_pack.split_indices(240, resting=20)
  talking = [make_pack.draw_plan(0, 'train', i, 256) for i in indices['train'][:-20]]
  resting = [make_pack.draw_plan(0, 'train', i, 256) for i in indices['train'][-20:]]
  rest = lambda plan: max(plan.lead, plan.tail)
  assert max(map(rest, talking)) < 0.5 and min(map(rest, resting)) > 1.3  # more than a window
  assert {plan.lead > plan.tail for plan in resting} == {True, False}
  soundless = sum(plan.hiss < -100 for plan in resting)
  assert soundless == 10 and not any(plan.hiss < -100 for plan in talking)
  assert len({plan.identity for plan in talking + resting}) == len(talking + resting)


def test_sound_begins_and_ends_with_rest_and_fills_its_frames():
  plan = dataclasses.replace(
    make_pack.draw_plan(0, 'train', 0, 256), voice='espeak:en-us+f3', language='en',
    sentence='Papa, my boat.', rate='30000/1001',
  )  # fmt: skip
  samples, rate, phonemes, frames = make_pack.sound(plan)
  duration = float(frames / Fraction(plan.rate))
  assert len(samples) == round(duration * rate)
  assert phonemes[0][0] == phonemes[-1][0] == '_' and phonemes[0][1] == 0
  assert phonemes[-1][2] == pytest.approx(duration)
  starts, stops = np.array([p[1] for p in phonemes]), np.array([p[2] for p in phonemes])
  np.testing.assert_allclose(starts[1:], stops[:-1], atol=1e-9)
  level = lambda begin, end: np.sqrt(np.mean(samples[round(begin * rate) : round(end * rate)] ** 2))
  speech_level = level(phonemes[0][2], phonemes[-1][1])
  assert level(0, phonemes[0][2] - 0.03) < 0.1 * speech_level
  assert level(phonemes[-1][1] + 0.08, duration) < 0.1 * speech_level


def test_a_lost_face_is_redrawn_and_a_finished_clip_is_kept(tmp_path, monkeypatch):
  rendered = []

  def render(plan, head, out, spoken):
    rendered.append(plan.attempt)
    (out / f'{plan.clip_id}.mp4').write_bytes(b'film')
    valid = np.ones(FRAMES, bool)
    valid[3] = plan.attempt > 0
    return _truth(plan=make_pack._as_json(plan), valid=valid)

  monkeypatch.setattr(mesh, 'load', lambda path: None)
  monkeypatch.setattr(make_pack, 'sound', lambda plan: (None, None, None, 3 * Fraction(plan.rate)))
  monkeypatch.setattr(make_pack, 'render', render)
  (tmp_path / 'test').mkdir()
  job = ('head.npz', str(tmp_path), 0, 'test', 5, 256)
  notes = make_pack.make_clip(*job)
  assert rendered == [0, 1] and notes == ['test_00005: no face in 1 of 8 frames; redrawn']
  assert make_pack.make_clip(*job) == [] and rendered == [0, 1]
  indices = dict(train=[0, 1, 2], test=list(range(6)))
  listed = make_pack.write_index(tmp_path, 0, 256, indices)['clips']
  assert [clip['clip_id'] for clip in listed] == ['test_00005']  # the finished ones
  make_pack.make_clip('head.npz', str(tmp_path), 1, 'test', 5, 256)  # another seed, another clip
  assert rendered == [0, 1, 0, 1]
  assert sorted(f.name for f in tmp_path.rglob('*.*')) == [
    'index.json', 'test_00005.mp4', 'test_00005.npz',
  ]  # fmt: skip


def test_records_hold_the_crop_the_sound_and_the_truth(small_pack, tmp_path):
  from data.talkers import talkers

  folder = talkers.build(64, tmp_path / 'tfds', small_pack)
  import tensorflow_datasets as tfds

  source = tfds.builder_from_directory(folder).as_data_source('train')
  assert 'tensorflow' not in sys.modules
  assert len(source) == 2
  record = {r['clip_id'].decode(): r for r in source}['train_00001']
  known = truth.Truth.load(small_pack / 'train' / 'train_00001.npz')
  assert record['frames'].shape == (FRAMES, 64, 64, 3) and record['frames'].dtype == np.uint8
  assert record['frames'][:, 2:-2, 2:-2].min() > 180  # the bright square fills the crop
  np.testing.assert_allclose(
    record['points68'], (known.points68 + 0.5 - SIZE / 4) / (SIZE / 2), atol=1e-5
  )
  np.testing.assert_allclose(record['times'], known.times, atol=1e-6)
  np.testing.assert_array_equal(record['lip_gap'], known.lip_gap)
  assert len(record['audio']) == round(FRAMES / 25 * 16000) and record['audio'].dtype == np.int16
  click = np.abs(record['audio'].astype(int)).argmax() / 16000
  assert click == pytest.approx(4 / 25, abs=0.015)  # with its frame, through AAC
  assert record['language'] == b'en' and record['identity'] == 1


def test_a_build_is_reused_until_the_pack_changes(small_pack, tmp_path, monkeypatch):
  from tensorflow_datasets.core import shuffle

  from data.talkers import talkers

  # A split too large for TFDS to sort in memory, which would need TensorFlow.
  monkeypatch.setattr(shuffle, 'MAX_MEM_BUFFER_SIZE', 1000)

  folder = talkers.build(64, tmp_path / 'tfds', small_pack)
  stamp = lambda: {f.name: f.stat().st_mtime_ns for f in folder.iterdir()}
  first = stamp()
  assert talkers.build(64, tmp_path / 'tfds', small_pack) == folder and stamp() == first
  (small_pack / truth.INDEX).unlink()
  make_pack.write_index(small_pack, 0, SIZE, dict(train=[0], validation=[0], test=[0]))
  talkers.build(64, tmp_path / 'tfds', small_pack)
  assert stamp() != first
  from tensorflow_datasets import builder_from_directory

  assert len(builder_from_directory(folder).as_data_source('train')) == 1


def test_wrong_sizes_and_missing_packs_are_named(tmp_path):
  from data.talkers import talkers

  with pytest.raises(errors.UserError, match='65'):
    talkers.build(65, tmp_path)
  with pytest.raises(errors.UserError, match='no such file'):
    talkers.build(64, tmp_path, tmp_path)
  with pytest.raises(errors.UserError, match='3 or more'):
    make_pack.split_indices(2)
  with pytest.raises(errors.UserError, match='train nothing'):
    make_pack.split_indices(240, 0)
  with pytest.raises(errors.UserError, match='-1 clips with a rest'):
    make_pack.split_indices(240, resting=-1)


def test_a_larger_pack_has_the_same_other_splits():
  small, large = make_pack.split_indices(240), make_pack.split_indices(240, 700)
  assert large == small | {'train': large['train']} and sum(map(len, small.values())) == 264
  assert set(small['train']) < set(large['train']) and len(large['train']) == 724


def test_the_pack_in_the_repository_is_whole_small_and_readable(pack_folder):
  clips = truth.read_index(pack_folder)['clips']
  assert sum(f.stat().st_size for f in pack_folder.rglob('*') if f.is_file()) < 25e6
  for field in ('identity', 'voice', 'sentence'):
    sets = [{c[field] for c in clips if c['split'] == s} for s in sentences.SPLITS]
    assert not (sets[0] & sets[1] or sets[0] & sets[2] or sets[1] & sets[2]), field
  agreements = [c['agreement'] for c in clips]
  assert np.median(agreements) > 0.9  # the tracker reads these mouths as a user's video will be
  for clip in clips:
    path = pack_folder / clip['split'] / clip['clip_id']
    assert truth.checksum(path.with_suffix('.mp4')) == clip['video_sha256']
    assert truth.checksum(path.with_suffix('.npz')) == clip['truth_sha256']
  known = truth.Truth.load(path.with_suffix('.npz'))
  assert known.valid.all() and len(known.times) == clip['frames']
  assert video.probe(path.with_suffix('.mp4')).frame_count == clip['frames']

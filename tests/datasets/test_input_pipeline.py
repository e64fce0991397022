import contextlib
import json
import pathlib
import types

import fake_talkers
import numpy as np
import pytest
import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from vidregen_jax.datasets import input_pipeline, shard_files
from vidregen_jax.errors import UserError
from vidregen_jax.faces import crop_mask
from vidregen_jax.models import pixels


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  return fake_talkers.build(tmp_path_factory.mktemp('data'))


def config(dataset, **changes):
  fields = dict(
    dataset=str(dataset), dataset_help='make it', num_frames=8, p_flip=0.5, p_masked=0.3,
    p_still=0.3, p_rate=0.0, p_look=0.0, num_workers=0, batch_size=4, max_bad_records=0,
    model=dict(size=16),
  )
  return ConfigDict(fields | changes)


def batches(config, seed=0, rows=None, count=6, **options):
  rows = range(config.batch_size) if rows is None else rows
  data = input_pipeline.codec_batches(config, 'train', seed, rows, lambda x: x, **options)
  with contextlib.closing(data):
    return [next(data) for _ in range(count)]


def equal(a, b):
  return all(np.array_equal(x[k], y[k]) for x, y in zip(a, b, strict=True) for k in x)


def test_a_seed_fixes_the_batches_and_another_changes_them(dataset):
  first = batches(config(dataset))
  assert equal(first, batches(config(dataset)))
  assert not equal(first, batches(config(dataset), seed=1))
  assert first[0]['frames'].shape == (4, 8, 16, 16, 3) and first[0]['frames'].dtype == np.uint8
  assert first[0]['mouth_box'].shape == (4, 8, 4)


@pytest.mark.parametrize('workers', [0, 2])
def test_beginning_at_a_place_equals_reading_on(dataset, workers):
  expected = batches(config(dataset), count=7)
  data = input_pipeline.codec_batches(config(dataset), 'train', 0, range(4), lambda x: x)
  with contextlib.closing(data):
    for _ in range(3):
      next(data)
    place = json.loads(json.dumps(data.place))
  assert place == {'batches': 3, 'bad_records': []}
  later = batches(config(dataset, num_workers=workers), place=place, count=4)
  assert equal(expected[3:], later)


@pytest.mark.parametrize('parts', [
  [[0, 1], [2, 3]],
  [[0, 2], [1, 3]],  # devices of a process need not be neighbours in the mesh
  [[3], [0, 1, 2]],
  [[0], [1], [2], [3]],
])
def test_what_several_processes_read_is_the_batch_that_one_reads(dataset, parts):
  whole = batches(config(dataset))
  for rows in parts:
    read = batches(config(dataset), rows=rows)
    assert equal([{name: x[rows] for name, x in batch.items()} for batch in whole], read)


def test_the_flags_say_what_was_done_to_the_frames(dataset):
  seen = set()
  for batch in batches(config(dataset), count=12):
    for frames, masked, still in zip(
      batch['frames'], batch['masked'], batch['still'], strict=True
    ):
      seen.add((bool(masked), bool(still)))
      assert np.array_equal(frames, np.broadcast_to(frames[:1], frames.shape)) == still
      assert np.array_equal(frames, crop_mask.hide_lower_face(frames)) == masked
  assert len(seen) == 4, 'the draw did not show all cases'


def test_plain_windows_are_the_clips_own(dataset):
  clips = input_pipeline.talker_clips(dataset, 'train', 16)
  clips = [clips[i]['frames'] for i in range(len(clips))]
  for batch in batches(config(dataset), count=3, augment=False):
    for window in batch['frames']:
      assert any(
        np.array_equal(window, clip[s : s + 8]) for clip in clips for s in range(len(clip) - 7)
      )


def test_mirroring_moves_the_box_with_the_mouth():
  frames = np.zeros((2, 16, 16, 3), np.uint8)
  frames[:, 8:12, 2:6] = 255
  box = np.tile(np.float32([2 / 16, 8 / 16, 6 / 16, 12 / 16]), (2, 1))
  flipped, moved = crop_mask.mirror(frames, box)
  x0, y0, x1, y1 = (moved[0] * 16).round().astype(int)
  assert flipped[0, y0:y1, x0:x1].min() == 255 and flipped.sum() == frames.sum()
  again, back = crop_mask.mirror(flipped, moved)
  np.testing.assert_array_equal(again, frames)
  np.testing.assert_allclose(back, box, atol=1e-7)


def test_pixels_survive_the_way_to_floats_and_back():
  values = np.arange(256, dtype=np.uint8)
  np.testing.assert_array_equal(pixels.to_uint8(pixels.to_float(values)), values)


def test_an_epoch_has_every_clip_once_and_the_next_one_another_order(dataset):
  plain = config(dataset, p_flip=0, p_masked=0, p_still=0, batch_size=5)
  clips = input_pipeline.talker_clips(dataset, 'train', 16)
  starts = [tuple(clips[i]['frames'][:, 0, 0, 0]) for i in range(len(clips))]

  def clip_of(window):
    values = tuple(window[:, 0, 0, 0])
    return next(i for i, s in enumerate(starts) for j in range(len(s)) if s[j : j + 8] == values)

  epochs = [tuple(clip_of(window) for window in batch['frames']) for batch in batches(plain)]
  assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
  assert len(set(epochs)) > 3


def test_mistakes_name_the_way_out(dataset, tmp_path):
  with pytest.raises(UserError, match=f'no dataset in {tmp_path}: make it'):
    batches(config(tmp_path))
  with pytest.raises(UserError, match='holds 16 px crops, but the model takes 64 px'):
    batches(config(dataset, model=dict(size=64)))
  with pytest.raises(UserError, match="no split 'dev'"):
    input_pipeline.talker_clips(dataset, 'dev', 16)
  with pytest.raises(UserError, match='but num_frames is 80: use --config.num_frames='):
    batches(config(dataset, num_frames=80))


def test_records_survive_packing():
  arrays = {'a': np.arange(6, dtype=np.float16).reshape(2, 3), 'empty': np.zeros((0, 4)), 'n': 3,
            'name': 'clip', 'flag': True}
  back = input_pipeline.decode_record(input_pipeline.encode_record(arrays))
  assert back['a'].dtype == np.float16 and back['empty'].shape == (0, 4)
  np.testing.assert_array_equal(back['a'], arrays['a'])
  assert (back['n'], back['name'], back['flag']) == (3, 'clip', True)


@pytest.fixture
def spoil(dataset, monkeypatch):
  """Function that changes one clip of the dataset; returns the clip's name."""
  builder = tfds.builder_from_directory(dataset)
  clips = list(builder.as_data_source('train'))
  opened = types.SimpleNamespace(info=builder.info, as_data_source=lambda split: clips)
  monkeypatch.setattr(tfds, 'builder_from_directory', lambda folder: opened)

  def spoil(**changes):
    clips[1] = clips[1] | {name: change(clips[1][name]) for name, change in changes.items()}
    return clips[1]['clip_id'].decode()

  return spoil


def box_at_frame(frame, *box):
  """Change of a clip's mouth boxes: one of them becomes this."""
  return lambda boxes: np.concatenate([boxes[:frame], np.float32([box]), boxes[frame + 1:]])


@pytest.mark.parametrize(('change', 'told'), [
  ({'mouth_box': box_at_frame(3, .25, np.nan, .7, .9)},
   r'mouth_box \(0.25, nan, 0.7, 0.9\) of frame 3 is not finite'),
  ({'mouth_box': box_at_frame(0, .25, .6, np.inf, .9)}, 'of frame 0 is not finite'),
  ({'mouth_box': box_at_frame(3, .5, .6, .5, .9)}, 'of frame 3 is empty within the crop'),
  ({'mouth_box': box_at_frame(3, .3, .6, .7, .3)}, 'of frame 3 is empty within the crop'),
  ({'mouth_box': box_at_frame(3, 1.1, .6, 1.4, .9)}, 'of frame 3 is empty within the crop'),
  ({'mouth_box': lambda boxes: 16 * boxes}, 'of frame 0 is empty within the crop'),
  ({'mouth_box': box_at_frame(3, 0, 0, 16, 16)}, 'of frame 3 is far outside the crop'),
  ({'mouth_box': lambda boxes: boxes[1:]}, 'it has [0-9]+ frames, but [0-9]+ mouth boxes'),
  ({'frames': lambda frames: frames[1:]}, 'it has [0-9]+ frames, but [0-9]+ mouth boxes'),
  ({'frames': lambda frames: frames / np.float32(255)}, 'its frames are float32, not uint8'),
])
def test_clips_that_would_spoil_a_training_are_named(dataset, spoil, change, told):
  name = spoil(**change)
  for read in (
    lambda: batches(config(dataset)),
    lambda: input_pipeline.codec_examples(config(dataset), 'train', 5),
    lambda: input_pipeline.codec_groups(config(dataset), 'train', 8, seed=0),
  ):
    with pytest.raises(UserError, match=f'^clip {name}: .*{told}.*: mend it or leave it out'):
      read()


def test_a_bad_record_gives_way_to_the_next_good_one_for_whoever_reads_it(dataset, spoil):
  good = config(dataset)
  before = batches(good, count=10, seed=3)
  name = spoil(mouth_box=lambda boxes: np.nan * boxes)
  allowed = config(dataset, max_bad_records=1)
  told = []
  after = batches(allowed, count=10, seed=3, tell=told.append)
  changed = [[row for row in range(4) if not equal([{'f': a['frames'][row]}],
                                                   [{'f': b['frames'][row]}])]
             for a, b in zip(before, after, strict=True)]
  assert 0 < sum(map(len, changed)) < 20, 'one clip of five is another now, and no other moved'
  assert len(told) == 1 and f'left out: clip {name}: the mouth_box' in told[0]
  for rows in ([0, 1], [2, 3]):
    read = batches(allowed, rows=rows, count=10, seed=3, tell=told.append)
    assert equal([{k: x[rows] for k, x in batch.items()} for batch in after], read)
  # The fits and the pictures go without it too.
  assert len(input_pipeline.codec_examples(allowed, 'train', 5)['frames']) == 5
  assert len(input_pipeline.codec_groups(allowed, 'train', 8, seed=0)) >= 8


def test_bad_records_are_counted_once_and_too_many_end_the_training(dataset, spoil):
  spoil(mouth_box=lambda boxes: np.nan * boxes)
  allowed = config(dataset, max_bad_records=1)
  read = lambda **options: input_pipeline.codec_batches(
    allowed, 'train', 0, range(4), lambda x: x, **options)
  told = []
  with contextlib.closing(read(tell=told.append)) as data:
    for _ in range(10):
      next(data)
    place = data.place
    assert place == {'batches': 10, 'bad_records': [1]} and len(told) == 1
    data.learn([1])
    with pytest.raises(UserError, match='2 records .* config.max_bad_records is 1: build'):
      data.learn([4])  # another process found one more
  # After a resumption it is known.
  with contextlib.closing(read(tell=told.append, place=place)) as data:
    for _ in range(10):
      next(data)
  assert len(told) == 1


@pytest.mark.parametrize('workers', [0, 1])
def test_damage_to_a_shard_costs_the_records_that_it_hit(tmp_path, workers):
  dataset = fake_talkers.build(tmp_path)
  shard = next(pathlib.Path(dataset).glob('*-train.array_record-*'))
  whole = shard.read_bytes()
  shard.write_bytes(whole[:1000] + bytes(40) + whole[1040:])
  with pytest.raises(UserError, match=r'record \d of train in .* cannot be read \(Corrupted'):
    batches(config(dataset, num_workers=workers), count=10)
  told = []
  batches(config(dataset, num_workers=workers, max_bad_records=2), count=10, tell=told.append)
  assert len(told) == 1
  shard.unlink()
  with pytest.raises(UserError, match=r'3 records cannot be trained on'):
    batches(config(dataset, max_bad_records=2))


def test_boxes_that_the_edge_cuts_or_that_stand_out_a_little_are_read(dataset, spoil):
  boxes = [(0, .6, .4, 1), (-.2, .6, .3, 1.1), (.8, .8, 1.4, 1.4)]
  for frame, box in enumerate(boxes):
    spoil(mouth_box=box_at_frame(frame, *box))
  shown = input_pipeline.codec_examples(config(dataset, num_frames=24), 'train', 2)
  assert shown['frames'].shape[:2] == (2, 24)


def test_latents_that_are_not_finite_are_named(tmp_path):
  record = {'clip_id': 'ann', 'flipped': False, 'target': np.zeros((2, 3), np.float16),
            'audio': np.ones((4, 2), np.float16), 'still_frames': np.arange(2)}
  for i, changes in enumerate(({}, {'target': np.float16([[0, np.inf, np.nan]])},
                               {'audio': np.float16([np.nan])})):
    with shard_files.writer(tmp_path / str(i)) as write:
      write(record | changes)
  splits = {str(i): {'files': [str(i)]} for i in range(3)}
  (tmp_path / 'dataset_info.json').write_text(json.dumps({'splits': splits}))
  read = lambda split: input_pipeline.latent_clips(tmp_path, split)[0]
  np.testing.assert_array_equal(read('0')['audio'], record['audio'])
  with pytest.raises(UserError, match='^clip ann: 2 of 3 numbers of its target are not finite in '
                                      'float16: mend the codec or the clip'):
    read('1')
  with pytest.raises(UserError, match='^clip ann: 1 of 1 numbers of its audio are not finite'):
    read('2')

import json
import types

import fake_talkers
import numpy as np
import pytest
import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from vidregen_jax import encode_latents, input_pipeline, pixels
from vidregen_jax.errors import UserError


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  return fake_talkers.build(tmp_path_factory.mktemp('data'))


def config(dataset, **changes):
  fields = dict(
    dataset=str(dataset), dataset_help='make it', num_frames=8, p_flip=0.5, p_masked=0.3,
    p_still=0.3, num_workers=0, model=dict(size=16),
  )
  return ConfigDict(fields | changes)


def batches(config, seed=0, process=(0, 1, 4), count=6, **options):
  data = input_pipeline.codec_batches(config, 'train', seed, process, lambda x: x, **options)
  out = [next(data) for _ in range(count)]
  data.close()
  return out


def equal(a, b):
  return all(np.array_equal(x[k], y[k]) for x, y in zip(a, b, strict=True) for k in x)


def test_a_seed_fixes_the_batches_and_another_changes_them(dataset):
  first = batches(config(dataset))
  assert equal(first, batches(config(dataset)))
  assert not equal(first, batches(config(dataset), seed=1))
  assert first[0]['frames'].shape == (4, 8, 16, 16, 3) and first[0]['frames'].dtype == np.uint8
  assert first[0]['mouth_box'].shape == (4, 8, 4)


def test_reading_goes_on_where_it_stopped(dataset):
  make = lambda: input_pipeline.codec_batches(
    config(dataset), 'train', 0, (0, 1, 4), lambda x: x
  )
  data = make()
  for _ in range(3):
    next(data)
  place = data.get_state()
  expected = [next(data) for _ in range(4)]
  again = make()
  again.set_state(place)
  assert equal(expected, [next(again) for _ in range(4)])
  data.close()
  again.close()


def test_the_flags_say_what_was_done_to_the_frames(dataset):
  seen = set()
  for batch in batches(config(dataset), count=12):
    for frames, masked, still in zip(
      batch['frames'], batch['masked'], batch['still'], strict=True
    ):
      seen.add((bool(masked), bool(still)))
      assert np.array_equal(frames, np.broadcast_to(frames[:1], frames.shape)) == still
      assert np.array_equal(frames, pixels.hide_lower_face(frames)) == masked
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
  flipped, moved = pixels.mirror(frames, box)
  x0, y0, x1, y1 = (moved[0] * 16).round().astype(int)
  assert flipped[0, y0:y1, x0:x1].min() == 255 and flipped.sum() == frames.sum()
  again, back = pixels.mirror(flipped, moved)
  np.testing.assert_array_equal(again, frames)
  np.testing.assert_allclose(back, box, atol=1e-7)


def test_pixels_survive_the_way_to_floats_and_back():
  values = np.arange(256, dtype=np.uint8)
  np.testing.assert_array_equal(pixels.to_uint8(pixels.to_float(values)), values)


def test_processes_see_different_clips(dataset):
  plain = config(dataset, p_flip=0, p_masked=0, p_still=0)
  clips = input_pipeline.talker_clips(dataset, 'train', 16)
  starts = [tuple(clips[i]['frames'][:, 0, 0, 0]) for i in range(len(clips))]

  def clip_of(window):
    values = tuple(window[:, 0, 0, 0])
    return next(
      i for i, s in enumerate(starts) for j in range(len(s)) if s[j : j + 8] == values
    )

  # One epoch of 5 clips: process 0 has three of them and process 1 two.
  seen = [
    {clip_of(w) for b in batches(plain, process=(p, 2, 1), count=n) for w in b['frames']}
    for p, n in ((0, 3), (1, 2))
  ]
  assert seen[0] | seen[1] == set(range(5)) and not seen[0] & seen[1]


def test_mistakes_name_the_way_out(dataset, tmp_path):
  with pytest.raises(UserError, match=f'no dataset in {tmp_path}: make it'):
    batches(config(tmp_path))
  with pytest.raises(UserError, match='holds 16 px crops, but the model takes 64 px'):
    batches(config(dataset, model=dict(size=64)))
  with pytest.raises(UserError, match="no split 'dev'"):
    input_pipeline.talker_clips(dataset, 'dev', 16)
  with pytest.raises(UserError, match='5 clips cannot be shared by 6 processes'):
    batches(config(dataset), process=(0, 6, 1))
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
    with encode_latents.shard_writer(tmp_path / str(i)) as write:
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

"""Variation keeps what belongs together together, and mixing keeps its shares."""

import contextlib

import fake_talkers
import grain
import numpy as np
import pytest
from ml_collections import ConfigDict

from vidregen_jax.datasets import input_pipeline, mixture, variation
from vidregen_jax.errors import UserError


def squares(count=6, size=64):
  """Frames with a bright square that moves, and boxes around it."""
  frames = np.full((count, size, size, 3), 40, np.uint8)
  boxes = np.zeros((count, 4), np.float32)
  for number in range(count):
    x, y = 20 + number, 24
    frames[number, y:y + 16, x:x + 20] = 200
    boxes[number] = np.array([x, y, x + 20, y + 16]) / size
  return frames, boxes


@pytest.mark.parametrize('seed', range(4))
def test_a_look_moves_boxes_with_the_picture(seed):
  frames, boxes = squares()
  look = variation.draw(np.random.default_rng(seed))
  shown, moved = variation.apply(look, frames, boxes)
  for image, box in zip(shown, moved, strict=True):
    grey = image.mean(2)
    rows, columns = np.nonzero(grey > (grey.max() + grey.min()) / 2)
    seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 64
    np.testing.assert_allclose(box, seen, atol=2 / 64)


def test_a_look_is_the_same_for_all_frames():
  frames, boxes = squares()
  look = variation.draw(np.random.default_rng(1))
  same = np.repeat(frames[:1], 3, 0)
  shown, _ = variation.apply(look, same, boxes[:3])
  assert (shown == shown[0]).all() and (shown != same).any()
  first, _ = variation.apply(look, frames[:1], boxes[:1])
  np.testing.assert_array_equal(first[0], shown[0])  # and of references apart from them


def test_another_rate_picks_the_nearest_frames_once():
  times = np.arange(50) / 25
  chosen = variation.at_rate(times, 10.0)
  np.testing.assert_allclose(times[chosen], np.arange(20) / 10, atol=0.02 + 1e-9)
  assert (np.diff(chosen) > 0).all()
  np.testing.assert_array_equal(variation.at_rate(times, 25.0), np.arange(50))


def test_a_varied_clip_keeps_frames_times_and_boxes_together():
  frames, boxes = squares(60)
  frames[:, 0, 0] = np.arange(60)[:, None]
  clip = {'clip_id': b'c', 'frames': frames, 'mouth_box': boxes, 'times': np.arange(60) / 30,
          'lip_gap': np.arange(60.0), 'audio': np.zeros(60, np.int16)}
  made = variation.varied(clip, np.random.default_rng(3), 8)
  count = len(made['times'])
  assert 8 <= count < 60 and len(made['audio']) == 60
  assert made['frames'].shape[0] == count == len(made['mouth_box'])
  np.testing.assert_allclose(made['lip_gap'] / 30, made['times'])
  assert len(variation.varied(clip, np.random.default_rng(3), 61)['times']) == 60


def test_a_mixture_has_its_shares_and_every_example():
  one, other = (grain.MapDataset.source([(name, i) for i in range(count)])
                for name, count in (('a', 3), ('b', 10)))
  mixed = mixture.mixed([one, other], [1.0, 1.0])
  drawn = [mixed[i] for i in range(len(mixed))]
  assert len(drawn) == 20 and sum(name == 'a' for name, _ in drawn) == 10
  assert set(drawn) == {('a', i) for i in range(3)} | {('b', i) for i in range(10)}
  assert all(abs(sum(name == 'a' for name, _ in drawn[:n]) - n / 2) <= 1 for n in range(20))


def test_weights_are_read_and_mistakes_named():
  assert mixture.parse('out/a:3,out/b') == [('out/a', 3.0), ('out/b', 1.0)]
  assert mixture.parse('/x/C:/y') == [('/x/C:/y', 1.0)]
  for bad in ('out/a,,out/b', 'out/a:0', ''):
    with pytest.raises(UserError, match='weights above 0'):
      mixture.parse(bad)


def test_varied_windows_of_a_mixture_resume_exactly(tmp_path):
  folder = fake_talkers.build(tmp_path)
  config = ConfigDict(dict(
    dataset=f'{folder}:2,{folder}', dataset_help='make it', num_frames=8, p_flip=0.5, p_masked=0.3,
    p_still=0.3, p_rate=0.7, p_look=0.7, num_workers=0, batch_size=4, max_bad_records=0,
    model=dict(size=16)))
  read = lambda **options: input_pipeline.codec_batches(config, 'train', 0, range(4), lambda x: x,
                                                        **options)
  with contextlib.closing(read()) as data:
    for _ in range(3):
      next(data)
    place = data.place
    expected = [next(data) for _ in range(3)]
  with contextlib.closing(read(place=place)) as later:
    for batch in expected:
      found = next(later)
      assert all(np.array_equal(batch[name], found[name]) for name in batch)

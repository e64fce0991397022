"""The benchmarks count and stream what they say."""

import collections

import cv2
import jax
import numpy as np

from bench import crop_coding, hearing, kills, sizes, streaming, sync_offsets
from data.talking_faces import sync_offset
from vidregen_jax.inference import streaming_codec
from vidregen_jax.models import codec

CONFIG = codec.CodecConfig(32, (8, 8, 8), (1, 1, 1), (1, 1, 1), (2, 1, 3), 4, latent_stages=1)


def test_sizes_counts_what_init_makes_and_what_convolutions_cost():
  found = sizes.describe(CONFIG)
  params = codec.init(CONFIG, jax.random.key(0))
  assert found['encoder_parameters'] == sum(x.size for x in jax.tree.leaves(params['encoder']))
  assert found['latent_values'] == 2 * 2 * 4
  # The encoder's convolutions, by hand: cells a frame x taps x inputs x outputs, multiply and add.
  # (XLA leaves out the taps that fall over the edge of so small a picture.)
  taps = [(64, 9, 48, 8), (64, 9 * 2 + 9, 8, 8), (64, 9, 8, 2), (16, 18, 8, 8), (16, 9, 8, 2),
          (1, 4, 8, 8), (1, 9 * 3 + 9, 8, 8), (1, 1, 8, 8)]
  work = 2 * sum(int(np.prod(each)) for each in taps)
  assert 0.6 * work < found['encoder_flops'] < 1.2 * work


def test_a_stream_that_comes_round_again_is_the_same_to_the_bit():
  params = codec.init(CONFIG, jax.random.key(0))
  sides = [side(CONFIG, params, np.zeros(4), np.ones(4))
           for side in (streaming_codec.Encoder, streaming_codec.Decoder)]
  clip = {'frames': np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3)).astype(np.uint8)}
  found = streaming.stream(*sides, streaming.loop(clip, 16), minutes=0.1)
  assert found['frames'] == 144
  assert found['largest_change'] == 0.0


def test_a_training_that_is_killed_thrice_is_the_one_that_was_not():
  found = kills.kills(3, seed=1)
  assert found['kills'] == 3 and found['batches drawn'] > 0
  assert found['differences'] == []


def test_shares_of_offsets_count_what_is_right_and_what_is_wrong_but_certain():
  def row(seconds, lead, evidence=2.0):
    offset = sync_offset.Offset(seconds, 1.0, lead, True, lead > 0.4, evidence)
    return dict.fromkeys(sync_offsets.JUDGES, offset) | {'editor': evidence}

  moved = [(0.1, row(0.1, 0.9), 2.0), (0.1, row(0.14, 0.1), 3.0), (-0.2, row(0.3, 0.8), 3.0),
           (0.0, row(0.3, 0.1), 2.0)]
  foreign = [row(0.0, 0.2, 1.0) for _ in range(100)]
  found = sync_offsets.figures(moved, foreign, [(row(0, 1), foreign[0]), (foreign[0], row(0, 1))])
  assert found['sum'] == {'right': 0.5, 'certain': 0.5, 'certain and wrong': '1 of 2',
                          'speaker': 0.5}
  assert found['the build']['certain and wrong'] == '1 of 2'
  assert found['the build']['right, certain, by seconds'] == {'0 to 2.5': [0.5, 0.5],
                                                              '2.5 to 4': [0.5, 0.5]}
  assert found['the build']["certain, another's sound"] == 0
  assert found['the build']['decided and wrong'] == '1 of 2'
  assert found['the editor'] == {'speaker': 0.5}


def test_a_piece_has_nothing_of_what_is_around_it(pack_folder):
  spent = collections.Counter()
  path = pack_folder / 'test' / 'test_00008.mp4'
  whole, first, second, *_ = sync_offsets.pieces(path, spent, [2])
  assert whole.seconds > 3 and first.seconds <= 2 and spent['minutes'] > 0.05
  assert first.times[0] == whole.times[0]
  assert abs(second.times[0] - first.times[0] - 1) <= 0.04
  assert len(first.sound.samples) == 2 * 16_000
  assert not second.mouth.known[:4].any() and second.mouth.known[4:-4].all()


def test_codings_of_crops_are_as_exact_as_they_say():
  noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
  crops = cv2.GaussianBlur(noise, (0, 0), 1.0)[None].repeat(20, 0)
  found = crop_coding.measure([{'frames': crops}] * 2, 5, 16)
  assert found['PNG']['PSNR, dB'] is None and found['WebP, lossless']['PSNR, dB'] is None
  assert 30 < found['JPEG 95, 4:4:4']['PSNR, dB'] < found['JPEG 98, 4:4:4']['PSNR, dB']
  assert found['JPEG 95, 4:4:4']['of the bytes'] < found['PNG']['of the bytes'] < 1


def test_lips_that_are_seen_two_frames_after_they_are_heard_agree_at_that_lag():
  random = np.random.default_rng(0)
  heard = random.normal(size=(80, 2))
  seen = np.roll(heard, 2, axis=0) * (.5, 2) + .1 * random.normal(size=(80, 2))
  seen[40] = np.nan  # a frame in which nobody is seen
  found = hearing.agreement(heard, seen)
  assert found['lag'] == 2 and abs(found['gap']) < .4
  assert found['gap_at_lag'] > .95 and found['width_at_lag'] > .95

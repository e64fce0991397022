"""The benchmarks count and stream what they say."""

import jax
import numpy as np

from bench import kills, sizes, streaming
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

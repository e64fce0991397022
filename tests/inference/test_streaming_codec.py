"""Whole clips through an exported codec and back, whatever their length; misuse is told."""

import fake_codec
import numpy as np
import pytest

from vidregen_jax.exports import model_folder
from vidregen_jax.inference import streaming_codec

pytestmark = pytest.mark.optimized

CELLS, CHANNELS, SIZE = 2, 4, 16


@pytest.fixture
def export(monkeypatch):
  monkeypatch.setattr(streaming_codec, 'codec', fake_codec)
  w = np.random.default_rng(0).normal(size=(3, CHANNELS)).astype(np.float32)
  params = {'encoder': {'w': w}, 'decoder': {'w': np.linalg.pinv(w)}}
  statistics = {'latent_mean': np.float32([0.1, 0, 0, 0]), 'latent_std': np.float32([2, 1, 1, 1])}
  return model_folder.Export('codec', {'size': SIZE, 'latent_channels': CHANNELS}, params,
                             statistics,
                             digest='abc')


def clips(length, batch=2):
  rng = np.random.default_rng(length)
  return rng.integers(0, 256, (batch, length, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize('length', [1, 3, 10, 33])
def test_a_tail_is_encoded_as_if_its_last_frame_stayed(export, length):
  encoder, decoder = streaming_codec.Encoder.of(export), streaming_codec.Decoder.of(export)
  frames = clips(length)
  filled = np.concatenate([frames] + (-length % 4) * [frames[:, -1:]], axis=1)
  z = encoder.stream(frames)
  assert z.shape == (2, -(-length // 4), CELLS, CELLS, CHANNELS)
  np.testing.assert_array_equal(z, encoder.stream(filled))
  assert decoder(z, length).shape == frames.shape
  np.testing.assert_array_equal(decoder(z, length), decoder(z)[:, :length])


def test_decoding_undoes_the_normalisation_and_knows_pictures_from_values(export):
  encoder, decoder = streaming_codec.Encoder.of(export), streaming_codec.Decoder.of(export)
  # The stand-in codec keeps the mean colour of a cell, and half of the one before.
  frames = np.full((1, 4, SIZE, SIZE, 3), np.uint8([0, 100, 255]))
  z = encoder.stream(frames)
  assert np.abs(z[..., 0] - z[0, 0, 0, 0, 0]).max() < 1e-6
  np.testing.assert_allclose(decoder.stream(z), frames / 127.5 - 1, atol=1e-5)
  np.testing.assert_array_equal(decoder(z), frames)


def test_frames_that_the_codec_does_not_take_are_told(export):
  encoder = streaming_codec.Encoder.of(export)
  frames = clips(4)
  with pytest.raises(ValueError, match=r'float32; the codec takes uint8.* pixels\.to_uint8'):
    encoder.stream(frames.astype(np.float32))
  with pytest.raises(ValueError, match='float64; the codec takes uint8'):
    encoder.advance(frames / 255, encoder.start(2))
  for wrong in (frames[0], frames[:, :0], frames[..., :1], frames[:, :, :8], frames[:0]):
    with pytest.raises(ValueError, match=r'have shape \[.*\]; the codec takes \[B, F, 16, 16, 3\]'):
      encoder.stream(wrong)
  with pytest.raises(ValueError, match=r'takes \[N, 16, 16, 3\]'):
    encoder.stills(frames)
  with pytest.raises(ValueError, match=r'takes \[N, 4, 16, 16, 3\]'):
    encoder.alone(clips(3))


def test_latents_that_the_codec_does_not_take_are_told(export):
  decoder = streaming_codec.Decoder.of(export)
  z = np.zeros((1, 2, CELLS, CELLS, CHANNELS), np.float32)
  for wrong in (z[0], z[:, :0], z[..., :1]):
    with pytest.raises(ValueError, match=r'the codec takes \[B, T, 2, 2, 4\]'):
      decoder(wrong)
  for frames in (0, 9):
    with pytest.raises(ValueError, match='2 latent frames, which hold 8: ask for 1 to 8'):
      decoder(z, frames)

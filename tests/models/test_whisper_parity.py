"""The spectrogram and the encoder agree with transformers, which is not a dependency."""

import pathlib

import numpy as np
import pytest

from vidregen_jax.models import log_mel, whisper

transformers = pytest.importorskip('transformers')


def _speechlike(seconds):
  """A voiced buzz with a moving pitch, pauses and a little noise, float32 at 16 kHz."""
  rng = np.random.default_rng(0)
  time = np.arange(round(seconds * log_mel.SAMPLE_RATE)) / log_mel.SAMPLE_RATE
  phase = 2 * np.pi * np.cumsum(140 + 40 * np.sin(2.1 * time)) / log_mel.SAMPLE_RATE
  buzz = sum(np.sin(k * phase) / k for k in range(1, 20))
  syllables = np.maximum(np.sin(2 * np.pi * 3.1 * time), 0) * (np.sin(0.9 * time) > -0.7)
  return (0.2 * buzz * syllables + 1e-3 * rng.standard_normal(time.size)).astype(np.float32)


@pytest.mark.parametrize('mel_bins', [80, 128])
@pytest.mark.parametrize('seconds', [30, 7.3])
def test_log_mel_equals_the_extractor_of_transformers(mel_bins, seconds):
  samples = _speechlike(seconds)
  extractor = transformers.WhisperFeatureExtractor(feature_size=mel_bins)
  theirs = extractor(samples, sampling_rate=16_000, return_tensors='np').input_features[0]
  ours = log_mel.log_mel(samples, mel_bins, window_seconds=30)
  assert ours.shape == theirs.shape
  # Cells span 2; both sides compute in float32 and the logarithm magnifies the quietest cells'
  # rounding. Measured: 2.5e-5.
  np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_hidden_states_equal_those_of_transformers(whisper_folder: pathlib.Path):
  torch = pytest.importorskip('torch')
  config, params = whisper.load(whisper_folder)
  mel = log_mel.log_mel(_speechlike(30), window_seconds=30)[None]
  model = transformers.WhisperModel.from_pretrained(whisper_folder, dtype=torch.float32).eval()
  with torch.no_grad():
    theirs = model.encoder(torch.from_numpy(mel), output_hidden_states=True).hidden_states
  theirs = np.stack([state.numpy() for state in theirs], axis=2)
  ours = np.asarray(whisper.encode(config, params, mel))
  assert ours.shape == theirs.shape == (1, 1500, config.layers + 1, config.width)
  # A few channels of the later blocks reach 500, where float32 itself resolves 3e-5.
  np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-3)

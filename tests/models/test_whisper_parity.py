"""The spectrogram and the encoder give what transformers' do (`goldens/make.py`)."""

import numpy as np
import parity
import pytest

from vidregen_jax.models import log_mel, whisper

pytestmark = pytest.mark.optimized


@pytest.mark.parametrize('mel_bins', parity.MEL_BINS)
@pytest.mark.parametrize('seconds', parity.SOUNDS)
def test_log_mel_equals_the_extractor_of_transformers(mel_bins, seconds):
  ours = log_mel.log_mel(parity.voice(seconds), mel_bins, window_seconds=30)
  assert ours.shape == (mel_bins, 3000)
  theirs = parity.golden('whisper')[f'mel_{mel_bins}_{seconds}']
  # Cells span 2; both sides compute in float32 and the logarithm magnifies the quietest cells'
  # rounding. Measured: 2.5e-5.
  np.testing.assert_allclose(ours[:, ::parity.COLUMNS], theirs, atol=1e-4)


def test_hidden_states_equal_those_of_transformers(whisper_folder):
  config, params = whisper.load(whisper_folder)
  mel = log_mel.log_mel(parity.voice(30), window_seconds=30)[None]
  ours = np.asarray(whisper.encode(config, params, mel))
  assert ours.shape == (1, 1500, config.layers + 1, config.width)
  # A few channels of the later blocks reach 500, where float32 itself resolves 3e-5.
  np.testing.assert_allclose(ours[0, ::parity.TIMES, :, ::parity.STATES],
                             parity.golden('whisper')['states'], rtol=1e-4, atol=2e-3)

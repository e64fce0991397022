"""The spectrogram is in its place in time and pitch."""

import numpy as np
import pytest

from vidregen_jax.models import log_mel


def _noise(seconds, seed=0):
  return 0.1 * np.random.default_rng(seed).standard_normal(
    round(seconds * log_mel.SAMPLE_RATE)
  ).astype(np.float32)


def test_a_click_lights_the_column_of_its_time():
  samples = np.zeros(16_000, np.float32)
  samples[160 * 40] = 1
  mel = log_mel.log_mel(samples)
  assert mel.shape == (80, 100)
  assert mel.mean(0).argmax() == 40


def test_a_tone_lights_the_row_of_its_pitch():
  # 1 kHz is mel 15 of 45.245 on Slaney's scale: row 15 / 45.245 * 81 - 1 = 25.9 of 80.
  samples = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
  assert log_mel.log_mel(samples).mean(1).argmax() == 26


def test_each_mel_filter_has_unit_area():
  # In hertz. Only filters much wider than a bin of 40 Hz are sampled well enough to say so.
  area = log_mel._mel_filters(80)[:, 50:].sum(0) * 40
  np.testing.assert_allclose(area, 1, atol=0.02)


def test_a_window_is_padded_with_silence():
  samples = _noise(1)
  padded = log_mel.log_mel(samples, window_seconds=2)
  by_hand = log_mel.log_mel(np.concatenate([samples, np.zeros_like(samples)]))
  np.testing.assert_array_equal(padded, by_hand)
  with pytest.raises(ValueError, match='16000 samples are more than a window of 0.5 s'):
    log_mel.log_mel(samples, window_seconds=0.5)
  with pytest.raises(ValueError, match='one channel'):
    log_mel.log_mel(samples[None])

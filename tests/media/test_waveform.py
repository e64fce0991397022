"""Sound outside the span is untouched, and the model hears what was said without aliases."""

from fractions import Fraction

import av
import numpy as np
import pytest

from vidregen_jax import errors
from vidregen_jax.media import video_writer
from vidregen_jax.media.audio import waveform


def tone(frequency: float, seconds: float, rate: int) -> np.ndarray:
  phase = 2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate
  return np.sin(phase).astype(np.float32)


def test_wav_comes_back_bit_for_bit(tmp_path):
  samples = np.random.default_rng(0).integers(-32768, 32768, (2, 4410)).astype(np.float32) / 32768
  waveform.write_wav(tmp_path / 'a b.wav', samples, 44_100)
  read, rate, start = waveform.read(tmp_path / 'a b.wav')
  np.testing.assert_array_equal(read, samples)
  assert (read.dtype, rate, start) == (np.float32, 44_100, 0)


@pytest.mark.parametrize('rate', [8_000, 16_000, 22_050, 44_100, 48_000])
def test_mono_16k_keeps_speech_in_its_place(rate):
  stereo = np.stack([tone(440, 1, rate), np.zeros(rate, np.float32)])
  heard = waveform.mono_16k(stereo, rate)
  assert heard.dtype == np.float32
  assert heard.shape == (16_000,)
  inside = slice(800, -800)  # away from the ends, where the filter sees silence
  np.testing.assert_allclose(heard[inside], tone(440, 1, 16_000)[inside] / 2, atol=2e-3)


def test_mono_16k_does_not_alias():
  heard = waveform.mono_16k(tone(11_000, 1, 44_100), 44_100)
  # Without a filter it would be a tone of 5 kHz at full strength.
  assert np.abs(heard[800:-800]).max() < 1e-3


@pytest.mark.parametrize('patch_rate', [16_000, 22_050, 44_100])
@pytest.mark.parametrize('patch_channels', [1, 2])
@pytest.mark.parametrize('longer', [-.1, 0, .25])
def test_splice_changes_the_span_alone(patch_rate, patch_channels, longer):
  rate = 44_100
  samples = np.random.default_rng(0).normal(0, .1, (2, rate)).astype(np.float32)
  before = samples.copy()
  patch = np.stack([tone(300, .3 + longer, patch_rate)] * patch_channels)
  result = waveform.splice(samples, rate, patch, patch_rate, .4, .7)
  begin, end = round(.4 * rate), round(.7 * rate)
  np.testing.assert_array_equal(samples, before)
  np.testing.assert_array_equal(result[:, :begin], samples[:, :begin])
  np.testing.assert_array_equal(result[:, result.shape[1] - (rate - end):], samples[:, end:])
  assert result.dtype == np.float32
  assert abs(result.shape[1] - (1 + longer) * rate) <= rate / patch_rate + 1
  middle = np.arange(begin + 1000, begin + 8000)
  expected = np.sin(2 * np.pi * 300 * (middle - begin) / rate)
  np.testing.assert_allclose(result[:, middle], [expected] * 2, atol=3e-3)


def test_splice_does_not_click():
  rate = 16_000
  samples = np.full((1, rate), .5, np.float32)
  result = waveform.splice(samples, rate, np.full(4000, -.5, np.float32), rate, .25, .5)
  # A jump of 1 over 5 ms is a step of 1/80 per sample.
  assert np.abs(np.diff(result)).max() < 2 / 80
  assert result[0, 6000] == -.5


def test_splice_can_insert_and_cut():
  samples = np.arange(100, dtype=np.float32)[None]
  inserted = waveform.splice(samples, 100, np.full(10, -1., np.float32), 100, .5, .5)
  np.testing.assert_array_equal(inserted[0, 50:60], -1)
  assert inserted.shape == (1, 110)
  cut = waveform.splice(samples, 100, np.zeros(0, np.float32), 100, .2, .5)
  np.testing.assert_array_equal(cut[0], np.r_[0:20, 50:100])
  with pytest.raises(errors.UserError, match='does not lie'):
    waveform.splice(samples, 100, np.zeros(5, np.float32), 100, .5, 1.2)


def test_missing_packets_are_silence(tmp_path):
  """What follows a hole stays in its place."""
  rate, path = 16_000, tmp_path / 'holes.mkv'
  burst = tone(500, .5, rate)[None]
  with av.open(str(path), 'w') as container:
    stream = container.add_stream('pcm_s16le', rate=rate, layout='mono')
    for start in (0, rate):
      frame = av.AudioFrame.from_ndarray(np.int16(burst * 20_000), 's16', 'mono')
      frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
  read, _, _ = waveform.read(path)
  assert read.shape == (1, rate + burst.shape[1])
  assert not read[0, burst.shape[1]:rate].any()
  np.testing.assert_array_equal(read[0, rate:], read[0, :burst.shape[1]])


def test_mistakes_are_named(tmp_path):
  video_writer.write_clip(tmp_path / 'silent.mp4', [np.zeros((32, 32, 3), np.uint8)], 25)
  with pytest.raises(errors.UserError, match='has no soundtrack'):
    waveform.read(tmp_path / 'silent.mp4')
  with pytest.raises(errors.UserError, match='no such file'):
    waveform.read(tmp_path / 'none.wav')

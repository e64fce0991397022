"""A latent frame hears the states of its own time, at any frame rate."""

import numpy as np
import pytest

from vidregen_jax.models import audio_timeline


def _ramp(seconds):
  """Features whose value is their own time; two layers, the second one negative."""
  time = np.arange(round(seconds * 50), dtype=np.float32) / 50
  return time[:, None, None] * np.array([1, -1], np.float32)[:, None]


def test_a_latent_frame_at_25_fps_hears_every_20_ms():
  heard = audio_timeline.sample_at(_ramp(2), np.arange(8) / 25, 1 / 25)
  assert heard.shape == (2, 16, 2, 1)
  np.testing.assert_allclose(heard[1, :, 0, 0], 0.16 + 0.02 * np.arange(-4, 12), atol=1e-6)
  np.testing.assert_allclose(heard[:, :, 1], -heard[:, :, 0])


@pytest.mark.parametrize('rate', [25, 30000 / 1001, 60])
def test_frames_are_heard_at_their_start_and_middle(rate):
  times = 0.5 + np.arange(12) / rate
  heard = audio_timeline.sample_at(_ramp(2), times, np.full(12, 1 / rate))[..., 0, 0]
  np.testing.assert_allclose(heard[:, 4:12:2].ravel(), times, atol=1e-6)
  np.testing.assert_allclose(heard[:, 5:12:2].ravel(), times + 0.5 / rate, atol=1e-6)
  steps = np.tile([0.02, 0.04, 0.06, 0.08], (3, 1))
  np.testing.assert_allclose(heard[:, 4:5] - heard[:, 3::-1], steps, atol=1e-6)
  np.testing.assert_allclose(heard[:, 12:] - heard[:, 11:12], steps, atol=1e-6)


def test_variable_frame_times_are_heard_where_they_are():
  times, durations = np.array([0.5, 0.52, 0.6, 0.61]), np.array([0.02, 0.08, 0.01, 0.2])
  heard = audio_timeline.sample_at(_ramp(2), times, durations)[0, 4:12, 0, 0]
  np.testing.assert_allclose(
    heard, [0.5, 0.51, 0.52, 0.56, 0.6, 0.605, 0.61, 0.71], atol=1e-6
  )


def test_past_the_ends_of_the_audio_its_ends_are_heard():
  heard = audio_timeline.sample_at(_ramp(1), np.arange(-20, 60) / 25, 1 / 25)[..., 0, 0]
  assert heard.min() == 0
  assert heard.max() == np.float32(0.98)
  assert (heard[0] == 0).all()
  assert (heard[-1] == np.float32(0.98)).all()


def test_frames_that_fill_no_latent_frame_are_refused():
  with pytest.raises(ValueError, match='a latent frame is 4 frames'):
    audio_timeline.sample_at(_ramp(1), np.arange(6) / 25, 1 / 25)
  with pytest.raises(ValueError, match='no audio features'):
    audio_timeline.sample_at(_ramp(0), np.arange(4) / 25, 1 / 25)


@pytest.mark.parametrize('rate', [20, 25, 59.94])
@pytest.mark.parametrize('sizes', [[300], [1] * 300, [7, 90, 3, 200]])
def test_states_that_come_bit_by_bit_are_sampled_the_same(rate, sizes):
  states = np.random.default_rng(0).normal(size=(300, 2, 3)).astype(np.float32)
  begins = np.cumsum([0, *sizes[:-1]])
  read = []

  def coming():
    for begin, size in zip(begins, sizes, strict=True):
      read.append(begin)
      yield states[begin:begin + size]
  # From before the first state to past the last, with a frame that is shown for a second.
  times = -0.2 + np.arange(100) / rate + (np.arange(100) > 60)
  durations = np.diff(times, append=times[-1] + 1 / rate)
  count = 300 * audio_timeline.SAMPLES_PER_STATE - 5
  made = audio_timeline.sample_stream(coming(), count, times, durations)
  first = next(made)
  assert len(read) <= 10 or len(sizes) < 10  # no further than the frame listens
  np.testing.assert_array_equal(np.stack([first, *made]),
                                audio_timeline.sample_at(states, times, durations))

"""The offset of sound is told from lips, and doubts are told too."""

import numpy as np
import pytest

from data.talkers import truth
from data.talking_faces import sync_offset
from vidregen_jax.media.audio import waveform

NAMES = ('test_00005', 'test_00008', 'validation_00001')


def clip(pack_folder, name):
  """(times, gaps, widths, samples at 16 kHz) of a clip that the filter was not fitted on."""
  path = pack_folder / name.partition('_')[0] / name
  known = truth.Truth.load(path.with_suffix('.npz'))
  samples, rate, _ = waveform.read(path.with_suffix('.mp4'))
  gap = np.where(known.valid, known.tracked_gap, np.nan)
  return known.times, gap, known.mouth_width, waveform.mono_16k(samples, rate)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('late', [-0.4, -0.11, 0.0, 0.27])
def test_sound_that_is_late_or_early_is_found_to_a_frame(pack_folder, name, late):
  times, gap, width, samples = clip(pack_folder, name)
  predicted = sync_offset.prediction(sync_offset.bands(samples))
  found = sync_offset.estimate(sync_offset.curve(times, gap, width, predicted, late))
  assert abs(found.seconds - late) <= 0.04
  # The sound's own start may say the same as silence before it does.
  if late > 0:
    later = np.concatenate([np.zeros(round(late * 16_000), np.float32), samples])
    predicted = sync_offset.prediction(sync_offset.bands(later))
    same = sync_offset.estimate(sync_offset.curve(times, gap, width, predicted, 0.0))
    assert abs(same.seconds - found.seconds) <= 0.02


def test_unrelated_sound_is_not_believed(pack_folder):
  times, gap, width, _ = clip(pack_folder, NAMES[0])
  noise = np.random.default_rng(0).normal(0, 0.1, 16_000 * 4).astype(np.float32)
  still = np.full_like(width, 0.5)
  predicted = sync_offset.prediction(sync_offset.bands(noise))
  assert not sync_offset.estimate(sync_offset.curve(times, gap, width, predicted, 0.0)).sure
  none = sync_offset.estimate(sync_offset.curve(times, np.zeros_like(gap), still, predicted, 0.0))
  assert not none.sure and not none.moves
  nothing = sync_offset.curve(times, gap * np.nan, width, predicted, 0.0)
  assert nothing.seconds == 0 and not sync_offset.estimate(nothing).sure


def test_bands_of_a_long_sound_are_those_of_its_pieces():
  samples = np.random.default_rng(0).normal(0, 0.1, 16_000 * 31).astype(np.float32)
  whole = sync_offset.bands(samples)
  assert whole.shape == (3100, 16)
  np.testing.assert_allclose(sync_offset.bands(samples[16_000 * 28:])[50:250],
                             whole[2850:3050], atol=1e-3)


def test_mouths_of_one_source_are_believed_together():
  lags = np.arange(-60, 61)
  peak = lambda at, height: height * np.exp(-((lags - at) / 5) ** 2)
  wrong = sync_offset.Curve(peak(10, 0.3) + peak(-40, 0.31), 3.0)
  right = sync_offset.Curve(peak(10, 0.3) + peak(30, 0.29), 3.0)
  assert sync_offset.estimate(wrong).seconds == -0.4
  together = sync_offset.estimate(sync_offset.pooled([wrong, right]))
  assert together.seconds == 0.1 and together.lead > 0.1

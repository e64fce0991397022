"""Mel-frequency cepstra as SyncNet was trained on: those of python_speech_features 0.6.

The steps are those of Davis and Mermelstein (1980): pre-emphasis, power spectra of 25 ms every
10 ms, log energies in mel bands, a cosine transform. Constants and rounding are that package's:
rectangular windows, whole FFT bins as corners of the bands, sinusoidal liftering, and the log
energy of the frame in the place of the first coefficient.
"""

import numpy as np
from scipy import fft

SAMPLE_RATE = 16_000
HOP = 160  # samples between two frames
COEFFICIENTS = 13
_LENGTH, _FFT, _BANDS = 400, 512, 26
_PREEMPHASIS, _LIFTER = 0.97, 22
_EPSILON = np.finfo(float).eps  # stands for an energy of 0


def _bands():
  """Triangles in FFT bins, evenly wide in mel (2595 log10(1 + f / 700)), [257, 26]."""
  top = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
  hertz = 700 * (10 ** (np.linspace(0, top, _BANDS + 2) / 2595) - 1)
  corners = np.floor((_FFT + 1) * hertz / SAMPLE_RATE)
  low, centre, high = corners[:-2], corners[1:-1], corners[2:]
  bins = np.arange(_FFT // 2 + 1)[:, None]
  rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
  return np.where(bins < centre, np.maximum(rising, 0), np.maximum(falling, 0))


def mfcc(samples) -> np.ndarray:
  """The cepstra of a sound.

  Args:
    samples: [n], mono, 16 kHz, on the scale of 16-bit integers.

  Returns:
    float64 [T, 13], T = 1 + ceil((n - 400) / 160); what lies beyond the end is zero.
  """
  samples = np.asarray(samples, np.float64)
  signal = np.concatenate([samples[:1], samples[1:] - _PREEMPHASIS * samples[:-1]])
  count = 1 + max(-(-(len(signal) - _LENGTH) // HOP), 0)
  signal = np.pad(signal, (0, (count - 1) * HOP + _LENGTH - len(signal)))
  frames = np.lib.stride_tricks.sliding_window_view(signal, _LENGTH)[::HOP]
  power = np.abs(np.fft.rfft(frames, _FFT)) ** 2 / _FFT
  positive = lambda x: np.where(x == 0, _EPSILON, x)
  log = np.log(positive(power @ _bands()))
  cepstra = fft.dct(log, type=2, axis=1, norm='ortho')[:, :COEFFICIENTS]
  cepstra *= 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / _LIFTER)
  cepstra[:, 0] = np.log(positive(power.sum(1)))
  return cepstra

"""Finds who is speaking: whose lips move with the sound."""

import numpy as np
from scipy import ndimage, signal

from vidregen_jax.media.audio import lazy

_RATE = 100  # samples per second of the common clock on which lips and sound are compared
_BAND = (500.0, 2500.0)  # Hz, of vowels; a hiss is just as loud behind closed teeth
_QUIET = 1e-5  # of the loudest moment's energy: less is silence
_CALM = (0.04, 0.06)  # seconds of smoothing, of lips and energy, and of the lips' speed
_SLOW = 0.8  # seconds; slower changes show that somebody speaks, but not who
_LAG = 0.2  # seconds by which the sound may be early or late
_STEP = 0.04
_KNOWN = 0.1  # seconds to the nearest frame with visible lips
_CHUNK = 30  # seconds filtered at a time


def loudness(samples: np.ndarray | lazy.Sound, rate: int) -> np.ndarray:
  """The log energy in the band of vowels, 100 times per second.

  Args:
    samples: float32 [channels, n]; a Sound is read in pieces. Only its voice is used.
    rate: per second.

  Returns:
    float64 [n / rate * 100].
  """
  band = (_BAND[0], min(_BAND[1], 0.45 * rate))
  filters = signal.butter(4, band, 'band', fs=rate, output='sos')
  state, energies = np.zeros((len(filters), 2)), []
  voice = lazy.voice(samples if isinstance(samples, lazy.Sound) else lazy.Samples(samples, rate))
  for start in range(0, samples.shape[1], _CHUNK * rate):
    part = voice[:, start:start + _CHUNK * rate][0].astype(np.float64)
    part, state = signal.sosfilt(filters, part, zi=state)
    edges = np.arange(len(part) * _RATE // rate) * rate // _RATE
    if len(edges):
      energies.append(np.add.reduceat(part**2, edges) / rate)
  energy = np.concatenate(energies) if energies else np.zeros(0)
  energy = np.log(energy + max(_QUIET * energy.max(initial=0.0), 1e-12))
  return ndimage.gaussian_filter1d(energy, _CALM[0] * _RATE)


def agreement(times, lip_gap, mouth_width, loud, start) -> float:
  """How well a mouth's opening and its speed correlate with loudness.

  Changes slower than the rhythm of speech are removed from both first.

  Args:
    times: seconds [F], ascending.
    lip_gap, mouth_width: [F]; nan where unknown.
    loud: from `loudness`.
    start: seconds of its first value.

  Returns:
    The mean of the two correlations at the best lag; nan if lips and sound overlap for less than a
    second, or if either never changes.
  """
  times = np.asarray(times, np.float64)
  finite = np.isfinite(lip_gap) & np.isfinite(mouth_width)
  if finite.sum() < 3:
    return float('nan')
  when = times[finite]
  clock = np.arange(when[0], when[-1], 1 / _RATE)
  place = np.clip(np.searchsorted(when, clock), 1, len(when) - 1)
  near = np.minimum(clock - when[place - 1], when[place] - clock) <= _KNOWN
  calm = lambda x, seconds: ndimage.gaussian_filter1d(x, seconds * _RATE)
  gap, width = (calm(np.interp(clock, when, np.asarray(x, np.float64)[finite]), _CALM[0])
                for x in (lip_gap, mouth_width))
  if len(clock) < 2:
    return float('nan')
  speed = calm(np.hypot(np.gradient(gap), np.gradient(width)), _CALM[1])
  brisk = lambda x: x - calm(x, _SLOW)
  moves, loud, best = [brisk(gap), brisk(speed)], brisk(np.asarray(loud)), float('nan')
  for lag in np.arange(-_LAG, _LAG + 1e-9, _STEP):
    at = np.rint((clock + lag - start) * _RATE).astype(int)
    both = near & (at >= 0) & (at < len(loud))
    energy = loud[at[both]]
    if both.sum() < _RATE or energy.std() < 1e-6 or min(x[both].std() for x in moves) < 1e-9:
      continue
    best = np.fmax(best, np.mean([np.corrcoef(x[both], energy)[0, 1] for x in moves]))
  return float(best)

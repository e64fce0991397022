"""Smooths a face's place over time: fills gaps, drops outliers, removes jitter.

A face's place is its `landmarks.similarity`: real and imaginary part of a scale, mean x, mean y.
"""

from collections.abc import Sequence

import numpy as np

MAX_GAP = 8  # frames
_SIGMA_SECONDS = .08  # the kernel's standard deviation: 2 frames at 25 per second


def jumps(before: np.ndarray, after: np.ndarray) -> np.ndarray:
  """Whether a face moved too far from one frame to the next: it is a cut, or another face."""
  side, other = np.hypot(*before[..., :2].T), np.hypot(*after[..., :2].T)
  moved = np.hypot(*(after - before)[..., 2:].T)
  return (moved > .35 * side) | (other > 1.3 * side) | (side > 1.3 * other)


def fill_gaps(present: np.ndarray, empty: np.ndarray, times: np.ndarray, similarity: np.ndarray,
               values: Sequence[np.ndarray]) -> np.ndarray:
  """Interpolates short gaps of `similarity` and `values` in place; returns which, bool [F].

  A gap is left alone if the face is elsewhere after it, or if an image in it is blank.
  """
  filled = np.zeros_like(present)
  frames = np.flatnonzero(present)
  for before, after in zip(frames[:-1], frames[1:], strict=True):
    if not 1 < after - before <= MAX_GAP + 1 or jumps(similarity[before], similarity[after]):
      continue
    gap = np.arange(before + 1, after)
    if empty[gap].any():
      continue
    share = (times[gap] - times[before]) / (times[after] - times[before])
    for array in (similarity, *values):
      weight = share.reshape(-1, *[1] * (array.ndim - 1))
      array[gap] = (1 - weight) * array[before] + weight * array[after]
    filled[gap] = True
  return filled


def smooth(times: np.ndarray, values: np.ndarray, tolerance: float) -> np.ndarray:
  """Smooths one continuous stretch, symmetrically in time and so without lag.

  A parabola is fitted around every moment with Gaussian weights in seconds (Savitzky and Golay's
  filter, for uneven times). Outliers have no weight.

  Args:
    times: [N] seconds.
    values: [N, K].
    tolerance: the least deviation of an outlier, in the values' unit.
  """
  out = _standing_out(times, values)
  trusted = out <= max(tolerance, 4 * 1.4826 * float(np.median(out)))
  smoothed = np.empty_like(values)
  for i, now in enumerate(times):
    low, high = np.searchsorted(times, (now - 3 * _SIGMA_SECONDS, now + 3 * _SIGMA_SECONDS))
    near = np.arange(low, high)[trusted[low:high]]
    if not len(near):
      smoothed[i] = values[i]
      continue
    when = (times[near] - now) / _SIGMA_SECONDS
    powers = when[:, None] ** np.arange(1 + min(2, (len(near) - 1) // 2))
    weight = np.exp(-.25 * when**2)[:, None]  # squared by the fit
    # lstsq, as frames with equal times, which occur in broken files, leave the fit undetermined.
    smoothed[i] = np.linalg.lstsq(weight * powers, weight * values[near])[0][0]
  return smoothed


def _standing_out(times: np.ndarray, values: np.ndarray) -> np.ndarray:
  """Distance of each frame from the lines through its neighbours at 1, 2 and 3 frames, float [N].

  The least of the three counts: next to an outlier only one of the lines is wrong.
  """
  count = len(times)
  least = np.full(count, np.inf)
  for step in range(1, min(3, (count - 1) // 2) + 1):
    before, at, after = (slice(k, count - 2 * step + k) for k in (0, step, 2 * step))
    apart = np.maximum(times[after] - times[before], 1e-9)  # equal times occur in broken files
    share = ((times[at] - times[before]) / apart)[:, None]
    line = (1 - share) * values[before] + share * values[after]
    least[at] = np.minimum(least[at], np.abs(values[at] - line).max(1))
  return np.where(np.isfinite(least), least, 0)


def stretches(present: np.ndarray, similarity: np.ndarray) -> list[slice]:
  """Runs of frames with a face that does not jump."""
  frames = np.flatnonzero(present)
  if not len(frames):
    return []
  breaks = (np.diff(frames) > 1) | jumps(similarity[frames[:-1]], similarity[frames[1:]])
  runs = np.split(frames, np.flatnonzero(breaks) + 1)
  return [slice(int(run[0]), int(run[-1]) + 1) for run in runs]

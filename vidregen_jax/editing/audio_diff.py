"""Finds where two soundtracks differ: the spans in which the picture must change."""

import numpy as np
from scipy import ndimage

from vidregen_jax.media.audio import lazy
from vidregen_jax.media.timeline.spans import stretches

# Soundtracks are compared below 4 kHz, where speech is voiced and lossy coding changes least.
_RATE = 8_000
_STEP = 80  # samples between windows
_WINDOW = 160  # samples in a window
_AT_ONCE = 4096  # windows, 41 s
# A window differs if its residual exceeds this share of the louder sound's level. Lossy coding
# leaves a residual of 0.1 to 0.2, another word one of 1 or more.
_DIFFERENT = 0.5
_FLOOR = 10 ** (-60 / 20)  # anything quieter counts as silence
_CLOSE = 0.15  # seconds; differences closer together are merged
_SHORT = 0.04  # seconds; shorter differences are clicks, and ignored
_HEARD = 30  # seconds of sound that are searched for a lag
_LATEST = 0.5  # seconds; the longest lag that is found
_SAME = 0.5  # correlation above which two sounds are the same apart from a lag


MARGIN = 0.12  # seconds


def find(old, new, rate, margin=MARGIN):
  """Spans in which two soundtracks differ, regardless of a change in overall level.

  Args:
    old, new: float32 [n] and [m], or mono lazy.Sound, which are read once and in pieces; with the
      same start and rate; compared up to the end of the shorter one.
    rate: samples per second.
    margin: seconds by which a span may be widened on either side, to the quietest moment: there the
      mouth is at rest, so old and new picture match best.

  Returns:
    (start, stop) seconds after the first sample, ascending and disjoint.
  """
  old, new = (x if isinstance(x, lazy.Sound) else lazy.Samples(x, rate) for x in (old, new))
  count = min(old.shape[1], new.shape[1])
  old, new = (lazy.at_rate(lazy.Cut(x, 0, count), _RATE) for x in (old, new))
  windows = max((old.shape[1] - _WINDOW) // _STEP + 1, 0)
  if not windows:
    return []
  own, cross, other = _energies(old, new, windows)
  gain = _gain(own, cross, other)
  level = lambda energy: np.sqrt(np.maximum(energy, 0) / _WINDOW)
  louder = np.maximum(gain * level(own), level(other))
  residual = level(other - 2 * gain * cross + gain**2 * own)
  differs = residual > np.maximum(_DIFFERENT * louder, _FLOOR)
  steps = lambda seconds: max(round(seconds * _RATE / _STEP), 1)
  # Padded, so that the morphological opening does not erode a difference at either end.
  differs = np.pad(differs, steps(_CLOSE))
  differs = ndimage.binary_closing(differs, np.ones(steps(_CLOSE)))
  differs = ndimage.binary_opening(differs, np.ones(steps(_SHORT)))[steps(_CLOSE):-steps(_CLOSE)]
  spans, total = [], count / rate
  for first, last in stretches(differs):
    first = _quietest(louder, first - steps(margin) if margin else first, first)
    last = _quietest(louder, last - 1, last - 1 + (steps(margin) if margin else 0))
    start = first * _STEP / _RATE if first else 0.0
    stop = min((last * _STEP + _WINDOW) / _RATE, total) if last < windows - 1 else total
    if spans and start <= spans[-1][1]:
      spans[-1] = (spans[-1][0], stop)
    else:
      spans.append((start, stop))
  return spans


def lag(old, new) -> float:
  """Seconds by which a soundtrack lags behind another; 0 if they are not the same sound.

  Args:
    old, new: mono lazy.Sound with the same start, of which the first half minute is compared.
  """
  old, new = (lazy.at_rate(lazy.Cut(x, 0, min(x.shape[1], _HEARD * x.rate)), _RATE)[:, :][0]
              for x in (old, new))
  size = 1 << (len(old) + len(new)).bit_length()
  across = np.fft.irfft(np.fft.rfft(new, size) * np.conj(np.fft.rfft(old, size)), size)
  most = round(_LATEST * _RATE)
  across = np.r_[across[-most:], across[:most + 1]]
  level = np.sqrt(np.sum(old**2, dtype=np.float64) * np.sum(new**2, dtype=np.float64))
  return (int(across.argmax()) - most) / _RATE if across.max() > _SAME * level > 0 else 0.0


def widen(spans, sound, start, margin):
  """Spans with both ends moved outwards by at most a margin, to the quietest moments.

  Args:
    spans: (start, stop) seconds.
    sound: mono lazy.Sound.
    start: seconds of its first sample.
    margin: seconds.
  """
  sound = lazy.at_rate(sound, _RATE)
  return [(_rest(sound, begin - start - margin, begin - start, begin - start) + start,
           _rest(sound, stop - start, stop - start + margin, stop - start) + start)
          for begin, stop in spans]


def _rest(sound, first, last, otherwise):
  """The quietest moment between two times of a sound; `otherwise` if there is no sound there."""
  first, last = (min(max(round(x * _RATE), 0), sound.shape[1]) for x in (first, last))
  if last - first < _WINDOW:
    return otherwise
  windows = np.lib.stride_tricks.sliding_window_view(sound[:, first:last][0], _WINDOW)[::_STEP]
  quietest = int((windows.astype(np.float64)**2).sum(-1).argmin())
  return (first + quietest * _STEP + _WINDOW / 2) / _RATE


def _energies(old, new, windows):
  """Sums of old², old · new and new² over every window, [3, windows]."""
  sums = np.empty((3, windows))
  for first in range(0, windows, _AT_ONCE):
    last = min(first + _AT_ONCE, windows)
    a, b = (np.lib.stride_tricks.sliding_window_view(
      x[:, first * _STEP:(last - 1) * _STEP + _WINDOW][0], _WINDOW)[::_STEP].astype(np.float64)
            for x in (old, new))
    sums[:, first:last] = (a**2).sum(-1), (a * b).sum(-1), (b**2).sum(-1)
  return sums


def _gain(own, cross, other):
  """Gain of the new over the old sound, where they are the same sound; 1 if they nowhere are."""
  alike = cross > 0.9 * np.sqrt(own * other) + _WINDOW * _FLOOR**2
  return float(np.median(cross[alike] / own[alike])) if alike.sum() >= 10 else 1.0


def _quietest(levels, first, last):
  """The index from `first` to `last`, both included, of the lowest level."""
  first, last = max(first, 0), min(last, len(levels) - 1)
  return first + int(levels[first:last + 1].argmin())

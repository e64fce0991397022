"""Where two soundtracks differ: the spans that an edit of the sound asks of the picture."""

import numpy as np
from scipy import ndimage

from vidregen_jax.media.audio import lazy
from vidregen_jax.media.timeline.spans import stretches

# Where coding changes least and speech has its voice: soundtracks are compared below 4 kHz.
_RATE = 8_000
_STEP = 80  # samples between looks
_WINDOW = 160  # samples of a look
_AT_ONCE = 4096  # looks, 41 s
# A look differs whose residual is above this share of the louder sound's level; coding leaves a
# tenth or two, another word one or more.
_DIFFERENT = 0.5
_FLOOR = 10 ** (-60 / 20)  # what is quieter than this is silence, whatever it is
_CLOSE = 0.15  # seconds; differences nearer to each other are one
_SHORT = 0.04  # seconds; differences shorter than this are clicks
_HEARD = 30  # seconds in which a lag is looked for
_LATEST = 0.5  # seconds; a longer lag is not looked for
_SAME = 0.5  # correlation from which two sounds are the same but for a lag


MARGIN = 0.12  # seconds


def find(old, new, rate, margin=MARGIN):
  """Spans in which a soundtrack is not what it was, however loud the whole has become.

  Args:
    old, new: float32 [n] and [m], or lazy.Sound of one channel, which are read once and in pieces;
      on one clock and at one rate; compared as far as both last.
    rate: samples per second.
    margin: seconds by which a span may be widened on either side, to where it is quietest: there
      the mouth rests, and old and new picture meet best.

  Returns:
    (start, stop) seconds after the first sample, ascending and apart.
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
  # Beyond both ends nothing differs, and an opening must not eat what lies at an end.
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
  """Seconds by which a soundtrack comes later than it did; 0 where they are not the same sound.

  Args:
    old, new: lazy.Sound of one channel on one clock, of which half a minute is heard.
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
  """Spans with both ends moved out by at most a margin, to where it is quietest.

  Args:
    spans: (start, stop) seconds.
    sound: lazy.Sound of one channel.
    start: seconds of its first sample.
    margin: seconds.
  """
  sound = lazy.at_rate(sound, _RATE)
  return [(_rest(sound, begin - start - margin, begin - start, begin - start) + start,
           _rest(sound, stop - start, stop - start + margin, stop - start) + start)
          for begin, stop in spans]


def _rest(sound, first, last, otherwise):
  """The quietest moment between two seconds of a sound; `otherwise` where there is no sound."""
  first, last = (min(max(round(x * _RATE), 0), sound.shape[1]) for x in (first, last))
  if last - first < _WINDOW:
    return otherwise
  windows = np.lib.stride_tricks.sliding_window_view(sound[:, first:last][0], _WINDOW)[::_STEP]
  quietest = int((windows.astype(np.float64)**2).sum(-1).argmin())
  return (first + quietest * _STEP + _WINDOW / 2) / _RATE


def _energies(old, new, windows):
  """Sums of old², old · new and new² over every look, [3, looks]."""
  sums = np.empty((3, windows))
  for first in range(0, windows, _AT_ONCE):
    last = min(first + _AT_ONCE, windows)
    a, b = (np.lib.stride_tricks.sliding_window_view(
      x[:, first * _STEP:(last - 1) * _STEP + _WINDOW][0], _WINDOW)[::_STEP].astype(np.float64)
            for x in (old, new))
    sums[:, first:last] = (a**2).sum(-1), (a * b).sum(-1), (b**2).sum(-1)
  return sums


def _gain(own, cross, other):
  """By how much the new is louder than the old, where they are the same sound: 1 if nowhere."""
  alike = cross > 0.9 * np.sqrt(own * other) + _WINDOW * _FLOOR**2
  return float(np.median(cross[alike] / own[alike])) if alike.sum() >= 10 else 1.0


def _quietest(levels, first, last):
  """The place between two, both included, at which it is quietest."""
  first, last = max(first, 0), min(last, len(levels) - 1)
  return first + int(levels[first:last + 1].argmin())

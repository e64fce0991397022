"""Where two soundtracks differ: the spans that an edit of the sound asks of the picture."""

import numpy as np
from scipy import ndimage

from vidregen_jax.media import audio
from vidregen_jax.spans import stretches

# Where coding changes least and speech has its voice: soundtracks are compared below 4 kHz.
_RATE = 8_000
_STEP = 80  # samples between looks
_LOOK = 160  # samples of a look
# A look differs whose residual is above this share of the louder sound's level; coding leaves a
# tenth or two, another word one or more.
_DIFFERENT = 0.5
_FLOOR = 10 ** (-60 / 20)  # what is quieter than this is silence, whatever it is
_CLOSE = 0.15  # seconds; differences nearer to each other are one
_SHORT = 0.04  # seconds; differences shorter than this are clicks


def find(old, new, rate, margin=0.12):
  """Spans in which a soundtrack is not what it was, however loud the whole has become.

  Args:
    old, new: float32 [n] and [m] on one clock and at one rate; compared as far as both last.
    rate: samples per second.
    margin: seconds by which a span may be widened on either side, to where it is quietest: there
      the mouth rests, and old and new picture meet best.

  Returns:
    (start, stop) seconds after the first sample, ascending and apart.
  """
  count = min(len(old), len(new))
  old, new = (audio.resample(np.asarray(x[:count], np.float32), rate, _RATE) for x in (old, new))
  looks = max((len(old) - _LOOK) // _STEP + 1, 0)
  if not looks:
    return []
  parts = lambda x: np.lib.stride_tricks.sliding_window_view(x, _LOOK)[::_STEP][:looks]
  a, b = parts(old).astype(np.float64), parts(new).astype(np.float64)
  level = lambda x: np.sqrt(np.mean(x**2, -1))
  gain = _gain(a, b)
  louder = np.maximum(gain * level(a), level(b))
  differs = level(b - gain * a) > np.maximum(_DIFFERENT * louder, _FLOOR)
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
    stop = min((last * _STEP + _LOOK) / _RATE, total) if last < looks - 1 else total
    if spans and start <= spans[-1][1]:
      spans[-1] = (spans[-1][0], stop)
    else:
      spans.append((start, stop))
  return spans


def _gain(a, b):
  """By how much looks b are louder than a, where they are the same sound: 1 if nowhere."""
  energy = (a**2).sum(-1)
  cross = (a * b).sum(-1)
  alike = cross > 0.9 * np.sqrt(energy * (b**2).sum(-1)) + _LOOK * _FLOOR**2
  return float(np.median(cross[alike] / energy[alike])) if alike.sum() >= 10 else 1.0


def _quietest(levels, first, last):
  """The place between two, both included, at which it is quietest."""
  first, last = max(first, 0), min(last, len(levels) - 1)
  return first + int(levels[first:last + 1].argmin())

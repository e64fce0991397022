"""Sound of any length, read in pieces: cut, mixed, resampled, or with patches spliced in.

A `Sound` is sliced like an array, and only what a slice needs is computed, or decoded from a file:

  sound = sound_file.Recording('in.mp4')
  sound.shape                     # (channels, samples)
  sound[:, 48_000:96_000]         # float32 [channels, 48000]

The result does not depend on earlier slices, nor on the thread.
"""

import collections
import threading
from fractions import Fraction

import numpy as np

from vidregen_jax import errors
from vidregen_jax.media.audio import channels, waveform

BLOCK = 2**18  # samples that are computed at once, fewer of more than two channels: 5 s
_KEPT = 8  # blocks kept to be read again: the model and the writer are at most so far apart


class Sound:
  """Samples that are read where they are sliced.

  Attributes:
    rate: samples per second.
    places: positions of its channels, as in `channels.places`.
    shape: (channels, samples).
  """

  ndim = 2

  def __init__(self, rate: int, places: tuple[str, ...], count: int):
    self.rate, self.places, self.shape = rate, places, (len(places), count)

  def __getitem__(self, key) -> np.ndarray:
    """float32 [channels, last - first] of `sound[:, first:last]`."""
    every, samples = key
    first, last, step = samples.indices(self.shape[1])
    if every != slice(None) or step != 1:
      raise IndexError(f'a sound is sliced as [:, first:last], not {key}')
    return self._read(first, max(first, last))

  def _read(self, first: int, last: int) -> np.ndarray:
    raise NotImplementedError


class Samples(Sound):
  """Samples that are in memory, float32 [channels, n] or [n]; channels as `channels.usual`."""

  def __init__(self, samples: np.ndarray, rate: int):
    self._samples = np.atleast_2d(samples)
    count = self._samples.shape[1]
    super().__init__(rate, channels.usual(len(self._samples)), count)

  def _read(self, first, last):
    return self._samples[:, first:last]


class Blocks(Sound):
  """Sound that is computed block by block; the last few blocks are kept."""

  def __init__(self, rate, places, count):
    super().__init__(rate, places, count)
    self._size = max(BLOCK * 2 // max(len(places), 2), 1)
    self._kept, self._lock = collections.OrderedDict(), threading.Lock()

  def _read(self, first, last):
    if first == last:
      return np.zeros((self.shape[0], 0), np.float32)
    parts = []
    for number in range(first // self._size, -(-last // self._size)):
      begin = number * self._size
      parts.append(self._block(number)[:, max(first - begin, 0):last - begin])
    return np.concatenate(parts, axis=1)

  def _block(self, number):
    with self._lock:
      if number not in self._kept:
        begin = number * self._size
        block = self._make(begin, min(begin + self._size, self.shape[1]))
        block.flags.writeable = False
        self._kept[number] = block
        if len(self._kept) > _KEPT:
          self._kept.popitem(last=False)
      self._kept.move_to_end(number)
      return self._kept[number]

  def _make(self, first: int, last: int) -> np.ndarray:
    raise NotImplementedError


class Cut(Sound):
  """A sound from one sample to another.

  Args:
    sound: the sound to cut.
    first, last: samples of it; before its first and after its last sample there is silence.
    hold: whether to repeat its last sample instead of silence.
  """

  def __init__(self, sound: Sound, first: int, last: int, hold: bool = False):
    super().__init__(sound.rate, sound.places, max(last - first, 0))
    self._sound, self._first, self._hold = sound, first, hold

  def _read(self, first, last):
    count = self._sound.shape[1]
    first, last = first + self._first, last + self._first
    a, b = (min(max(x, 0), count) for x in (first, last))
    samples = self._sound[:, a:b]
    samples = np.pad(samples, [(0, 0), (min(max(-first, 0), last - first), 0)])
    missing = [(0, 0), (0, last - first - samples.shape[1])]
    if not self._hold or not count:
      return np.pad(samples, missing)
    if not samples.shape[1]:
      samples, missing = self._sound[:, count - 1:], [(0, 0), (0, last - first - 1)]
    return np.pad(samples, missing, mode='edge')


class Mixed(Sound):
  """A sound with other channels.

  Args:
    sound: the sound to mix.
    places: positions of the result's channels.
    matrix: gains, [result, sound].
  """

  def __init__(self, sound: Sound, places: tuple[str, ...], matrix: np.ndarray):
    super().__init__(sound.rate, places, sound.shape[1])
    self._sound, self._matrix = sound, matrix

  def _read(self, first, last):
    return channels.mix(self._matrix, self._sound[:, first:last])


def with_places(sound: Sound, places: tuple[str, ...]) -> Sound:
  """A sound mixed to channels at other positions."""
  if sound.places == places:
    return sound
  return Mixed(sound, places, channels.matrix(sound.places, places))


def voice(sound: Sound) -> Sound:
  """The speech in a sound, as one channel: see `channels.voice`."""
  return sound if sound.shape[0] == 1 else Mixed(sound, ('FC',), channels.voice(sound.places))


class Sum(Sound):
  """Two sounds at once, of one rate and with the same channels; as long as the first."""

  def __init__(self, one: Sound, other: Sound):
    super().__init__(one.rate, one.places, one.shape[1])
    self._one, self._other = one, Cut(other, 0, one.shape[1])

  def _read(self, first, last):
    return self._one[:, first:last] + self._other[:, first:last]


class Resampled(Blocks):
  """A sound at another rate; the samples are those of `waveform.resample` for the whole."""

  def __init__(self, sound: Sound, rate: int):
    self._sound, self._ratio = sound, Fraction(rate, sound.rate)
    super().__init__(rate, sound.places, -(-sound.shape[1] * self._ratio.numerator
                                             // self._ratio.denominator))

  def _make(self, first, last):
    up, down = self._ratio.numerator, self._ratio.denominator
    # The filter reaches 10 samples of the lower rate to either side. A piece begins where a sample
    # of one rate falls on one of the other: there the filter's phase is that of the whole.
    reach = -(-10 * max(up, down) // up) + 1
    skipped = max(first // up - -(-reach // down), 0)
    begin, end = skipped * down, -(-last * down // up) + reach
    samples = waveform.resample(self._sound[:, begin:end], self._sound.rate, self.rate)
    return samples[:, first - skipped * up:last - skipped * up]


def at_rate(sound: Sound, rate: int) -> Sound:
  return sound if sound.rate == rate else Resampled(sound, rate)


def mono_16k(sound: Sound) -> Sound:
  """The model's input, [1, n], as in `waveform.mono_16k`."""
  return at_rate(voice(sound), waveform.MODEL_RATE)


class Spliced(Sound):
  """A sound with patches in the place of spans, as `waveform.splice` makes it of each in turn.

  Args:
    sound: the sound to patch.
    patches: (begin, end, Sound) each, in samples of `sound`, ascending and disjoint; they are
      converted to its rate and channels. A patch of another length moves what comes after.
    crossfade: as in `waveform.splice`.

  Attributes:
    changed: (first, last) samples of the result in which each patch is heard.

  Raises:
    UserError: a span is not inside the sound, or overlaps another.
  """

  def __init__(self, sound: Sound, patches, crossfade: float = waveform.CROSSFADE):
    self._pieces, done, at = [], 0, 0  # (first sample of the result, Sound, its first sample)
    self.changed = []
    for begin, end, patch in patches:
      if not done <= begin <= end <= sound.shape[1]:
        raise errors.UserError(f'span {begin / sound.rate:g} to {end / sound.rate:g} s does not '
                               f'lie in the soundtrack, which is {sound.shape[1] / sound.rate:g} s '
                               'long, or overlaps another')
      self._pieces.append((at, sound, done))
      at += begin - done
      patch = with_places(at_rate(patch, sound.rate), sound.places)
      patch = _Faded(Cut(sound, begin, end), patch, round(crossfade * sound.rate))
      self._pieces.append((at, patch, 0))
      self.changed.append((at, at + patch.shape[1]))
      at, done = at + patch.shape[1], end
    self._pieces.append((at, sound, done))
    super().__init__(sound.rate, sound.places, at + sound.shape[1] - done)

  def _read(self, first, last):
    ends = [at for at, _, _ in self._pieces[1:]] + [self.shape[1]]
    parts = [sound[:, max(first - at, 0) + offset:min(last, end) - at + offset]
             for (at, sound, offset), end in zip(self._pieces, ends, strict=True)
             if max(first, at) < min(last, end)]
    return np.concatenate(parts, axis=1) if parts else np.zeros((self.shape[0], 0), np.float32)


class _Faded(Sound):
  """A patch into which an old sound passes at both ends, over at most `fade` samples."""

  def __init__(self, old: Sound, patch: Sound, fade: int):
    super().__init__(patch.rate, patch.places, patch.shape[1])
    self._patch = patch
    fade = min(fade, patch.shape[1] // 2, old.shape[1] // 2)
    weight = ((np.arange(fade) + .5) / fade).astype(np.float32) if fade else None
    # (first sample, samples of the old sound, their weight)
    self._ends = [(0, old[:, :fade], 1 - weight),
                  (patch.shape[1] - fade, old[:, old.shape[1] - fade:], weight)] if fade else []

  def _read(self, first, last):
    samples = self._patch[:, first:last]
    for at, old, weight in self._ends:
      a, b = max(first, at), min(last, at + len(weight))
      if a < b:
        samples = samples.copy()
        part = samples[:, a - first:b - first]
        part += weight[a - at:b - at] * (old[:, a - at:b - at] - part)
    return samples

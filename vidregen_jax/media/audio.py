"""Sound, as samples: float32 in [-1, 1], [channels, n], at the file's own rate."""

import dataclasses
import os
import wave
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
from scipy import signal

from vidregen_jax import errors
from vidregen_jax.media import opening, video

MODEL_RATE = 16_000
CROSSFADE = .005  # seconds in which an old sound passes into a patch, and back
# Sound that is missing for longer than this is silence; shorter is the rounding of time stamps.
_MIN_HOLE_SECONDS = .05


@dataclasses.dataclass(frozen=True)
class Piece:
  """A stretch of decoded sound.

  Attributes:
    samples: float32 [channels, n] in [-1, 1].
    rate: samples per second.
    time: seconds from where the file starts (`opening.origin`), None where the file does not say.
    pts: the same on the file's own clock, in units of the stream's time base.
    padding: of its last samples, how many are none of the sound: an encoder fills its last frame up
      with silence, and the container says how much is sound.
  """

  samples: np.ndarray
  rate: int
  time: Fraction | None
  pts: int | None
  padding: int


def open_sound(path: str | os.PathLike):
  """A file and its first soundtrack, of which alone packets are read; the caller closes the file.

  Raises:
    UserError: no such file, not a media file, or no soundtrack of a known codec.
  """
  container = video.open_input(path)
  if not container.streams.audio:
    container.close()
    raise errors.UserError(f'{path}: has no soundtrack')
  stream = container.streams.audio[0]
  if not stream.codec_context:
    container.close()
    raise errors.UserError(f'{path}: the codec of its sound is not known; convert it first')
  for other in container.streams:
    if other is not stream:
      other.discard = av.stream.Discard.all
  return container, stream


def decode(container: av.container.InputContainer, stream, path) -> Iterator[Piece]:
  """Decodes a soundtrack from where the container stands.

  Raises:
    UserError: it cannot be decoded.
  """
  to_float, began = None, opening.origin(container)
  try:
    for frame in container.decode(stream):
      if to_float is None:
        # The decoder's word, not the header's, which for HE-AAC may be half the rate.
        rate = frame.sample_rate
        to_float = av.AudioResampler('fltp', frame.layout, rate)
      pts, base = frame.pts, Fraction(frame.time_base)
      known = frame.duration and base == Fraction(1, rate)
      padding = max(frame.samples - frame.duration, 0) if known else 0
      frame.pts = None
      for converted in to_float.resample(frame):
        time = None if pts is None else pts * base - began
        yield Piece(converted.to_ndarray(), rate, time, pts, padding)
  except av.error.FFmpegError as error:
    raise errors.UserError(f'{path}: its sound cannot be decoded ({error.strerror})') from error


def place(pieces: Iterable[Piece]) -> Iterator[tuple[int, Piece]]:
  """Says of the pieces of a whole soundtrack where each begins, in samples after the first."""
  end, start = 0, None
  for piece in pieces:
    if piece.time is not None:
      start = piece.time - Fraction(end, piece.rate) if start is None else start
      hole = round((piece.time - start) * piece.rate) - end
      end += hole if hole > _MIN_HOLE_SECONDS * piece.rate else 0
    yield end, piece
    end += piece.samples.shape[1]


def read(path: str | os.PathLike) -> tuple[np.ndarray, int, Fraction]:
  """Reads a file's first soundtrack, at its own rate and with all its channels.

  Where packets are missing, silence keeps the rest in its place. All of it is held in memory: for
  sound of any length there is `sound.Recording`.

  Returns:
    float32 [channels, n] in [-1, 1]; samples per second; seconds, from where the file starts, of
    the first sample.

  Raises:
    UserError: no such file, not a media file, no soundtrack, or one that cannot be decoded.
  """
  container, stream = open_sound(path)
  with container:
    placed = list(place(decode(container, stream, path)))
  if not placed:
    raise errors.UserError(f'{path}: its soundtrack is empty')
  (_, first), (begin, last) = placed[0], placed[-1]
  count = last.samples.shape[1]
  end = begin + count - (last.padding if last.padding < count else 0)
  samples = np.zeros((len(first.samples), end), np.float32)
  for at, piece in placed:
    samples[:, at:at + piece.samples.shape[1]] = piece.samples[:, :end - at]
  return samples, first.rate, first.time or Fraction(0)


def mono_16k(samples: np.ndarray, rate: int) -> np.ndarray:
  """The channels' mean at 16 kHz, which is what the model hears.

  Args:
    samples: float32 [channels, n] or [n].
    rate: Samples per second.

  Returns:
    float32 [ceil(n * 16000 / rate)].
  """
  return resample(np.atleast_2d(samples).mean(0, dtype=np.float32), rate, MODEL_RATE)


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
  """Changes the rate along the last axis, without lag and without aliasing.

  Returns:
    float32 [..., ceil(n * new_rate / rate)]; the very samples if the rates agree.
  """
  if rate == new_rate or samples.shape[-1] == 0:
    return np.asarray(samples, np.float32)
  ratio = Fraction(new_rate, rate)
  # A Kaiser window of beta 8 stops 80 dB down; SciPy's own choice of 5 stops 50 dB down.
  resampled = signal.resample_poly(samples, ratio.numerator, ratio.denominator, axis=-1,
                                   window=('kaiser', 8.))
  return resampled.astype(np.float32)


def splice(samples: np.ndarray, rate: int, patch: np.ndarray, patch_rate: int, start: float,
           stop: float, crossfade: float = CROSSFADE) -> np.ndarray:
  """Puts a patch in the place of the span from `start` to `stop`.

  Everything before and after the span is bit for bit as it was. At both ends, and inside the span,
  the old sound passes into the patch over `crossfade` seconds. A patch of another length than its
  span moves what comes after.

  Args:
    samples: float32 [channels, n].
    rate: Samples per second; also of the result.
    patch: float32 [channels or 1, m] or [m]; brought to the soundtrack's rate and channels.
    patch_rate: Samples per second of the patch.
    start: Seconds after the first sample; rounded to a sample.
    stop: The same; `start` to insert.
    crossfade: Seconds, shortened where the span or the patch is too short for two of them.

  Returns:
    float32 [channels, n - span + patch].
  """
  channels, count = samples.shape
  begin, end = round(start * rate), round(stop * rate)
  if not 0 <= begin <= end <= count:
    raise errors.UserError(f'span {start:g} to {stop:g} s does not lie in the soundtrack, '
                           f'which is {count / rate:g} s long')
  patch = resample(np.atleast_2d(patch), patch_rate, rate)
  if patch.shape[0] != channels:
    patch = np.broadcast_to(patch.mean(0, dtype=np.float32), (channels, patch.shape[1]))
  patch = patch.copy()
  old = samples[:, begin:end]
  fade = min(round(crossfade * rate), patch.shape[1] // 2, old.shape[1] // 2)
  if fade:
    weight = ((np.arange(fade) + .5) / fade).astype(np.float32)
    patch[:, :fade] += (1 - weight) * (old[:, :fade] - patch[:, :fade])
    patch[:, -fade:] += weight * (old[:, -fade:] - patch[:, -fade:])
  return np.concatenate([samples[:, :begin], patch, samples[:, end:]], axis=1)


def write_wav(path: str | os.PathLike, samples: np.ndarray, rate: int) -> None:
  """Writes 16-bit PCM; samples float32 [channels, n] or [n], clipped to [-1, 1]."""
  samples = np.atleast_2d(samples)
  whole = np.clip(np.round(samples * 32768), -32768, 32767).astype('<i2')
  with wave.open(os.fspath(path), 'wb') as file:
    file.setnchannels(samples.shape[0])
    file.setsampwidth(2)
    file.setframerate(rate)
    file.writeframes(np.ascontiguousarray(whole.T).tobytes())

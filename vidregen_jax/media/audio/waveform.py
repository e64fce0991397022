"""Sound as samples: float32 in [-1, 1], [channels, n], at the file's own rate."""

import dataclasses
import os
import wave
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av
import numpy as np
from scipy import signal

from vidregen_jax import errors
from vidregen_jax.media import opening
from vidregen_jax.media.audio import channels

MODEL_RATE = 16_000
CROSSFADE = .005  # seconds over which the old sound fades into a patch, and back
# Longer gaps between packets are silence; shorter ones come from rounded time stamps.
MIN_HOLE_SECONDS = .05
# Multiple of full scale above which samples are not sound but misread bytes.
_LOUDEST = 1000
_RATES = (1000, 1_000_000)  # samples per second; at other rates the header is broken
# Codecs that store floating-point samples as they are; all others decode to bounded ones.
_FLOATS = ('pcm_f', 'wavpack')


@dataclasses.dataclass(frozen=True)
class Piece:
  """A stretch of decoded sound.

  Attributes:
    samples: float32 [channels, n] in [-1, 1].
    rate: samples per second.
    places: positions of its channels, as in `channels.places`.
    time: seconds from where the file starts (`opening.origin`); None if the file does not say.
    pts: the same on the file's own clock, in units of the stream's time base.
    padding: how many of its last samples are padding: an encoder fills up its last frame with
      silence, and the container says how much is sound.
  """

  samples: np.ndarray
  rate: int
  places: tuple[str, ...]
  time: Fraction | None
  pts: int | None
  padding: int


def open_sound(path: str | os.PathLike):
  """Opens a file to read only its first soundtrack; the caller closes the container.

  Raises:
    UserError: no such file, not a media file, or no soundtrack of a known codec.
  """
  container = opening.open_input(path)
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

  All pieces have the rate and channels of the first; where a broadcast changes its channels, later
  pieces are mixed to those.

  Raises:
    UserError: it cannot be decoded, changes its rate, or has samples that cannot be sound.
  """
  rate, places, kept, end = None, (), {}, Fraction(0)
  began = opening.origin(container)
  try:
    for frame in container.decode(stream):
      # From the decoder: for HE-AAC the header may state half the rate.
      theirs = channels.places(frame.layout)
      if rate is None:
        rate, places = frame.sample_rate, theirs
        _check_rate(rate, path)
      if frame.sample_rate != rate:
        raise errors.UserError(f'{path}: at {float(end):.2f} s its sound changes from {rate} to '
                               f'{frame.sample_rate} Hz: convert it first')
      pts, base = frame.pts, Fraction(frame.time_base)
      known = frame.duration and base == Fraction(1, rate)
      padding = max(frame.samples - frame.duration, 0) if known else 0
      time = None if pts is None else pts * base - began
      samples = samples_of(frame, kept)
      if theirs != places:
        samples = channels.mix(channels.matrix(theirs, places), samples)
      begin = end if time is None else time
      _check_loudness(samples, rate, begin, path)
      end = begin + Fraction(samples.shape[1], rate)
      yield Piece(samples, rate, places, time, pts, padding)
  except av.error.FFmpegError as error:
    raise errors.UserError(f'{path}: its sound cannot be decoded ({error.strerror})') from error
  except MemoryError as error:
    raise errors.UserError(f'{path}: its sound cannot be decoded (no memory is left)') from error


def samples_of(frame: av.AudioFrame, kept: dict | None = None) -> np.ndarray:
  """A frame's samples, float32 [channels, n].

  Channels are interleaved in a single plane first: of separate planes PyAV reads eight at most, and
  beyond the eighth invalid memory.

  Args:
    frame: of any format.
    kept: {format: resampler}, a cache that is added to.
  """
  kept, kind, pts = {} if kept is None else kept, (frame.format.name, frame.layout.name), frame.pts
  if kind not in kept:
    kept[kind] = av.AudioResampler('flt', frame.layout, frame.sample_rate)
  frame.pts = None  # otherwise the resampler fills what it takes for gaps
  packed = [part.to_ndarray() for part in kept[kind].resample(frame)]
  frame.pts = pts
  count = frame.layout.nb_channels
  together = np.concatenate([np.zeros((1, 0), np.float32), *packed], axis=1)
  return np.ascontiguousarray(together.reshape(-1, count).T)


def as_frame(samples: np.ndarray, rate: int, pts: int, layout: str) -> av.AudioFrame:
  """Samples [channels, n] as an interleaved frame, which holds any number of channels."""
  packed = np.ascontiguousarray(samples.T, np.float32).reshape(1, -1)
  frame = av.AudioFrame.from_ndarray(packed, 'flt', layout)
  frame.sample_rate, frame.pts, frame.time_base = rate, pts, Fraction(1, rate)
  return frame


def _check_rate(rate, path):
  if not _RATES[0] <= rate <= _RATES[1]:
    raise errors.UserError(f'{path}: says that its sound has {rate} samples a second, which is not '
                           f'between {_RATES[0]} and {_RATES[1]:,}: its header is broken')


def _check_loudness(samples, rate, time, path):
  """Refuses samples that are not finite, or too far above full scale to be sound."""
  if not samples.size or (samples.min() >= -_LOUDEST and samples.max() <= _LOUDEST):
    return
  wrong = ~(np.abs(samples) <= _LOUDEST)  # comparisons with NaN are false
  at = int(wrong.any(0).argmax())
  raise errors.UserError(
    f'{path}: the sample at {float(time) + at / rate:.4f} s is '
    f'{samples[int(wrong[:, at].argmax()), at]:g}, where full scale is 1: that is no sound, and '
    'must be mended first')


def check(path: str | os.PathLike) -> None:
  """Refuses a soundtrack with samples that cannot be sound, before any work is done.

  Only files of floating-point samples are read; other codecs are checked while they are decoded.

  Raises:
    UserError: as `decode`.
  """
  container, stream = open_sound(path)
  with container:
    if stream.codec_context.name.startswith(_FLOATS):
      for _ in decode(container, stream, path):
        pass


def start_of(container: av.container.InputContainer, first: Piece) -> Fraction:
  """Seconds from a file's start at which its soundtrack begins, given the first piece of it.

  A file without video begins with its first sample, whatever its clock: in MP3 the clock also runs
  while the decoder is primed.
  """
  pictures = [stream for stream in container.streams.video
              if not stream.disposition & av.stream.Disposition.attached_pic]
  return first.time or Fraction(0) if pictures else Fraction(0)


def place(pieces: Iterable[Piece]) -> Iterator[tuple[int, Piece]]:
  """Yields the pieces of a whole soundtrack with their places, in samples after the first."""
  end, start = 0, None
  for piece in pieces:
    if piece.time is not None:
      start = piece.time - Fraction(end, piece.rate) if start is None else start
      hole = round((piece.time - start) * piece.rate) - end
      end += hole if hole > MIN_HOLE_SECONDS * piece.rate else 0
    yield end, piece
    end += piece.samples.shape[1]


def in_line(pts: np.ndarray, length: int, rate: int) -> np.ndarray:
  """Where packets of equal length begin, int64 [N], given their ascending times in samples.

  As in `place`: a deviation smaller than a gap, such as after a packet that claims a sample too
  many, is rounding, and the packets are contiguous.
  """
  at, end = np.empty_like(pts), int(pts[0])
  for k, stamp in enumerate(pts.tolist()):
    hole = stamp - end
    end += hole if hole > MIN_HOLE_SECONDS * rate else 0
    at[k], end = end, end + length
  return at


def read(path: str | os.PathLike) -> tuple[np.ndarray, int, Fraction]:
  """Reads a file's first soundtrack, at its own rate and with all its channels.

  Missing packets become silence, so that the rest stays in place. The whole track is held in
  memory; for sound of any length see `sound_file.Recording`.

  Returns:
    float32 [channels, n] in [-1, 1]; samples per second; seconds, from where the file starts, of
    the first sample.

  Raises:
    UserError: no such file, not a media file, no soundtrack, or one that cannot be decoded.
  """
  container, stream = open_sound(path)
  with container:
    placed = list(place(decode(container, stream, path)))
    start = start_of(container, placed[0][1]) if placed else None
  if not placed:
    raise errors.UserError(f'{path}: its soundtrack is empty')
  (_, first), (begin, last) = placed[0], placed[-1]
  count = last.samples.shape[1]
  end = begin + count - (last.padding if last.padding < count else 0)
  samples = np.zeros((len(first.samples), end), np.float32)
  for at, piece in placed:
    samples[:, at:at + piece.samples.shape[1]] = piece.samples[:, :end - at]
  return samples, first.rate, start


def mono_16k(samples: np.ndarray, rate: int) -> np.ndarray:
  """The model's input: speech at 16 kHz.

  Args:
    samples: float32 [channels, n] or [n]; channels as `channels.usual` has them.
    rate: Samples per second.

  Returns:
    float32 [ceil(n * 16000 / rate)].
  """
  samples = np.atleast_2d(samples)
  voice = channels.mix(channels.voice(channels.usual(len(samples))), samples)
  return resample(voice[0], rate, MODEL_RATE)


def resample(samples: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
  """Changes the rate along the last axis, without lag and without aliasing.

  Returns:
    float32 [..., ceil(n * new_rate / rate)]; the same samples if the rates agree.
  """
  if rate == new_rate or samples.shape[-1] == 0:
    return np.asarray(samples, np.float32)
  ratio = Fraction(new_rate, rate)
  # A Kaiser window of beta 8 attenuates aliases by 80 dB; SciPy's default of 5 by 50 dB.
  resampled = signal.resample_poly(samples, ratio.numerator, ratio.denominator, axis=-1,
                                   window=('kaiser', 8.))
  return resampled.astype(np.float32)


def splice(samples: np.ndarray, rate: int, patch: np.ndarray, patch_rate: int, start: float,
           stop: float, crossfade: float = CROSSFADE) -> np.ndarray:
  """Puts a patch in the place of the span from `start` to `stop`.

  Everything outside the span stays the same to the bit. At both ends, inside the span, the old
  sound and the patch are cross-faded over `crossfade` seconds. A patch of another length than its
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

"""What is in a media file: pictures that can be decoded, and sound. The first step."""

import dataclasses
import os

import numpy as np

from vidregen_jax import errors
from vidregen_jax.media import video
from vidregen_jax.media.audio import lazy, sound_file, waveform

SILENT = 3e-4  # root mean square, full scale 1: -70 dB, less than any microphone's noise
_CHUNK = 30 * waveform.MODEL_RATE
_SHORT = 0.2  # share of the pictures' length that sound must have


class LeftOut(Exception):
  """A source, or a part of one, that is left out.

  Attributes:
    reason: one of `filters.REASONS`.
    detail: what was found, in words.
  """

  def __init__(self, reason: str, detail: str):
    super().__init__(f'{reason}: {detail}')
    self.reason, self.detail = reason, detail


@dataclasses.dataclass(frozen=True, eq=False)
class Sound:
  """A source's voice.

  Attributes:
    samples: int16 [n] at 16 kHz.
    start: seconds of the first one, on the clock of the pictures.
    channels: of the file.
  """

  samples: np.ndarray
  start: float
  channels: int


def pictures(path: str | os.PathLike) -> video.VideoInfo:
  """A file's pictures.

  Raises:
    LeftOut: no file, none that can be read, or one without pictures.
  """
  try:
    return video.probe(path)
  except errors.UserError as error:
    cause = str(error).removeprefix(f'{path}: ')
    raise LeftOut('no pictures' if 'no video stream' in cause else 'unreadable', cause) from error


def sound(info: video.VideoInfo) -> Sound:
  """A file's voice, decoded in pieces: an hour takes 115 MB.

  Raises:
    LeftOut: there is no sound, it cannot be decoded, it is silent, or much shorter than the video.
  """
  if not info.has_audio:
    raise LeftOut('no sound', 'the file has no soundtrack')
  try:
    recording = sound_file.Recording(info.path)
    mono = lazy.mono_16k(recording)
    samples = np.zeros(mono.shape[1], np.int16)
    for first in range(0, len(samples), _CHUNK):
      part = mono[:, first:first + _CHUNK][0]
      samples[first:first + len(part)] = np.clip(np.round(part * 32767), -32768, 32767)
  except errors.UserError as error:
    raise LeftOut('sound unreadable', str(error).removeprefix(f'{info.path}: ')) from error
  level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) / 32767
  if level < SILENT:
    raise LeftOut('no sound', f'the soundtrack is silent (level {level:.1e})')
  if len(samples) < _SHORT * float(info.duration) * waveform.MODEL_RATE:
    raise LeftOut('no sound', f'{len(samples) / waveform.MODEL_RATE:.1f} s of sound beside '
                  f'{float(info.duration):.1f} s of pictures')
  return Sound(samples, float(recording.start), recording.shape[0])

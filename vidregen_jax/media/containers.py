"""Containers by file suffix: the muxer, the codecs that it holds, and how fine its times are."""

import dataclasses
import os
import pathlib
from fractions import Fraction

from vidregen_jax import errors


@dataclasses.dataclass(frozen=True)
class Container:
  """A kind of file.

  Attributes:
    muxer: FFmpeg's name of it.
    video: The video codecs that it may hold, of those that can be written here.
    sound: FFmpeg's name of the audio encoder.
    step: Seconds to which its times are rounded; 0 if it keeps any time base.
    hides: Whether packets before time 0 can be stored without being shown or heard.
  """

  muxer: str
  video: frozenset[str]
  sound: str
  step: Fraction = Fraction(0)
  hides: bool = True


_MP4 = Container('mp4', frozenset({'h264', 'hevc', 'vp9', 'av1'}), 'aac')
_MILLISECOND = Fraction(1, 1000)
_KINDS = {
  '.mp4': _MP4,
  '.m4v': _MP4,
  '.mov': dataclasses.replace(_MP4, video=frozenset({'h264', 'hevc'})),
  '.mkv': Container('matroska', _MP4.video | {'ffv1'}, 'aac', _MILLISECOND, False),
  '.webm': Container('webm', frozenset({'vp9', 'av1'}), 'libopus', _MILLISECOND, False),
}
# Codecs of sound that is copied; the other containers hold whatever FFmpeg's muxer accepts.
_WEBM_SOUND = ('opus', 'vorbis')


def of(path: str | os.PathLike) -> Container:
  """The container that a path's suffix names; raises UserError if it cannot be written."""
  suffix = pathlib.Path(path).suffix.lower()
  if suffix not in _KINDS:
    raise errors.UserError(f'{path}: can write {", ".join(_KINDS)} only; choose one of them')
  return _KINDS[suffix]


def takes_sound(path: str | os.PathLike, codec: str) -> bool:
  """Whether sound of this codec, by FFmpeg's name, can be copied into such a file."""
  return of(path).muxer != 'webm' or codec in _WEBM_SOUND


def keeps_shape(path: str | os.PathLike, codec: str) -> bool:
  """Whether pixels that are not square can be signalled, by the container or by the codec."""
  return of(path).muxer == 'mp4' or codec in ('h264', 'hevc')

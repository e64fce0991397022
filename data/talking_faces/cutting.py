"""Takes into clips: the canonical crops of each frame, and the sound that belongs to them."""

import contextlib
import dataclasses
import json
from collections.abc import Sequence

import numpy as np

from data.talking_faces import filters, probing, speaker
from vidregen_jax.errors import UserError
from vidregen_jax.faces import face_parts, landmarks
from vidregen_jax.media import video
from vidregen_jax.media.audio import waveform

_RATE = waveform.MODEL_RATE


def parts(take: speaker.Take, times: np.ndarray, sound: probing.Sound, bounds: filters.Bounds
          ) -> tuple[list[tuple[int, int]], list[speaker.Stretch]]:
  """Cuts a take into clips of equal length, where there is sound.

  Args:
    take: some frames of a source.
    times: seconds [F] of all of the source's frames.
    sound: its voice.
    bounds: of lengths.

  Returns:
    (first, stop) of each clip in frames, and what is left out at the ends.
  """
  late = take.offset.seconds if take.moved else 0.0
  at = times[take.start:take.stop] + late - sound.start
  heard = np.flatnonzero((at > -0.02) & (at < len(sound.samples) / _RATE - 0.02))
  if not len(heard):
    return [], [speaker.Stretch(take.start, take.stop, 'beyond the sound', 'there is none here')]
  start, stop = take.start + int(heard[0]), take.start + int(heard[-1]) + 1
  seconds = float(times[stop - 1] - times[start]) + _step(times[start:stop])
  out = [speaker.Stretch(low, high, 'beyond the sound', 'there is none here')
         for low, high in ((take.start, start), (stop, take.stop)) if low < high]
  if seconds < bounds.min_seconds:
    return [], [*out, speaker.Stretch(start, stop, 'too short', f'{seconds:.2f} s with sound')]
  count = max(int(np.ceil(seconds / bounds.max_seconds - 1e-6)), 1)
  edges = np.linspace(start, stop, count + 1).round().astype(int).tolist()
  return list(zip(edges, edges[1:], strict=False)), out


def _step(times):
  return float(np.median(np.diff(times))) if len(times) > 1 else 0.04


def crops(info: video.VideoInfo, track, first: int, start: int, stop: int, sizes: Sequence[int]
          ) -> dict[int, np.ndarray]:
  """The canonical crops of some frames.

  Args:
    info: of the source.
    track: face_track.Track, whose frame 0 is the source's frame `first`.
    start, stop: frames of the source.
    sizes: sides of the crops, pixels.

  Returns:
    uint8 [stop - start, S, S, 3] by size S.

  Raises:
    LeftOut: a frame cannot be decoded.
  """
  found = {size: np.zeros((stop - start, size, size, 3), np.uint8) for size in sizes}
  count = 0
  try:
    affines = track.affine[start - first:stop - first]
    with contextlib.closing(face_parts.along(info.path, affines, np.arange(start, stop), min(sizes),
                                             stamps=info.stamps)) as images:
      for image, affine in images:
        for size in sizes:
          found[size][count] = landmarks.crop(image, affine, size)
        count += 1
  except UserError as error:
    raise probing.LeftOut('unreadable', str(error).removeprefix(f'{info.path}: ')) from error
  if count < stop - start:
    raise probing.LeftOut('unreadable', f'frames end at {start + count}')
  return found


@dataclasses.dataclass(frozen=True)
class Origin:
  """What a record says of where it comes from; see `record`."""

  source: str
  person: str
  basis: str
  language: str
  sentence: str
  words: tuple[tuple[float, float, str], ...]


def clip(number: int, take: speaker.Take, start: int, stop: int, times: np.ndarray,
         sound: probing.Sound, origin: Origin) -> dict:
  """A record without its frames; `record` tells what the fields are."""
  track = take.piece.track.at(np.arange(start, stop) - take.piece.start)
  at = times[start:stop]
  late = take.offset.seconds if take.moved else 0.0
  begin = round((float(at[0]) + late - sound.start) * _RATE)
  length = round((float(at[-1] - at[0]) + _step(at)) * _RATE)
  audio = sound.samples[max(begin, 0):max(begin + length, 0)]
  audio = np.pad(audio, (max(-begin, 0), 0))
  audio = np.pad(audio, (0, length - len(audio)))
  seconds = begin / _RATE + sound.start
  words = [[round(max(low - seconds, 0.0), 4), round(high - seconds, 4), word]
           for low, high, word in origin.words
           if high > seconds and low < seconds + length / _RATE]
  return {
    'clip_id': f'{origin.source}_{number:04d}',
    'times': (at - at[0]).astype(np.float32),
    'source_times': np.rint(at * 1e6).astype(np.int64),
    'valid': (~track.filled).astype(np.uint8),
    'confidence': track.confidence,
    'audio': audio,
    'mouth_box': track.mouth_box,
    'lip_gap': track.lip_gap,
    'mouth_width': track.mouth_width,
    'offset': np.float32(late),
    'offset_agreement': np.float32(take.offset.agreement),
    'offset_sure': np.int32(take.moved),
    'source': origin.source,
    'person': origin.person,
    'basis': origin.basis,
    'language': origin.language,
    'sentence': origin.sentence,
    'words': json.dumps(words, ensure_ascii=False),
  }

"""Videos as clips to tune on: tracked crops with the sound that belongs to them."""

import os
import pathlib

import numpy as np

from vidregen_jax import terminal
from vidregen_jax.errors import UserError
from vidregen_jax.faces import face_track, landmarks, tracks
from vidregen_jax.media import video
from vidregen_jax.media.audio import sound_file, waveform
from vidregen_jax.media.timeline import spans
from vidregen_jax.models import codec

BESIDE = 'data/talkers/pack/train'  # rendered people with sound, in the repository
_BESIDE_COUNT = 24
SUFFIXES = ('.mp4', '.mov', '.mkv', '.webm', '.avi', '.mpg')
_RATE = 16_000  # of the sound that the audio encoder hears


def videos(place) -> list[pathlib.Path]:
  """The videos at a path: itself, or those in a folder, by name.

  Raises:
    UserError: there is none.
  """
  place = pathlib.Path(place)
  if not os.path.lexists(place):
    raise UserError(f'{place}: no such file or folder')
  if not place.is_dir():
    return [place]
  found = sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES)
  if not found:
    raise UserError(f'{place} holds no videos ({", ".join(SUFFIXES)})')
  return found


def spread(paths) -> list:
  """Some of many videos, evenly spread, to tune beside a person."""
  at = np.linspace(0, len(paths) - 1, min(_BESIDE_COUNT, len(paths)))
  return [paths[i] for i in np.unique(np.round(at).astype(int))]


def after(path, moment: float) -> np.ndarray:
  """The frames of a video from a moment on, in seconds: bool [F]."""
  info = video.probe(path)
  return np.array([float(info.seconds(stamp)) >= moment for stamp in info.stamps.tolist()])


def clips(paths, size, least, most, what, left_out=None) -> list[dict]:
  """The largest face of some videos, as clips like those of `input_pipeline.talker_clips`.

  Args:
    paths: of the videos; of each an equal share of frames is taken, from its beginning.
    size: S of the crops, pixels.
    least: frames that a clip must have.
    most: frames of all clips together, at most.
    what: description of the work, for the progress.
    left_out: optional {path: bool [F]} of frames that are not to be seen.

  Returns:
    Dicts of clip_id, frames uint8 [F, S, S, 3], times float32 [F], mouth_box [F, 4], lip_gap and
    mouth_width [F], audio int16 [n] at 16 kHz; each is a stretch in which the face is seen without
    a cut.

  Raises:
    UserError: a file cannot be read or has no sound.
  """
  found, share = [], -(-most // len(paths))
  with terminal.Progress(len(paths), 'video', what) as bar:
    for path in paths:
      found += _of_video(path, size, least, share, (left_out or {}).get(path))
      bar.update()
  return found


def _of_video(path, size, least, most, left_out):
  info = video.probe(path)
  track = face_track.uncovered(tracks.track_file(path, 0, min(most, info.frame_count)))
  usable = track.valid.copy()
  if left_out is not None:
    usable &= ~left_out[:len(usable)]
  stretches = [(start, stop) for start, stop in _stretches(usable, track.shot)
               if stop - start >= least]
  if not stretches:
    return []
  sound, images = sound_file.Recording(path), {}
  inside = np.zeros(len(usable), bool)
  for start, stop in stretches:
    inside[start:stop] = True
  for frame in video.frames(path, 0, len(usable), stamps=info.stamps):
    if frame.index < len(inside) and inside[frame.index]:
      images[frame.index] = landmarks.crop(frame.image, track.affine[frame.index], size)
  return [_clip(path, track, sound, images, start, stop) for start, stop in stretches
          if all(index in images for index in range(start, stop))]


def _stretches(usable, shot):
  """(start, stop) of usable frames of one shot, whole groups of 4."""
  for start, stop in spans.stretches(usable):
    edges = start + 1 + np.flatnonzero(np.diff(shot[start:stop]))
    for one, other in zip([start, *edges], [*edges, stop], strict=True):
      yield int(one), int(one + (other - one) // codec.TIME_FACTOR * codec.TIME_FACTOR)


def _clip(path, track, sound, images, start, stop):
  times = track.times[start:stop]
  end = times[-1] + np.median(np.diff(times))
  first, last = (round((at - float(sound.start)) * sound.rate) for at in (times[0], end))
  samples = sound[:, max(first, 0):max(last, 0)]
  samples = np.pad(samples, [(0, 0), (max(-first, 0), 0)])
  samples = np.pad(samples, [(0, 0), (0, max(last - first - samples.shape[1], 0))])
  mono = waveform.mono_16k(samples, sound.rate)
  return {
    'clip_id': f'{path}:{start}'.encode(),
    'frames': np.stack([images[index] for index in range(start, stop)]),
    'times': (times - times[0]).astype(np.float32),
    'mouth_box': track.mouth_box[start:stop].astype(np.float32),
    'lip_gap': track.lip_gap[start:stop].astype(np.float32),
    'mouth_width': track.mouth_width[start:stop].astype(np.float32),
    'audio': np.clip(np.round(mono * 32767), -32768, 32767).astype(np.int16),
  }


def seconds(found) -> float:
  """How long some clips are, together."""
  return sum(len(clip['audio']) for clip in found) / _RATE

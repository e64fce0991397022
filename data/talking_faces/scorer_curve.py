"""How well a mouth and the sound agree at each lag, as the scorer of lip sync sees and hears them.

The scorer is the one of `checkpoints/sync`, which `docs/lip-sync-score.md` is about. It tells how
far apart mouth and sound are in steps of a frame; between them the curve is a spline.
"""

import functools
import hashlib
import pathlib

import numpy as np
from scipy import interpolate

from data.talking_faces import probing, sync_offset
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import sync_score, sync_scorer
from vidregen_jax.faces import face_track
from vidregen_jax.media import video
from vidregen_jax.media.audio import waveform
from vidregen_jax.models import sync

# Fixed: the bounds of `sync_offset` are in units of its distances.
SCORER = pathlib.Path(__file__).resolve().parents[2] / 'checkpoints' / 'sync'
# Seconds of a face that are looked at, as its frames are decoded once more for that. Of the pieces
# of real people that `bench.sync_offsets` makes, all of ten seconds and more are right.
_MOST = 15.0
_LEAST = 1.0  # seconds of lips, without which nothing is said
_STEPS = sync_offset.RATE // sync.RATE


@functools.cache
def digest() -> str:
  """SHA-256 of the scorer, on which offsets depend.

  Raises:
    UserError: it is not there.
  """
  try:
    parts = [(SCORER / name).read_bytes() for name in ('config.json', 'sync.safetensors')]
  except OSError as error:
    raise UserError(f'{SCORER}: no scorer of lip sync here ({error.strerror}): it is part of the '
                    'repository') from error
  return hashlib.sha256(b''.join(parts)).hexdigest()


@functools.cache
def scorer() -> sync_scorer.Scorer:
  """The scorer, loaded once a process."""
  return sync_scorer.load(SCORER)


def of(info: video.VideoInfo, sound: probing.Sound, piece: face_track.Piece, start: int, stop: int
       ) -> sync_offset.Curve:
  """The curve of a face, from frame `start` to `stop` of its source; see `look` and `curve`."""
  return curve(look(info, piece, start, stop), sound)


def look(info: video.VideoInfo, piece: face_track.Piece, start: int, stop: int
         ) -> sync_scorer.Mouth:
  """The mouth of a face as the scorer sees it, in the middle of some frames.

  Args:
    info: of the source.
    piece: the face.
    start, stop: frames of the source, inside the piece.

  Raises:
    LeftOut: a frame cannot be decoded.
  """
  times = piece.track.times[start - piece.start:stop - piece.start]
  inside = np.flatnonzero(np.abs(times - (times[0] + times[-1]) / 2) <= _MOST / 2)
  start, stop = start + int(inside[0]), start + int(inside[-1]) + 1
  try:
    return sync_scorer.look(scorer(), info.path, piece.part(start, stop, 0).track, start,
                            stamps=info.stamps)
  except UserError as error:
    raise probing.LeftOut('unreadable', str(error).removeprefix(f'{info.path}: ')) from error


def curve(mouth: sync_scorer.Mouth, sound: probing.Sound) -> sync_offset.Curve:
  """The agreement of a mouth with the sound at each lag: how much nearer they are than on average.

  Args:
    mouth: of `look`.
    sound: of the source.
  """
  nothing = sync_offset.Curve(np.zeros(2 * round(sync_offset.SEARCH * sync_offset.RATE) + 1), 0.0)
  if not len(mouth.times):
    return nothing
  # Only the sound around: its loudest moment, by which it is scaled, may be an hour away.
  around = sync_offset.SEARCH + (scorer().reach + 1) / sync.RATE
  low, high = (round((float(at) - sound.start) * waveform.MODEL_RATE)
               for at in (mouth.times[0] - around, mouth.times[-1] + around))
  low, high = max(low, 0), max(high, 0)
  samples = sound.samples[low:high].astype(np.float32) / 32768
  if not len(samples):
    return nothing
  rows = sync_scorer.hear(scorer(), mouth, samples, sound.start + low / waveform.MODEL_RATE)
  mean, frames = sync_score.mean_row(rows.values)
  if not np.isfinite(mean).any() or frames < _LEAST * sync.RATE:
    return nothing
  nearer = np.nan_to_num(np.nanmean(mean) - mean)
  lags = np.arange(-sync_score.REACH, sync_score.REACH + 1)
  fine = np.arange(lags[0] * _STEPS, lags[-1] * _STEPS + 1) / _STEPS
  return sync_offset.Curve(interpolate.CubicSpline(lags, nearer)(fine), frames / sync.RATE)

"""Vectors of the mouth and the sound in clips and videos, for `sync_score` to compare.

Videos are brought to the scorers' 25 frames a second: at each 25th of a second the nearest frame is
looked at. Where the face is not seen, or is another one a few frames away, nothing is known.
"""

import dataclasses
import functools
import itertools
from collections.abc import Iterable

import jax
import numpy as np

from vidregen_jax.evaluation import sync_score
from vidregen_jax.exports import checksums, model_loader
from vidregen_jax.faces import face_track, mouth_view, tracks
from vidregen_jax.media.audio import waveform
from vidregen_jax.models import sync, syncnet

_BLOCK = 64  # frames that are embedded at once
_FEW = 8  # windows that SyncNet, which is large, sees at once
_NEAR = 0.75 / sync.RATE  # seconds to the nearest frame, beyond which there is none
_FRAME = waveform.MODEL_RATE // sync.RATE  # samples


@dataclasses.dataclass(frozen=True)
class Scorer:
  """This package's own scorer.

  Attributes:
    model, params: of `models.sync`.
    limit: the `fit` above which a clip counts as in sync.
    padded: see `sync_score.distances`.
  """

  model: sync.SyncConfig
  params: dict
  limit: float
  padded = False

  @property
  def view(self) -> mouth_view.View:
    return mouth_view.mouth(self.model.size)

  @property
  def reach(self) -> int:
    """Frames before and after its own that a vector may depend on."""
    return self.model.reach

  def mouth(self, views: Iterable[np.ndarray]) -> np.ndarray:
    """Unit vectors of F views, uint8 [size, size, 3] each, 25 a second.

    Returns:
      float32 [F, E]; nan where part of what they depend on is not there.
    """
    grey = [mouth_view.grey(view[None])[0] for view in views]
    grey = np.array(grey, np.uint8).reshape(-1, self.model.size, self.model.size)
    return self._in_blocks(sync.embed_mouth, grey, 1)

  def sound(self, samples: np.ndarray) -> np.ndarray:
    """Unit vectors of sound, float32 [n], mono, 16 kHz.

    Returns:
      float32 [n // 640, E]; nan where part of what they depend on is not there.
    """
    mel = sync.spectrogram(samples) if len(samples) else np.zeros((0, sync.MEL_BINS), np.float32)
    return self._in_blocks(sync.embed_sound, mel, sync.COLUMNS)

  def _in_blocks(self, embed, x, step):
    """Embeds frames of `step` rows each."""
    count, reach = len(x) // step, self.model.reach
    vectors = np.full((count, self.model.embedding), np.nan, np.float32)
    for start in range(reach, count - reach, _BLOCK):
      stop = min(start + _BLOCK, count - reach)
      # The last block is filled up with its last frame, so that all have one shape.
      at = np.clip(np.arange(start - reach, start + _BLOCK + reach), 0, count - 1)
      rows = (at[:, None] * step + np.arange(step)).ravel()
      made = _compiled(embed, self.model)(self.params, x[rows][None])
      vectors[start:stop] = made[0, :stop - start]
    return vectors


@functools.cache
def _compiled(embed, model):
  return jax.jit(functools.partial(embed, model))


@dataclasses.dataclass(frozen=True)
class SyncNet:
  """The original network, so that LSE-D and LSE-C are what the field reports.

  The square that it sees is the one that the authors' pipeline cuts around a detected face (from
  the brow to the chin, and 0.4 of half its side more at three sides), but around this package's
  tracks: their detector is another.

  Attributes:
    params: of `syncnet.load`.
    limit: None; how far apart its vectors are depends on the footage.
    padded: see `sync_score.distances`.
  """

  params: dict
  limit = None
  padded = True
  view = mouth_view.View(-.165, -.005, 1.33, syncnet.SIZE)
  reach = syncnet.FRAMES - 1

  def mouth(self, views: Iterable[np.ndarray]) -> np.ndarray:
    """Vectors of the five frames from each on, float32 [F - 4, 1024]; as `Scorer.mouth`."""
    views, made, held = iter(views), [], []
    while new := list(itertools.islice(views, _FEW + syncnet.FRAMES - 1 - len(held))):
      held += new
      count = len(held) - syncnet.FRAMES + 1
      if count > 0:
        at = np.minimum(np.arange(_FEW)[:, None] + np.arange(syncnet.FRAMES), len(held) - 1)
        windows = np.array(held)[at][..., ::-1]
        made.append(np.asarray(_syncnet_mouth(self.params, windows))[:count])
        held = held[count:]
    return np.concatenate(made) if made else np.zeros((0, syncnet.WIDTH), np.float32)

  def sound(self, samples: np.ndarray) -> np.ndarray:
    """Vectors of the fifth of a second from each frame on, float32 [A, 1024]."""
    windows, made = syncnet.windows(samples), [np.zeros((0, syncnet.WIDTH), np.float32)]
    for start in range(0, len(windows), _BLOCK):
      part = windows[start:start + _BLOCK]
      whole = np.pad(part, ((0, _BLOCK - len(part)), (0, 0), (0, 0)))
      made.append(np.asarray(_syncnet_sound(self.params, whole))[:len(part)])
    return np.concatenate(made)


_syncnet_mouth = jax.jit(syncnet.embed_mouth)
_syncnet_sound = jax.jit(syncnet.embed_sound)


def load(folder) -> Scorer:
  """Reads an exported scorer.

  Raises:
    UserError: as `model_loader.load_sync`, or it is not what was packed.
  """
  found = model_loader.load_sync(folder)
  checksums.check_known(folder, {'config.json': found.export.config_digest,
                                 'sync.safetensors': found.export.digest})
  return Scorer(found.model, found.export.params, float(found.export.arrays['limit']))


@dataclasses.dataclass(frozen=True)
class Rows:
  """Distances along a clip.

  Attributes:
    times: seconds [F], a 25th apart.
    values: [F, 31], see `sync_score.distances`.
  """

  times: np.ndarray
  values: np.ndarray

  def score(self, start: float = -np.inf, stop: float = np.inf) -> sync_score.Score:
    """The score of the part from one time to another, in seconds."""
    return sync_score.score(self.values[(self.times >= start) & (self.times < stop)])


@dataclasses.dataclass(frozen=True)
class Mouth:
  """A mouth along a video, as a scorer sees it.

  Attributes:
    times: seconds [F], a 25th apart.
    vectors: [F, E].
    known: bool [F], where the face is seen.
  """

  times: np.ndarray
  vectors: np.ndarray
  known: np.ndarray


def of_clip(scorer, clip) -> Rows:
  """The distances along a clip of a dataset of crops, see `input_pipeline.talker_clips`."""
  times = np.asarray(clip['times'], np.float64)
  seconds = np.arange(0, times[-1] - times[0] + 1e-6, 1 / sync.RATE)
  views = mouth_view.of_crops(clip['frames'], scorer.view)
  mouth = scorer.mouth(views[nearest(times, times[0] + seconds)])
  sound = scorer.sound(clip['audio'].astype(np.float32) / 32768)
  return Rows(times[0] + seconds[:len(mouth)],
              sync_score.distances(mouth, sound, padded=scorer.padded))


def of_video(scorer, path, audio=None, track: face_track.Track | None = None) -> Rows:
  """The distances along a video, of its largest face.

  Args:
    scorer: Scorer or SyncNet.
    path: of the video.
    audio: of a file whose soundtrack is heard instead of its own.
    track: of the face, if it has been followed already.

  Raises:
    UserError: a file cannot be read, or has no sound.
  """
  sound = read_sound(audio or path)  # before the work, as there may be none
  return hear(scorer, look(scorer, path, track), *sound)


def read_sound(path) -> tuple[np.ndarray, float]:
  """A file's sound as scorers hear it, float32 [n], and when it begins, in seconds.

  Raises:
    UserError: as `waveform.read`.
  """
  samples, rate, begin = waveform.read(path)
  return waveform.mono_16k(samples, rate), float(begin)


def look(scorer, path, track: face_track.Track | None = None, first: int = 0, *,
         stamps: np.ndarray | None = None) -> Mouth:
  """Embeds the mouth of a video's largest face, or of a given one.

  Args:
    scorer, path, track: as in `of_video`.
    first: number of the frame that is the track's first.
    stamps: as in `video.frames`.

  Raises:
    UserError: the video cannot be read.
  """
  track = tracks.track_file(path) if track is None else track
  seen = np.flatnonzero(track.valid)
  if len(seen) < 2:
    return Mouth(np.zeros(0), scorer.mouth(()), np.zeros(0, bool))
  times = np.arange(track.times[seen[0]], track.times[seen[-1]] + 1e-6, 1 / sync.RATE)
  frames = nearest(track.times, times)
  known = track.valid[frames] & (np.abs(track.times[frames] - times) <= _NEAR)
  # Frames in which there is no face are stood in for by the nearest one in which there is.
  frames = seen[nearest(seen, frames)]
  at = np.arange(len(frames))
  before, after = (np.clip(at + side * scorer.reach, 0, len(at) - 1) for side in (-1, 1))
  known &= track.shot[frames[before]] == track.shot[frames[after]]
  views = mouth_view.of_video(path, track, scorer.view, frames, first, stamps=stamps)
  vectors = scorer.mouth(views)
  return Mouth(times[:len(vectors)], vectors, known[:len(vectors)])


def hear(scorer, mouth: Mouth, samples: np.ndarray, begin: float) -> Rows:
  """The distances between a mouth and a sound.

  Args:
    scorer: that embedded the mouth.
    mouth: of `look`.
    samples, begin: of `read_sound`.
  """
  if not len(mouth.times):
    return Rows(mouth.times, np.zeros((0, 2 * sync_score.REACH + 1)))
  skip = round((float(mouth.times[0]) - begin) * waveform.MODEL_RATE)
  # Sound from before the first frame is heard too: what comes too early is found there.
  lead = min(max(skip, 0) // _FRAME, sync_score.REACH + scorer.reach)
  if scorer.padded:
    lead = 0  # as its authors have it
  skip -= lead * _FRAME
  samples = samples[skip:] if skip >= 0 else np.pad(samples, (-skip, 0))
  return Rows(mouth.times, sync_score.distances(mouth.vectors, scorer.sound(samples), mouth.known,
                                                lead, scorer.padded))


def nearest(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
  """The places of the ascending values that are nearest to others; two values or more."""
  after = np.clip(np.searchsorted(values, wanted), 1, len(values) - 1)
  return after - (wanted - values[after - 1] < values[after] - wanted)

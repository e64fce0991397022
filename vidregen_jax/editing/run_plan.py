"""Spans of time to runs of frames: what is regenerated, what warms it up, what comes after."""

import dataclasses
import itertools

import numpy as np

from vidregen_jax.media.timeline import spans as spanning
from vidregen_jax.models import codec


def _unbroken(mask, shot) -> list[tuple[int, int]]:
  """`spans.stretches` that end at cuts."""
  cuts = np.flatnonzero(np.diff(shot)) + 1
  return [(start, stop) for first, last in spanning.stretches(mask)
          for start, stop in itertools.pairwise(
            [first, *cuts[(cuts > first) & (cuts < last)].tolist(), last])]


@dataclasses.dataclass(frozen=True)
class Run:
  """Frames that are regenerated in one go, in frame numbers; ends are exclusive.

  Attributes:
    warm: first frame of the real latent frames before; their 4-frame groups end at `start`.
    start, stop: the frames that change.
    padded: end of the last 4-frame group; frames from `stop` to here are made and thrown away.
    anchor: first of the 4 real frames after `padded`, or None.
  """

  warm: int
  start: int
  stop: int
  padded: int
  anchor: int | None


def plan(spans, times, valid, shot, window: int) -> list[Run]:
  """Runs of frames with a face, for spans of time.

  A frame without a face ends a run, and so does a cut. What warms a run up is of its own shot, and
  never a frame that another run changes: its old mouth is not the past any more. The anchor too is
  of the same shot.

  Args:
    spans: merged (start, stop) in seconds.
    times: [F] seconds.
    valid: bool [F].
    shot: int [F], as in face_track.Track: neighbours of unlike numbers have nothing to do with each
      other.
    window: latent frames of warm-up at most.
  """
  valid, shot = np.asarray(valid), np.asarray(shot)
  changed = spanning.frames(spans, times) & valid
  factor, runs = codec.TIME_FACTOR, []
  for start, stop in _unbroken(changed, shot):
    # The next shot of this number, in a film that runs back and forth, is another.
    cuts = np.flatnonzero(np.diff(shot)) + 1
    first, last = np.searchsorted(cuts, (start, stop - 1), side='right')
    usable = valid & ~changed
    usable[:cuts[first - 1] if first else 0] = False
    usable[cuts[last] if last < len(cuts) else len(shot):] = False
    before = np.flatnonzero(~usable[:start])
    first = int(before[-1]) + 1 if len(before) else 0
    groups = min((start - first) // factor, window)
    padded = start + -(-(stop - start) // factor) * factor
    after = slice(padded, padded + factor)
    anchored = padded + factor <= len(times) and bool(usable[after].all())
    runs.append(Run(start - groups * factor, start, stop, padded, padded if anchored else None))
  return runs

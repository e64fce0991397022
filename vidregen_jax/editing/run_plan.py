"""Turns spans of time into runs of frames: warm-up, the frames to regenerate, and the anchor."""

import dataclasses
import itertools

import numpy as np

from vidregen_jax.media.timeline import spans as spanning
from vidregen_jax.models import codec


def _unbroken(mask, shot, owner) -> list[tuple[int, int]]:
  """`spans.stretches`, split at cuts and from edit to edit."""
  cuts = np.flatnonzero(np.diff(shot) | np.diff(owner)) + 1
  return [(start, stop) for first, last in spanning.stretches(mask)
          for start, stop in itertools.pairwise(
            [first, *cuts[(cuts > first) & (cuts < last)].tolist(), last])]


@dataclasses.dataclass(frozen=True)
class Run:
  """Frames that are regenerated in one pass, as frame numbers; ends are exclusive.

  Attributes:
    warm: first of the real frames that warm up the model; their groups of 4 end at `start`.
    start, stop: the frames that change.
    padded: end of the last group of 4; frames from `stop` to here are generated and discarded.
    anchor: first of the 4 real frames after `padded`, or None.
    edit: number of the edit that they belong to.
  """

  warm: int
  start: int
  stop: int
  padded: int
  anchor: int | None
  edit: int = 0


def plan(spans, times, valid, shot, window: int, owner=None) -> list[Run]:
  """Runs of frames with a face, for spans of time.

  A run ends at a frame without a face and at a cut. Its warm-up frames are from the same shot, and
  never frames that another run changes, as the original mouth there is no longer part of the video.
  The anchor is from the same shot, too.

  Args:
    spans: merged (start, stop) in seconds.
    times: [F] seconds.
    valid: bool [F].
    shot: int [F], as in face_track.Track: a change of number is a cut.
    window: the most latent frames of warm-up.
    owner: int [F], the edit that each frame belongs to; None for one edit.
  """
  valid, shot = np.asarray(valid), np.asarray(shot)
  owner = np.zeros(len(shot), int) if owner is None else owner
  changed = spanning.frames(spans, times) & valid
  factor, runs = codec.TIME_FACTOR, []
  for start, stop in _unbroken(changed, shot, owner):
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
    runs.append(Run(start - groups * factor, start, stop, padded, padded if anchored else None,
                    int(owner[start])))
  return runs

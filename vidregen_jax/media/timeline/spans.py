"""Spans of time to runs of frames: what is regenerated, what warms it up, what comes after."""

import dataclasses
import itertools
import re

import numpy as np

from vidregen_jax.errors import UserError
from vidregen_jax.models import codec


def parse(text) -> tuple[float, float]:
  """'1.20-2.04' to (1.2, 2.04) seconds.

  Raises:
    UserError: not two times, or an empty or reversed span.
  """
  match = re.fullmatch(r'(\d+(?:\.\d*)?|\.\d+)-(\d+(?:\.\d*)?|\.\d+)', text.strip())
  if not match:
    raise UserError(f'span {text!r} is not START-END in seconds, such as 1.20-2.04')
  start, stop = map(float, match.groups())
  if start >= stop:
    raise UserError(f'span {text} is {"empty" if start == stop else "reversed"}: '
                    'give START-END with START before END')
  return start, stop


def check(spans, begin: float, end: float, path) -> None:
  """Refuses spans that do not lie in the video, which lasts from `begin` to `end` seconds."""
  for start, stop in spans:
    # Half a millisecond: times are typed with three decimals.
    if start < begin - 5e-4 or stop > end + 5e-4:
      raise UserError(f'span {start:g}-{stop:g} does not lie in {path}, which lasts from {begin:g} '
                      f'to {end:.3f} s')


def merge(spans) -> list[tuple[float, float]]:
  """Sorted spans; those that touch or overlap are one."""
  merged = []
  for start, stop in sorted(spans):
    if merged and start <= merged[-1][1]:
      merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
    else:
      merged.append((start, stop))
  return merged


def around(spans, seconds: float, moments=()) -> list[tuple[float, float]]:
  """Merged spans with so many seconds on either side, and moments with a second."""
  return merge([(start - seconds, stop + seconds) for start, stop in spans]
               + [(start - 1.0, stop + 1.0) for start, stop in moments])


def stretches(mask) -> list[tuple[int, int]]:
  """(start, stop) of each run of true values in a mask bool [N]."""
  edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
  return [(start, stop) for start, stop in edges.reshape(-1, 2).tolist()]


def _unbroken(mask, shot) -> list[tuple[int, int]]:
  """`stretches` that end at cuts."""
  cuts = np.flatnonzero(np.diff(shot)) + 1
  return [(start, stop) for first, last in stretches(mask)
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


def frames(spans, times):
  """Which frames are in a span, bool [F]: those that start in one.

  Args:
    spans: (start, stop) in seconds.
    times: [F] seconds.
  """
  times = np.asarray(times)
  inside = np.zeros(len(times), bool)
  for start, stop in spans:
    # A millionth of a second: times are exact fractions, spans decimal.
    inside |= (times >= start - 1e-6) & (times < stop - 1e-6)
  return inside


def plan(spans, times, valid, shot, window: int) -> list[Run]:
  """Runs of frames with a face, for spans of time.

  A frame without a face ends a run, and so does a cut. What warms a run up is of its own shot, and
  never a frame that another run changes: its old mouth is not the past any more. The anchor too is
  of the same shot.

  Args:
    spans: merged (start, stop) in seconds.
    times: [F] seconds.
    valid: bool [F].
    shot: int [F], as in tracks.Track: neighbours of unlike numbers have nothing to do with each
      other.
    window: latent frames of warm-up at most.
  """
  valid, shot = np.asarray(valid), np.asarray(shot)
  changed = frames(spans, times) & valid
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

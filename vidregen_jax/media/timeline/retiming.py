"""Timelines: which source frame is shown when, to stretch or shorten video to fit other sound.

A timeline lists output frames by source frame and time. Everything else follows from it: face
tracks are read along it, and the sound moves with the picture.
"""

import dataclasses

import numpy as np

from vidregen_jax.errors import UserError

FITS = ('trim', 'hold', 'pingpong', 'retime')


@dataclasses.dataclass(frozen=True)
class Timeline:
  """N output frames.

  Attributes:
    source: int [N], the source's frame that each shows.
    pts: int [N], when, in units of the source's time base; rising.
    end: int, when the last one ends.
  """

  source: np.ndarray
  pts: np.ndarray
  end: int

  def __len__(self) -> int:
    return len(self.source)

  @property
  def is_the_sources(self) -> bool:
    """Whether each frame is shown once and in order."""
    return bool((np.diff(self.source) == 1).all()) and self.source[0] == 0


def of_source(pts, end) -> Timeline:
  """The source's own timeline.

  Args:
    pts: int [F], rising.
    end: when the last frame ends.
  """
  pts = np.asarray(pts, np.int64)
  return Timeline(np.arange(len(pts)), pts, int(end))


def retime(timeline: Timeline, start: int, stop: int, length: int) -> Timeline:
  """Makes frames `start` to `stop` last `length`; later frames move.

  The speed is the source's at both ends and changes smoothly between, along a cubic; frames are
  repeated or left out, never blended. If all frames of the span have the same duration, so have the
  new ones, and `length` is rounded up to whole frames; otherwise it is divided equally among the
  best-fitting number of frames.

  Args:
    timeline: what is changed.
    start, stop: output frames, exclusive of `stop`.
    length: in units of pts.

  Returns:
    A Timeline; `end` moves by as much as the span has become longer.

  Raises:
    UserError: nothing to retime, or no length.
  """
  if not 0 <= start < stop <= len(timeline) or length <= 0:
    raise UserError(f'frames {start} to {stop} cannot be made to last {length}: give a span of at '
                    'least a frame, and sound for it')
  edges = np.r_[timeline.pts, timeline.end]
  steps = np.diff(edges[start:stop + 1])
  if (steps == steps[0]).all():
    count = max(-(-length // int(steps[0])), 1)
    times = edges[start] + steps[0] * np.arange(count + 1)
  else:
    count = max(round(length / steps.mean()), 1)
    times = edges[start] + np.round(np.linspace(0, length, count + 1)).astype(np.int64)
  old = edges[start:stop + 1] - edges[start]
  ratio = min((times[-1] - times[0]) / old[-1], 3.0)  # steeper cubics are not monotonic
  middles = ((times[:-1] + times[1:]) / 2 - times[0]) / (times[-1] - times[0])
  at = old[-1] * _hermite(middles, ratio)
  frames = np.clip(np.searchsorted(old, at, side='right') - 1, 0, stop - start - 1)
  moved = int(times[-1]) - int(edges[stop])
  return Timeline(
      np.r_[timeline.source[:start], timeline.source[start:stop][frames], timeline.source[stop:]],
      np.r_[timeline.pts[:start], times[:-1], timeline.pts[stop:] + moved],
      timeline.end + moved)


def _hermite(x, slope):
  """The cubic from (0, 0) to (1, 1) with this slope at both ends."""
  return (2 * slope - 2) * x**3 + (3 - 3 * slope) * x**2 + slope * x


def fit(timeline: Timeline, length: int, how: str) -> Timeline:
  """Makes a whole video last `length`, to fit a longer or shorter dub.

  Args:
    timeline: the one to change.
    length: in units of pts, from the first frame's start.
    how: `trim`: a longer dub is refused, and frames after a shorter one are dropped; `hold`: the
      last frame stays; `pingpong`: the video runs back and forth; `retime`: all of it is slower or
      faster. For a shorter dub, `hold` and `pingpong` drop the frames after it too.

  Raises:
    UserError: no such way, or the dub is longer and `how` is `trim`.
  """
  if how not in FITS:
    raise UserError(f'--fit {how} is not known: choose of {", ".join(FITS)}')
  begin = int(timeline.pts[0])
  if how == 'retime':
    return retime(timeline, 0, len(timeline), length)
  edges = np.r_[timeline.pts, timeline.end]
  if begin + length <= timeline.end:
    count = max(int(np.searchsorted(timeline.pts, begin + length)), 1)
    return Timeline(timeline.source[:count], timeline.pts[:count], int(edges[count]))
  if how == 'trim':
    raise UserError(f'the new soundtrack lasts {length / (timeline.end - begin):.2f} times as long '
                    'as the video: choose --fit hold, pingpong or retime')
  steps, count = np.diff(edges), len(timeline)
  if how == 'hold':
    more = -(-(begin + length - timeline.end) // int(steps[-1]))
    order, lasting = np.full(more, count - 1), np.full(more, steps[-1])
  else:
    there_and_back = np.r_[np.arange(count - 1, -1, -1), np.arange(count)]
    turns = -(-length // int(steps.sum()))
    order = np.tile(there_and_back, turns)
    lasting = steps[order]
    order = order[:int(np.searchsorted(np.cumsum(lasting), begin + length - timeline.end)) + 1]
    lasting = steps[order]
  starts = timeline.end + np.r_[0, np.cumsum(lasting)]
  return Timeline(np.r_[timeline.source, timeline.source[order]],
                  np.r_[timeline.pts, starts[:-1]], int(starts[-1]))

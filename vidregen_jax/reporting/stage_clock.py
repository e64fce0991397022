"""What took how long, by stage."""

import array
import contextlib
import time

import numpy as np


class Clock:
  """Seconds spent by stage; each stage's are taken by one thread. Stages of several overlap."""

  def __init__(self):
    self._stages = {}

  @contextlib.contextmanager
  def __call__(self, stage, frames=0):
    start = time.perf_counter()
    yield
    self.add(stage, time.perf_counter() - start, frames)

  def add(self, stage, seconds, frames=0):
    """Notes a call of a stage: 12 bytes, for a long video has a million."""
    times, counts = self._stages.setdefault(stage, (array.array('d'), array.array('i')))
    times.append(seconds)
    counts.append(frames)

  def report(self):
    """By stage: seconds in all, frames, and the median milliseconds a frame over the calls.

    The first call of a compiled stage includes its compilation, which the median leaves out.
    """
    rows = {}
    for stage, (seconds, counts) in self._stages.items():
      rows[stage] = {'seconds': round(sum(seconds), 3), 'frames': sum(counts)}
      per_frame = [1e3 * spent / count for spent, count in zip(seconds, counts, strict=True)
                   if count]
      if per_frame:
        rows[stage]['ms_per_frame_median'] = round(float(np.median(per_frame)), 3)
    return rows

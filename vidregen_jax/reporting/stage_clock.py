"""Measures how long each stage of an edit takes."""

import array
import contextlib
import dataclasses
import time

import numpy as np

from vidregen_jax.reporting import dataclass_json


@dataclasses.dataclass(frozen=True)
class Stage:
  """The time that one stage of an edit took.

  Attributes:
    seconds: in all.
    frames: that it processed.
    ms_per_frame_median: milliseconds per frame, the median over all calls, so that compilation in
      the first call does not count; None if it processes no frames.
  """

  seconds: float
  frames: int
  ms_per_frame_median: float | None = dataclasses.field(
    default=None, metadata=dataclass_json.OMITTED_IF_NONE)


class Clock:
  """Collects seconds by stage. Each stage belongs to one thread; stages of several overlap."""

  def __init__(self):
    self._stages = {}

  @contextlib.contextmanager
  def __call__(self, stage, frames=0):
    start = time.perf_counter()
    yield
    self.add(stage, time.perf_counter() - start, frames)

  @contextlib.contextmanager
  def leaving(self, stage, context):
    """Enters a context, and times its exit as a stage if its block ends without an error."""
    with contextlib.ExitStack() as stack:
      yield stack.enter_context(context)
      with self(stage):
        stack.close()

  def add(self, stage, seconds, frames=0):
    """Adds a call of a stage, in 12 bytes, as a long video has a million."""
    times, counts = self._stages.setdefault(stage, (array.array('d'), array.array('i')))
    times.append(seconds)
    counts.append(frames)

  def report(self) -> dict[str, Stage]:
    """What each stage has taken so far, in order of first use."""
    stages = {}
    for name, (seconds, counts) in self._stages.items():
      per_frame = [1e3 * spent / count for spent, count in zip(seconds, counts, strict=True)
                   if count]
      stages[name] = Stage(round(sum(seconds), 3), sum(counts),
                           round(float(np.median(per_frame)), 3) if per_frame else None)
    return stages

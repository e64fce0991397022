"""What took how long, by stage."""

import array
import contextlib
import dataclasses
import time

import numpy as np

from vidregen_jax.reporting import dataclass_json


@dataclasses.dataclass(frozen=True)
class Stage:
  """What one stage of an edit took.

  Attributes:
    seconds: in all.
    frames: how many it worked on.
    ms_per_frame_median: milliseconds a frame, the median over the calls; None where no call was of
      frames. The first call of a compiled stage includes its compilation, which the median leaves
      out.
  """

  seconds: float
  frames: int
  ms_per_frame_median: float | None = dataclasses.field(
    default=None, metadata=dataclass_json.OMITTED_IF_NONE)


class Clock:
  """Seconds spent by stage; each stage's are taken by one thread. Stages of several overlap."""

  def __init__(self):
    self._stages = {}

  @contextlib.contextmanager
  def __call__(self, stage, frames=0):
    start = time.perf_counter()
    yield
    self.add(stage, time.perf_counter() - start, frames)

  @contextlib.contextmanager
  def leaving(self, stage, context):
    """Enters a context; what it takes to leave it when its block ends well is a stage."""
    with contextlib.ExitStack() as stack:
      yield stack.enter_context(context)
      with self(stage):
        stack.close()

  def add(self, stage, seconds, frames=0):
    """Notes a call of a stage: 12 bytes, for a long video has a million."""
    times, counts = self._stages.setdefault(stage, (array.array('d'), array.array('i')))
    times.append(seconds)
    counts.append(frames)

  def report(self) -> dict[str, Stage]:
    """What each stage has taken so far, in the order in which they began."""
    stages = {}
    for name, (seconds, counts) in self._stages.items():
      per_frame = [1e3 * spent / count for spent, count in zip(seconds, counts, strict=True)
                   if count]
      stages[name] = Stage(round(sum(seconds), 3), sum(counts),
                           round(float(np.median(per_frame)), 3) if per_frame else None)
    return stages

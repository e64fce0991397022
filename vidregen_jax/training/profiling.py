"""Where a training's time goes: seconds a step by what the loop waits for, and a trace of a few.

JAX computes behind the loop's back: a step returns before it is done. So nothing here blocks, and
seconds are of the loop, not of the device. What the loop does not spend on waiting for batches, on
looking and on saving it spends on launching steps and on waiting for their results: that rest is
called compute, and over some steps it is right, though not for one. A batch that is waited for
while the device still works costs nothing; the wait is counted as data all the same, so data is
the most that better reading could save.
"""

import contextlib
import time

import jax

_FIRST = 2  # the trace begins so many steps after the run did: the first is compiled
_STEPS = 3  # that are traced


class StepTimer:
  """Splits the time since it was last read into kinds, a step."""

  def __init__(self, step, now=time.perf_counter):
    """Args:
      step: the last step that is done.
      now: the clock, seconds.
    """
    self._now = now
    self._begin(step)

  def _begin(self, step):
    self._read, self._since, self._spent = step, self._now(), {'data': 0, 'looking': 0, 'saving': 0}

  @contextlib.contextmanager
  def __call__(self, kind):
    """Counts the `with` block's time as 'data', 'looking' or 'saving'."""
    begun = self._now()
    try:
      yield
    finally:
      self._spent[kind] += self._now() - begun

  def read(self, step):
    """Mean seconds a step since the last read, by kind; 'seconds_compute' is the rest.

    Read where a step's results are there already. What is looked at and saved after a read counts
    to the next.

    Args:
      step: the last step that is done; at least one more than at the last read.
    """
    steps = step - self._read
    rest = self._now() - self._since - sum(self._spent.values())
    spent = self._spent | {'compute': rest}
    self._begin(step)
    return {f'seconds_{kind}': seconds / steps for kind, seconds in spent.items()}


class Trace:
  """Writes a trace of a few steps, which xprof and TensorBoard show; a context manager.

  A run that ends before they are through, for whatever reason, writes those that it did.
  """

  def __init__(self, folder, step):
    """Args:
      folder: where to; None writes nothing.
      step: the last step that is done.
    """
    self._folder, self._on = folder, False
    self._first, self._last = step + _FIRST, step + _FIRST + _STEPS - 1

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._stop()

  def _stop(self):
    if self._on:
      self._on = False
      jax.profiler.stop_trace()

  @contextlib.contextmanager
  def step(self, step):
    """Marks a step; yields a list for what it makes, which the trace's end waits for."""
    if self._folder is not None and step == self._first:
      jax.profiler.start_trace(self._folder)
      self._on = True
    outputs = []
    with jax.profiler.StepTraceAnnotation('train', step_num=step):
      yield outputs
    if self._on and step == self._last:
      jax.block_until_ready(outputs)
      self._stop()

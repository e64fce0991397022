"""Where a training's time goes: seconds a step by what the loop waits for, and traces of steps.

JAX dispatches asynchronously: a step returns before it is computed. Nothing here blocks, so the
seconds are the loop's, not the device's. The time that the loop does not spend on waiting for
batches, on validation or on saving goes into launching steps and waiting for their results: this
rest is called compute, and is accurate over several steps, not for a single one. Waiting for a
batch while the device is still busy costs nothing but counts as data all the same, so data is an
upper bound on what faster reading could save.
"""

import contextlib
import time

import jax

_FIRST = 2  # the trace begins at the second step of a run: the first one compiles
_STEPS = 3  # are traced


class StepTimer:
  """Splits the time since the last read by what it was spent on, in seconds a step."""

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

    Call it once a step's results are fetched. Validation and saving after a read count towards the
    next one.

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

  A run that ends before that, for whatever reason, writes the steps that it made.
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
    """Marks a step; yields a list for its outputs, which the end of the trace waits for."""
    if self._folder is not None and step == self._first:
      jax.profiler.start_trace(self._folder)
      self._on = True
    outputs = []
    with jax.profiler.StepTraceAnnotation('train', step_num=step):
      yield outputs
    if self._on and step == self._last:
      jax.block_until_ready(outputs)
      self._stop()

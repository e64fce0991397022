"""Preemption: a machine that is taken away sends SIGTERM, with just enough time to save."""

import signal

import jax
from jax.experimental import multihost_utils


def going_on(step, workdir):
  """The line that a run which ends early prints."""
  return (f'asked to end (SIGTERM): step {step} is saved in {workdir}, and there is no export yet; '
          'the same command goes on from there')


class Notice:
  """Listens for SIGTERM; a context manager.

  With several processes JAX receives it, in whichever process it arrives, and makes all of them
  stop at the same step.
  """

  def __init__(self):
    self._heard = False
    self._before = None

  def __enter__(self):
    if not jax.distributed.is_initialized():
      self._before = signal.signal(signal.SIGTERM, self._hear)
    return self

  def __exit__(self, *_):
    if self._before is not None:
      signal.signal(signal.SIGTERM, self._before)

  def _hear(self, *_):
    self._heard = True

  def given(self, step):
    """Whether to save and end after this step; all processes ask at every step and agree."""
    if jax.distributed.is_initialized():
      return multihost_utils.reached_preemption_sync_point(step)
    return self._heard

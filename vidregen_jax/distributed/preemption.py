"""A machine that will be taken away says so by SIGTERM: there is time to save, and no more."""

import signal

import jax
from jax.experimental import multihost_utils


def going_on(step, workdir):
  """What a run that ends early says."""
  return (f'asked to end (SIGTERM): step {step} is saved in {workdir}, and there is no export yet; '
          'the same command goes on from there')


class Notice:
  """Hears of it; a context manager.

  With several processes JAX hears it, in whichever process it comes to, and has all of them stop at
  one step.
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
    """Whether to save and end after this step: all processes ask at each, and hear the same."""
    if jax.distributed.is_initialized():
      return multihost_utils.reached_preemption_sync_point(step)
    return self._heard

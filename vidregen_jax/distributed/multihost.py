"""Several processes of one run, one on each host of a pod: how they join, agree, and end together.

Collective functions must be called by all processes, in the same order. With one process they cost
nothing.
"""

import contextlib
import os
import socket
import sys

import jax
import numpy as np
from jax.experimental import multihost_utils

from vidregen_jax import terminal
from vidregen_jax.distributed import sharding
from vidregen_jax.errors import UserError

_JOIN_SECONDS = 300


def join(coordinator=None, num_processes=None, process_id=None):
  """Become one of the processes of a run; must precede every other use of JAX.

  Args:
    coordinator: 'HOST:PORT' of process 0, or None where JAX finds it by itself: on Cloud TPU VMs,
      GKE and Slurm.
    num_processes, process_id: how many there are and which one this is; likewise.

  Raises:
    UserError: JAX finds no cluster, or the numbers do not fit.
  """
  try:
    jax.distributed.initialize(coordinator, num_processes, process_id,
                               initialization_timeout=_JOIN_SECONDS)
  except ValueError as error:
    raise UserError(
      f'--multihost: {str(error).rstrip(".")}: JAX finds the other hosts by itself on Cloud TPUs, '
      'GKE and Slurm; elsewhere give --coordinator=HOST:PORT --num_processes=N --process_id=I'
    ) from None


def lead():
  """Whether this process writes the files that are written once per run."""
  return jax.process_index() == 0


def name():
  """This process's name in messages."""
  return f'process {jax.process_index()} of {jax.process_count()} on {socket.gethostname()}'


def wait(what):
  """Wait until all processes are here; `what` names the place."""
  if jax.process_count() > 1:
    with jax.transfer_guard('allow'):
      multihost_utils.sync_global_devices(what)


def all_of(flag):
  """Whether a flag is true in all processes."""
  return bool(np.all(_from_all(np.bool_(flag))))


def union(numbers, most):
  """The numbers >= 0 that any process has; the smallest `most` of each are considered."""
  padded = np.full(most, -1, np.int64)
  kept = sorted(numbers)[:most]
  padded[:len(kept)] = kept
  return {int(x) for x in _from_all(padded).ravel() if x >= 0}


def leads(tree):
  """Process 0's tree of NumPy arrays, as sums differ in their last bits between machines."""
  if jax.process_count() == 1:
    return tree
  with jax.transfer_guard('allow'):
    return multihost_utils.broadcast_one_to_all(tree)


def whole(tree, mesh):
  """Fetch arrays that are spread over the devices of all processes, as NumPy arrays, to process 0.

  They are gathered one after the other, so that no device holds more than one of them whole.

  Returns:
    The tree of NumPy arrays in process 0, None in the others.
  """
  gather = jax.jit(lambda x: x, out_shardings=sharding.replicated(mesh))
  def fetch(x):
    if not x.is_fully_addressable:
      x = gather(x)
    return jax.device_get(x) if lead() else None

  fetched = jax.tree.map(fetch, tree)
  return fetched if lead() else None


@contextlib.contextmanager
def ending_together():
  """End the process at once if the `with` block fails, so that the processes that wait for it end.

  Otherwise JAX would make it wait for them first.
  """
  status = 1
  try:
    yield
    status = None
  except UserError as error:
    if jax.process_count() > 1:
      terminal.error(f'{name()}: {error}')
      status = 2
      return
    raise
  finally:
    if status is not None and jax.process_count() > 1:
      if status == 1:
        sys.excepthook(*sys.exc_info())
      with contextlib.suppress(OSError):
        sys.stderr.flush()
      os._exit(status)


def _from_all(value):
  """[processes, ...]: the value of every process."""
  if jax.process_count() == 1:
    return value[None]
  with jax.transfer_guard('allow'):
    return multihost_utils.process_allgather(value)

"""Checkpoints of a training run: the state and the position in its data, saved by Orbax v1."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import warnings
import zlib

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from orbax.checkpoint import v1 as ocp

from vidregen_jax import terminal
from vidregen_jax.distributed import multihost
from vidregen_jax.errors import UserError
from vidregen_jax.exports import model_folder
from vidregen_jax.faces import crop_geometry

_KEPT = 2


class Checkpoints:
  """The checkpoints in a folder; a context manager, because saving goes on in the background.

  Each is written to a temporary folder and committed at once, so a run that dies leaves the last
  complete one. All processes of a run call every method together.
  """

  def __init__(self, folder):
    self._folder = pathlib.Path(folder).absolute()
    # Orbax also raises whatever it logs as an error; the exception is reported in one line.
    logging.get_absl_logger().addFilter(_not_of_orbax)
    warnings.filterwarnings('ignore', 'coroutine .* was never awaited', RuntimeWarning)
    self._checkpointer = self._open()

  def _context(self):
    registry = ocp.handlers.local_registry()
    registry.add(ocp.handlers.JsonHandler, checkpointable_name='note')
    context = ocp.Context()
    context.checkpointables.registry = registry
    return context

  def _open(self):
    return ocp.training.Checkpointer(
      self._folder,
      context=self._context(),
      # The training loop decides. The default policy skips a save while another is in progress.
      save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
      preservation_policy=ocp.training.preservation_policies.LatestN(_KEPT),
      cleanup_tmp_directories=True,
    )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    try:
      with _as_the_system_says():
        self._checkpointer.close()
    finally:
      if multihost.lead():
        for left in self._folder.glob('*.orbax-checkpoint-tmp'):
          shutil.rmtree(left, ignore_errors=True)

  @property
  def latest(self):
    """The step of the newest checkpoint, or None."""
    latest = self._checkpointer.latest
    return None if latest is None else latest.step

  def save(self, step, state, place):
    """Save in the background; the state may be donated right away.

    Args:
      step: int, the number of updates made.
      state: tree of arrays.
      place: plain values: the position in the data of the next step's batch.

    Raises:
      OSError: this save or the one before could not be written.
    """
    kept = {'place': place, 'arrays': _inventory(state), 'crop': crop_geometry.MASKED_CROP}
    note = {'kept': kept, 'crc': _crc(kept)}
    with _as_the_system_says():
      self._checkpointer.save_checkpointables_async(step, {'state': state, 'note': note})

  def restore(self, abstract):
    """Read the newest intact checkpoint, bit for bit as it was saved, onto any mesh.

    Newer ones that are damaged are reported, and their folders renamed.

    Args:
      abstract: tree of jax.ShapeDtypeStruct with shardings.

    Returns:
      (step, the state with its arrays placed as `abstract` says, place).

    Raises:
      UserError: the checkpoint belongs to a model of another shape, or none is intact.
    """
    steps = [found.step for found in reversed(self._checkpointer.checkpoints)]
    damage = {}
    for step in steps:
      try:
        state, place = self._read(step, abstract)
      except _Damage as error:
        damage[step] = error
      else:
        self._set_aside(damage, step)
        return step, state, place
    raise UserError(
      f'no checkpoint in {self._folder} can be read (step {steps[0]}: {damage[steps[0]]}): put a '
      'copy of one in its place, or choose another --workdir to begin anew')

  def _read(self, step, abstract):
    """(state, place) of one checkpoint.

    Raises:
      _Damage: it is not what was saved; all processes raise it.
      UserError: it belongs to a model of another shape, or to crops of another geometry.
    """
    note = self._load(step, {'note': None})['note']
    kept = note['kept']
    if note['crc'] != _crc(kept):
      raise _Damage('its note is not what was written')
    crop_geometry.check(kept.get('crop'), crop_geometry.MASKED_CROP,
                        f'the checkpoint at step {step} in {self._folder}',
                        'choose another --workdir')
    model_folder.check_shapes(
      {name: np.empty(shape, bool) for name, (shape, _) in kept['arrays'].items()},
      _named(abstract),
      f'the checkpoint at step {step} in {self._folder}',
      'choose another --workdir, or the config that the run was started with',
    )
    state = self._load(step, {'state': abstract})['state']
    if _inventory(state) != kept['arrays']:
      raise _Damage('its numbers are not those that were saved')
    return state, kept['place']

  def _load(self, step, wanted):
    # Each process reads its part without waiting for the others: one that finds damage would leave
    # them waiting for minutes.
    alone = self._context()
    alone.multiprocessing.primary_host = jax.process_index()
    alone.multiprocessing.active_processes = {jax.process_index()}
    found, fault = None, None
    with alone:
      try:
        found = ocp.load_checkpointables(self._folder / str(step), wanted)
      except (KeyError, OSError, ValueError) as error:  # Orbax's, for whatever it cannot read
        fault = error
    if not multihost.all_of(found is not None):
      raise _Damage('a file is short, changed or gone') from fault
    return found

  def _set_aside(self, damage, whole):
    """Renames the folders of damaged checkpoints: their steps will be saved again."""
    if not damage:
      return
    self._checkpointer.close()
    if multihost.lead():
      for step, reason in damage.items():
        folder = self._folder / f'damaged_{step}'
        shutil.rmtree(folder, ignore_errors=True)
        (self._folder / str(step)).rename(folder)
        terminal.tell(f'the checkpoint at step {step} is damaged ({reason}) and is now {folder}: '
                      f'going on from step {whole}')
    multihost.wait('checkpoints set aside')
    self._checkpointer = self._open()


class _Damage(Exception):
  """A checkpoint differs from what was saved."""


def _not_of_orbax(record):
  return f'{os.sep}orbax{os.sep}' not in record.pathname


@contextlib.contextmanager
def _as_the_system_says():
  """Turns the ValueError that Orbax raises for a failed write back into its OSError."""
  try:
    yield
  except ValueError as error:
    code = re.search(r"os_error_code='(\d+)'", str(error))
    if code is None:
      raise
    raise OSError(int(code[1]), os.strerror(int(code[1]))) from error


def _crc(kept):
  return zlib.crc32(json.dumps(kept, sort_keys=True).encode())


def _inventory(state):
  """The shape and a checksum of each array by name: the sum of its bits modulo 2^32.

  Unlike a sum of floats, it does not depend on how an array is laid out over devices.
  """
  named = _named(state)
  sums = jax.device_get(_sums(named))
  return {name: [list(x.shape), int(sums[name])] for name, x in named.items()}


@jax.jit
def _sums(arrays):
  def bits(x):
    return jax.lax.bitcast_convert_type(x, jnp.dtype(f'uint{8 * x.dtype.itemsize}'))

  return {name: jnp.sum(bits(x), dtype=jnp.uint32) for name, x in arrays.items()}


def _named(tree):
  """Any tree -> flat dict of its leaves by '/'-joined path."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {jax.tree_util.keystr(path, simple=True, separator='/'): leaf for path, leaf in leaves}

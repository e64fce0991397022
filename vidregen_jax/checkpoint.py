"""Checkpoints of a training run: the state and the place in its data, together. Knows Orbax v1."""

import pathlib

import jax
from orbax.checkpoint import v1 as ocp

from vidregen_jax import weights

_KEPT = 2


class Checkpoints:
  """The checkpoints in a folder; a context manager, because saving goes on in the background.

  Each is written aside and committed whole, so a run that dies leaves the last whole one.
  """

  def __init__(self, folder):
    self._folder = pathlib.Path(folder).absolute()
    self._checkpointer = ocp.training.Checkpointer(
      self._folder,
      # The training loop decides. The default policy skips a save while another is under way.
      save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1),
      preservation_policy=ocp.training.preservation_policies.LatestN(_KEPT),
      cleanup_tmp_directories=True,
    )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._checkpointer.close()

  @property
  def latest(self):
    """The step of the newest whole checkpoint, or None."""
    latest = self._checkpointer.latest
    return None if latest is None else latest.step

  def save(self, step, state, data):
    """Save in the background; the state may be donated and the data moved on right away.

    Args:
      step: int, the number of updates made.
      state: tree of arrays.
      data: the Grain iterator whose next batch is the one for this step.
    """
    self._checkpointer.save_checkpointables_async(step, {'state': state, 'data': data})

  def restore(self, abstract, data):
    """Read the newest checkpoint, exactly as it was saved.

    Args:
      abstract: tree of jax.ShapeDtypeStruct with shardings.
      data: a Grain iterator of the same pipeline; it is set to the place that was saved.

    Returns:
      The state, its arrays placed as `abstract` says.

    Raises:
      UserError: the checkpoint is of a model of another shape.
    """
    metadata = ocp.metadata(self._folder / str(self.latest), checkpointable_name='state').metadata
    weights.check_shapes(
      _named(metadata),
      _named(abstract),
      f'the checkpoint at step {self.latest} in {self._folder}',
      'choose another --workdir, or the config that the run was started with',
    )
    target = {'state': abstract, 'data': data}
    return self._checkpointer.load_checkpointables(self.latest, target)['state']


def _named(tree):
  """Any tree -> flat dict of its leaves by '/'-joined path."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {jax.tree_util.keystr(path, simple=True, separator='/'): leaf for path, leaf in leaves}

"""The device mesh, and the rules by which the axes of arrays are split over it.

  data     splits the batch; every share holds all parameters
  fsdp     splits the batch too, and the parameters: each is gathered where it is used
  tensor   splits the tokens of a clip between layers, the heads in attention, and together with
           fsdp the parameters: for clips too long for one device. The codec has no tokens, so its
           batch is split instead: split over rows of pixels, XLA's gradients of convolutions were
           wrong by a tenth and more where a device had fewer rows than the kernel.

The mesh axes are Auto: the compiler places the collectives. Models name the axes of their kernels
and of what flows between their blocks (`constrain`); they never see the mesh.
"""

import functools
import math

import jax
import numpy as np

from vidregen_jax.errors import UserError

DATA, FSDP, TENSOR = 'data', 'fsdp', 'tensor'

# The mesh axes that each named axis is split over. At most one axis of a kernel is named: it is
# gathered whole before use, so which one is split does not affect the sums.
RULES = {
  'batch': (DATA, FSDP),
  'crops': (DATA, FSDP, TENSOR),  # the codec's batch
  'tokens': (TENSOR,),
  'heads': (TENSOR,),
  'features': (FSDP, TENSOR),
}


def make_mesh(fsdp=1, tensor=1, devices=None):
  """Arrange all devices as (data, fsdp, tensor); data takes what fsdp and tensor leave.

  Args:
    fsdp, tensor: sizes of these axes.
    devices: list of devices; default all of this run's.

  Raises:
    UserError: the device count is not divisible by fsdp * tensor, or does not fit the slice.
  """
  count = jax.device_count() if devices is None else len(devices)
  if count % (fsdp * tensor):
    raise UserError(
      f'{count} devices cannot be split into fsdp {fsdp} x tensor {tensor}: '
      'choose config.fsdp and config.tensor whose product divides the device count'
    )
  shape = (count // (fsdp * tensor), fsdp, tensor)
  axis_types = (jax.sharding.AxisType.Auto,) * 3
  try:
    return jax.make_mesh(shape, (DATA, FSDP, TENSOR), axis_types=axis_types, devices=devices)
  except NotImplementedError as error:  # each axis must lie along whole sides of a slice
    raise UserError(
      f'data {shape[0]} x fsdp {fsdp} x tensor {tensor} does not lie along the sides of this '
      'slice: choose config.fsdp and config.tensor that are products of some of its sides'
    ) from error


def replicated(mesh):
  """The sharding of an array that every device holds whole."""
  return jax.NamedSharding(mesh, jax.P())


def batch(mesh, axis='batch'):
  """The sharding of an array whose leading axis is the batch, of one of RULES."""
  return jax.NamedSharding(mesh, jax.P(RULES[axis]))


def constrain(x, *axes):
  """`x`, split by the rules over the current mesh (`jax.set_mesh`); unchanged without one.

  Args:
    x: array.
    *axes: a name of RULES or None for each axis of x.
  """
  if jax.sharding.get_abstract_mesh().empty:
    return x
  return jax.lax.with_sharding_constraint(
    x, jax.P(*(None if name is None else RULES[name] for name in axes)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def gathered(kernel, axes):
  """A kernel, gathered whole on every device in its present dtype; its gradients are scattered.

  Without this the compiler may gather activations instead, or multiply by a part of the kernel and
  gather the products.

  Args:
    kernel: array, cast to the dtype it is used in: float32 takes twice as long to gather.
    axes: a name of RULES or None for each of its axes, as it is stored.
  """
  return constrain(kernel, *(None,) * kernel.ndim)


gathered.defvjp(lambda kernel, axes: (gathered(kernel, axes), None),
                lambda axes, _, gradient: (_shared_out(gradient, axes),))


def _shared_out(x, axes):
  """`x`, split like a stored kernel with these axes."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty:
    return x
  return jax.lax.with_sharding_constraint(x, _spec(axes, x.shape, mesh))


def attention(run):
  """Attention by a kernel, which the compiler cannot split, over the current mesh.

  Each device works on its part of the batch and its share of the heads. Without a mesh
  (`jax.set_mesh`), `run` is returned unchanged.

  Args:
    run: (q, keys, values, visible, sink) to what is attended to; the first three are of arrays
      [B, K, N, L, D], visible [B, K, L], sink [N] or None.
  """
  if jax.sharding.get_abstract_mesh().empty:
    return run
  clips, heads = RULES['batch'], RULES['heads']
  tokens = jax.P(clips, None, heads)
  # A kernel does not say over which axes its output varies: there is nothing to check.
  return jax.shard_map(run, in_specs=(*(tokens,) * 3, jax.P(clips), jax.P(heads)),
                       out_specs=tokens, check_vma=False)


def check_batch(batch_size, mesh, accumulate=1, axis='batch'):
  """Raises:
    UserError: the batch, in its parts, is not divisible by the devices that share it.
  """
  shards = math.prod(mesh.shape[name] for name in RULES[axis])
  if accumulate < 1:
    raise UserError(f'config.accumulate is {accumulate}: give 1 or more')
  if batch_size % (shards * accumulate):
    parts = f' in {accumulate} parts' if accumulate > 1 else ''
    least = shards * accumulate
    raise UserError(
      f'batch_size {batch_size} is not divisible by the {shards} devices that share it{parts}: '
      f'try --config.batch_size={max(1, batch_size // least) * least}'
    )


def process_rows(batch_size, mesh, accumulate=1, axis='batch'):
  """Which rows of a global batch the devices of this process hold: ints, in order.

  Args:
    batch_size: of all processes.
    mesh: of `make_mesh`.
    accumulate: number of parts in which a batch is processed.
    axis: as in `batch`.

  Raises:
    UserError: see `check_batch`.
  """
  check_batch(batch_size, mesh, accumulate, axis)
  held = batch(mesh, axis).addressable_devices_indices_map((batch_size,)).values()
  return np.unique([np.arange(batch_size)[rows] for rows in held])


def put_batch(arrays, mesh, axis='batch', batch_size=None):
  """Turn this process's rows of a batch (a tree of NumPy arrays) into global device arrays.

  Args:
    arrays: the tree.
    mesh: of `make_mesh`.
    axis: as in `batch`.
    batch_size: of all processes; None where one process has all rows.
  """
  def put(x):
    shape = None if batch_size is None else (batch_size, *x.shape[1:])
    return jax.make_array_from_process_local_data(batch(mesh, axis), x, shape)

  # The only transfer that a training loop needs: a global array from host memory.
  with jax.transfer_guard('allow'):
    return jax.tree.map(put, arrays)


def place(tree, mesh, axes):
  """The sharding of every array of a tree that holds parameters: a state, a teacher.

  Leaves are placed one at a time. An average or a moment has the shape of its parameter, and its
  path ends in the parameter's, so that one rule places them alike. Everything else is replicated.

  Args:
    tree: of jax.ShapeDtypeStruct or arrays.
    mesh: of `make_mesh`.
    axes: {path of a parameter, a tuple of names: names of its axes}, as `generator.axes`.

  Returns:
    The same tree of NamedShardings.
  """
  def leaf(path, x):
    names = tuple(_name(entry) for entry in path)
    for start in range(len(names)):
      found = axes.get(names[start:])
      if found is not None and len(found) == len(x.shape):
        return jax.NamedSharding(mesh, _spec(found, x.shape, mesh))
    return replicated(mesh)

  return jax.tree_util.tree_map_with_path(leaf, tree)


def _name(entry):
  """The name of an entry of a path, as in a parameter's path."""
  return entry.key if isinstance(entry, jax.tree_util.DictKey) else None


def _spec(axes, shape, mesh):
  """How a kernel is split: each named axis over as many devices as divide it."""
  return jax.P(*(name and _divisors(RULES[name], size, mesh)
                 for name, size in zip(axes, shape, strict=True)))


def _divisors(over, size, mesh):
  """The mesh axes of `over` whose product divides `size`; an axis that is too small stays whole."""
  kept, shares = (), 1
  for axis in over:
    if size % (shares * mesh.shape[axis]) == 0:
      kept, shares = (*kept, axis), shares * mesh.shape[axis]
  return kept or None

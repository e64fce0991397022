"""Where arrays live: the device mesh, and one rule that gives every long-lived array its sharding.

The mesh axes are Auto: the compiler places the collectives, and the models never see the mesh.
"""

import jax
import numpy as np

from vidregen_jax.errors import UserError

DATA, FSDP, TENSOR = 'data', 'fsdp', 'tensor'


def make_mesh(fsdp=1, tensor=1):
  """Lay all devices out as (data, fsdp, tensor); what fsdp and tensor leave over is data.

  Raises:
    UserError: the device count is not divisible by fsdp * tensor.
  """
  devices = jax.device_count()
  if devices % (fsdp * tensor):
    raise UserError(
      f'{devices} devices cannot be split into fsdp {fsdp} x tensor {tensor}: '
      'choose config.fsdp and config.tensor whose product divides the device count'
    )
  shape = (devices // (fsdp * tensor), fsdp, tensor)
  axis_types = (jax.sharding.AxisType.Auto,) * 3
  return jax.make_mesh(shape, (DATA, FSDP, TENSOR), axis_types=axis_types)


def replicated(mesh):
  """The sharding of an array that every device holds whole."""
  return jax.NamedSharding(mesh, jax.P())


def batch(mesh):
  """The sharding of an array whose leading axis is the batch."""
  return jax.NamedSharding(mesh, jax.P((DATA, FSDP)))


def attention(run):
  """Attention by a kernel, which the compiler cannot split, over the mesh that is set.

  Each device works on its part of the batch and its share of the heads; with no mesh set
  (`jax.set_mesh`), `run` is what it was.

  Args:
    run: (q, k, v, shown, sink) to what is attended to; q, k and v are [B, K, L, N, D], shown
      [B, K, L], sink [N] or None.
  """
  if jax.sharding.get_abstract_mesh().empty:
    return run
  tokens, heads = jax.P((DATA, FSDP), None, None, TENSOR), jax.P(TENSOR)
  # A kernel does not say over which axes its output varies: there is nothing to check.
  return jax.shard_map(run, in_specs=(tokens, tokens, tokens, jax.P((DATA, FSDP)), heads),
                       out_specs=tokens, check_vma=False)


def process_rows(batch_size, mesh):
  """Which rows of a global batch the devices of this process hold: ints, in order.

  Raises:
    UserError: the batch does not divide by the devices that share it.
  """
  shards = mesh.shape[DATA] * mesh.shape[FSDP]
  if batch_size % shards:
    raise UserError(
      f'batch_size {batch_size} is not divisible by the {shards} devices on the data and fsdp '
      f'axes: try --config.batch_size={max(1, batch_size // shards) * shards}'
    )
  held = batch(mesh).addressable_devices_indices_map((batch_size,)).values()
  return np.unique([np.arange(batch_size)[rows] for rows in held])


def put_batch(arrays, mesh, batch_size):
  """Turn this process's rows of a batch (a tree of NumPy arrays) into global device arrays."""
  def put(x):
    return jax.make_array_from_process_local_data(batch(mesh), x, (batch_size, *x.shape[1:]))

  # Building a global array from host memory is the one transfer that a training loop is for.
  with jax.transfer_guard('allow'):
    return jax.tree.map(put, arrays)


def state_sharding(abstract, mesh):
  """Give every array of a state its sharding: parameters, EMA and optimizer moments alike.

  The rule looks at one leaf at a time. A moment has the shape of its parameter and its path ends
  in the parameter's path, so one rule places them together.

  Args:
    abstract: tree of jax.ShapeDtypeStruct, from jax.eval_shape.

  Returns:
    The same tree of NamedShardings.
  """
  return jax.tree.map(lambda _: replicated(mesh), abstract)

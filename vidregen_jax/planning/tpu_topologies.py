"""TPU slices to compile for without a TPU, by the real TPU compiler (libtpu, the `tpu` extra)."""

import importlib.util
import os

import jax
from jax.experimental import topologies

from vidregen_jax.errors import UserError

# So that libtpu does not query for a TPU, and several processes can use it at once.
_NO_TPU = {'TPU_SKIP_MDS_QUERY': '1', 'TPU_WORKER_HOSTNAMES': 'localhost',
           'TPU_ACCELERATOR_TYPE': 'v5litepod-8', 'ALLOW_MULTIPLE_LIBTPU_LOAD': '1'}


def devices(topology: str) -> list:
  """The chips of a slice such as 'v5e:16x16', to compile for but not to run on.

  Raises:
    UserError: the compiler is missing, or there is no such slice.
  """
  if importlib.util.find_spec('libtpu') is None:
    raise UserError("planning for a TPU takes its compiler: pip install 'vidregen_jax[tpu]'")
  os.environ.update(_NO_TPU | os.environ)
  try:
    return topologies.get_topology_desc(platform='tpu', topology_name=topology).devices
  except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
    raise UserError(f'there is no slice {topology} ({str(error).splitlines()[0]}): give one that '
                    'Google Cloud offers, such as v5e:4x4') from error

"""Products with weights in 8 bits, of which a TPU's matrix unit does twice as many.

Each row of what is multiplied and each column of the weights has a scale of its own, the largest
absolute value in it. Gradients pass rounding straight through (Bengio et al., 2013, arXiv
1308.3432): those of what is multiplied are such products too, those of the weights are not, since
their errors would add up over all steps (as SwitchBack, Wortsman et al., 2023, arXiv 2304.13013).
The quantisation is qwix's.
"""

import functools
import importlib.util

import jax
import jax.numpy as jnp

from vidregen_jax.errors import UserError

DTYPES = ('int8', 'float8_e4m3fn')


def check():
  """Raises:
    UserError: qwix is not installed.
  """
  if importlib.util.find_spec('qwix') is None:
    raise UserError("products in 8 bits need qwix: pip install 'vidregen_jax[quantized]', or go "
                    'without, --config.model.mlp_dtype=same')


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def product(dtype: str, x, kernel):
  """x [..., C] times kernel [C, C'], both rounded to 8 bits; [..., C'] of x's type.

  Args:
    dtype: one of DTYPES.
    x: what is multiplied.
    kernel: the weights.
  """
  import qwix  # an extra, for training alone
  last = x.ndim - 1
  rounded = functools.partial(qwix.quantize, qtype=dtype, scale_dtype=jnp.float32)
  return qwix.dot_general(
    rounded(x, channelwise_axes=range(last)), rounded(kernel, channelwise_axes=(1,)),
    (((last,), (0,)), ((), ()))).astype(x.dtype)


def _gradients(dtype, given, slope):
  x, kernel = given
  leading = tuple(range(x.ndim - 1))
  of_kernel = jnp.tensordot(x, slope, (leading, leading))
  return product(dtype, slope, kernel.T), of_kernel.astype(kernel.dtype)


product.defvjp(lambda dtype, x, kernel: (product(dtype, x, kernel), (x, kernel)), _gradients)

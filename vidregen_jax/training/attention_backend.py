"""Chooses the attention that the generator is trained with, after trying it on this device."""

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax.errors import UserError
from vidregen_jax.models import attention

# bfloat16 rounds a number by up to .4 %, and several times; an extra or a missing key, or a missing
# term of a gradient, changes the result by 10 % or more.
_SAME = 0.03
_NEEDS = {'splash': 'tpu', 'cudnn': 'gpu'}
_WAY_OUT = 'use --config.attention=xla'


def choose(name, model, tensor) -> str:
  """The implementation of attention that a training uses.

  'auto' is splash on a TPU and XLA elsewhere. A kernel must first agree with XLA on this device, in
  its output and in its gradients.

  Args:
    name: config.attention, 'auto' or one of `attention.IMPLEMENTATIONS`.
    model: GeneratorConfig.
    tensor: devices that share the heads.

  Raises:
    UserError: there is no such implementation, it does not run here, or it does not agree.
  """
  here = jax.default_backend()
  name = named(name, model, tensor, here)
  if name == 'xla':
    return name
  try:
    off = difference(name, model.width // model.heads, model.dtype)
  except (NotImplementedError, RuntimeError) as error:  # raised for unsupported cases
    raise UserError(f'config.attention {name} does not run here '
                    f'({str(error).splitlines()[0]}): {_WAY_OUT}') from error
  if not off <= _SAME:
    raise UserError(f'config.attention {name} is off by {off:.3f} of the largest number on this '
                    f'{here}, more than rounding can be: {_WAY_OUT}')
  return name


def named(name, model, tensor, backend) -> str:
  """The implementation that `choose` tries on a backend, 'cpu', 'gpu' or 'tpu'.

  Raises:
    UserError: there is no such implementation, or not for this backend and these heads.
  """
  if name not in ('auto', *attention.IMPLEMENTATIONS):
    raise UserError(f'config.attention {name!r} does not exist: use auto, '
                    f'{", ".join(attention.IMPLEMENTATIONS)}')
  if name == 'auto':
    name = 'splash' if backend == 'tpu' else 'xla'
  if _NEEDS.get(name, backend) != backend:
    raise UserError(f'config.attention {name} is for a {_NEEDS[name]} and this is a {backend}: '
                    f'{_WAY_OUT}')
  if name != 'xla' and model.heads % tensor:
    raise UserError(f'{model.heads} heads cannot be split over config.tensor {tensor} devices: '
                    f'choose a divisor, or {_WAY_OUT}')
  return name


def difference(name, size, dtype) -> float:
  """How far an implementation is from XLA in float32, on a small random case.

  Args:
    name: one of `attention.IMPLEMENTATIONS`.
    size: channels D of a head.
    dtype: in which it computes.

  Returns:
    The largest difference in attention or in any gradient, as a share of the largest number there.
  """
  rng = np.random.default_rng(0)
  copies, frames, cells, heads, seen = 2, 4, 40, 2, 600

  def normal(*shape):
    return jnp.asarray(rng.standard_normal(shape), dtype)
  arrays = (normal(1, copies, heads, frames, cells, size),
            normal(1, heads, seen, size), normal(1, heads, seen, size),
            jnp.array([0.5, 4.0]),
            tuple(normal(1, copies, heads, frames, cells, size) for _ in range(2)))
  by = rng.standard_normal(arrays[0].shape).astype(np.float32)
  rule = rng.random((frames, seen)) < 0.5
  rule[0, 100:] = False  # a frame that sees few keys
  visible = np.ones((1, copies, seen), bool)
  visible[:, 1, :50] = False  # a copy with a stream dropped

  def results(name, arrays):
    def summed(q, keys, values, sink, own):
      out = attention.attend(name, q, [keys], [values], rule, visible, sink, own)
      out = out.astype(jnp.float32)
      return (out * by).sum(), out
    return jax.device_get(jax.jit(jax.grad(summed, argnums=range(5), has_aux=True))(*arrays))

  result = results(name, arrays)
  with jax.default_matmul_precision('highest'):
    exact = results('xla', jax.tree.map(lambda x: x.astype(jnp.float32), arrays))
  pairs = zip(jax.tree.leaves(result), jax.tree.leaves(exact), strict=True)
  return max(float(np.abs(a.astype(np.float32) - b).max() / np.abs(b).max()) for a, b in pairs)

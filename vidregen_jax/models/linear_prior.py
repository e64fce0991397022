"""A linear prediction of the lower face, before any sound is heard; the generator corrects it.

In an aligned crop, the lower face is nearly that of the references, moved as the upper face moved.
A ridge regression on the difference between the frame's context and the references predicts it.
The generator then works on the residual, which is mostly the mouth: a small model need not paint
skin and collar to learn to speak. Without aligned latents there is no such prediction: it is zero.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np


@functools.partial(jax.tree_util.register_dataclass, meta_fields=[],
                   data_fields=['kernel', 'bias', 'scale', 'region'])
@dataclasses.dataclass(frozen=True)
class Expectation:
  """The prediction, and the size of its error.

  Attributes:
    kernel: [H*W*C, M*C] from (context - mean reference) to (lower face - mean reference), or of no
      rows and columns where there is no prediction.
    bias: [M*C].
    scale: [M] standard deviation of the error in each cell; ones where there is no prediction.
    region: int [M] flat cells of the lower face.
  """

  kernel: jax.Array
  bias: jax.Array
  scale: jax.Array
  region: jax.Array

  def __call__(self, context, reference):
    """The expected lower face.

    Args:
      context: [B, ..., H*W, C].
      reference: [B, H*W, C] from `mean_reference`.

    Returns:
      [B, ..., M, C].
    """
    if not self.kernel.size:
      return jnp.zeros((*context.shape[:-2], len(self.scale), context.shape[-1]), jnp.float32)
    middle = context.ndim - reference.ndim
    reference = reference.reshape(len(reference), *[1] * middle, *reference.shape[1:])
    x = (context - reference).reshape(*context.shape[:-2], -1)
    expected = (x @ self.kernel + self.bias).reshape(*x.shape[:-1], len(self.scale), -1)
    return expected + reference[..., self.region, :]

  def residual(self, face, context, reference):
    """Lower faces [B, ..., M, C] less their prediction, scaled to about unit variance."""
    return (face - self(context, reference)) / self.scale[:, None]

  def restore(self, residual, context, reference):
    """Undoes `residual`."""
    return self(context, reference) + residual * self.scale[:, None]


def none(region) -> Expectation:
  """No prediction: the residual is the lower face itself."""
  return Expectation(np.zeros((0, 0), np.float32), np.zeros(0, np.float32),
                     np.ones(len(region), np.float32), np.asarray(region, np.int32))


def shapes(region, cells, channels) -> Expectation:
  """The prediction of an aligned model, as shapes and types.

  Args:
    region: flat cells of the lower face.
    cells: latent cells along each side; channels: of a cell.
  """
  f32 = lambda *shape: jax.ShapeDtypeStruct(shape, np.float32)
  size = len(region) * channels
  return Expectation(f32(cells**2 * channels, size), f32(size), f32(len(region)),
                     jax.ShapeDtypeStruct((len(region),), np.int32))


def mean_reference(references, valid):
  """The mean of the valid stills: [B, R, H*W, C] and bool [B, R] to [B, H*W, C]; zero for none."""
  weight = valid[..., None, None].astype(jnp.float32)
  return (references * weight).sum(1) / jnp.maximum(weight.sum(1), 1.0)


def ridge_regression(x, y, penalty):
  """The kernel [D, E] and bias [E] that minimise mean |y - x k - b|^2 + sum penalty k^2.

  Args:
    x: [N, D]; y: [N, E]; penalty: [D].
  """
  mean_x, mean_y = x.mean(0), y.mean(0)
  gram = (x - mean_x).T @ (x - mean_x) + len(x) * np.diag(penalty)
  kernel = np.linalg.solve(gram, (x - mean_x).T @ (y - mean_y))
  return kernel, mean_y - mean_x @ kernel

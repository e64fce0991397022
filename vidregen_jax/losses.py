"""What the two models are trained on, as pure functions of arrays. Everything in float32."""

import jax.numpy as jnp
from jax import lax

from vidregen_jax import masks


def box_mask(boxes, size: int):
  """Rectangles as pixel masks.

  Args:
    boxes: [..., 4] as x0, y0, x1, y1 in fractions of the crop.
    size: side S of the crop, pixels.

  Returns:
    [..., S, S, 1], 1 inside.
  """
  at = (jnp.arange(size) + 0.5) / size
  x = (at >= boxes[..., 0:1]) & (at < boxes[..., 2:3])
  y = (at >= boxes[..., 1:2]) & (at < boxes[..., 3:4])
  return (y[..., :, None] & x[..., None, :])[..., None].astype(jnp.float32)


def reconstruction(frames, target, boxes, mouth_weight: float):
  """Mean absolute error, each pixel weighted by 1 + mouth_weight inside the mouth's box.

  Args:
    frames, target: [B, F, S, S, 3].
    boxes: [B, F, 4] mouth boxes, fractions of the crop.
    mouth_weight: extra weight of the mouth.

  Returns:
    A scalar; weights are not normalised, so the rest of the face keeps its own pull.
  """
  weight = 1.0 + mouth_weight * box_mask(boxes, frames.shape[2])
  return jnp.mean(jnp.abs(frames - target) * weight)


def kl(mean, logvar):
  """KL divergence of N(mean, exp(logvar)) from N(0, 1), mean of all elements (arXiv 1312.6114)."""
  return 0.5 * jnp.mean(jnp.square(mean) + jnp.exp(logvar) - 1.0 - logvar)


def psnr(frames, target, weight=None):
  """Peak signal to noise ratio in dB, of values in [-1, 1] (peak to peak 2).

  Args:
    frames, target: arrays of one shape.
    weight: optional array that broadcasts to them; the mean is over its mass.
  """
  error = jnp.square(frames - target)
  if weight is None:
    mse = jnp.mean(error)
  else:
    weight = jnp.broadcast_to(weight, error.shape)
    mse = jnp.sum(error * weight) / jnp.sum(weight)
  return 10.0 * jnp.log10(4.0 / mse)


def ssim(frames, target, window: int = 11, sigma: float = 1.5):
  """Structural similarity (Wang et al., 2004): mean over pixels and colour channels of each frame.

  Args:
    frames, target: [N, H, W, C] in [-1, 1], sides of at least `window`.
    window, sigma: the Gaussian window, pixels; 11 and 1.5 are the paper's. Only where it fits
      whole is counted.

  Returns:
    [N], 1 where the two are equal.
  """
  at = jnp.arange(window) - (window - 1) / 2
  taps = jnp.exp(-jnp.square(at / sigma) / 2)
  taps = taps / taps.sum()

  def blur(x):
    for axis in (1, 2):
      size = x.shape[axis] - window + 1
      x = sum(taps[i] * lax.slice_in_dim(x, i, i + size, axis=axis) for i in range(window))
    return x

  mean_a, mean_b = blur(frames), blur(target)
  var_a = blur(frames * frames) - mean_a**2
  var_b = blur(target * target) - mean_b**2
  both = blur(frames * target) - mean_a * mean_b
  c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2  # the paper's K1 and K2; values span 2
  index = ((2 * mean_a * mean_b + c1) * (2 * both + c2)
           / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)))
  return index.mean((1, 2, 3))


def mouth_cell_weights(boxes, cells: int, region, mouth_weight: float):
  """Loss weights of the region's cells: 1 + mouth_weight x the mouth's share, of mean 1.

  Args:
    boxes: [B, T, 4] mouth box of each latent frame.
    cells: latent cells a side.
    region: flat indices of the region's cells, length M.
    mouth_weight: extra weight of a cell that lies wholly in the mouth.

  Returns:
    [B, T, M].
  """
  weight = 1.0 + mouth_weight * masks.cell_overlap(boxes, cells)[..., list(region)]
  return weight / jnp.mean(weight, axis=-1, keepdims=True)


def velocity(predicted, target, weights):
  """Mean squared velocity error over the region's cells.

  Args:
    predicted, target: [..., M, C].
    weights: [..., M], broadcast to the leading axes.
  """
  return jnp.mean(jnp.square(predicted - target) * weights[..., None])

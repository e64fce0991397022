"""How near pictures are: in JAX, of values in [-1, 1]."""

import jax
import jax.numpy as jnp
import numpy as np


def decibels(error, peak):
  """The peak signal to noise ratio of a mean squared error, dB.

  Args:
    error: NumPy or JAX array, or a number; 0 is infinitely near.
    peak: the largest difference that two values can have.
  """
  return 10 * (jnp if isinstance(error, jax.Array) else np).log10(peak**2 / error)


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
  return decibels(mse, 2)


def ssim_map(frames, target, window: int = 11, sigma: float = 1.5):
  """Structural similarity (Wang et al., 2004) at each place, the mean over colour channels.

  Args:
    frames, target: [N, H, W, C] in [-1, 1], sides of at least `window`.
    window, sigma: the Gaussian window, pixels; 11 and 1.5 are the paper's.

  Returns:
    [N, H - window + 1, W - window + 1], where the window fits whole: at i, j the one around pixel
    i + window // 2, j + window // 2. 1 where the two are equal.
  """
  at = np.arange(window) - (window - 1) / 2
  taps = np.exp(-np.square(at / sigma) / 2)
  taps = np.float32(taps / taps.sum())

  def blur(x):
    rows, columns = (np.stack([np.pad(taps, (i, size - window - i))
                               for i in range(size - window + 1)]) for size in x.shape[1:3])
    # Variances are small differences of large numbers: no reduced precision here.
    return jnp.einsum('NHWC,hH,wW->NhwC', x, rows, columns, precision='highest')

  mean_a, mean_b = blur(frames), blur(target)
  var_a, var_b = blur(frames**2) - mean_a**2, blur(target**2) - mean_b**2
  both = blur(frames * target) - mean_a * mean_b
  c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2  # the paper's K1 and K2; values span 2
  light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
  return (light * (2 * both + c2) / (var_a + var_b + c2)).mean(-1)


def ssim(frames, target):
  """Structural similarity of pictures, [N]: the mean of `ssim_map` over places."""
  return ssim_map(frames, target).mean((1, 2))

"""The losses of codec and generator, as pure functions of arrays, all in float32."""

import jax
import jax.numpy as jnp
from jax import lax

from vidregen_jax.faces import crop_mask
from vidregen_jax.models import pixels


def reconstruction(frames, target, boxes, mouth_weight: float):
  """Mean absolute error, each pixel weighted by 1 + mouth_weight inside the mouth's box.

  Args:
    frames, target: [B, F, S, S, 3].
    boxes: [B, F, 4] mouth boxes, fractions of the crop.
    mouth_weight: extra weight of the mouth.

  Returns:
    A scalar; weights are not normalised, so the rest of the face keeps its own pull.
  """
  weight = 1.0 + mouth_weight * pixels.box_mask(boxes, frames.shape[2])
  return jnp.mean(jnp.abs(frames - target) * weight)


def kl(mean, logvar):
  """KL divergence of N(mean, exp(logvar)) from N(0, 1), mean of all elements (arXiv 1312.6114)."""
  return 0.5 * jnp.mean(jnp.square(mean) + jnp.exp(logvar) - 1.0 - logvar)


def mean_distance(distances, weight):
  """LPIPS as a mean over pictures.

  Args:
    distances: of `perceptual.lpips_map`, for each tap [N, H_i, W_i].
    weight: [N], 0 for a picture that does not count.

  Returns:
    A scalar.
  """
  return sum(_mean(distance, weight) for distance in distances)


def perceptual_distance(distances, boxes, size: int, mouth_weight: float):
  """LPIPS with each place weighted by 1 + mouth_weight inside the mouth's box, not normalised.

  Args:
    distances: of `perceptual.lpips_map`, for each tap [N, H_i, W_i].
    boxes: [N, 4] mouth boxes, fractions of the crop.
    size: side S of the crop, pixels.
    mouth_weight: extra weight of the mouth.

  Returns:
    A scalar, the mean over N.
  """
  mask = pixels.box_mask(boxes, size)[..., 0]
  total = 0.0
  for distance in distances:
    near = jax.image.resize(mask, distance.shape, 'linear', antialias=True)
    total += jnp.mean(distance * (1.0 + mouth_weight * near))
  return total


def alignment(projected, teacher, cosine_margin: float, distance_margin: float):
  """How far latents are from a teacher's features (VA-VAE, arXiv 2501.01423, equations 4 to 6).

  Args:
    projected: [N, H, W, E] latents, brought to the teacher's channels.
    teacher: [N, H, W, E] features.
    cosine_margin: cells within this cosine distance of the teacher's direction add no loss.
    distance_margin: pairs of a picture's cells whose similarity differs by less add no loss.

  Returns:
    (cosine term, pairwise term), scalars.
  """
  a, b = (_unit(x.reshape(x.shape[0], -1, x.shape[-1])) for x in (projected, teacher))
  cosine = jnp.mean(jax.nn.relu(1.0 - cosine_margin - jnp.sum(a * b, -1)))
  similar_a, similar_b = (jnp.einsum('NLE,NKE->NLK', x, x) for x in (a, b))
  apart = jnp.abs(similar_a - similar_b)
  return cosine, jnp.mean(jax.nn.relu(apart - distance_margin))


def _unit(x):
  return x * lax.rsqrt(jnp.sum(jnp.square(x), -1, keepdims=True) + 1e-12)


def hinge(real, fake, weight=None):
  """The loss of a discriminator (Lim and Ye, 2017, arXiv 1705.02894).

  Args:
    real, fake: [N, h, w] verdicts on real and on generated pictures.
    weight: optional [N], 0 for a picture that does not count.
  """
  return (_mean(jax.nn.relu(1.0 - real), weight) + _mean(jax.nn.relu(1.0 + fake), weight)) / 2


def fooled(fake, weight=None):
  """What the maker of pictures is trained on: the verdicts on them [N, h, w], negated."""
  return -_mean(fake, weight)


def _mean(x, weight):
  if weight is None:
    return jnp.mean(x)
  each = jnp.mean(x, axis=tuple(range(1, x.ndim)))
  return jnp.sum(each * weight) / jnp.maximum(jnp.sum(weight), 1.0)


def gradient_penalty(judge, real):
  """R1 (Mescheder et al., 2018, arXiv 1801.04406): squared slope of the verdict at real pictures.

  Args:
    judge: function from pictures [N, h, w, C] to verdicts [N, ...].
    real: the pictures.
  """
  slope = jax.grad(lambda x: jnp.sum(jnp.mean(judge(x), axis=(1, 2))))(real)
  return jnp.mean(jnp.sum(jnp.square(slope), axis=(1, 2, 3)))


def balance(wanted, other, largest: float = 1e4):
  """The weight that gives `other` the length of `wanted` (Esser et al., 2021, arXiv 2012.09841).

  Args:
    wanted, other: gradients of two losses in the same array, where the two meet.
    largest: bound of the weight, so that a vanishing gradient is not blown up.
  """
  length = lambda x: jnp.sqrt(jnp.sum(jnp.square(x)))
  return lax.stop_gradient(jnp.clip(length(wanted) / (length(other) + 1e-12), 0.0, largest))


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
  weight = 1.0 + mouth_weight * crop_mask.cell_overlap(boxes, cells)[..., list(region)]
  return weight / jnp.mean(weight, axis=-1, keepdims=True)


def velocity(predicted, target, weights):
  """Squared velocity error of each latent frame, a mean over the region's cells and channels.

  Args:
    predicted, target: [..., M, C].
    weights: [..., M], broadcast to the leading axes; not normalised.

  Returns:
    [...].
  """
  return jnp.mean(jnp.square(predicted - target) * weights[..., None], (-2, -1))


def by_flow_time(errors, t, count: int):
  """Errors sorted by flow time into bins of equal width, to be summed over steps.

  Args:
    errors, t: of one shape; t in [0, 1].
    count: bins of the time from 0 to 1.

  Returns:
    [2, count]: sums of the errors, and how many there were.
  """
  part = jnp.clip((t * count).astype(jnp.int32), 0, count - 1).ravel()
  inside = jax.nn.one_hot(part, count)
  return jnp.stack([errors.ravel() @ inside, inside.sum(0)])

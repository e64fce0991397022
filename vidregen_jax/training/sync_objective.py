"""The loss of the sync scorer: a mouth must find its own sound, and a sound its own mouth.

It is InfoNCE (van den Oord et al., 2018, arXiv 1807.03748) in both directions. Among what a vector
must be told from are those of all other times of its own clip, from which it can only be told by
what is said when, and those of the other clips of the batch at the same time.
"""

import functools

import jax
import jax.numpy as jnp

from vidregen_jax.models import sync

_LARGEST_SCALE = 100.0  # by which cosines are multiplied, as in CLIP (arXiv 2103.00020)


def gradients(model: sync.SyncConfig, params: dict, batch: dict):
  """One step's gradients.

  Args:
    model, params: as in `sync.init`.
    batch: of `sync_windows.cut`, stacked.

  Returns:
    A tree like params, and a dict of scalars: the loss, the share of mouths that are nearest to
    their own sound among the times of their clip, and among the clips of the batch.
  """
  measured, grads = jax.value_and_grad(functools.partial(loss, model), has_aux=True)(params, batch)
  return grads, {'loss': measured[0]} | measured[1]


def loss(model: sync.SyncConfig, params: dict, batch: dict):
  """The loss and what is measured beside it; arguments as in `gradients`."""
  mouth = sync.embed_mouth(model, params, batch['mouths'])
  sound = sync.embed_sound(model, params, batch['mel'])
  scale = jnp.minimum(jnp.exp(params['scale']), _LARGEST_SCALE)
  value, measured = contrast(mouth, sound, scale)
  return value, measured | {'scale': scale}


def contrast(mouth, sound, scale):
  """InfoNCE of unit vectors.

  Args:
    mouth, sound: [B, F, E]; those of the same clip and frame belong together.
    scale: by which cosines are multiplied.

  Returns:
    (the loss, a dict of shares).
  """
  clips, frames = mouth.shape[:2]
  times = scale * jnp.einsum('bfe,bge->bfg', mouth, sound)
  others = scale * jnp.einsum('bfe,cfe->bcf', mouth, sound)
  others = jnp.where(jnp.eye(clips, dtype=bool)[..., None], -jnp.inf, others)
  right = jnp.diagonal(times, axis1=1, axis2=2)
  total = 0.0
  for axis, candidates in ((2, jnp.swapaxes(others, 1, 2)), (1, jnp.moveaxis(others, 0, -1))):
    # [B, F] each: everything that one vector is compared with, of its clip and of other clips.
    known = jnp.logaddexp(jax.nn.logsumexp(times, axis), jax.nn.logsumexp(candidates, -1))
    total += jnp.mean(known - right) / 2
  return total, {
    'right_time': jnp.mean(jnp.argmax(times, 2) == jnp.arange(frames)),
    'right_clip': jnp.mean(right > others.max(1)),
  }

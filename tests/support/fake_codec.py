"""A codec of two matrices with the API of vidregen_jax.models.codec, which compiles at once."""

import dataclasses

import jax
import jax.numpy as jnp

TIME_FACTOR = 4


@dataclasses.dataclass(frozen=True)
class CodecConfig:
  size: int
  latent_channels: int
  cells: int = 2
  aligned: bool = False
  loop_from: int = 0
  activations = jnp.dtype('float32')


def init(config, key):
  a, b = jax.random.normal(key, (2, 3, config.latent_channels))
  return {'encoder': {'w': a}, 'decoder': {'w': b.T}}


def axes(config):
  return {('encoder', 'w'): (None, 'features'), ('decoder', 'w'): ('features', None)}


def init_encoder_cache(config, batch):
  return jnp.zeros((batch, 1, config.cells, config.cells, 3))


def init_decoder_cache(config, batch):
  return jnp.zeros((batch, 0))


def encode(config, params, frames, cache):
  """A latent frame: the mean colours of its cells, plus half of the previous latent frame's."""
  batch, length, size = frames.shape[:3]
  cell = size // config.cells
  x = frames.reshape(batch, length // 4, 4, config.cells, cell, config.cells, cell, 3)
  x = jnp.concatenate([cache, x.mean((2, 4, 6))], axis=1)
  mean = (x[:, 1:] + 0.5 * x[:, :-1]) @ params['encoder']['w']
  return (mean, jnp.full_like(mean, -4.0)), x[:, -1:]


def draw(config, mean, logvar, key):
  return mean + jnp.exp(0.5 * logvar) * jax.random.normal(key, mean.shape)


def decode(config, params, latents, cache):
  cell = config.size // config.cells
  x = latents @ params['decoder']['w']
  return x.repeat(4, axis=1).repeat(cell, axis=2).repeat(cell, axis=3), cache

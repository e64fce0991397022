"""Frames to normalised latents with an exported codec: whole clips, lone groups, or a stream."""

import functools

import jax
import numpy as np

from vidregen_jax import pixels
from vidregen_jax.models import codec

_CHUNK = 8  # latent frames encoded at once; any number gives the same latents
_GROUPS = 16  # lone latent frames encoded at once


@functools.partial(jax.jit, static_argnums=0, donate_argnums=3)
def _encode(model, params, frames, cache):
  (mean, _), cache = codec.encode(model, params, pixels.to_float(frames), cache)
  return mean, cache


class Encoder:
  """A codec's encoder for uint8 frames of any number, with a few compiled programs.

  Args:
    model: CodecConfig.
    params: the codec's parameters.
    mean, std: [C], what latents are normalised with.
  """

  def __init__(self, model, params, mean, std):
    self.model = model
    self._params = jax.device_put(params)
    self._mean, self._std = np.asarray(mean), np.asarray(std)

  @classmethod
  def of(cls, export):
    """The encoder of an exported codec (`weights.load_export`)."""
    return cls(codec.CodecConfig(**export.config), export.params, export.arrays['latent_mean'],
               export.arrays['latent_std'])

  def start(self, batch):
    """The cache before the first frame of `batch` videos."""
    return codec.init_encoder_cache(self.model, batch)

  def advance(self, frames, cache):
    """Encode the next frames of videos.

    Args:
      frames: uint8 [B, 4T, S, S, 3].
      cache: of `start`, or what the last call returned; it is used up.

    Returns:
      float32 [B, T, H, W, C], normalised, and the cache.
    """
    means, cache = _encode(self.model, self._params, frames, cache)
    return (np.asarray(means) - self._mean) / self._std, cache

  def stream(self, frames):
    """Encode whole clips, uint8 [B, 4T, S, S, 3], as streams: float32 [B, T, H, W, C]."""
    length, step = frames.shape[1], codec.TIME_FACTOR * _CHUNK
    # The codec is causal: frames appended to fill the last chunk change nothing before them.
    frames = np.pad(frames, [(0, 0), (0, -length % step)] + 3 * [(0, 0)], mode='edge')
    cache, chunks = self.start(len(frames)), []
    for start in range(0, frames.shape[1], step):
      made, cache = self.advance(frames[:, start : start + step], cache)
      chunks.append(made)
    return np.concatenate(chunks, axis=1)[:, : length // codec.TIME_FACTOR]

  def alone(self, groups):
    """Encode groups of 4 frames, each from an empty past: uint8 [N, 4, S, S, 3] -> [N, H, W, C]."""
    total = len(groups)
    groups = np.pad(groups, [(0, -total % _GROUPS)] + 4 * [(0, 0)], mode='edge')
    made = [self.advance(groups[start : start + _GROUPS], self.start(_GROUPS))[0]
            for start in range(0, len(groups), _GROUPS)]
    return np.concatenate(made)[:total, 0]

  def stills(self, images):
    """Encode stills, uint8 [N, S, S, 3] -> [N, H, W, C]: each is one frame four times."""
    return self.alone(np.repeat(images[:, None], codec.TIME_FACTOR, axis=1))

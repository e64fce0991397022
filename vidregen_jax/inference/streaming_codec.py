"""Encodes frames to normalised latents and back: whole clips, single groups, or a stream."""

import functools

import jax
import numpy as np

from vidregen_jax.models import codec, pixels

_CHUNK = 8  # latent frames encoded at once; any number gives the same latents
_GROUPS = 16  # single latent frames encoded at once
_STEP = 4  # latent frames decoded at once; any number gives the same frames


@functools.partial(jax.jit, static_argnums=0, donate_argnums=3)
def _encode(model, params, frames, cache):
  (mean, _), cache = codec.encode(model, params, pixels.to_float(frames), cache)
  return mean, cache


@functools.partial(jax.jit, static_argnums=0, donate_argnums=3)
def _decode(model, params, latents, cache):
  return codec.decode(model, params, latents, cache)


class _Side:
  """A codec and the statistics that its latents are normalised with.

  Args:
    model: CodecConfig.
    params: the codec's parameters.
    mean, std: [C], of its latents.
  """

  def __init__(self, model, params, mean, std):
    self.model = model
    self._params = jax.device_put(params)
    self._mean, self._std = np.asarray(mean), np.asarray(std)

  @classmethod
  def of(cls, export):
    """This side of an exported codec (`model_folder.load_export`)."""
    return cls(codec.CodecConfig(**export.config), export.params, export.arrays['latent_mean'],
               export.arrays['latent_std'])


class Encoder(_Side):
  """A codec's encoder for uint8 frames of any number, with a few compiled programs."""

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

    Raises:
      ValueError: frames of another type or shape.
    """
    self._check(frames, 'BFSS3')
    means, cache = _encode(self.model, self._params, frames, cache)
    return (np.asarray(means) - self._mean) / self._std, cache

  def stream(self, frames):
    """Encode whole clips as streams.

    Args:
      frames: uint8 [B, F, S, S, 3], F at least 1. Where F is no multiple of 4, the last latent
        frame holds the remaining frames and repeats of the last; `Decoder` crops those off.

    Returns:
      float32 [B, ceil(F / 4), H, W, C], normalised.

    Raises:
      ValueError: frames of another type or shape.
    """
    self._check(frames, 'BFSS3')
    length, step = frames.shape[1], codec.TIME_FACTOR * _CHUNK
    # The codec is causal: frames appended to fill the last chunk change nothing before them.
    frames = np.pad(frames, [(0, 0), (0, -length % step)] + 3 * [(0, 0)], mode='edge')
    cache, chunks = self.start(len(frames)), []
    for start in range(0, frames.shape[1], step):
      latents, cache = self.advance(frames[:, start : start + step], cache)
      chunks.append(latents)
    return np.concatenate(chunks, axis=1)[:, : -(-length // codec.TIME_FACTOR)]

  def alone(self, groups):
    """Encode groups of 4 frames, each from an empty past: uint8 [N, 4, S, S, 3] -> [N, H, W, C]."""
    self._check(groups, 'N4SS3')
    total = len(groups)
    groups = np.pad(groups, [(0, -total % _GROUPS)] + 4 * [(0, 0)], mode='edge')
    latents = [self.advance(groups[start : start + _GROUPS], self.start(_GROUPS))[0]
            for start in range(0, len(groups), _GROUPS)]
    return np.concatenate(latents)[:total, 0]

  def stills(self, images):
    """Encode stills, uint8 [N, S, S, 3] -> [N, H, W, C], each as one frame repeated 4 times."""
    self._check(images, 'NSS3')
    return self.alone(np.repeat(images[:, None], codec.TIME_FACTOR, axis=1))

  def _check(self, frames, axes):
    """Refuse all but uint8 arrays with these axes; letters other than S stand for any size >= 1."""
    size = self.model.size
    known = {'S': size, '3': 3, '4': codec.TIME_FACTOR}
    if frames.ndim != len(axes) or any(
        n != known.get(axis, n or 1) for axis, n in zip(axes, frames.shape, strict=True)):
      wanted = ', '.join(str(known.get(axis, axis)) for axis in axes)
      raise ValueError(
        f'frames have shape {list(frames.shape)}; the codec takes [{wanted}], at least one of '
        f'each: crop or resize them to {size} x {size}, colours last')
    if frames.dtype != np.uint8:
      raise ValueError(
        f'frames are {frames.dtype}; the codec takes uint8, 0 to 255: make it of floats in [-1, 1] '
        'with pixels.to_uint8')


class Decoder(_Side):
  """A codec's decoder for latents of whole clips, with one compiled program for a batch size."""

  def start(self, batch):
    """The cache before the first latent frame of `batch` videos."""
    return codec.init_decoder_cache(self.model, batch)

  def advance(self, z, cache):
    """Decode the next latent frames of videos.

    Args:
      z: [B, T, H, W, C], normalised.
      cache: of `start`, or what the last call returned; it is used up.

    Returns:
      float32 [B, 4T, S, S, 3], about in [-1, 1], not clipped, and the cache.
    """
    frames, cache = _decode(self.model, self._params, z * self._std + self._mean, cache)
    return np.asarray(frames), cache

  def __call__(self, z, frames=None):
    """Decode whole clips to pictures: as `stream`, but uint8."""
    return pixels.to_uint8(self.stream(z, frames))

  def stream(self, z, frames=None):
    """Decode whole clips as streams.

    Args:
      z: [B, T, H, W, C], normalised, T at least 1.
      frames: how many frames the clips have, to crop what `Encoder.stream` appended; default: all
        4T.

    Returns:
      float32 [B, frames, S, S, 3], about in [-1, 1], not clipped.

    Raises:
      ValueError: latents of another shape, or fewer than the frames need.
    """
    cells, channels = self.model.cells, self.model.latent_channels
    if z.ndim != 5 or 0 in z.shape or z.shape[2:] != (cells, cells, channels):
      raise ValueError(f'latents have shape {list(z.shape)}; the codec takes '
                       f'[B, T, {cells}, {cells}, {channels}], at least one of each')
    held = z.shape[1] * codec.TIME_FACTOR
    frames = held if frames is None else frames
    if not 0 < frames <= held:
      raise ValueError(f'{frames} frames are asked of {z.shape[1]} latent frames, which hold '
                       f'{held}: ask for 1 to {held}')
    padded = np.pad(z, [(0, 0), (0, -z.shape[1] % _STEP)] + 3 * [(0, 0)], mode='edge')
    parts, cache = [], self.start(len(z))
    for start in range(0, padded.shape[1], _STEP):
      part, cache = self.advance(padded[:, start : start + _STEP], cache)
      parts.append(part)
    return np.concatenate(parts, axis=1)[:, :frames]

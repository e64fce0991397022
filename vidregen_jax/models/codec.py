"""The causal 3-D VAE: video and stills to continuous latents, and back.

4 frames are one latent frame; there is no special first frame (a still is one frame four times).
Blocks, shortcuts and RMSNorm follow DC-AE (dc_gen/aecore/models/dc_ae.py, dc_gen/models/nn/ops.py):
a residual block is `x + norm(conv(SiLU(conv(x) + b)))`, down- and upsampling carry parameter-free
averaging and duplicating shortcuts. Space-to-depth 4 comes before any convolution (LTX-Video).

Everything is a function of (config, params, x, cache): with a fresh cache it is the whole video's
encode, with the returned cache it is the next chunk's.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx

from vidregen_jax.models import layers

PATCH = 4  # pixels a side that become channels before the first convolution
TIME_FACTOR = 4  # frames in one latent frame


@dataclasses.dataclass(frozen=True)
class CodecConfig:
  """Shape of the codec.

  Attributes:
    size: side S of the square crop, pixels.
    widths: channels of each stage; each stage after the first halves height and width.
    encoder_depths, decoder_depths: residual blocks a stage, finest stage first in both.
    time_kernels: frames that a block of each stage sees, itself included, finest stage first.
    latent_channels: channels C of a latent cell.
    norm: 'rms', or 'group', which leaks the future and exists to show that it does.
    conv: 'sum2d' or 'native'; the same numbers, chosen by measured speed.
    dtype: of activations; parameters stay float32.
  """
  size: int
  widths: tuple[int, ...]
  encoder_depths: tuple[int, ...]
  decoder_depths: tuple[int, ...]
  time_kernels: tuple[int, ...]
  latent_channels: int
  norm: str = 'rms'
  conv: str = 'sum2d'
  dtype: str = 'float32'

  def __post_init__(self):
    stages = len(self.widths)
    for name in ('encoder_depths', 'decoder_depths', 'time_kernels'):
      if len(getattr(self, name)) != stages:
        raise ValueError(f'codec {name} has {len(getattr(self, name))} entries, '
                         f'but widths has {stages}')
    if self.size % self.factor:
      raise ValueError(f'codec size {self.size} is not a multiple of its factor {self.factor}')
    if self.norm not in ('rms', 'group') or self.conv not in ('sum2d', 'native'):
      raise ValueError(f'codec norm {self.norm!r} or conv {self.conv!r} is not one that exists: '
                       "norm is 'rms' or 'group', conv is 'sum2d' or 'native'")

  @property
  def factor(self) -> int:
    """Pixels a side of one latent cell."""
    return PATCH * 2 ** (len(self.widths) - 1)

  @property
  def cells(self) -> int:
    """Latent cells a side."""
    return self.size // self.factor


class Block(nnx.Module):
  """x + norm(conv(SiLU(conv(x) + b)))."""

  def __init__(self, channels: int, time_kernel: int, config: CodecConfig, draws: layers.Draws):
    conv = functools.partial(layers.CausalConv, channels, channels, draws=draws, conv=config.conv)
    self.conv1 = conv(kernel=(time_kernel, 3, 3))
    self.conv2 = conv(kernel=(1, 3, 3), bias=False)
    # The small initial weight keeps the variance of the residual stream near one at depth.
    norm = layers.RMSNorm if config.norm == 'rms' else layers.GroupNorm
    self.norm = norm(channels, scale=0.3)

  def __call__(self, x, cache):
    h, cache = self.conv1(x, cache)
    h, _ = self.conv2(jax.nn.silu(h), h[:, :0])
    return x + self.norm(h), cache


def _blocks(config: CodecConfig, depths, draws: layers.Draws) -> nnx.Dict:
  """The residual blocks of all stages, by name."""
  return nnx.Dict({
      f'stage_{s}_block_{i}': Block(config.widths[s], config.time_kernels[s], config, draws)
      for s, depth in enumerate(depths) for i in range(depth)})


class Encoder(nnx.Module):
  """Frames [B, F, S, S, 3] to mean and log variance [B, F/4, S/f, S/f, 2C]."""

  def __init__(self, config: CodecConfig, draws: layers.Draws):
    w = config.widths
    conv = functools.partial(layers.CausalConv, draws=draws, conv=config.conv)
    self.conv_in = conv(3 * PATCH**2, w[0], (1, 3, 3))
    self.downs = nnx.Dict({
        f'down_{s}': conv(w[s - 1], w[s] // 4, (1, 3, 3)) for s in range(1, len(w))})
    self.blocks = _blocks(config, config.encoder_depths, draws)
    self.down_time = conv(TIME_FACTOR * w[-1], w[-1], (1, 1, 1))
    self.conv_out = conv(w[-1], 2 * config.latent_channels, (1, 1, 1), scale=0.5)
    self.config = config

  def init_cache(self, batch: int):
    side, config = self.config.size // PATCH, self.config
    return {name: block.conv1.init_cache(batch, side >> _stage(name), side >> _stage(name),
                                         jnp.dtype(config.dtype))
            for name, block in self.blocks.items()}

  def __call__(self, frames, cache):
    config, new = self.config, {}
    x = layers.space_to_depth(frames.astype(config.dtype), PATCH)
    x, _ = self.conv_in(x, x[:, :0])
    for s, width in enumerate(config.widths):
      if s:
        main, _ = self.downs[f'down_{s}'](x, x[:, :0])
        x = layers.space_to_depth(main, 2) + layers.resample_channels(
            layers.space_to_depth(x, 2), width)
      for i in range(config.encoder_depths[s]):
        name = f'stage_{s}_block_{i}'
        x, new[name] = self.blocks[name](x, cache[name])
    x = layers.time_to_depth(x, TIME_FACTOR)
    main, _ = self.down_time(x, x[:, :0])
    x = main + layers.resample_channels(x, config.widths[-1])
    x, _ = self.conv_out(x, x[:, :0])
    return x.astype(jnp.float32), new


class Decoder(nnx.Module):
  """Latents [B, T, H, W, C] to frames [B, 4T, S, S, 3]."""

  def __init__(self, config: CodecConfig, draws: layers.Draws):
    w = config.widths
    conv = functools.partial(layers.CausalConv, draws=draws, conv=config.conv)
    self.conv_in = conv(config.latent_channels, w[-1], (1, 1, 1))
    self.block_in = Block(w[-1], 2, config, draws)
    self.up_time = conv(w[-1], TIME_FACTOR * w[-1], (1, 1, 1))
    self.ups = nnx.Dict({
        f'up_{s}': conv(w[s], 4 * w[s - 1], (1, 3, 3)) for s in range(1, len(w))})
    self.blocks = _blocks(config, config.decoder_depths, draws)
    self.conv_out = conv(w[0], 3 * PATCH**2, (1, 3, 3), scale=0.5)
    self.config = config

  def init_cache(self, batch: int):
    side, config = self.config.size // PATCH, self.config
    dtype = jnp.dtype(config.dtype)
    cache = {name: block.conv1.init_cache(batch, side >> _stage(name), side >> _stage(name), dtype)
             for name, block in self.blocks.items()}
    return cache | {'block_in': self.block_in.conv1.init_cache(
        batch, config.cells, config.cells, dtype)}

  def __call__(self, latents, cache):
    config, new = self.config, {}
    x, _ = self.conv_in(latents.astype(config.dtype), latents[:, :0].astype(config.dtype))
    x, new['block_in'] = self.block_in(x, cache['block_in'])
    main, _ = self.up_time(x, x[:, :0])
    x = layers.depth_to_time(main + layers.resample_channels(x, main.shape[-1]), TIME_FACTOR)
    for s in reversed(range(len(config.widths))):
      for i in range(config.decoder_depths[s]):
        name = f'stage_{s}_block_{i}'
        x, new[name] = self.blocks[name](x, cache[name])
      if s:
        main, _ = self.ups[f'up_{s}'](x, x[:, :0])
        x = layers.depth_to_space(main, 2) + layers.depth_to_space(
            layers.resample_channels(x, main.shape[-1]), 2)
    x, _ = self.conv_out(x, x[:, :0])
    return layers.depth_to_space(x, PATCH).astype(jnp.float32), new


def _stage(name: str) -> int:
  return int(name.split('_')[1])


class _Codec(nnx.Module):
  def __init__(self, config: CodecConfig, draws: layers.Draws):
    self.encoder = Encoder(config, draws)
    self.decoder = Decoder(config, draws)


@functools.cache
def _definition(config: CodecConfig) -> layers.Definition:
  return layers.Definition(lambda draws: _Codec(config, draws))


@functools.cache
def _shapes(config: CodecConfig):
  return jax.eval_shape(_definition(config).init, jax.random.key(0))


def init(config: CodecConfig, key) -> dict:
  """Parameters {'encoder': ..., 'decoder': ...}, float32."""
  return _definition(config).init(key)


def init_encoder_cache(config: CodecConfig, batch: int) -> dict:
  """The cache before the first frame: zeros, a grey past."""
  return _definition(config).bind(_shapes(config)).encoder.init_cache(batch)


def init_decoder_cache(config: CodecConfig, batch: int) -> dict:
  """The cache before the first latent frame: zeros."""
  return _definition(config).bind(_shapes(config)).decoder.init_cache(batch)


def encode(config: CodecConfig, params: dict, frames, cache: dict):
  """Encodes the next frames of a video.

  Args:
    config: the codec's shape.
    params: as from `init`.
    frames: [B, F, S, S, 3], in [-1, 1]; F a multiple of 4.
    cache: `init_encoder_cache` at the start, then what the last call returned.

  Returns:
    (mean, logvar), each [B, F/4, H, W, C] float32, and the cache.
  """
  size = config.size
  if frames.shape[1] % TIME_FACTOR or frames.shape[2:] != (size, size, 3):
    raise ValueError(f'frames have shape {frames.shape}; the codec takes '
                     f'[B, multiple of {TIME_FACTOR}, {size}, {size}, 3]')
  h, cache = _definition(config).bind(params).encoder(frames, cache)
  mean, logvar = jnp.split(h, 2, axis=-1)
  return (mean, jnp.clip(logvar, -10.0, 4.0)), cache


def decode(config: CodecConfig, params: dict, latents, cache: dict):
  """Decodes the next latent frames of a video.

  Args:
    config: the codec's shape.
    params: as from `init`.
    latents: [B, T, H, W, C], not normalised.
    cache: `init_decoder_cache` at the start, then what the last call returned.

  Returns:
    Frames [B, 4T, S, S, 3], about in [-1, 1], not clipped; and the cache.
  """
  cells, channels = config.cells, config.latent_channels
  if latents.shape[2:] != (cells, cells, channels):
    raise ValueError(f'latents have shape {latents.shape}; the codec takes '
                     f'[B, T, {cells}, {cells}, {channels}]')
  return _definition(config).bind(params).decoder(latents, cache)

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
import numpy as np
from flax import nnx
from jax import lax
from scipy import linalg

from vidregen_jax.distributed import sharding
from vidregen_jax.errors import UserError
from vidregen_jax.models import layers

PATCH = 4  # side, in pixels, of the squares that become channels before the first convolution
TIME_FACTOR = 4  # frames in one latent frame
_QUANTIZED_RANGE = 3.0  # discrete latents lie in [-3, 3], as nearly all of a unit Gaussian does
ALIGNED_LOGVAR = -5.0  # initial log variance with cell maps, whose latents are nearly exact


_CHOICES = {'norm': ('rms', 'group'), 'conv': ('auto', 'sum2d', 'native'),
            'dtype': ('auto', 'float32', 'bfloat16')}
# What 'auto' means on each backend.
_ON_CPU = {'conv': 'sum2d', 'dtype': 'float32'}
_ELSEWHERE = {'conv': 'native', 'dtype': 'bfloat16'}


@dataclasses.dataclass(frozen=True)
class CodecConfig:
  """Shape of the codec.

  Attributes:
    size: side S of the square crop, pixels.
    widths: channels of each stage; each stage after the first halves height and width.
    encoder_depths, decoder_depths: residual blocks a stage, finest stage first in both.
    time_kernels: frames that a block of each stage sees, itself included, finest stage first.
    latent_channels: channels C of a latent cell.
    latent_stages: how many of the coarsest stages run at one frame for each 4 of the video. Their
      blocks cost a quarter, and a frame of their `time_kernels` is a latent frame.
    aligned: whether every latent cell also has an affine map of its own. In an aligned face crop a
      cell always sees the same part of the face; such maps, started from the training
      crops' principal components (`principal_maps`), are a good codec before any training.
    levels: 0 for continuous latents, or how many values a channel can take (for experiments:
      finite scalar quantization, Mentzer et al., 2023, arXiv 2309.15505).
    shortcut: whether down- and upsampling carry DC-AE's parameter-free shortcuts (False: for
      experiments).
    norm: 'rms', or 'group', which leaks information from future frames and exists to show it.
    conv: how blocks that see several frames convolve, 'sum2d' or 'native', the same numbers; 'auto'
      is sum2d on a CPU, where that measured faster (`python -m bench.convolutions`), else native.
    dtype: of activations, 'float32' or 'bfloat16'; 'auto' is float32 on a CPU, which has to emulate
      bfloat16, and bfloat16 elsewhere. Parameters stay float32.
    remat: whether training recomputes a block's activations in the backward pass: less memory, more
      work.
    loop_from: stages of at least so many equal blocks are a loop, over weights that are stacked
      first: one block is compiled in place of all. 0 for none; exports have none, since a stream
      would stack anew for every chunk.
  """
  size: int
  widths: tuple[int, ...]
  encoder_depths: tuple[int, ...]
  decoder_depths: tuple[int, ...]
  time_kernels: tuple[int, ...]
  latent_channels: int
  latent_stages: int = 0
  aligned: bool = False
  levels: int = 0
  shortcut: bool = True
  norm: str = 'rms'
  conv: str = 'auto'
  dtype: str = 'auto'
  remat: bool = False
  loop_from: int = 0

  def __post_init__(self):
    stages = len(self.widths)
    for name in ('encoder_depths', 'decoder_depths', 'time_kernels'):
      if len(getattr(self, name)) != stages:
        raise UserError(f'codec {name} has {len(getattr(self, name))} entries, '
                         f'but widths has {stages}')
    if self.size % self.factor:
      raise UserError(f'codec size {self.size} is not a multiple of its factor {self.factor}')
    if not 0 <= self.latent_stages <= stages:
      raise UserError(f'codec latent_stages is {self.latent_stages}, but there are {stages} stages')
    if self.loop_from < 0 or self.loop_from == 1:
      raise UserError(f'codec loop_from is {self.loop_from}: 0 for no loops, else 2 or more')
    if self.levels < 0 or self.levels == 1:
      raise UserError(f'codec levels is {self.levels}: 0 for continuous latents, else 2 or more')
    for name, known in _CHOICES.items():
      if getattr(self, name) not in known:
        raise UserError(f'codec {name} is {getattr(self, name)!r}: it is one of {known}')

  @property
  def factor(self) -> int:
    """Side of one latent cell in pixels."""
    return PATCH * 2 ** (len(self.widths) - 1)

  @property
  def patch_values(self) -> int:
    """Number of pixel values in one latent cell: 4 frames of f x f pixels with 3 channels."""
    return 3 * TIME_FACTOR * self.factor**2

  @property
  def cells(self) -> int:
    """Latent cells along each side."""
    return self.size // self.factor

  def on(self, backend: str) -> 'CodecConfig':
    """A copy in which every 'auto' is resolved for a backend, 'cpu', 'gpu' or 'tpu'."""
    chosen = _ON_CPU if backend == 'cpu' else _ELSEWHERE
    return dataclasses.replace(self, **{
      name: value for name, value in chosen.items() if getattr(self, name) == 'auto'})

  @property
  def convolution(self) -> str:
    """`conv`, with 'auto' resolved."""
    return self.on(jax.default_backend()).conv

  @property
  def activations(self) -> jnp.dtype:
    """`dtype`, with 'auto' resolved."""
    return jnp.dtype(self.on(jax.default_backend()).dtype)

  @property
  def time_stage(self) -> int:
    """The first stage at the latent frame rate; the number of stages where there is none."""
    return len(self.widths) - self.latent_stages


class Block(nnx.Module):
  """x + norm(conv(SiLU(conv(x) + b)))."""

  def __init__(self, channels: int, time_kernel: int, config: CodecConfig, draws: layers.Draws):
    conv = functools.partial(layers.CausalConv, channels, channels, draws=draws,
                             conv=config.convolution)
    self.conv1 = conv(kernel=(time_kernel, 3, 3))
    self.conv2 = conv(kernel=(1, 3, 3), bias=False)
    # The small initial weight keeps the variance of the residual stream near one at depth.
    norm = layers.RMSNorm if config.norm == 'rms' else layers.GroupNorm
    self.norm = norm(channels, scale=0.3)
    self.remat = config.remat

  @jax.named_scope('block')
  def __call__(self, x, cache, in_loop: bool = False):
    run = self._run
    if self.remat:  # a loop by itself keeps XLA from merging what the two passes share
      run = jax.checkpoint(run, prevent_cse=not in_loop)
    x, cache = run(x, cache)
    return sharding.constrain(x, 'crops', *(None,) * 4), cache

  def _run(self, x, cache):
    h, cache = self.conv1(x, cache)
    h, _ = self.conv2(jax.nn.silu(h), h[:, :0])
    return x + self.norm(h), cache


def make_blocks(config: CodecConfig, depths, draws: layers.Draws) -> nnx.Dict:
  """The residual blocks of all stages, by name."""
  return nnx.Dict({
      f'stage_{s}_block_{i}': Block(config.widths[s], config.time_kernels[s], config, draws)
      for s, depth in enumerate(depths) for i in range(depth)})


def run_stage(config: CodecConfig, blocks: nnx.Dict, stage: int, depth: int, x, cache: dict):
  """Runs the equal blocks of a stage one after the other, as a loop if `config.loop_from` says so.

  Args:
    config: the codec's shape.
    blocks: of `make_blocks`, of which the stage has `depth`.
    stage: the stage; depth: how many blocks it has.
    x: [B, F, H, W, C].
    cache: of each block, by name.

  Returns:
    (x, the new caches of the stage's blocks, by name).
  """
  names = [f'stage_{stage}_block_{i}' for i in range(depth)]
  if not config.loop_from or depth < config.loop_from:
    new = {}
    for name in names:
      x, new[name] = blocks[name](x, cache[name])
    return x, new
  graphs, weights = zip(*(nnx.split(blocks[name]) for name in names), strict=True)

  def run(x, weights_and_cache):
    weights, cache = weights_and_cache
    return nnx.merge(graphs[0], weights)(x, cache, in_loop=True)

  x, new = lax.scan(run, x, jax.tree.map(lambda *each: jnp.stack(each), *(
    (weight, cache[name]) for weight, name in zip(weights, names, strict=True))))
  return x, dict(zip(names, new, strict=True))


class CellMaps(nnx.Module):
  """An affine map for each latent cell, between its pixels and its latent.

  Weights are stored at about unit size and scaled here, so that one learning rate suits them and
  the network.
  """

  def __init__(self, config: CodecConfig, c_in: int, c_out: int, bias: int):
    cells = config.cells
    self.kernel = nnx.Param(jnp.zeros((cells, cells, c_in, c_out)),
                            axes=(None, None, None, 'features'))
    self.bias = nnx.Param(jnp.zeros((cells, cells, bias)))
    self.scale = config.patch_values**-0.5

  def __call__(self, x):
    kernel = layers.whole(self.kernel, x.dtype) * self.scale
    return jnp.einsum('BTHWC,HWCD->BTHWD', x, kernel) + self.bias[...].astype(x.dtype)


class Encoder(nnx.Module):
  """Frames [B, F, S, S, 3] to mean and log variance [B, F/4, S/f, S/f, 2C]."""

  def __init__(self, config: CodecConfig, draws: layers.Draws):
    w = config.widths
    conv = functools.partial(layers.CausalConv, draws=draws, conv=config.convolution)
    self.conv_in = conv(3 * PATCH**2, w[0], (1, 3, 3))
    self.downs = nnx.Dict({
        f'down_{s}': conv(w[s - 1], w[s] // 4, (1, 3, 3)) for s in range(1, len(w))})
    self.blocks = make_blocks(config, config.encoder_depths, draws)
    slow = w[min(config.time_stage, len(w) - 1)]
    self.down_time = conv(TIME_FACTOR * slow, slow, (1, 1, 1))
    # With cell maps, the network starts at zero and learns to correct them.
    scale = 0.0 if config.aligned else 0.5
    self.conv_out = conv(w[-1], 2 * config.latent_channels, (1, 1, 1), scale=scale)
    self.maps = CellMaps(config, config.patch_values, config.latent_channels,
                         config.latent_channels) if config.aligned else None
    self.config = config

  def init_cache(self, batch: int):
    side, config = self.config.size // PATCH, self.config
    return {name: block.conv1.init_cache(batch, side >> _stage(name), side >> _stage(name),
                                         config.activations)
            for name, block in self.blocks.items()}

  @jax.named_scope('encoder')
  def __call__(self, frames, cache):
    config, new = self.config, {}
    frames = frames.astype(config.activations)
    x = layers.space_to_depth(frames, PATCH)
    x, _ = self.conv_in(x, x[:, :0])
    for s in range(len(config.widths)):
      with jax.named_scope(f'stage_{s}'):
        if s:
          main, _ = self.downs[f'down_{s}'](x, x[:, :0])
          x = _with_shortcut(config, layers.space_to_depth(main, 2), layers.space_to_depth(x, 2))
        if s == config.time_stage:
          x = self._slow(x)
        x, caches = run_stage(config, self.blocks, s, config.encoder_depths[s], x, cache)
        new |= caches
    if not config.latent_stages:
      x = self._slow(x)
    x, _ = self.conv_out(x, x[:, :0])
    mean, logvar = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    if self.maps is not None:
      mean += self.maps(to_patches(frames, config.factor)).astype(jnp.float32)
      logvar += ALIGNED_LOGVAR
    if config.levels:
      mean = quantize(mean, config.levels)
    return (mean, jnp.clip(logvar, -10.0, 4.0)), new

  def _slow(self, x):
    x = layers.time_to_depth(x, TIME_FACTOR)
    main, _ = self.down_time(x, x[:, :0])
    return _with_shortcut(self.config, main, x)


class Decoder(nnx.Module):
  """Latents [B, T, H, W, C] to frames [B, 4T, S, S, 3]."""

  def __init__(self, config: CodecConfig, draws: layers.Draws):
    w = config.widths
    conv = functools.partial(layers.CausalConv, draws=draws, conv=config.convolution)
    self.conv_in = conv(config.latent_channels, w[-1], (1, 1, 1))
    self.block_in = Block(w[-1], 2, config, draws)
    # Where the frame rate is restored, channels are reduced to the next stage's at the same time,
    # which halves the cost of `up`.
    slow, quick = w[min(config.time_stage, len(w) - 1)], w[max(config.time_stage - 1, 0)]
    self.up_time = conv(slow, TIME_FACTOR * quick, (1, 1, 1))
    self.ups = nnx.Dict({
        f'up_{s}': conv(quick if s == config.time_stage else w[s], 4 * w[s - 1], (1, 3, 3))
        for s in range(1, len(w))})
    self.blocks = make_blocks(config, config.decoder_depths, draws)
    self.conv_out = conv(w[0], 3 * PATCH**2, (1, 3, 3), scale=0.0 if config.aligned else 0.5)
    self.maps = CellMaps(config, config.latent_channels, config.patch_values,
                         config.patch_values) if config.aligned else None
    self.config = config

  def init_cache(self, batch: int):
    side, config = self.config.size // PATCH, self.config
    dtype = config.activations
    cache = {name: block.conv1.init_cache(batch, side >> _stage(name), side >> _stage(name), dtype)
             for name, block in self.blocks.items()}
    return cache | {'block_in': self.block_in.conv1.init_cache(
        batch, config.cells, config.cells, dtype)}

  @jax.named_scope('decoder')
  def __call__(self, latents, cache):
    config, new = self.config, {}
    latents = latents.astype(config.activations)
    x, _ = self.conv_in(latents, latents[:, :0])
    x, new['block_in'] = self.block_in(x, cache['block_in'])
    if not config.latent_stages:
      x = layers.depth_to_time(self._raised(self.up_time, x), TIME_FACTOR)
    for s in reversed(range(len(config.widths))):
      with jax.named_scope(f'stage_{s}'):
        x, caches = run_stage(config, self.blocks, s, config.decoder_depths[s], x, cache)
        new |= caches
        if s == config.time_stage:
          x = layers.depth_to_time(self._raised(self.up_time, x), TIME_FACTOR)
        if s:
          x = layers.depth_to_space(self._raised(self.ups[f'up_{s}'], x), 2)
    x, _ = self.conv_out(x, x[:, :0])
    frames = layers.depth_to_space(x, PATCH)
    if self.maps is not None:
      frames += from_patches(self.maps(latents), config.factor)
    return frames.astype(jnp.float32), new

  def _raised(self, conv, x):
    main, _ = conv(x, x[:, :0])
    return _with_shortcut(self.config, main, x)


def _with_shortcut(config: CodecConfig, main, x):
  return main + layers.resample_channels(x, main.shape[-1]) if config.shortcut else main


def to_patches(frames, factor: int):
  """[B, 4T, S, S, 3] -> [B, T, H, W, 12 f^2]: the pixels of each latent cell."""
  return layers.time_to_depth(layers.space_to_depth(frames, factor), TIME_FACTOR)


def from_patches(patches, factor: int):
  """Inverse of `to_patches`."""
  return layers.depth_to_space(layers.depth_to_time(patches, TIME_FACTOR), factor)


def quantize(mean, levels: int):
  """Rounds latents to `levels` values in [-3, 3]; gradients pass straight through."""
  steps = (levels - 1) / 2
  bounded = _QUANTIZED_RANGE * jnp.tanh(mean / _QUANTIZED_RANGE)
  place = bounded * (steps / _QUANTIZED_RANGE)
  shift = 0.5 * (levels % 2 == 0)  # an even number of levels has none at 0
  rounded = (jnp.round(place - shift) + shift) * (_QUANTIZED_RANGE / steps)
  return bounded + lax.stop_gradient(rounded - bounded)


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


def axes(config: CodecConfig) -> dict:
  """Names of the axes of the kernels, by path; see `layers.Definition.axes`."""
  return _definition(config).axes()


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

  Raises:
    ValueError: frames of another shape, or integers. (`streaming_codec.Encoder` takes any number
      of uint8 frames.)
  """
  size = config.size
  if not frames.shape[1] or frames.shape[1] % TIME_FACTOR or frames.shape[2:] != (size, size, 3):
    raise ValueError(f'frames have shape {frames.shape}; the codec takes '
                     f'[B, multiple of {TIME_FACTOR}, {size}, {size}, 3]')
  _check_floating('frames', frames)
  return _definition(config).bind(params).encoder(frames, cache)


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
  if not latents.shape[1] or latents.shape[2:] != (cells, cells, channels):
    raise ValueError(f'latents have shape {latents.shape}; the codec takes '
                     f'[B, T, {cells}, {cells}, {channels}]')
  _check_floating('latents', latents)
  return _definition(config).bind(params).decoder(latents, cache)


def _check_floating(name, x):
  if not jnp.issubdtype(x.dtype, jnp.floating):
    raise ValueError(f'{name} are {x.dtype}; the codec takes floating point numbers: uint8 pixels '
                     'become numbers in [-1, 1] with pixels.to_float')


def draw(config: CodecConfig, mean, logvar, key):
  """Samples latents [B, T, H, W, C] from what `encode` returned; discrete ones stay as they are."""
  if config.levels:
    return mean
  return mean + jnp.exp(0.5 * logvar) * jax.random.normal(key, mean.shape)


def principal_maps(config: CodecConfig, groups) -> dict:
  """Cell maps from the principal components of each cell's pixels.

  One random rotation and one scale are applied to the components: distances between latents are
  then proportional to those between pictures, and all channels have about unit variance.

  Args:
    config: an aligned codec.
    groups: NumPy [N, 4, S, S, 3] in [-1, 1], groups of 4 frames to learn from; N > C.

  Returns:
    {'encoder': {'kernel', 'bias'}, 'decoder': {'kernel', 'bias'}} as NumPy arrays.
  """
  channels, cells = config.latent_channels, config.cells
  if len(groups) <= channels:
    raise ValueError(f'{len(groups)} groups of frames are too few for {channels} components')
  patches = np.asarray(jax.jit(to_patches, static_argnums=1)(groups, config.factor))[:, 0]
  mean = patches.mean(0)
  bases, energy = np.zeros((cells, cells, config.patch_values, channels), np.float32), 0.0
  for row in range(cells):
    for column in range(cells):
      x = patches[:, row, column] - mean[row, column]
      # N x N, far smaller than the pixels' covariance. This driver finds some of the vectors in a
      # third of the time that all take (N = 1200).
      values, vectors = linalg.eigh(x @ x.T, subset_by_index=(len(x) - channels, len(x) - 1),
                                    driver='evx')
      values = np.maximum(values, 1e-6)
      bases[row, column] = x.T @ (vectors / np.sqrt(values))
      energy += values.sum() / len(x)
  rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((channels, channels)))
  bases = bases @ rotation.astype(np.float32)
  size = np.sqrt(energy / (channels * cells**2))
  unscaled = config.patch_values**0.5
  bias = -np.einsum('HWP,HWPC->HWC', mean, bases) / size
  return {'encoder': {'kernel': bases * (unscaled / size), 'bias': bias.astype(np.float32)},
          'decoder': {'kernel': bases.swapaxes(2, 3) * (unscaled * size), 'bias': mean}}

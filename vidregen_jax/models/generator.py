"""The generator: a standard transformer over one stream of tokens, trained by flow matching.

The streams are sinks, references, an anchor, context, audio, history and noisy tokens; `masks`
says who sees whom. Two functions do all the work, and training and sampling both use just these:

- `condition` turns conditioning tokens into keys and values. Training calls it once with a whole
  clip; sampling calls it with each new latent frame and what is cached of the past.
- `velocity` runs noisy tokens over those keys. Several noise draws (training) or guidance branches
  (sampling) are copies [K] over the same keys, each with its own streams hidden.

Flow time, frame duration and the frame's audio modulate the norms: audio needs this path along the
time axis beside its tokens, or a small model plays a mean mouth.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from vidregen_jax.distributed import sharding
from vidregen_jax.errors import UserError
from vidregen_jax.models import attention, kernels, layers, masks, token_layout

AUDIO_SAMPLES = 16  # Whisper features that they are made from
_FEW = 2**18  # pairs of a query and a key that are left to XLA beside a kernel
_SHARE_EVERY = 16  # of so many noisy tokens one is asked whom it sees, where a kernel hides it


# What a layer keeps of its forward pass for the backward one; the rest is worked out again.
_REMAT = {
  'none': None,  # all of it
  # Products with weights, and what a kernel attended to.
  'dots': jax.checkpoint_policies.save_only_these_names(kernels.SAVED, layers.PRODUCT),
  # The latter alone: of a layer's work, the dearest to repeat.
  'kernels': jax.checkpoint_policies.save_only_these_names(kernels.SAVED),
  'full': jax.checkpoint_policies.nothing_saveable,  # what it was given
}


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
  """Shape of the generator.

  Attributes:
    cells: latent cells a side of the crop.
    latent_channels: channels C of a cell.
    region: flat indices of the cells that are regenerated, length M.
    width: E; heads: N, head size D = E / N, a multiple of 8; layers; mlp: hidden width / E.
    window: latent frames that a token sees, its own included.
    look_ahead: later latent frames whose audio a noisy token sees.
    references: stills R.
    sinks: learned tokens that are always visible.
    sink_logit: also a learned logit per head that takes attention and gives nothing.
    audio_layers, audio_channels: Whisper hidden states a feature holds, and their width.
    audio_hidden: channels that a feature is first reduced to.
    audio_modulates: whether a frame's audio modulates its noisy tokens too (False: a variant for
      proof, in which audio is heard through attention alone).
    aligned: latent channels mean something else in each cell (a codec with cell maps), so each cell
      has its own projections into and out of the stream.
    unroll: whether each layer is compiled by itself: a sixth faster on a CPU; on accelerators one
      program for all compiles faster and needs less memory.
    dtype: of activations; parameters, norms and softmax stay float32.
    attention: one of `attention.IMPLEMENTATIONS`.
    remat: one of _REMAT, for training: less memory for more work.
  """
  cells: int
  latent_channels: int
  region: tuple[int, ...]
  width: int
  heads: int
  layers: int
  mlp: int
  window: int
  look_ahead: int
  references: int
  sinks: int
  sink_logit: bool
  audio_layers: int
  audio_channels: int
  audio_hidden: int
  audio_modulates: bool = True
  aligned: bool = False
  unroll: bool = False
  dtype: str = 'float32'
  attention: str = 'xla'
  remat: str = 'none'

  def __post_init__(self):
    if self.remat not in _REMAT:
      raise UserError(f'remat {self.remat!r} does not exist: use one of {", ".join(_REMAT)}')
    if self.attention not in attention.IMPLEMENTATIONS:
      raise UserError(f'attention {self.attention!r} does not exist: use one of '
                      f'{", ".join(attention.IMPLEMENTATIONS)}')
    if self.width % self.heads or (self.width // self.heads) % 8:
      raise UserError(f'generator width {self.width} over {self.heads} heads gives a head of '
                       f'{self.width / self.heads:g}; it must be a multiple of 8')

  @property
  def statics(self) -> int:
    """Tokens that come first and stand at every query's own time: sinks and references."""
    return self.sinks + self.references * self.cells**2


# ------------------------------------------------------------------------------------------ modules


def _heads_first(x):
  """Where heads stand among the axes of what is made of [B, L, E] or of [B, K, T, M, E]."""
  return 1 if x.ndim == 3 else 2


def _spread(x):
  """What flows between layers, [B, L, E] or [B, K, T, M, E], split by clip and by token."""
  between = ('tokens',) if x.ndim == 3 else (None, 'tokens', None)
  return sharding.constrain(x, 'batch', *between, None)


class Layer(nnx.Module):
  """A pre-norm transformer layer; the two norms are scaled and shifted by the condition."""

  def __init__(self, config: GeneratorConfig, draws: layers.Draws):
    e = config.width
    # Residual branches start small so that the depth of the stack does not matter at step 0.
    out = 0.5 * config.layers**-0.5
    self.norm_attention = layers.RMSNorm(e, bias=False)
    self.norm_mlp = layers.RMSNorm(e, bias=False)
    self.qkv = layers.Linear(e, 3 * e, draws, bias=False)
    self.out = layers.Linear(e, e, draws, scale=out, bias=False)
    self.up = layers.Linear(e, 2 * config.mlp * e, draws, bias=False)
    self.down = layers.Linear(config.mlp * e, e, draws, scale=out, bias=False)
    self.modulation = layers.Linear(e, 4 * e, draws, scale=0.0)
    self.sink = nnx.Param(jnp.zeros(config.heads)) if config.sink_logit else None
    self.heads = config.heads

  def modulate(self, condition):
    """condition [..., E] -> scale and shift of both norms, each [..., E]."""
    return jnp.split(self.modulation(jax.nn.silu(condition)), 4, axis=-1)

  def project(self, x, scale, shift):
    """[B, L, E] or [B, K, T, M, E] -> queries, keys, values [B, N, L, D] or [B, K, N, T, M, D].

    Heads come first, as kernels take them: so a TPU's products write them, and nothing is turned.
    """
    h = self.norm_attention(x) * (1 + scale) + shift
    at = _heads_first(x)
    parts = (jnp.moveaxis(part.reshape(*x.shape[:-1], self.heads, -1), -2, at)
             for part in self.qkv.parts(h, 3))
    # All of a head's tokens meet in one place.
    return [sharding.constrain(part, 'batch', *(None,) * (at - 1), 'heads',
                               *(None,) * (part.ndim - at - 1)) for part in parts]

  def finish(self, x, attended, scale, shift):
    """x [..., E] and what was attended to, heads first as of `project`, -> [..., E]."""
    attended = jnp.moveaxis(attended, _heads_first(x), -2).reshape(x.shape)
    x = x + _spread(self.out(_spread(attended)))
    gate, value = self.up.parts(self.norm_mlp(x) * (1 + scale) + shift, 2)
    return _spread(x + self.down(jax.nn.silu(gate) * value))

  def sink_logit(self):
    return None if self.sink is None else self.sink[...]


class _Generator(nnx.Module):

  def __init__(self, config: GeneratorConfig, draws: layers.Draws):
    e, c = config.width, config.latent_channels
    def cells_linear(cells, c_in, c_out, scale=1.0):
      if config.aligned:
        return layers.CellLinear(cells, c_in, c_out, draws, scale)
      return layers.Linear(c_in, c_out, draws, scale)
    region = len(config.region)
    self.embed_frame = cells_linear(config.cells**2, c, e)  # references, context: whole frames
    self.embed_region = cells_linear(region, c, e)  # anchor, history, noisy: lower faces
    self.stream = nnx.Param(0.5 * draws.take(len(masks.STREAMS), e))
    self.cell = nnx.Param(0.5 * draws.take(config.cells**2, e))
    self.sinks = nnx.Param(draws.take(config.sinks, e))
    self.audio_layer = nnx.Param(jnp.zeros(config.audio_layers))
    self.audio_in = layers.Linear(config.audio_channels, config.audio_hidden, draws)
    self.audio_tokens = layers.Linear(
        AUDIO_SAMPLES * config.audio_hidden, token_layout.AUDIO_TOKENS * e, draws)
    self.audio_frame = layers.Linear(AUDIO_SAMPLES * config.audio_hidden, e, draws, scale=0.5)
    self.duration = layers.Linear(16, e, draws)
    self.time_in = layers.Linear(64, e, draws)
    self.time_out = layers.Linear(e, e, draws)
    self.norm_out = layers.RMSNorm(e, bias=False)
    self.modulation_out = layers.Linear(e, 2 * e, draws, scale=0.0)
    self.velocity_out = cells_linear(region, e, c, scale=0.1)
    self.layers = layers.stack(functools.partial(Layer, config), config.layers, draws)


def _remembering(config: GeneratorConfig, layer):
  """A scan's body that keeps for its backward pass what `config.remat` says."""
  if config.remat == 'none':
    return layer
  # Unless unrolled, a scan keeps forward and backward pass apart by itself.
  return jax.checkpoint(layer, policy=_REMAT[config.remat], prevent_cse=config.unroll)


@functools.cache
def _definition(config: GeneratorConfig) -> layers.Definition:
  return layers.Definition(lambda draws: _Generator(config, draws))


def init(config: GeneratorConfig, key) -> dict:
  """Parameters, float32; those of the layers are stacked along a first axis."""
  return _definition(config).init(key)


def axes(config: GeneratorConfig) -> dict:
  """Names of the axes of the kernels, by path; see `layers.Definition.axes`."""
  return _definition(config).axes()


# --------------------------------------------------------------------------------------- embeddings


def embed_audio(config: GeneratorConfig, params: dict, features):
  """Whisper features of latent frames to tokens and to a modulation vector.

  Args:
    config: the generator's shape.
    params: as from `init`.
    features: [B, T, 16, layers, channels], standardised.

  Returns:
    tokens [B, T, 4, E] and modulation [B, T, E].
  """
  model = _definition(config).bind(params)
  weights = jax.nn.softmax(model.audio_layer[...]).astype(config.dtype)
  h = jnp.einsum('BTALC,L->BTAC', features.astype(config.dtype), weights)
  # Averaging unlike layers shrinks their spread; the factor keeps one layer and many alike.
  h = jax.nn.silu(model.audio_in(h * config.audio_layers**0.5))
  h = h.reshape(*h.shape[:2], -1)
  tokens = model.audio_tokens(h).reshape(*h.shape[:2], token_layout.AUDIO_TOKENS, config.width)
  vector = model.audio_frame(h)
  return tokens, vector if config.audio_modulates else jnp.zeros_like(vector)


def _duration(model, config: GeneratorConfig, seconds):
  """Frame durations [...] in seconds to [..., E]; sines of the logarithm cover 20 to 60 fps."""
  x = jnp.log(seconds * 25.0)[..., None] * (2.0 ** jnp.arange(8) * 0.5)
  return model.duration(jnp.concatenate([jnp.sin(x), jnp.cos(x)], -1).astype(config.dtype))


def _flow_time(model, config: GeneratorConfig, t):
  """Flow times [...] in [0, 1] to [..., E]: sinusoids, as in facebookresearch/DiT models.py."""
  frequency = jnp.exp(-jnp.arange(32) * (np.log(1000.0) / 32))
  angles = t[..., None] * 1000.0 * frequency
  h = jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], -1).astype(config.dtype)
  return model.time_out(jax.nn.silu(model.time_in(h)))


def _tag(model, config: GeneratorConfig, x, tokens: token_layout.Tokens):
  """Adds stream and cell embeddings; sinks and audio have no cell."""
  placed = (tokens.stream != masks.SINK) & (tokens.stream != masks.AUDIO)
  cell = jnp.where(placed[:, None], model.cell[...][jnp.where(placed, tokens.cell, 0)], 0.0)
  return x + (model.stream[...][tokens.stream] + cell).astype(config.dtype)


def _places(config: GeneratorConfig, tokens: token_layout.Tokens):
  """Rows and columns [L] of the tokens' cells; sinks and audio stand at the first."""
  placed = (tokens.stream != masks.SINK) & (tokens.stream != masks.AUDIO)
  cell = np.where(placed, tokens.cell, 0)
  return cell // config.cells, cell % config.cells


def embed_statics(config: GeneratorConfig, params: dict, references):
  """Sinks and references [B, R, H*W, C] to tokens [B, statics, E]."""
  model = _definition(config).bind(params)
  batch = references.shape[0]
  x = model.embed_frame(references.astype(config.dtype)).reshape(batch, -1, config.width)
  sinks = jnp.broadcast_to(model.sinks[...].astype(x.dtype), (batch, config.sinks, config.width))
  return jnp.concatenate([sinks, x], axis=1)


def embed_frames(config: GeneratorConfig, params: dict, context):
  """Whole latent frames [B, T, H*W, C] to tokens [B, T * H*W, E]."""
  model = _definition(config).bind(params)
  return model.embed_frame(context.astype(config.dtype)).reshape(len(context), -1, config.width)


def embed_regions(config: GeneratorConfig, params: dict, region):
  """Lower-face latents [B, T, M, C] to tokens [B, T * M, E]."""
  model = _definition(config).bind(params)
  return model.embed_region(region.astype(config.dtype)).reshape(len(region), -1, config.width)


# ------------------------------------------------------------------------- keys of the conditioning


@functools.partial(jax.tree_util.register_dataclass,
                   data_fields=['static_keys', 'static_values', 'timed_keys', 'timed_values'],
                   meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Keys:
  """Keys and values of conditioning tokens, stacked over layers.

  Attributes:
    static_keys, static_values: [layers, B, N, statics, D]; their place in the frame is rotated in.
    timed_keys, timed_values: [layers, B, N, L, D]; their time is not.
  """
  static_keys: jax.Array
  static_values: jax.Array
  timed_keys: jax.Array
  timed_values: jax.Array


def no_keys(config: GeneratorConfig, batch: int, statics: int = 0, timed: int = 0) -> Keys:
  """Keys of `statics` and `timed` tokens, all zero."""
  def zeros(tokens):
    return jnp.zeros((config.layers, batch, config.heads, tokens, config.width // config.heads),
                     config.dtype)
  return Keys(zeros(statics), zeros(statics), zeros(timed), zeros(timed))


@jax.named_scope('condition')
def condition(config: GeneratorConfig, params: dict, x, tokens: token_layout.Tokens, durations,
              frame_of, past: Keys, past_times, rule, shown, statics: int):
  """Runs new conditioning tokens through the layers, over themselves and the past.

  Args:
    config: the generator's shape.
    params: as from `init`.
    x: [B, L, E] from the embed functions; the first `statics` are sinks and references.
    tokens: what the new tokens are, [L].
    durations: [B, A] seconds a frame, of the latent frames that the tokens belong to.
    frame_of: [L] which of these each token belongs to; A for one that belongs to none.
    past: keys already computed.
    past_times: [P] times of the past's timed keys, on the same scale as `tokens.time`.
    rule: NumPy bool [L, past statics + statics + P + (L - statics)], what each token sees of
      these, in that order.
    shown: bool [B, the same], false for keys that no token of a clip sees.
    statics: how many of the new tokens are static.

  Returns:
    The new tokens' own keys (not the past's).
  """
  model = _definition(config).bind(params)
  x = _tag(model, config, x, tokens)
  # Tokens of a frame share its modulation: it is worked out once a frame, not once a token.
  vector = _duration(model, config, durations)
  vector = jnp.pad(vector, [(0, 0), (0, 1), (0, 0)])
  # As a product: of rows that are taken by index, gradients would be summed one after the other.
  belongs = jax.nn.one_hot(frame_of, vector.shape[1])
  size = config.width // config.heads
  times = attention.angles(size, np.concatenate([past_times, tokens.time[statics:]]))
  # Static queries stand at no time either: they see static keys alone.
  moments = np.where(np.arange(len(tokens.time)) < statics, 0, tokens.time)
  in_space = attention.angles(size, 0.0, *_places(config, tokens))
  in_time = attention.angles(size, moments)

  def layer(x, weights_and_past):
    weights, past = weights_and_past
    scale1, shift1, scale2, shift2 = (
      layers.moved('BAE,LA->BLE', x, belongs) for x in weights.modulate(vector))
    q, k, v = weights.project(x, scale1, shift1)
    q, k = attention.rotate(q, in_space + in_time), attention.rotate(k, in_space)
    new = Keys(attention.timeless(k[:, :, :statics]), v[:, :, :statics], k[:, :, statics:],
               v[:, :, statics:])
    seen = jax.tree.map(lambda *parts: jnp.concatenate(parts, 2), past, new)
    seen = _joined(seen, times)
    out = jnp.concatenate([_attend(config, q, seen, queries, keys, rule, shown, weights)
                           for queries, keys in attention.runs(rule, tokens.stream)], 2)
    return weights.finish(x, out, scale2, shift2), new

  return jax.lax.scan(_remembering(config, layer), _spread(x), (model.layers, past),
                      unroll=config.unroll)[1]


def _attend(config, q, seen, queries, keys, rule, shown, weights):
  """What one stream's queries attend to: [B, N, Q, D] of all [B, N, L, D]."""
  among = functools.partial(_among, keys)
  sees = np.concatenate([rule[queries, part] for part in keys], 1)
  # Few logits are written sooner than a kernel is begun.
  implementation = config.attention if sees.size > _FEW else 'xla'
  out = attention.attend(implementation, q[:, None, :, queries, None], *(among(x, 2) for x in seen),
                         sees, among(shown[:, None], 2), weights.sink_logit())
  return out[:, 0, :, :, 0]


def _among(slices, x, axis):
  """Slices of an axis of x, joined."""
  return jnp.concatenate([jax.lax.slice_in_dim(x, part.start, part.stop, axis=axis)
                          for part in slices], axis)


def _joined(keys: Keys, angles):
  """Static and timed keys as one, these with their time rotated in, and values [..., L, D]."""
  return (jnp.concatenate([keys.static_keys, attention.rotate(keys.timed_keys, angles)], -2),
          jnp.concatenate([keys.static_values, keys.timed_values], -2))


def rotate_keys(keys: Keys, times):
  """Keys and values [layers, B, N, L, D] for all flow steps that read them.

  Args:
    keys: of all conditioning.
    times: [B, timed], latent frames, which are rotated into the timed keys.
  """
  return _joined(keys, attention.angles(keys.timed_keys.shape[-1], times[:, None]))


# --------------------------------------------------------------------------------- the noisy tokens


@jax.named_scope('velocity')
def velocity(config: GeneratorConfig, params: dict, keys: Keys, noisy, flow_time, durations,
             audio, query_times, rule, shown, streams=None):
  """The velocity of noisy lower faces, over conditioning keys.

  Args:
    config: the generator's shape.
    params: as from `init`.
    keys: `rotate_keys` of all conditioning.
    noisy: [B, K, T, M, C] latents at flow time t; K copies see the same keys.
    flow_time: [B, K, T].
    durations: [B, T] seconds a frame.
    audio: [B, K, T, E] modulation from `embed_audio`, zero where audio is hidden.
    query_times: [T] positions in latent frames.
    rule: NumPy bool [T, statics + timed], what each frame sees.
    shown: bool [B, K, statics + timed], false for keys that are hidden from a copy.
    streams: int [statics + timed], the keys' streams, to be told who is attended to.

  Returns:
    [B, K, T, M, C] float32; with `streams` also the share of attention that each of
    `masks.STREAMS` gets in each layer, [layers, 7]. The learned logit's share is the sinks'.
  """
  model = _definition(config).bind(params)
  batch, copies, frames, cells, _ = noisy.shape
  region = np.asarray(config.region)
  tokens = token_layout.Tokens(
      np.full(cells, masks.NOISY), np.zeros(cells, int), np.zeros(cells), region)
  x = _tag(model, config, model.embed_region(noisy.astype(config.dtype)), tokens)
  vector = (_flow_time(model, config, flow_time)
            + _duration(model, config, durations)[:, None] + audio)[:, :, :, None]
  angles = attention.angles(config.width // config.heads, np.asarray(query_times)[:, None],
                            *_places(config, tokens))
  every = 1 if config.attention == 'xla' else _SHARE_EVERY

  def layer(x, weights_and_keys):
    weights, keys = weights_and_keys
    scale1, shift1, scale2, shift2 = weights.modulate(vector)
    q, k, v = weights.project(x, scale1, shift1)
    q, k = attention.rotate(q, angles), attention.rotate(k, angles)
    out = attention.attend(config.attention, q, *keys, rule, shown, weights.sink_logit(), (k, v))
    share = None
    if streams is not None:
      to = attention.weigh(q[..., ::every, :], keys[0], rule, shown, weights.sink_logit(), k)
      share = _attention_share(jnp.concatenate(to, -1),
                               np.concatenate([streams, np.full(cells, masks.NOISY)]))
    return weights.finish(x, out, scale2, shift2), share

  x, shares = jax.lax.scan(_remembering(config, layer), _spread(x), (model.layers, keys),
                           unroll=config.unroll)
  scale, shift = jnp.split(model.modulation_out(jax.nn.silu(vector)), 2, axis=-1)
  v = model.velocity_out(model.norm_out(x) * (1 + scale) + shift).astype(jnp.float32)
  return v if streams is None else (v, shares)


def _attention_share(weights, streams):
  """The mean weight of each stream's keys, [7].

  Args:
    weights: [B, N, Q, L].
    streams: int [L].
  """
  share = weights.mean((0, 1, 2)) @ jax.nn.one_hot(streams, len(masks.STREAMS))
  return share.at[masks.SINK].add(1 - share.sum())  # what is missing went to the learned logit

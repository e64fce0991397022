"""The generator: a standard transformer over one stream of tokens, trained by flow matching.

The streams are sinks, references, an anchor, context, audio, history and noisy tokens; `streams`
says who sees whom and what they are made from. Training and sampling both use just these functions:

- `embed_fixed`, `embed_frames`, `embed_ahead` and `embed_history` turn conditions into tokens.
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
from vidregen_jax.models import (
  attention,
  audio_timeline,
  kernels,
  layers,
  quantized,
  streams,
  token_layout,
)

_FEW = 2**18  # pairs of a query and a key that are left to XLA beside a kernel
_SHARE_EVERY = 16  # of so many noisy tokens one is asked whom it sees, where a kernel hides it


# What a layer saves in its forward pass for the backward pass; the rest is recomputed.
_REMAT = {
  'none': None,  # everything is saved
  # Products with weights, and the output of the attention kernel.
  'dots': jax.checkpoint_policies.save_only_these_names(kernels.SAVED, layers.PRODUCT),
  # The latter alone: it is the most expensive part of a layer to recompute.
  'kernels': jax.checkpoint_policies.save_only_these_names(kernels.SAVED),
  'full': jax.checkpoint_policies.nothing_saveable,  # only the layer's input
}


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
  """Shape of the generator.

  Attributes:
    cells: latent cells along each side of the crop.
    latent_channels: channels C of a cell.
    region: flat indices of the cells that are regenerated, length M.
    width: E; heads: N, head size D = E / N, a multiple of 8; layers; mlp: hidden width / E.
    window: latent frames that a token sees, including its own.
    look_ahead: number of later latent frames whose audio a noisy token sees.
    references: number of stills R.
    sinks: number of learned tokens that are always visible.
    sink_logit: whether each head also has a learned logit that takes attention and has no value.
    audio_layers, audio_channels: number of Whisper layers in an audio feature, and their width.
    audio_hidden: channels that a feature is first projected to.
    audio_modulates: whether a frame's audio also modulates its noisy tokens (False: for
      experiments in which audio acts through attention alone).
    aligned: latent channels mean something else in each cell (a codec with cell maps), so each cell
      has its own projections into and out of the stream.
    unroll: whether the loop over layers is unrolled: a sixth faster on a CPU; on accelerators a
      loop compiles faster and needs less memory.
    dtype: of activations; parameters, norms and softmax stay float32.
    mlp_dtype: in which the MLPs' products are computed in training: 'same' as the activations, or
      one of `quantized.DTYPES`. Exports have 'same'.
    attention: one of `attention.IMPLEMENTATIONS`.
    remat: one of _REMAT, what training saves for the backward pass: less memory, more work.
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
  mlp_dtype: str = 'same'
  attention: str = 'xla'
  remat: str = 'none'

  def __post_init__(self):
    if self.remat not in _REMAT:
      raise UserError(f'remat {self.remat!r} does not exist: use one of {", ".join(_REMAT)}')
    if self.attention not in attention.IMPLEMENTATIONS:
      raise UserError(f'attention {self.attention!r} does not exist: use one of '
                      f'{", ".join(attention.IMPLEMENTATIONS)}')
    if self.mlp_dtype != 'same':
      if self.mlp_dtype not in quantized.DTYPES:
        raise UserError(f'mlp_dtype {self.mlp_dtype!r} does not exist: use same, '
                        f'{" or ".join(quantized.DTYPES)}')
      quantized.check()
    if self.width % self.heads or (self.width // self.heads) % 8:
      raise UserError(f'generator width {self.width} over {self.heads} heads gives a head of '
                       f'{self.width / self.heads:g}; it must be a multiple of 8')

  @property
  def head(self) -> int:
    """Channels D of a head."""
    return self.width // self.heads


# ------------------------------------------------------------------------------------------ modules


def _heads_first(x):
  """The axis of heads in what is projected from [B, L, E] or [B, K, T, M, E]."""
  return 1 if x.ndim == 3 else 2


def _spread(x):
  """Activations between layers, [B, L, E] or [B, K, T, M, E], sharded by clip and by token."""
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
    self.projections = layers.Linear(e, 3 * e, draws, bias=False)
    self.out = layers.Linear(e, e, draws, scale=out, bias=False)
    self.up = layers.Linear(e, 2 * config.mlp * e, draws, bias=False)
    self.down = layers.Linear(config.mlp * e, e, draws, scale=out, bias=False)
    self.modulation = layers.Linear(e, 4 * e, draws, scale=0.0)
    self.sink = nnx.Param(jnp.zeros(config.heads)) if config.sink_logit else None
    self.heads = config.heads
    self.mlp_dtype = config.mlp_dtype

  def modulate(self, condition):
    """condition [..., E] -> scale and shift of both norms, each [..., E]."""
    return jnp.split(self.modulation(jax.nn.silu(condition)), 4, axis=-1)

  def project(self, x, scale, shift):
    """[B, L, E] or [B, K, T, M, E] -> queries, keys, values [B, N, L, D] or [B, K, N, T, M, D].

    Heads come first, as kernels expect them, so that a TPU's products write this layout and nothing
    is transposed.
    """
    h = self.norm_attention(x) * (1 + scale) + shift
    at = _heads_first(x)
    parts = (jnp.moveaxis(part.reshape(*x.shape[:-1], self.heads, -1), -2, at)
             for part in self.projections.parts(h, 3))
    # All of a head's tokens meet in one place.
    return [sharding.constrain(part, 'batch', *(None,) * (at - 1), 'heads',
                               *(None,) * (part.ndim - at - 1)) for part in parts]

  def finish(self, x, attended, scale, shift):
    """x [..., E] and the output of attention, heads first as from `project`, -> [..., E]."""
    attended = jnp.moveaxis(attended, _heads_first(x), -2).reshape(x.shape)
    x = x + _spread(self.out(_spread(attended)))
    product = jnp.matmul
    if self.mlp_dtype != 'same':
      product = functools.partial(quantized.product, self.mlp_dtype)
    gate, value = self.up.parts(self.norm_mlp(x) * (1 + scale) + shift, 2, product)
    return _spread(x + self.down.parts(jax.nn.silu(gate) * value, 1, product)[0])

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
    self.stream = nnx.Param(0.5 * draws.take(len(streams.STREAMS), e))
    self.cell = nnx.Param(0.5 * draws.take(config.cells**2, e))
    self.sinks = nnx.Param(draws.take(config.sinks, e))
    self.audio_layer = nnx.Param(jnp.zeros(config.audio_layers))
    self.audio_in = layers.Linear(config.audio_channels, config.audio_hidden, draws)
    hidden = audio_timeline.WINDOW_SAMPLES * config.audio_hidden
    self.audio_tokens = layers.Linear(hidden, streams.AUDIO_TOKENS * e, draws)
    self.audio_frame = layers.Linear(hidden, e, draws, scale=0.5)
    self.duration = layers.Linear(16, e, draws)
    self.time_in = layers.Linear(64, e, draws)
    self.time_out = layers.Linear(e, e, draws)
    self.norm_out = layers.RMSNorm(e, bias=False)
    self.modulation_out = layers.Linear(e, 2 * e, draws, scale=0.0)
    self.velocity_out = cells_linear(region, e, c, scale=0.1)
    self.layers = layers.stack(functools.partial(Layer, config), config.layers, draws)


def _remembering(config: GeneratorConfig, layer):
  """A scan's body that saves for its backward pass what `config.remat` says."""
  if config.remat == 'none':
    return layer
  # Unless it is unrolled, a scan by itself keeps XLA from merging what the two passes share.
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


@dataclasses.dataclass(frozen=True)
class Embedded:
  """The tokens of a stream.

  Attributes:
    x: [B, F, n, E], n tokens of each of F stills or latent frames.
    valid: bool [B, F], false where there is no such frame or it is unknown.
  """
  x: jax.Array
  valid: jax.Array


def _all_valid(x):
  return Embedded(x, jnp.ones(x.shape[:2], bool))


def embed_fixed(config: GeneratorConfig, params: dict, fixed: streams.Fixed, anchor) -> dict:
  """Sinks, references and the anchor as {stream: Embedded}.

  Args:
    config: the generator's shape.
    params: as from `init`.
    fixed: of a clip.
    anchor: [B, M, C] the anchor's residual, see `linear_prior`.
  """
  model = _definition(config).bind(params)
  batch = len(fixed.references)
  references = model.embed_frame(fixed.references.astype(config.dtype))
  sinks = jnp.broadcast_to(model.sinks[...].astype(references.dtype),
                           (batch, 1, config.sinks, config.width))
  return {
    streams.SINK: _all_valid(sinks),
    streams.REFERENCE: Embedded(references, fixed.reference_valid),
    streams.ANCHOR: Embedded(model.embed_region(anchor[:, None].astype(config.dtype)),
                             fixed.anchor_valid[:, None]),
  }


def embed_frames(config: GeneratorConfig, params: dict, frames: streams.Frames) -> dict:
  """What arrives with latent frames [B, T, ...], as {stream: Embedded}."""
  model = _definition(config).bind(params)
  return {streams.CONTEXT: _all_valid(model.embed_frame(frames.context.astype(config.dtype)))}


def embed_history(config: GeneratorConfig, params: dict, residuals) -> dict:
  """Lower faces [B, T, M, C], as residuals of `linear_prior`, as {stream: Embedded}."""
  model = _definition(config).bind(params)
  return {streams.HISTORY: _all_valid(model.embed_region(residuals.astype(config.dtype)))}


def embed_ahead(config: GeneratorConfig, params: dict, ahead: streams.Ahead):
  """What arrives before its latent frame.

  Args:
    config: the generator's shape.
    params: as from `init`.
    ahead: [B, T, ...] of T latent frames, its audio standardised.

  Returns:
    {stream: Embedded}, and the vectors [B, T, E] that modulate the frames' noisy tokens.
  """
  model = _definition(config).bind(params)
  weights = jax.nn.softmax(model.audio_layer[...]).astype(config.dtype)
  h = jnp.einsum('BTALC,L->BTAC', ahead.audio.astype(config.dtype), weights)
  # Averaging uncorrelated layers shrinks their variance; the factor compensates for that.
  h = jax.nn.silu(model.audio_in(h * config.audio_layers**0.5))
  h = h.reshape(*h.shape[:2], -1)
  tokens = model.audio_tokens(h).reshape(*h.shape[:2], streams.AUDIO_TOKENS, config.width)
  vectors = model.audio_frame(h)
  return ({streams.AUDIO: Embedded(tokens, ahead.audio_valid)},
          vectors if config.audio_modulates else jnp.zeros_like(vectors))


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
  """Adds stream and cell embeddings; the latter to tokens with a place in the picture."""
  placed = tokens.placed
  cell = jnp.where(placed[:, None], model.cell[...][jnp.where(placed, tokens.cell, 0)], 0.0)
  return x + (model.stream[...][tokens.stream] + cell).astype(config.dtype)


def _rotation(config: GeneratorConfig, tokens: token_layout.Tokens, time):
  """The rotation of tokens [..., L, D] by their cells, if they have one, and by times [..., L]."""
  cell = np.where(tokens.placed, tokens.cell, 0)
  return attention.rotation(config.head, config.dtype, time, cell // config.cells,
                            cell % config.cells)


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

  def at(self, in_time) -> tuple:
    """Keys and values, as lists of the static and the timed ones, whose times are rotated in.

    Args:
      in_time: the rotation by their times, `attention.rotation` of [..., L].
    """
    return ([self.static_keys, attention.rotate(self.timed_keys, in_time)],
            [self.static_values, self.timed_values])


def no_keys(config: GeneratorConfig, batch: int, statics: int = 0, timed: int = 0) -> Keys:
  """All-zero keys for `statics` static and `timed` timed tokens."""
  def zeros(tokens):
    return jnp.zeros((config.layers, batch, config.heads, tokens, config.head), config.dtype)
  return Keys(zeros(statics), zeros(statics), zeros(timed), zeros(timed))


@dataclasses.dataclass(frozen=True)
class Sequence:
  """New conditioning tokens, as `condition` takes them.

  Attributes:
    x: [B, L, E], static tokens first.
    valid: bool [B, L], false for tokens that no other token of the clip may see.
    tokens: what they are, [L].
    durations: [B, T] seconds a frame, of the latent frames that they belong to.
    frame_of: NumPy int [L], index of each token's latent frame; T for a token that has none.
  """
  x: jax.Array
  valid: jax.Array
  tokens: token_layout.Tokens
  durations: jax.Array
  frame_of: np.ndarray


@dataclasses.dataclass(frozen=True)
class Past:
  """Conditioning tokens whose keys have been computed.

  Attributes:
    keys: theirs.
    tokens: what they are, [P], static tokens first; their times are on the scale of the new ones'.
    valid: bool [B, P], false for keys that no token of the clip may see.
  """
  keys: Keys
  tokens: token_layout.Tokens
  valid: jax.Array


@dataclasses.dataclass(frozen=True)
class Memory:
  """All conditioning, as noisy tokens attend to it.

  Attributes:
    keys: keys and values, lists of [layers, B, N, l, D], as from `Keys.at`.
    tokens: what they are, [L], static tokens first.
    visible: bool [B, K, L], false for keys that are hidden from a copy.
  """
  keys: tuple
  tokens: token_layout.Tokens
  visible: jax.Array


@dataclasses.dataclass(frozen=True)
class Query:
  """The latent frames whose noisy tokens attend.

  Attributes:
    frames: NumPy int [T], on the scale of the memory's tokens.
    durations: [B, T] seconds a frame.
    vectors: [B, K, T, E] of `embed_ahead`, zero where audio is hidden.
  """
  frames: np.ndarray
  durations: jax.Array
  vectors: jax.Array


def sequence(embedded: dict, tokens: token_layout.Tokens, durations, frame_of) -> Sequence:
  """Concatenates embedded streams {stream: Embedded}; the other arguments are `Sequence`'s."""
  parts = [embedded[stream] for stream in streams.TOKENS if stream in embedded]
  x = [part.x.reshape(len(part.x), -1, part.x.shape[-1]) for part in parts]
  valid = [jnp.repeat(part.valid, part.x.shape[2], axis=1) for part in parts]
  return Sequence(jnp.concatenate(x, 1), jnp.concatenate(valid, 1), tokens, durations, frame_of)


def no_past(config: GeneratorConfig, batch: int) -> Past:
  """An empty past."""
  none = token_layout.select(token_layout.fixed_tokens(config), slice(0))
  return Past(no_keys(config, batch), none, jnp.zeros((batch, 0), bool))


@jax.named_scope('condition')
def condition(config: GeneratorConfig, params: dict, new: Sequence, past: Past) -> Keys:
  """Runs new conditioning tokens through the layers, over themselves and the past.

  Args:
    config: the generator's shape.
    params: as from `init`.
    new: the tokens.
    past: earlier tokens, which the new ones see too.

  Returns:
    The new tokens' own keys (not the past's).
  """
  model = _definition(config).bind(params)
  tokens, statics, past_statics = new.tokens, new.tokens.statics, past.tokens.statics
  timed = past.tokens.timed + tokens.timed
  rule = token_layout.visible(config, tokens, past.tokens.static + tokens.static + timed)
  visible = jnp.concatenate([past.valid[:, :past_statics], new.valid[:, :statics],
                             past.valid[:, past_statics:], new.valid[:, statics:]], 1)
  x = _tag(model, config, new.x, tokens)
  # Tokens of a frame share its modulation, so it is computed once per frame, not per token.
  vector = _duration(model, config, new.durations)
  vector = jnp.pad(vector, [(0, 0), (0, 1), (0, 0)])
  # A product, not indexing: the gradient of indexing would add rows one after the other.
  belongs = jax.nn.one_hot(new.frame_of, vector.shape[1])
  in_space, in_both = (_rotation(config, tokens, time) for time in (0.0, tokens.time))
  in_time = attention.rotation(config.head, config.dtype, timed.time)

  def layer(x, weights_and_past):
    weights, past = weights_and_past
    scale1, shift1, scale2, shift2 = (
      layers.moved('BAE,LA->BLE', x, belongs) for x in weights.modulate(vector))
    q, k, v = weights.project(x, scale1, shift1)
    q, k = attention.rotate(q, in_both), attention.rotate(k, in_space)
    own = Keys(attention.timeless(k[:, :, :statics]), v[:, :, :statics], k[:, :, statics:],
               v[:, :, statics:])
    seen = jax.tree.map(lambda *parts: jnp.concatenate(parts, 2), past, own).at(in_time)
    out = jnp.concatenate([
      _attend(config, q[:, :, queries], seen, keys, rule[queries], visible, weights.sink_logit())
      for queries, keys in attention.runs(rule, tokens.stream, past_statics + statics)], 2)
    return weights.finish(x, out, scale2, shift2), own

  return jax.lax.scan(_remembering(config, layer), _spread(x), (model.layers, past.keys),
                      unroll=config.unroll)[1]


def kernel_rules(tokens: token_layout.Tokens, rule) -> list:
  """The parts of a rule [L, L] among conditioning tokens that `condition` gives to a kernel."""
  parts = (_part(rule[queries], keys)
           for queries, keys in attention.runs(rule, tokens.stream, tokens.statics))
  return [part for part in parts if part.size > _FEW]


def _part(rule, slices):
  return np.concatenate([rule[:, part] for part in slices], 1)


def _attend(config, q, seen, slices, rule, visible, sink):
  """What queries [B, N, Q, D] of one stream attend to in slices of all keys.

  Args:
    config: the generator's shape.
    q: [B, N, Q, D].
    seen: all keys and values, lists of [B, N, l, D].
    slices: of the keys.
    rule: NumPy bool [Q, L]; visible: bool [B, L]; sink: of the heads, or None.

  Returns:
    [B, N, Q, D].
  """
  statics = seen[0][0].shape[2]

  def among(static, timed):
    return [static[:, :, part] if part.stop <= statics else
            timed[:, :, part.start - statics:part.stop - statics] for part in slices]
  rule = _part(rule, slices)
  # Few logits are written sooner than a kernel is begun.
  implementation = config.attention if rule.size > _FEW else 'xla'
  out = attention.attend(implementation, q[:, None, :, :, None], *(among(*x) for x in seen), rule,
                         jnp.concatenate([visible[:, part] for part in slices], 1)[:, None], sink)
  return out[:, 0, :, :, 0]


# --------------------------------------------------------------------------------- the noisy tokens


def as_memory(config: GeneratorConfig, past: Past, anchor_time, keep: token_layout.Keep) -> Memory:
  """Prepares all conditioning, once for all flow steps.

  Args:
    config: the generator's shape.
    past: the conditioning.
    anchor_time: [B] the anchor's time, on the scale of the tokens'.
    keep: the streams that each copy sees, [B, K] or [K].
  """
  timed = past.tokens.timed
  times = jnp.where(timed.stream == streams.ANCHOR, anchor_time[:, None], timed.time)
  keys = past.keys.at(attention.rotation(config.head, config.dtype, times[:, None]))
  visible = token_layout.kept(config, keep, past.tokens) & past.valid[:, None]
  return Memory(keys, past.tokens, visible)


@jax.named_scope('velocity')
def velocity(config: GeneratorConfig, params: dict, memory: Memory, query: Query, noisy, flow_time,
             shares: bool = False):
  """The velocity of noisy lower faces, over conditioning keys.

  Args:
    config: the generator's shape.
    params: as from `init`.
    memory: the conditioning, which K copies see in common.
    query: the latent frames.
    noisy: [B, K, T, M, C] latents at flow time t.
    flow_time: [B, K, T].
    shares: whether to measure how attention is shared out between streams.

  Returns:
    [B, K, T, M, C] float32; with `shares` also the share of attention that each of
    `streams.STREAMS` gets in each layer, [layers, 7]. The learned logit's share is the sinks'.
  """
  model = _definition(config).bind(params)
  cells = noisy.shape[3]
  region = np.asarray(config.region)
  tokens = token_layout.Tokens(
      np.full(cells, streams.NOISY), np.zeros(cells, int), np.zeros(cells), region)
  asking = token_layout.noisy_tokens(query.frames)
  rule = token_layout.visible(config, asking, memory.tokens)
  x = _tag(model, config, model.embed_region(noisy.astype(config.dtype)), tokens)
  vector = (_flow_time(model, config, flow_time)
            + _duration(model, config, query.durations)[:, None] + query.vectors)[:, :, :, None]
  places = _rotation(config, tokens, asking.time[:, None])
  every = 1 if config.attention == 'xla' else _SHARE_EVERY

  def layer(x, weights_and_keys):
    weights, keys = weights_and_keys
    scale1, shift1, scale2, shift2 = weights.modulate(vector)
    q, k, v = weights.project(x, scale1, shift1)
    q, k = attention.rotate(q, places), attention.rotate(k, places)
    out = attention.attend(config.attention, q, *keys, rule, memory.visible, weights.sink_logit(),
                           (k, v))
    share = None
    if shares:
      to = attention.weigh(q[..., ::every, :], keys[0], rule, memory.visible,
                           weights.sink_logit(), k)
      share = _attention_share(jnp.concatenate(to, -1),
                               np.concatenate([memory.tokens.stream, tokens.stream]))
    return weights.finish(x, out, scale2, shift2), share

  x, share = jax.lax.scan(_remembering(config, layer), _spread(x), (model.layers, memory.keys),
                          unroll=config.unroll)
  scale, shift = jnp.split(model.modulation_out(jax.nn.silu(vector)), 2, axis=-1)
  v = model.velocity_out(model.norm_out(x) * (1 + scale) + shift).astype(jnp.float32)
  return (v, share) if shares else v


def _attention_share(weights, key_streams):
  """The mean weight of each stream's keys, [7].

  Args:
    weights: [B, N, Q, L].
    key_streams: int [L].
  """
  share = weights.mean((0, 1, 2)) @ jax.nn.one_hot(key_streams, len(streams.STREAMS))
  return share.at[streams.SINK].add(1 - share.sum())  # the rest went to the learned logit

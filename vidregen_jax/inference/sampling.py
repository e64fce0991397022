"""The streaming sampler: one step makes one latent frame; `sample` loops it, `stream` yields it.

The state is a value of fixed shape: the conditioning's keys in a window that rolls, and the codec's
decoder cache. It does not grow with the video. Before a span the state is warmed up on real frames,
so that the first generated frame continues a past that exists.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax.errors import UserError
from vidregen_jax.models import codec, flow_matching, generator, linear_prior, masks, token_layout

_MOST_STEPS = 1000


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
  """How to sample.

  Attributes:
    steps: flow steps a latent frame.
    solver: 'euler' or 'heun'.
    shift: flow-time shift of the step grid.
    guidance_appearance, guidance_audio: v = v(none) + appearance (v(app) - v(none))
      + audio (v(app, audio) - v(app)), where app is references, anchor and history. 1 and 1 is the
      plain conditional velocity, in one branch instead of three.
    guidance_start, guidance_stop: flow times between which audio guidance other than 1 applies.
    noise: size of the noise that a latent frame starts from; less than 1 gives likelier samples of
      less variety, which hides the unevenness of a small model.
  """
  steps: int
  solver: str
  shift: float
  guidance_appearance: float
  guidance_audio: float
  guidance_start: float = 0.0
  guidance_stop: float = 1.0
  noise: float = 1.0

  def __post_init__(self):
    if not 1 <= self.steps <= _MOST_STEPS:
      raise UserError(f'steps {self.steps} is not between 1 and {_MOST_STEPS}')
    if self.solver not in ('euler', 'heun'):
      raise UserError(f"solver {self.solver!r} does not exist: use 'euler' or 'heun'")
    for name in ('shift', 'guidance_appearance', 'guidance_audio', 'noise'):
      value = getattr(self, name)
      if not (math.isfinite(value) and value >= 0):
        raise UserError(f'{name} {value} is no size: give 0 or more')

  @property
  def guided(self) -> bool:
    """Whether there are three branches, not one."""
    return (self.guidance_appearance, self.guidance_audio) != (1.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Models:
  """The two learned parts' shapes; static, hashable."""
  codec: codec.CodecConfig
  generator: generator.GeneratorConfig


@functools.partial(jax.tree_util.register_dataclass, meta_fields=[],
                   data_fields=['codec', 'generator', 'expectation', 'latent_mean', 'latent_std'])
@dataclasses.dataclass(frozen=True)
class Params:
  """Parameters of both, what is expected of a lower face, and the latents' statistics [C]."""
  codec: dict
  generator: dict
  expectation: linear_prior.Expectation
  latent_mean: jax.Array
  latent_std: jax.Array


@functools.partial(jax.tree_util.register_dataclass, meta_fields=[],
                   data_fields=['context', 'outside', 'duration', 'audio', 'audio_valid',
                                'audio_duration', 'anchor_distance'])
@dataclasses.dataclass(frozen=True)
class Inputs:
  """What arrives with latent frame i; all are [T, B, ...] for a whole span.

  Attributes:
    context: [B, H*W, C] latents of the frames with the lower face masked.
    outside: [B, H*W, C] latents of the frames themselves: the cells outside the region are decoded
      from these. While warming up, the cells inside are the history.
    duration: [B] seconds a frame.
    audio: [B, 16, layers, channels] features of latent frame i + look_ahead.
    audio_valid: bool [B], false where that lies beyond the audio's end.
    audio_duration: [B] seconds a frame of latent frame i + look_ahead.
    anchor_distance: [B] latent frames from i to the anchor.
  """
  context: jax.Array
  outside: jax.Array
  duration: jax.Array
  audio: jax.Array
  audio_valid: jax.Array
  audio_duration: jax.Array
  anchor_distance: jax.Array


@functools.partial(jax.tree_util.register_dataclass, meta_fields=[],
                   data_fields=['index', 'key', 'reference', 'fixed', 'fixed_valid', 'window',
                                'window_valid', 'audio_vectors', 'decoder_cache'])
@dataclasses.dataclass(frozen=True)
class SamplerState:
  """Everything that one latent frame hands to the next.

  Attributes:
    index: latent frames so far, int32.
    key: noise of latent frame i is drawn from fold_in(key, i).
    reference: [B, H*W, C] the mean reference, for what is expected.
    fixed: keys of sinks, references (static) and the anchor (timed).
    fixed_valid: bool [B, statics + M].
    window: keys of context, audio and history slots (timed), oldest first in each stream.
    window_valid: bool [B, slots], false where nothing has been written.
    audio_vectors: [B, look_ahead + 1, E] audio modulation of the current and the coming frames.
    decoder_cache: the codec's.
  """
  index: jax.Array
  key: jax.Array
  reference: jax.Array
  fixed: generator.Keys
  fixed_valid: jax.Array
  window: generator.Keys
  window_valid: jax.Array
  audio_vectors: jax.Array
  decoder_cache: dict


# --------------------------------------------------------------------------------------- the window


@functools.cache
def _slots(config: generator.GeneratorConfig):
  """The window's tokens, their frames relative to the current one (0), and slices by stream.

  Context and history hold the last `window` frames, audio `look_ahead` more: all a query can see.
  """
  region, every = np.asarray(config.region), np.arange(config.cells**2)
  past = np.arange(1 - config.window, 1)
  heard = np.arange(1 - config.window, 1 + config.look_ahead)
  parts = [(masks.CONTEXT, past, every), (masks.AUDIO, heard, np.arange(token_layout.AUDIO_TOKENS)),
           (masks.HISTORY, past, region)]
  stream = np.concatenate([np.full(len(f) * len(c), s) for s, f, c in parts])
  frame = np.concatenate([np.repeat(f, len(c)) for _, f, c in parts])
  cell = np.concatenate([np.tile(c, len(f)) for _, f, c in parts])
  ends = np.cumsum([len(f) * len(c) for _, f, c in parts])
  spans = {s: (int(end) - len(f) * len(c), int(end), len(c))
           for (s, f, c), end in zip(parts, ends, strict=True)}
  return token_layout.Tokens(stream, frame, frame.astype(np.float32), cell), spans


def _roll(config: generator.GeneratorConfig, state: SamplerState) -> SamplerState:
  """Moves every stream of the window one latent frame into the past; the newest slots are empty."""
  _, spans = _slots(config)

  def shift(x, axis):
    parts = []
    for start, stop, tokens in spans.values():
      kept = jax.lax.slice_in_dim(x, start + tokens, stop, axis=axis)
      empty = jnp.zeros_like(jax.lax.slice_in_dim(x, start, start + tokens, axis=axis))
      parts += [kept, empty]
    return jnp.concatenate(parts, axis)

  window = dataclasses.replace(state.window, timed_keys=shift(state.window.timed_keys, 3),
                               timed_values=shift(state.window.timed_values, 3))
  return dataclasses.replace(state, window=window, window_valid=shift(state.window_valid, 1))


def _write(config: generator.GeneratorConfig, state: SamplerState, x, streams, duration, valid,
           params: dict) -> SamplerState:
  """Runs the newest tokens of some streams over the window and writes their keys into it.

  Args:
    config: the generator's shape.
    state: with empty newest slots of these streams.
    x: [B, L, E] embedded tokens, the streams one after another.
    streams: which streams, in the window's order.
    duration: [B] seconds a frame.
    valid: bool [B, L], false for audio beyond its end.
    params: the generator's.
  """
  slots, spans = _slots(config)
  newest = np.concatenate([np.arange(spans[s][1] - spans[s][2], spans[s][1]) for s in streams])
  tokens = token_layout.select(slots, newest)
  statics = config.statics
  fixed = token_layout.clip_tokens(config, 0, 0)
  past = dataclasses.replace(state.window, static_keys=state.fixed.static_keys,
                             static_values=state.fixed.static_values)
  rule = functools.partial(masks.visible, window=config.window, look_ahead=config.look_ahead)
  seen = rule(tokens.stream, tokens.frame,
              np.concatenate([fixed.stream[:statics], slots.stream, tokens.stream]),
              np.concatenate([fixed.frame[:statics], slots.frame, tokens.frame]))
  key_valid = jnp.concatenate([state.fixed_valid[:, :statics], state.window_valid, valid], 1)
  of_one_frame = np.zeros(len(newest), int)
  new = generator.condition(config, params, x, tokens, duration[:, None], of_one_frame, past,
                            slots.time, seen, key_valid, 0)
  window = dataclasses.replace(
      state.window, timed_keys=state.window.timed_keys.at[..., newest, :].set(new.timed_keys),
      timed_values=state.window.timed_values.at[..., newest, :].set(new.timed_values))
  return dataclasses.replace(state, window=window,
                             window_valid=state.window_valid.at[:, newest].set(valid))


def _spread(per_frame, tokens: int):
  """[B] to [B, tokens]."""
  return jnp.broadcast_to(per_frame[:, None], (len(per_frame), tokens))


# ------------------------------------------------------------------------------------------- states


@functools.partial(jax.jit, static_argnames='models')
def init_state(models: Models, params: Params, key, references, reference_valid, anchor,
               anchor_context, anchor_valid, audio, audio_valid,
               audio_durations) -> SamplerState:
  """The state before the first latent frame.

  Args:
    models, params: what is run; latents below are normalised.
    key: of all noise.
    references: [B, R, H*W, C]; reference_valid: bool [B, R].
    anchor: [B, M, C] and its frame's anchor_context [B, H*W, C]; anchor_valid: bool [B].
    audio: [B, look_ahead, 16, layers, channels] of the first latent frames (step i brings frame
      i + look_ahead); audio_valid: bool [B, look_ahead]; audio_durations: [B, look_ahead].
  """
  config = models.generator
  batch, tokens = len(references), token_layout.clip_tokens(models.generator, 0, 0)
  slots, _ = _slots(config)
  reference = linear_prior.mean_reference(references, reference_valid)
  anchor = params.expectation.residual(anchor, anchor_context, reference)
  x = jnp.concatenate([generator.embed_statics(config, params.generator, references),
                       generator.embed_regions(config, params.generator, anchor[:, None])], 1)
  stills = jnp.repeat(reference_valid, config.cells**2, axis=1)
  valid = jnp.concatenate([jnp.ones((batch, config.sinks), bool), stills,
                           _spread(anchor_valid, len(config.region))], 1)
  # Audio and history tokens of a clip with no frames are none: sinks, references and the anchor.
  rule = masks.visible(tokens.stream, tokens.frame, tokens.stream, tokens.frame, config.window,
                       config.look_ahead)
  fixed = generator.condition(
      config, params.generator, x, tokens, jnp.zeros((batch, 0)), np.zeros(x.shape[1], int),
      generator.no_keys(config, batch), np.zeros(0), rule, valid, config.statics)
  state = SamplerState(
      jnp.int32(0), key, reference, fixed, valid,
      generator.no_keys(config, batch, timed=len(slots.stream)),
      jnp.zeros((batch, len(slots.stream)), bool),
      jnp.zeros((batch, config.look_ahead + 1, config.width), config.dtype),
      codec.init_decoder_cache(models.codec, batch))
  # The state stands before frame 0, so the audio of frame 0 is one frame ahead, and so on: each
  # roll makes room for the next, and the last lands at the look-ahead's far end.
  for i in range(config.look_ahead):
    state = _hear(config, params.generator, _roll(config, state), audio[:, i], audio_valid[:, i],
                  audio_durations[:, i])
  return state


def _hear(config, params: dict, state: SamplerState, audio, valid, duration) -> SamplerState:
  tokens, vector = generator.embed_audio(config, params, audio[:, None])
  state = _write(config, state, tokens[:, 0], [masks.AUDIO], duration,
                 _spread(valid, token_layout.AUDIO_TOKENS), params)
  vectors = jnp.concatenate([state.audio_vectors[:, 1:], vector], 1)
  return dataclasses.replace(state, audio_vectors=vectors)


def _see(config, params: dict, state: SamplerState, inputs: Inputs) -> SamplerState:
  """Rolls the window and writes the arriving context and audio."""
  state = _hear(config, params, _roll(config, state), inputs.audio, inputs.audio_valid,
                inputs.audio_duration)
  x = generator.embed_frames(config, params, inputs.context[:, None])
  valid = jnp.ones(x.shape[:2], bool)
  return _write(config, state, x, [masks.CONTEXT], inputs.duration, valid, params)


def _remember(models: Models, params: Params, state: SamplerState, region, inputs: Inputs):
  """Writes a finished lower face into the history, and decodes the latent frame's 4 frames.

  Here, as in all of the generator's streams but context and references, a lower face is its
  residual [B, M, C] from what is expected.
  """
  config = models.generator
  x = generator.embed_regions(config, params.generator, region[:, None])
  state = _write(config, state, x, [masks.HISTORY], inputs.duration, jnp.ones(x.shape[:2], bool),
                 params.generator)
  face = params.expectation.restore(region, inputs.context, state.reference)
  latents = jnp.asarray(inputs.outside).at[:, np.asarray(config.region)].set(face)
  latents = latents * params.latent_std + params.latent_mean
  cells = config.cells
  frames, cache = codec.decode(models.codec, params.codec,
                               latents.reshape(-1, 1, cells, cells, config.latent_channels),
                               state.decoder_cache)
  return dataclasses.replace(state, index=state.index + 1, decoder_cache=cache), frames


# -------------------------------------------------------------------------------------------- steps


def warm_step(models: Models, params: Params, state: SamplerState, inputs: Inputs):
  """Advances over a real latent frame: its own lower face becomes history.

  Returns:
    The state, and the codec's reconstruction [B, 4, S, S, 3].
  """
  state = _see(models.generator, params.generator, state, inputs)
  face = inputs.outside[:, np.asarray(models.generator.region)]
  region = params.expectation.residual(face, inputs.context, state.reference)
  return _remember(models, params, state, region, inputs)


def sample_step(models: Models, sampler: SamplerConfig, params: Params, state: SamplerState,
                inputs: Inputs):
  """Makes one latent frame.

  Returns:
    The state, and the 4 frames [B, 4, S, S, 3], about in [-1, 1].
  """
  state = _see(models.generator, params.generator, state, inputs)
  region = _generate(models.generator, sampler, params.generator, state, inputs)
  return _remember(models, params, state, region, inputs)


def guide(sampler: SamplerConfig, velocities: list, t):
  """One velocity at flow time t out of the branches': [none, appearance, both], or [both]."""
  if not sampler.guided:
    return velocities[0]
  none, appearance, both = velocities
  inside = (t >= sampler.guidance_start) & (t <= sampler.guidance_stop)
  scale = jnp.where(inside, sampler.guidance_audio, 1.0)
  return none + sampler.guidance_appearance * (appearance - none) + scale * (both - appearance)


def _generate(config, sampler: SamplerConfig, params: dict, state: SamplerState, inputs: Inputs):
  """Noise to the lower face [B, M, C] of the latent frame whose inputs have been seen."""
  batch, cells = len(inputs.context), len(config.region)
  slots, _ = _slots(config)
  fixed = token_layout.clip_tokens(config, 0, 0)

  def join(a, b, axis):
    return jnp.concatenate([a, b], axis)

  keys = generator.Keys(
      state.fixed.static_keys, state.fixed.static_values,
      join(state.fixed.timed_keys, state.window.timed_keys, 3),
      join(state.fixed.timed_values, state.window.timed_values, 3))
  anchor = jnp.broadcast_to(inputs.anchor_distance[:, None], (batch, cells))
  window_times = jnp.broadcast_to(slots.time, (batch, len(slots.time)))
  times = join(anchor.astype(jnp.float32), window_times, 1)
  keys = generator.rotate_keys(keys, times)

  # Branch 0 sees context alone, 1 also the appearance, 2 also the audio.
  appearance = jnp.array([False, True, True] if sampler.guided else [True])
  audio = jnp.array([False, False, True] if sampler.guided else [True])
  keep = token_layout.Keep(jnp.repeat(appearance[:, None], config.references, 1), appearance, audio,
                        appearance)
  tokens = jax.tree.map(lambda a, b: np.concatenate([a, b]), fixed, slots)
  rule = masks.visible(np.full(1, masks.NOISY), np.zeros(1, int), tokens.stream, tokens.frame,
                       config.window, config.look_ahead)
  valid = join(state.fixed_valid, state.window_valid, 1)
  shown = token_layout.kept(config, keep, tokens) & valid[:, None]
  vector = jnp.where(audio[None, :, None, None], state.audio_vectors[:, None, :1], 0)
  copies = len(audio)

  def velocity(x, t):
    v = generator.velocity(
        config, params, keys, jnp.broadcast_to(x, (batch, copies, *x.shape[2:])),
        jnp.full((batch, copies, 1), t), inputs.duration[:, None], vector, np.zeros(1),
        rule, shown)
    return guide(sampler, jnp.split(v, copies, 1), t)

  noise = sampler.noise * jax.random.normal(jax.random.fold_in(state.key, state.index),
                                            (batch, 1, 1, cells, config.latent_channels))
  return flow_matching.integrate(velocity, noise, sampler.steps, sampler.shift,
                                 sampler.solver)[:, 0, 0]


# ------------------------------------------------------------------------------------- the drivers

warm = jax.jit(warm_step, static_argnames='models', donate_argnames='state')


@functools.partial(jax.jit, static_argnames=('models', 'sampler'), donate_argnames='state')
def _run(models: Models, sampler: SamplerConfig, params: Params, state: SamplerState,
         inputs: Inputs, count):
  """`count` sample steps over inputs [T, B, ...].

  The count is not known to the compiler. A loop of one turn, known as such, would be compiled into
  something else than a loop of many, and float32 sums ordered differently; so both drivers run the
  same loop's body, and agree to the last bit.
  """
  def turn(i, carried):
    state, made = carried
    arriving = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), inputs)
    state, frames = sample_step(models, sampler, params, state, arriving)
    return state, jax.lax.dynamic_update_index_in_dim(made, frames, i, 0)

  batch, side = len(inputs.context[0]), models.codec.size
  made = jnp.zeros((len(inputs.context), batch, codec.TIME_FACTOR, side, side, 3), jnp.float32)
  return jax.lax.fori_loop(0, count, turn, (state, made))


def sample(models: Models, sampler: SamplerConfig, params: Params, state: SamplerState,
           inputs: Inputs):
  """Runs `sample_step` over a span, in one program.

  Args:
    models, sampler, params: what is run, and how.
    state: donated.
    inputs: [T, B, ...].

  Returns:
    The state, and frames [T, B, 4, S, S, 3].
  """
  return _run(models, sampler, params, state, inputs, np.int32(len(inputs.context)))


def step(models: Models, sampler: SamplerConfig, params: Params, state: SamplerState,
         inputs: Inputs):
  """One `sample_step`; the same numbers, to the last bit, as in `sample`.

  Returns:
    The state, and frames [B, 4, S, S, 3]. The state that was passed in is donated.
  """
  one = jax.tree.map(lambda x: x[None], inputs)
  state, frames = _run(models, sampler, params, state, one, np.int32(1))
  return state, frames[0]


def stream(models: Models, sampler: SamplerConfig, params: Params, state: SamplerState,
           inputs: Iterator[Inputs]) -> Iterator:
  """Yields (state, frames [B, 4, S, S, 3]) as each latent frame's inputs [B, ...] arrive.

  The state that was passed in is donated: do not use it again.
  """
  for arriving in inputs:
    state, frames = step(models, sampler, params, state, arriving)
    yield state, frames

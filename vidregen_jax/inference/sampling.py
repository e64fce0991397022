"""The streaming sampler: one step makes one latent frame; `sample` loops it, `stream` yields it.

The state is a value of fixed shape: the conditioning's keys in a window that rolls, and the codec's
decoder cache. It does not grow with the video. Before a span the state is warmed up on real frames,
so that the first generated frame continues a past that exists.
"""

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax.inference import mouth_opening
from vidregen_jax.models import (
  codec,
  flow_matching,
  generator,
  linear_prior,
  streams,
  token_layout,
)


@dataclasses.dataclass(frozen=True)
class Models:
  """The configs of both models; static, hashable."""
  codec: codec.CodecConfig
  generator: generator.GeneratorConfig


@functools.partial(jax.tree_util.register_dataclass, meta_fields=[],
                   data_fields=['codec', 'generator', 'expectation', 'latent_mean', 'latent_std',
                                'opening'])
@dataclasses.dataclass(frozen=True)
class Params:
  """Parameters of both models, the linear prediction, and the latents' statistics [C].

  Generated mouths open by `opening`; None leaves them as they are generated.
  """
  codec: dict
  generator: dict
  expectation: linear_prior.Expectation
  latent_mean: jax.Array
  latent_std: jax.Array
  opening: mouth_opening.Opening | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SamplerState:
  """All state that is carried from one latent frame to the next.

  Attributes:
    index: number of latent frames so far, int32.
    key: the noise of latent frame i is drawn with fold_in(key, i).
    reference: [B, H*W, C] the mean reference, for the linear prediction.
    residual: [B, M, C] of the latest lower face, as it was generated or is.
    anchor_time: [B] position of the anchor, in latent frames from the first.
    fixed: keys of `token_layout.fixed_tokens`.
    fixed_valid: bool [B, statics + M].
    window: keys of `token_layout.window_tokens`, called slots.
    window_valid: bool [B, slots], false where nothing has been written.
    vectors: [B, look_ahead + 1, E] from `generator.embed_ahead`, for the current latent frame and
      the next ones.
    durations: [B, look_ahead + 1] seconds per frame, for the same.
    decoder_cache: of the codec.
  """
  index: jax.Array
  key: jax.Array
  reference: jax.Array
  residual: jax.Array
  anchor_time: jax.Array
  fixed: generator.Keys
  fixed_valid: jax.Array
  window: generator.Keys
  window_valid: jax.Array
  vectors: jax.Array
  durations: jax.Array
  decoder_cache: dict


# --------------------------------------------------------------------------------------- the window


@functools.cache
def _slots(config: generator.GeneratorConfig):
  """The window's tokens, and {stream: (first token, last token + 1, tokens per frame)}."""
  slots = token_layout.window_tokens(config)
  spans = {}
  for stream in np.unique(slots.stream).tolist():
    places = np.flatnonzero(slots.stream == stream)
    a_frame = int((slots.frame[places] == slots.frame[places[-1]]).sum())
    spans[stream] = int(places[0]), int(places[-1]) + 1, a_frame
  return slots, spans


def _roll(config: generator.GeneratorConfig, state: SamplerState) -> SamplerState:
  """Moves the window one latent frame into the past, which leaves the newest slots empty."""
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


def _write(config: generator.GeneratorConfig, params: dict, state: SamplerState, embedded: dict,
           duration) -> SamplerState:
  """Runs a latent frame's newest tokens over the window and writes their keys into it.

  Args:
    config: the generator's shape.
    params: the generator's.
    state: with empty newest slots of these streams.
    embedded: {stream: generator.Embedded of one latent frame}.
    duration: [B] seconds a frame.
  """
  slots, spans = _slots(config)
  newest = np.concatenate([np.arange(spans[s][1] - spans[s][2], spans[s][1])
                           for s in spans if s in embedded])
  fixed = token_layout.fixed_tokens(config).static
  keys = dataclasses.replace(state.window, static_keys=state.fixed.static_keys,
                             static_values=state.fixed.static_values)
  valid = jnp.concatenate([state.fixed_valid[:, :fixed.statics], state.window_valid], 1)
  of_one_frame = np.zeros(len(newest), int)
  new = generator.sequence(embedded, token_layout.select(slots, newest), duration[:, None],
                           of_one_frame)
  written = generator.condition(config, params, new, generator.Past(keys, fixed + slots, valid))
  window = dataclasses.replace(
      state.window,
      timed_keys=state.window.timed_keys.at[..., newest, :].set(written.timed_keys),
      timed_values=state.window.timed_values.at[..., newest, :].set(written.timed_values))
  return dataclasses.replace(state, window=window,
                             window_valid=state.window_valid.at[:, newest].set(new.valid))


# ------------------------------------------------------------------------------------------- states


@functools.partial(jax.jit, static_argnames='models')
def init_state(models: Models, params: Params, key, start: streams.Start) -> SamplerState:
  """The state before the first latent frame.

  Args:
    models: their configs.
    params: their parameters.
    key: of all noise.
    start: what is known by then; audio is standardised.
  """
  config, fixed = models.generator, start.fixed
  batch, tokens = len(fixed.references), token_layout.fixed_tokens(models.generator)
  slots, _ = _slots(config)
  reference = linear_prior.mean_reference(fixed.references, fixed.reference_valid)
  anchor = params.expectation.residual(fixed.anchor, fixed.anchor_context, reference)
  of_no_frame = np.zeros(len(tokens.stream), int)
  new = generator.sequence(generator.embed_fixed(config, params.generator, fixed, anchor), tokens,
                           jnp.zeros((batch, 0)), of_no_frame)
  keys = generator.condition(config, params.generator, new, generator.no_past(config, batch))
  ahead = config.look_ahead + 1
  state = SamplerState(
      index=jnp.int32(0), key=key, reference=reference,
      residual=jnp.zeros((batch, len(config.region), config.latent_channels)),
      anchor_time=fixed.anchor_time, fixed=keys, fixed_valid=new.valid,
      window=generator.no_keys(config, batch, timed=len(slots.stream)),
      window_valid=jnp.zeros((batch, len(slots.stream)), bool),
      vectors=jnp.zeros((batch, ahead, config.width), config.dtype),
      durations=jnp.zeros((batch, ahead)),
      decoder_cache=codec.init_decoder_cache(models.codec, batch))
  # The current frame is now -1, so the audio of frame 0 is one frame ahead. Each roll makes room
  # for one more, until the last is `look_ahead` frames ahead.
  for i in range(config.look_ahead):
    state = _hear(config, params.generator, _roll(config, state),
                  jax.tree.map(lambda x, i=i: x[:, i], start.ahead))
  return state


def _hear(config, params: dict, state: SamplerState, ahead: streams.Ahead) -> SamplerState:
  """Writes what arrives ahead of its latent frame; arrays are [B, ...]."""
  embedded, vectors = generator.embed_ahead(config, params, _one_frame(ahead))
  state = _write(config, params, state, embedded, ahead.durations)
  push = lambda x, newest: jnp.concatenate([x[:, 1:], newest], 1)
  return dataclasses.replace(state, vectors=push(state.vectors, vectors),
                             durations=push(state.durations, ahead.durations[:, None]))


def _one_frame(tree):
  """Adds the time axis of a single latent frame: [B, ...] -> [B, 1, ...]."""
  return jax.tree.map(lambda x: x[:, None], tree)


def _see(config, params: dict, state: SamplerState, inputs: streams.Inputs) -> SamplerState:
  """Rolls the window and writes what arrives."""
  state = _hear(config, params, _roll(config, state), inputs.ahead)
  embedded = generator.embed_frames(config, params, _one_frame(inputs.frames))
  return _write(config, params, state, embedded, state.durations[:, 0])


def _remember(models: Models, params: Params, state: SamplerState, region, shown,
              frames: streams.Frames):
  """Writes a finished lower face into the history, and decodes the latent frame's 4 frames.

  As in all streams of the generator except context and references, the lower face is given as its
  residual [B, M, C] (`linear_prior`): `region` for the history, `shown` for the frames. If that is
  [4, B, M, C], each of them is decoded from its own, and what follows continues the last.
  """
  config = models.generator
  embedded = generator.embed_history(config, params.generator, region[:, None])
  state = _write(config, params.generator, state, embedded, state.durations[:, 0])
  shown = shown.reshape(-1, *region.shape)
  copies, cells = len(shown), config.cells
  faces = jax.vmap(lambda each: params.expectation.restore(each, frames.context,
                                                           state.reference))(shown)
  latents = jnp.broadcast_to(frames.target, (copies, *frames.target.shape))
  latents = latents.at[:, :, np.asarray(config.region)].set(faces)
  latents = latents * params.latent_std + params.latent_mean
  past = jax.tree.map(lambda x: jnp.concatenate(copies * [x]), state.decoder_cache)
  decoded, cache = codec.decode(models.codec, params.codec,
                                latents.reshape(-1, 1, cells, cells, config.latent_channels), past)
  decoded = decoded.reshape(copies, -1, *decoded.shape[1:])
  each_frame = [decoded[i % copies, :, i] for i in range(codec.TIME_FACTOR)]
  return dataclasses.replace(
    state, index=state.index + 1, residual=region,
    decoder_cache=jax.tree.map(lambda x: x[-len(region):], cache)), jnp.stack(each_frame, 1)


# -------------------------------------------------------------------------------------------- steps


def warm_step(models: Models, params: Params, state: SamplerState, inputs: streams.Inputs):
  """Advances over a real latent frame: its true lower face becomes history.

  Returns:
    The state, and the codec's reconstruction [B, 4, S, S, 3].
  """
  state = _see(models.generator, params.generator, state, inputs)
  face = inputs.frames.target[:, np.asarray(models.generator.region)]
  region = params.expectation.residual(face, inputs.frames.context, state.reference)
  return _remember(models, params, state, region, region, inputs.frames)


def sample_step(models: Models, sampler: flow_matching.SamplerConfig, params: Params,
                state: SamplerState, inputs: streams.Inputs):
  """Generates one latent frame.

  Returns:
    The state, and the 4 frames [B, 4, S, S, 3], about in [-1, 1].
  """
  state = _see(models.generator, params.generator, state, inputs)
  region = _generate(models.generator, sampler, params.generator, state)
  shown = region if params.opening is None else params.opening(region)
  return _remember(models, params, state, region, shown, inputs.frames)


def _generate(config, sampler: flow_matching.SamplerConfig, params: dict, state: SamplerState):
  """Turns noise into the residual [B, M, C] of the latent frame whose inputs have been written."""
  batch, cells = len(state.reference), len(config.region)
  slots, _ = _slots(config)
  # Branch 0 sees context alone, 1 also the appearance, 2 also the audio.
  appearance = jnp.array([False, True, True] if sampler.guided else [True])
  audio = jnp.array([False, False, True] if sampler.guided else [True])
  keep = token_layout.Keep(jnp.repeat(appearance[:, None], config.references, 1), appearance, audio,
                           appearance)
  join = lambda *parts: jnp.concatenate(parts, 3)
  keys = generator.Keys(
      state.fixed.static_keys, state.fixed.static_values,
      join(state.fixed.timed_keys, state.window.timed_keys),
      join(state.fixed.timed_values, state.window.timed_values))
  past = generator.Past(keys, token_layout.fixed_tokens(config) + slots,
                        jnp.concatenate([state.fixed_valid, state.window_valid], 1))
  # Times are relative to the current frame. In training, anchors are always ahead: at least 1.
  memory = generator.as_memory(config, past, jnp.maximum(state.anchor_time - state.index, 1), keep)
  vectors = jnp.where(audio[:, None, None], state.vectors[:, None, :1], 0)
  query = generator.Query(np.zeros(1, int), state.durations[:, :1], vectors)
  copies = len(audio)

  def velocity(x, t):
    v = generator.velocity(config, params, memory, query,
                           jnp.broadcast_to(x, (batch, copies, *x.shape[2:])),
                           jnp.full((batch, copies, 1), t))
    return flow_matching.guide(sampler, jnp.split(v, copies, 1), t)

  noise = sampler.noise * jax.random.normal(jax.random.fold_in(state.key, state.index),
                                            (batch, 1, 1, cells, config.latent_channels))
  return flow_matching.integrate(velocity, noise, sampler.steps, sampler.shift,
                                 sampler.solver)[:, 0, 0]


# ------------------------------------------------------------------------------------- the drivers

warm = jax.jit(warm_step, static_argnames='models', donate_argnames='state')


@functools.partial(jax.jit, static_argnames=('models', 'sampler'), donate_argnames='state')
def _run(models: Models, sampler: flow_matching.SamplerConfig, params: Params,
         state: SamplerState, inputs: streams.Inputs, count):
  """`count` sample steps over inputs [T, B, ...].

  The count is a traced value. A loop that is known to run once would be compiled differently from
  one that runs many times, with float32 sums in another order; with a traced count both drivers run
  the same compiled body, and agree to the last bit.
  """
  def turn(i, carried):
    state, video = carried
    arriving = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), inputs)
    state, frames = sample_step(models, sampler, params, state, arriving)
    return state, jax.lax.dynamic_update_index_in_dim(video, frames, i, 0)

  (total, batch), side = inputs.frames.context.shape[:2], models.codec.size
  video = jnp.zeros((total, batch, codec.TIME_FACTOR, side, side, 3), jnp.float32)
  return jax.lax.fori_loop(0, count, turn, (state, video))


def sample(models: Models, sampler: flow_matching.SamplerConfig, params: Params,
           state: SamplerState, inputs: streams.Inputs):
  """Runs `sample_step` over a span, in one program.

  Args:
    models, params: what is run.
    sampler: how.
    state: donated.
    inputs: [T, B, ...].

  Returns:
    The state, and frames [T, B, 4, S, S, 3].
  """
  return _run(models, sampler, params, state, inputs, np.int32(len(inputs.frames.context)))


def step(models: Models, sampler: flow_matching.SamplerConfig, params: Params,
         state: SamplerState, inputs: streams.Inputs):
  """One `sample_step`; the same numbers, to the last bit, as in `sample`.

  Returns:
    The state, and frames [B, 4, S, S, 3]. The state that was passed in is donated.
  """
  one = jax.tree.map(lambda x: x[None], inputs)
  state, frames = _run(models, sampler, params, state, one, np.int32(1))
  return state, frames[0]


def stream(models: Models, sampler: flow_matching.SamplerConfig, params: Params,
           state: SamplerState, inputs: Iterator[streams.Inputs]) -> Iterator:
  """Yields (state, frames [B, 4, S, S, 3]) as each latent frame's inputs [B, ...] arrive.

  The state that was passed in is donated: do not use it again.
  """
  for arriving in inputs:
    state, frames = step(models, sampler, params, state, arriving)
    yield state, frames

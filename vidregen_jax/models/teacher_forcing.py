"""A whole clip in one pass: the generator as training runs it, block-causal teacher forcing.

Every latent frame's noisy copies see the true frames before it. The sampler runs the same functions
of `generator` frame by frame; a test holds the two together.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax.models import generator, masks, token_layout


@functools.partial(
    jax.tree_util.register_dataclass, meta_fields=[],
    data_fields=['references', 'reference_valid', 'anchor', 'anchor_distance', 'context', 'history',
                 'audio', 'audio_valid', 'durations'])
@dataclasses.dataclass(frozen=True)
class Clip:
  """All conditioning of a clip of T latent frames; latents and features are normalised.

  Attributes:
    references: [B, R, H*W, C] stills; reference_valid: bool [B, R].
    anchor: [B, M, C] the lower face after the clip.
    anchor_distance: [B] its latent frames after the clip's end, 0 for the very next.
    context: [B, T, H*W, C] frames with the lower face masked before encoding.
    history: [B, T, M, C] the lower faces themselves, which later frames see.
    audio: [B, T + look_ahead, 16, layers, channels]; audio_valid: bool [B, T + look_ahead].
    durations: [B, T + look_ahead] seconds a frame.
  """
  references: jax.Array
  reference_valid: jax.Array
  anchor: jax.Array
  anchor_distance: jax.Array
  context: jax.Array
  history: jax.Array
  audio: jax.Array
  audio_valid: jax.Array
  durations: jax.Array


def clip_velocity(config: generator.GeneratorConfig, params: dict, clip: Clip, noisy, flow_time,
                  keep: token_layout.Keep, shares: bool = False):
  """The velocity of K noisy copies of a clip, in one pass (block-causal teacher forcing).

  Args:
    config: the generator's shape.
    params: as from `generator.init`.
    clip: the conditioning.
    noisy: [B, K, T, M, C]; flow_time: [B, K, T].
    keep: streams that each copy sees, [B, K].
    shares: whether to return each stream's share of attention too, see `generator.velocity`.

  Returns:
    [B, K, T, M, C] float32; with `shares` also [layers, 7].
  """
  return conditioned(config, params, clip, keep)(noisy, flow_time, shares)


def rules(config: generator.GeneratorConfig, frames: int, audio_frames: int):
  """Who sees whom in a clip.

  Args:
    config: the generator's shape.
    frames: latent frames T; audio_frames: latent frames of audio.

  Returns:
    The conditioning's Tokens, and what they see [L, L] and what each frame's noisy tokens see of
    them [T, L], NumPy bool.
  """
  tokens = token_layout.clip_tokens(config, frames, audio_frames)
  rule = functools.partial(masks.visible, window=config.window, look_ahead=config.look_ahead)
  among = rule(tokens.stream, tokens.frame, tokens.stream, tokens.frame)
  noisy = rule(np.full(frames, masks.NOISY), np.arange(frames), tokens.stream, tokens.frame)
  return tokens, among, noisy


def conditioned(config: generator.GeneratorConfig, params: dict, clip: Clip,
                keep: token_layout.Keep):
  """`clip_velocity` of one clip as a function of noisy, flow_time and shares.

  What does not change from one flow step to the next is worked out here, once.
  """
  batch, frames, audio_frames = len(clip.context), clip.context.shape[1], clip.audio.shape[1]
  tokens, among, noisy_sees = rules(config, frames, audio_frames)
  valid = jnp.ones((batch, len(tokens.stream)), bool)
  is_reference, is_audio = tokens.stream == masks.REFERENCE, tokens.stream == masks.AUDIO
  if config.references:
    valid &= jnp.where(is_reference,
                       clip.reference_valid[:, np.where(is_reference, tokens.frame, 0)], True)
  valid &= jnp.where(is_audio, clip.audio_valid[:, np.where(is_audio, tokens.frame, 0)], True)

  audio, audio_vector = generator.embed_audio(config, params, clip.audio)
  x = jnp.concatenate([
      generator.embed_statics(config, params, clip.references),
      generator.embed_regions(config, params, clip.anchor[:, None]),
      generator.embed_frames(config, params, clip.context),
      audio.reshape(batch, -1, config.width),
      generator.embed_regions(config, params, clip.history)], axis=1)
  frame_of = np.where(tokens.stream >= masks.CONTEXT, tokens.frame, audio_frames)
  keys = generator.condition(
      config, params, x, tokens, clip.durations, frame_of, generator.no_keys(config, batch),
      np.zeros(0), among, valid, config.statics)

  timed = token_layout.select(tokens, slice(config.statics, None))
  times = jnp.broadcast_to(timed.time, (batch, len(timed.time)))
  times = times + jnp.where(timed.stream == masks.ANCHOR, clip.anchor_distance[:, None], 0)
  query = np.arange(frames)
  shown = token_layout.kept(config, keep, tokens) & valid[:, None]
  audio_vector = jnp.where(keep.audio[:, :, None, None], audio_vector[:, None, :frames], 0)
  rotated = generator.rotate_keys(keys, times)

  def velocity_of(noisy, flow_time, shares=False):
    return generator.velocity(
        config, params, rotated, noisy, flow_time, clip.durations[:, :frames], audio_vector, query,
        noisy_sees, shown, tokens.stream if shares else None)

  return velocity_of

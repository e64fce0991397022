"""A whole clip in one pass: the generator as training runs it, block-causal teacher forcing.

Every latent frame's noisy copies see the true frames before it. The sampler runs the same functions
of `generator` frame by frame; a test holds the two together.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax.models import generator, streams, token_layout


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Clip:
  """A clip of T latent frames as the generator sees it.

  Attributes:
    conditions: of the clip, its audio standardised.
    anchor: [B, M, C] the residual (see `linear_prior`) of the lower face after the clip.
    history: [B, T, M, C] those of the lower faces themselves, which later frames see.
  """
  conditions: streams.Conditions
  anchor: jax.Array
  history: jax.Array


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


def rules(config: generator.GeneratorConfig, frames: int):
  """Who sees whom in a clip of T latent frames.

  Returns:
    What the conditioning's tokens see [L, L], and what each frame's noisy tokens see of them
    [T, L], NumPy bool.
  """
  tokens = token_layout.clip_tokens(config, frames)
  noisy = token_layout.noisy_tokens(np.arange(frames))
  return (token_layout.visible(config, tokens, tokens),
          token_layout.visible(config, noisy, tokens))


def conditioned(config: generator.GeneratorConfig, params: dict, clip: Clip,
                keep: token_layout.Keep):
  """`clip_velocity` of one clip as a function of noisy, flow_time and shares.

  What does not change from one flow step to the next is worked out here, once.
  """
  fixed, ahead = clip.conditions.fixed, clip.conditions.ahead
  batch, frames = clip.history.shape[:2]
  tokens = token_layout.clip_tokens(config, frames)
  heard, vectors = generator.embed_ahead(config, params, ahead)
  embedded = (generator.embed_fixed(config, params, fixed, clip.anchor)
              | generator.embed_frames(config, params, clip.conditions.frames) | heard
              | generator.embed_history(config, params, clip.history))
  frame_of = np.where(tokens.of_frames, tokens.frame, frames + config.look_ahead)
  new = generator.sequence(embedded, tokens, ahead.durations, frame_of)
  keys = generator.condition(config, params, new, generator.no_past(config, batch))
  memory = generator.memory(config, generator.Past(keys, tokens, new.valid), fixed.anchor_time,
                            keep)
  vectors = jnp.where(keep.audio[..., None, None], vectors[:, None, :frames], 0)
  query = generator.Query(np.arange(frames), ahead.durations[:, :frames], vectors)

  def velocity_of(noisy, flow_time, shares=False):
    return generator.velocity(config, params, memory, query, noisy, flow_time, shares)

  return velocity_of

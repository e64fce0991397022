"""The generator on a whole clip in one pass, as in training: block-causal teacher forcing.

The noisy copies of each latent frame see the true frames before it. The sampler runs the same
functions of `generator` frame by frame; a test checks that the two agree.
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
    keep: the streams that each copy sees, [B, K].
    shares: whether to also return each stream's share of attention, see `generator.velocity`.

  Returns:
    [B, K, T, M, C] float32; with `shares` also [layers, 7].
  """
  return conditioned(config, params, clip, keep)(noisy, flow_time, shares)


def rules(config: generator.GeneratorConfig, frames: int):
  """Who sees whom in a clip of T latent frames.

  Returns:
    NumPy bool: which conditioning tokens see each other [L, L], and which of them the noisy tokens
    of each frame see [T, L].
  """
  tokens = token_layout.clip_tokens(config, frames)
  noisy = token_layout.noisy_tokens(np.arange(frames))
  return (token_layout.visible(config, tokens, tokens),
          token_layout.visible(config, noisy, tokens))


def conditioned(config: generator.GeneratorConfig, params: dict, clip: Clip,
                keep: token_layout.Keep):
  """`clip_velocity` of one clip as a function of noisy, flow_time and shares.

  What all flow steps have in common is computed here, once.
  """
  fixed, ahead = clip.conditions.fixed, clip.conditions.ahead
  batch, frames = clip.history.shape[:2]
  tokens = token_layout.clip_tokens(config, frames)
  audio, vectors = generator.embed_ahead(config, params, ahead)
  embedded = (generator.embed_fixed(config, params, fixed, clip.anchor)
              | generator.embed_frames(config, params, clip.conditions.frames) | audio
              | generator.embed_history(config, params, clip.history))
  frame_of = np.where(tokens.of_frames, tokens.frame, frames + config.look_ahead)
  new = generator.sequence(embedded, tokens, ahead.durations, frame_of)
  keys = generator.condition(config, params, new, generator.no_past(config, batch))
  past = generator.Past(keys, tokens, new.valid)
  memory = generator.as_memory(config, past, fixed.anchor_time, keep)
  vectors = jnp.where(keep.audio[..., None, None], vectors[:, None, :frames], 0)
  query = generator.Query(np.arange(frames), ahead.durations[:, :frames], vectors)

  def velocity_of(noisy, flow_time, shares=False):
    return generator.velocity(config, params, memory, query, noisy, flow_time, shares)

  return velocity_of

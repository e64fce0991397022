"""The tokens that the generator reads, in order, and who of its copies sees which stream."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax.models import masks

AUDIO_TOKENS = 4  # a latent frame's audio


@functools.partial(jax.tree_util.register_dataclass,
                   data_fields=['stream', 'frame', 'time', 'cell'], meta_fields=[])
@dataclasses.dataclass(frozen=True)
class Tokens:
  """What is known of each token besides its content; all arrays are [L].

  Attributes:
    stream: one of `masks.SINK` ... `masks.NOISY`.
    frame: latent frame (reference: index of the still), for `masks.visible`.
    time: position in latent frames for the rotation.
    cell: flat cell index; audio tokens and sinks use their own small index, unrotated.
  """
  stream: np.ndarray
  frame: np.ndarray
  time: np.ndarray
  cell: np.ndarray


def clip_tokens(config, frames: int, audio_frames: int) -> Tokens:
  """A clip's conditioning: sinks, references, anchor, context, audio and history, in this order.

  Args:
    config: generator.GeneratorConfig.
    frames: latent frames T of context and history.
    audio_frames: latent frames of audio (T plus any look-ahead).
  """
  every, region = np.arange(config.cells**2), np.asarray(config.region)
  parts = [(masks.SINK, np.zeros(1, int), np.arange(config.sinks)),
           (masks.REFERENCE, np.arange(config.references), every),
           (masks.ANCHOR, np.full(1, frames), region),
           (masks.CONTEXT, np.arange(frames), every),
           (masks.AUDIO, np.arange(audio_frames), np.arange(AUDIO_TOKENS)),
           (masks.HISTORY, np.arange(frames), region)]
  stream = np.concatenate([np.full(len(f) * len(c), s) for s, f, c in parts])
  frame = np.concatenate([np.repeat(f, len(c)) for _, f, c in parts])
  cell = np.concatenate([np.tile(c, len(f)) for _, f, c in parts])
  return Tokens(stream, frame, frame.astype(np.float32), cell)


def select(tokens: Tokens, which) -> Tokens:
  """The tokens at `which` (an index or mask array)."""
  return jax.tree.map(lambda x: x[which], tokens)


# ------------------------------------------------------------------------------- hidden streams


@functools.partial(jax.tree_util.register_dataclass, meta_fields=[],
                   data_fields=['reference', 'anchor', 'audio', 'history'])
@dataclasses.dataclass(frozen=True)
class Keep:
  """Which streams each of K copies sees: bool reference [..., K, R]; the others [..., K]."""
  reference: jax.Array
  anchor: jax.Array
  audio: jax.Array
  history: jax.Array


def keep_all(config, shape: tuple[int, ...]) -> Keep:
  """Nothing is hidden from any copy; shape: [..., K]."""
  shown = jnp.ones(shape, bool)
  return Keep(jnp.ones((*shape, config.references), bool), shown, shown, shown)


def kept(config, keep: Keep, tokens: Tokens):
  """`keep` spread over conditioning tokens: bool [..., K, L]."""
  everyone = jnp.ones_like(keep.audio)
  streams = jnp.stack([everyone, everyone, keep.anchor, everyone, keep.audio, keep.history], -1)
  seen = streams[..., tokens.stream]
  if config.references:
    is_reference = tokens.stream == masks.REFERENCE
    of = keep.reference[..., np.where(is_reference, tokens.frame, 0)]
    seen &= jnp.where(is_reference, of, True)
  return seen

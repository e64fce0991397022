"""Attention with sinks, and rotary positions in three axes.

Keys come in two groups. Static keys (sinks, references) stand at no time: they hold zeros in the
channels that time rotates, so a query meets them alike whenever it is asked. Timed keys (anchor,
context, audio, history) stand at their latent frame. Keys are cached with their place in the frame
rotated in, but not their time: time is rotated at attention, on the window's own layout, so an hour
of video never leaves the trained positions (as LongLive and StreamingLLM do). One query, with its
place and its time rotated in, serves all of them.

Rotations turn pairs of channels (i, i + D/2): the first quarter of the head's channels and their
partners by time, the next eighth by row, the next by column.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax.models import kernels, layers

# Of the channels of a head, recorded in exports: 1 rotated other pairs of channels, and static
# keys met a query of their own.
LAYOUT = 2
# 'splash' is for TPUs, 'cudnn' for NVIDIA GPUs, 'xla' for any device; 'splash_interpreted' runs
# splash in an interpreter on any device, for tests. Results differ only by rounding.
IMPLEMENTATIONS = ('xla', 'splash', 'splash_interpreted', 'cudnn')


def rotation(size: int, dtype, time=0.0, rows=0.0, columns=0.0) -> tuple:
  """Cosines and sines by which channels are rotated: made once, used in every layer.

  Args:
    size: channels D of a head, a multiple of 8.
    dtype: of what is rotated.
    time: latent frames; rows, columns: cells. Arrays [...] that broadcast to one another.

  Returns:
    cos and sin, [..., D] each; the sines of the first half, with which its partners are subtracted,
    are negative.
  """
  def angle(position, count, base):
    frequency = base ** (-np.arange(count, dtype=np.float32) / count)
    return jnp.asarray(position, jnp.float32)[..., None] * frequency
  parts = [angle(time, size // 4, 100.0), angle(rows, size // 8, 30.0),
           angle(columns, size // 8, 30.0)]
  shape = np.broadcast_shapes(*(part.shape[:-1] for part in parts))
  angles = jnp.concatenate([jnp.broadcast_to(x, (*shape, x.shape[-1])) for x in parts], -1)
  cos, sin = jnp.cos(angles), jnp.sin(angles)
  return (jnp.concatenate([cos, cos], -1).astype(dtype),
          jnp.concatenate([-sin, sin], -1).astype(dtype))


def rotate(x, rotation):
  """Rotates the pairs (x_i, x_{i + D/2}) of the last axis.

  Args:
    x: [..., D].
    rotation: as from `rotation`, [..., D] each, broadcast to x.
  """
  cos, sin = rotation
  # The same numbers: a CPU is quick to cut and to join, and a TPU to multiply matrices.
  return x * cos + jax.lax.platform_dependent(x, cpu=_rolled, default=_moved) * sin


def _rolled(x):
  return jnp.roll(x, x.shape[-1] // 2, -1)


def _moved(x):
  return layers.moved('...D,DE->...E', x, np.roll(np.eye(x.shape[-1], dtype=np.float32),
                                                  x.shape[-1] // 2, 1))


def timeless(x):
  """Zeros in the channels of x [..., D] that time rotates."""
  size = x.shape[-1]
  return jnp.where(np.arange(size) % (size // 2) < size // 4, 0, x)


@jax.named_scope('attend')
def attend(implementation, q, keys, values, rule, visible, sink, own=None):
  """One softmax over keys and, for noisy tokens, those of their own frame.

  Args:
    implementation: one of `IMPLEMENTATIONS`.
    q: [B, K, N, T, M, D], queries of K copies of T frames of M tokens.
    keys, values: that all copies see, lists of [B, N, l, D], L tokens together.
    rule: NumPy bool [T, L], what the tokens of a frame see in any clip.
    visible: bool [B, K, L], false for a key that is hidden from all of a copy's tokens. A token
      from which all is hidden gets zeros if there is a sink, else any mean of values.
    sink: None, or a learned logit per head [N] that takes weight and gives no value (gpt-oss).
    own: None, or keys and values [B, K, N, T, M, D] that tokens of the same copy and frame see.

  Returns:
    [B, K, N, T, M, D].
  """
  if implementation != 'xla':
    return kernels.fused(implementation, q, keys, values, rule, visible, sink, own)
  weights = weigh(q, keys, rule, visible, sink, own and own[0])
  out = _by_frame(_gather(weights[0], jnp.concatenate(values, 2)), q.shape)
  if own is not None:
    out += _gather(_by_frame(weights[1], q.shape), own[1])
  return out


def runs(rule, streams, statics) -> list:
  """Where each stream's queries stand, and the keys that any of them sees.

  A stream of conditioning sees few of the others: asked by itself, it meets none of their keys.

  Args:
    rule: NumPy bool [Q, L].
    streams: int [Q], the queries' streams, each in one run.
    statics: how many of the keys are static; they come first.

  Returns:
    [(slice of queries, [slices of keys]), ...] in the queries' order. Longer slices of keys come
    first, so that a frame's keys begin where a kernel's blocks do.
  """
  found = []
  for first, end in _runs(streams):
    seen = rule[first:end].any(0)
    kinds = np.where(seen, 1 + (np.arange(len(seen)) < statics), 0)
    keys = [slice(a, b) for a, b in _runs(kinds) if kinds[a]]
    found.append((slice(first, end), sorted(keys, key=lambda x: x.start - x.stop)))
  return found


def _runs(values):
  """(first, end) of each run of equal values."""
  edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
  return list(itertools.pairwise(edges))


def weigh(q, keys, rule, visible, sink, own_keys=None) -> list:
  """The weights of `attend` by XLA: of keys and of own keys, [B, N, K*T*M, L], float32."""
  batch, copies, heads, frames, cells, _ = q.shape

  def flat(x):  # [B, K, N, T, M, ...] -> [B, N, K*T*M, ...]
    return jnp.moveaxis(x, 2, 1).reshape(batch, heads, copies * frames * cells, -1)

  # Every token of a frame sees the same.
  seen = (jnp.asarray(rule) & visible[:, :, None])[:, :, :, None]
  seen = jnp.broadcast_to(seen, (batch, copies, frames, cells, seen.shape[-1]))
  seen = seen.reshape(batch, 1, copies * frames * cells, -1)
  groups = [(_logits(flat(q), jnp.concatenate(keys, 2)), seen)]
  if own_keys is not None:
    # A frame's noisy tokens see only one another: small square blocks.
    groups.append((flat(_logits(q, own_keys)), True))
  return _weigh(groups, sink)


def _by_frame(x, shape):
  """[B, N, K*T*M, ...] -> [B, K, N, T, M, ...]; shape: [B, K, N, T, M, D]."""
  batch, copies, heads, frames, cells, _ = shape
  return jnp.moveaxis(x.reshape(batch, heads, copies, frames, cells, -1), 1, 2)


def _logits(q, k):
  """[..., Q, D] and [..., K, D] -> [..., Q, K], scaled, float32."""
  scale = q.shape[-1] ** -0.5
  return jnp.einsum('...QD,...KD->...QK', q, k, preferred_element_type=jnp.float32) * scale


def _weigh(groups, sink) -> list:
  """One softmax over the keys of several groups.

  Args:
    groups: list of (logits [..., N, Q, K], seen, broadcastable to it).
    sink: None, or a learned logit per head [N] that takes weight and gives no value (gpt-oss).

  Returns:
    The weights of each group, [..., N, Q, K], float32.
  """
  scores = [jnp.where(seen, score, -1e9) for score, seen in groups]
  ends = list(itertools.accumulate(score.shape[-1] for score in scores))
  if sink is not None:
    sink = sink.astype(jnp.float32)[:, None, None]
    scores.append(jnp.broadcast_to(sink, (*scores[0].shape[:-1], 1)))
  weights = jax.nn.softmax(jnp.concatenate(scores, axis=-1), axis=-1)
  return jnp.split(weights, ends, axis=-1)[:len(groups)]


def _gather(weights, values):
  """[..., Q, K] and [..., K, D] -> [..., Q, D]."""
  return jnp.einsum('...QK,...KD->...QD', weights.astype(values.dtype), values)

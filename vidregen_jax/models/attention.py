"""Attention with sinks, and rotary positions in three axes.

Keys come in two groups. Static keys (sinks, references) stand at the query's own time, so their
distance to a query never grows. Timed keys (anchor, context, audio, history) stand at their latent
frame. Keys are cached with their place in the frame rotated in, but not their time: time is rotated
at attention, on the window's own layout, so an hour of video never leaves the trained positions
(as LongLive and StreamingLLM do).
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax.models import kernels, layers

# 'splash' is for TPUs, 'cudnn' for NVIDIA GPUs, 'xla' for any device; 'splash_interpreted' runs
# splash in an interpreter on any device, for tests. Results differ only by rounding.
IMPLEMENTATIONS = ('xla', 'splash', 'splash_interpreted', 'cudnn')


def _rotate(x, spans, angles):
  """Rotates pairs (x_i, x_{i + half}) of spans of the last axis by angles.

  Args:
    x: [..., D].
    spans: ((start, half), ...), in order.
    angles: [..., half] for each of them, broadcast to x.
  """
  turns = [tuple(f(each).astype(x.dtype) for f in (jnp.cos, jnp.sin)) for each in angles]
  # Two ways to the same numbers: a CPU slices and concatenates quickly, a TPU multiplies matrices
  # quickly.
  return jax.lax.platform_dependent(
    x, turns, cpu=functools.partial(_rotate_parts, spans),
    default=functools.partial(_rotate_whole, spans))


def _rotate_parts(spans, x, turns):
  parts, end = [], 0
  for (start, half), (cos, sin) in zip(spans, turns, strict=True):
    a, b = x[..., start:start + half], x[..., start + half:start + 2 * half]
    parts += [x[..., end:start], a * cos - b * sin, b * cos + a * sin]
    end = start + 2 * half
  return jnp.concatenate([*parts, x[..., end:]], axis=-1)


def _rotate_whole(spans, x, turns):
  """x cos + (x rotated by 90 degrees) sin, over all channels at once."""
  size, end = x.shape[-1], 0
  turn, cosines, sines = np.zeros((size, size), np.float32), [], []
  still = lambda count: jnp.ones((*turns[0][0].shape[:-1], count), x.dtype)
  for (start, half), (cos, sin) in zip(spans, turns, strict=True):
    cosines += [still(start - end), cos, cos]
    sines += [0 * still(start - end), sin, sin]
    first = np.arange(start, start + half)
    turn[first + half, first], turn[first, first + half] = -1, 1
    end = start + 2 * half
  cosines, sines = (jnp.concatenate([*parts, factor * still(size - end)], axis=-1)
                    for parts, factor in ((cosines, 1), (sines, 0)))
  return x * cosines + layers.moved('...D,DE->...E', x, turn) * sines


def _angles(position, half: int, base: float):
  frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
  return jnp.asarray(position, jnp.float32)[..., None] * frequency


def rotate_time(x, time):
  """Rotates the first half of the head's channels by time.

  Args:
    x: [..., L, D].
    time: latent frames, broadcasts to [..., L].
  """
  half = x.shape[-1] // 4
  return _rotate(x, ((0, half),), [_angles(time, half, 100.0)])


def rotate_space(x, rows, columns):
  """Rotates the third and fourth quarter of the head's channels by row and column.

  Args:
    x: [..., L, D].
    rows, columns: cells, [L].
  """
  half = x.shape[-1] // 8
  return _rotate(x, ((4 * half, half), (6 * half, half)),
                 [_angles(position, half, 30.0) for position in (rows, columns)])


@jax.named_scope('attend')
def attend(implementation, q, q_timed, static, timed, rule, visible, sink, own=None):
  """One softmax over static keys, timed keys and, for noisy tokens, those of their own frame.

  Args:
    implementation: one of `IMPLEMENTATIONS`.
    q: [B, K, N, T, M, D], queries of K copies of T frames of M tokens, for static and own keys.
    q_timed: the same with their time rotated in, for timed keys.
    static, timed: keys and values that all copies see, [B, N, L, D] each.
    rule: NumPy bool [T, static + timed], what the tokens of a frame see in any clip.
    visible: bool [B, K, static + timed], false for a key that is hidden from all of a copy's
      tokens. A token that sees no key gets zeros if there is a sink, else an arbitrary mean of
      values.
    sink: None, or a learned logit per head [N] that takes weight and gives no value (gpt-oss).
    own: None, or keys and values [B, K, N, T, M, D] that tokens of the same copy and frame see.

  Returns:
    [B, K, N, T, M, D].
  """
  if implementation != 'xla':
    return kernels.fused(implementation, q, q_timed, static, timed, rule, visible, sink, own)
  weights = weigh(q, q_timed, static[0], timed[0], rule, visible, sink, own and own[0])
  out = _by_frame(_gather(weights[0], static[1]) + _gather(weights[1], timed[1]), q.shape)
  if own is not None:
    out += _gather(_by_frame(weights[2], q.shape), own[1])
  return out


def weigh(q, q_timed, static_keys, timed_keys, rule, visible, sink, own_keys=None) -> list:
  """The weights of `attend` by XLA: of static, timed and own keys, [B, N, K*T*M, L], float32."""
  batch, copies, heads, frames, cells, _ = q.shape

  def flat(x):  # [B, K, N, T, M, ...] -> [B, N, K*T*M, ...]
    return jnp.moveaxis(x, 2, 1).reshape(batch, heads, copies * frames * cells, -1)

  # Every token of a frame sees the same.
  seen = (jnp.asarray(rule) & visible[:, :, None])[:, :, :, None]
  seen = jnp.broadcast_to(seen, (batch, copies, frames, cells, seen.shape[-1]))
  seen = seen.reshape(batch, 1, copies * frames * cells, -1)
  split = static_keys.shape[2]
  groups = [(_logits(flat(q), static_keys), seen[..., :split]),
            (_logits(flat(q_timed), timed_keys), seen[..., split:])]
  if own_keys is not None:
    # A frame's noisy tokens see only one another: small square blocks with no time between.
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

"""Attention with sinks, and rotary positions in three axes.

Keys come in two groups. Static keys (sinks, references) stand at the query's own time, so their
distance to a query never grows. Timed keys (anchor, context, audio, history) stand at their latent
frame. Keys are cached with their place in the frame rotated in, but not their time: time is rotated
at attention, on the window's own layout, so an hour of video never leaves the trained positions
(as LongLive and StreamingLLM do).
"""

import itertools

import jax
import jax.numpy as jnp


def rotate(x, angles):
  """Rotates pairs (x_i, x_{i + half}) of the last axis by `angles` [..., half]."""
  a, b = jnp.split(x, 2, axis=-1)
  cos, sin = jnp.cos(angles).astype(x.dtype), jnp.sin(angles).astype(x.dtype)
  return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def _angles(position, half: int, base: float):
  frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
  return jnp.asarray(position, jnp.float32)[..., None] * frequency


def rotate_time(x, time):
  """Rotates the first half of the head's channels by time.

  Args:
    x: [..., L, N, D].
    time: latent frames, broadcasts to [..., L].
  """
  half = x.shape[-1] // 2
  angles = _angles(time, half // 2, 100.0)[..., None, :]
  return jnp.concatenate([rotate(x[..., :half], angles), x[..., half:]], axis=-1)


def rotate_space(x, rows, columns):
  """Rotates the third and fourth quarter of the head's channels by row and column.

  Args:
    x: [..., L, N, D].
    rows, columns: cells, [L].
  """
  quarter = x.shape[-1] // 4
  parts = [x[..., :2 * quarter]]
  for i, position in enumerate((rows, columns)):
    angles = _angles(position, quarter // 2, 30.0)[..., None, :]
    parts.append(rotate(x[..., (2 + i) * quarter:(3 + i) * quarter], angles))
  return jnp.concatenate(parts, axis=-1)


def logits(q, k):
  """[..., Q, N, D] and [..., K, N, D] -> [..., N, Q, K], scaled, float32."""
  scale = q.shape[-1] ** -0.5
  return jnp.einsum('...QND,...KND->...NQK', q, k, preferred_element_type=jnp.float32) * scale


def weigh(groups, sink) -> list:
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


def gather(weights, values):
  """[..., N, Q, K] and [..., K, N, D] -> [..., Q, N, D]."""
  return jnp.einsum('...NQK,...KND->...QND', weights.astype(values.dtype), values)

"""Every implementation of attention is the same function as a softmax written out by hand."""

import functools
import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidregen_jax.models import attention

B, K, T, M, N, D = 2, 2, 3, 4, 2, 16
STATICS, TIMED = 6, 150  # with the queries' own, more keys than one block of a kernel


def example(own=True, dtype=np.float32):
  """Arrays of `attend` that gradients are taken in, and its masks: (arrays, rule, shown)."""
  rng = np.random.default_rng(0)

  def normal(*shape):
    return rng.standard_normal(shape).astype(dtype)
  arrays = dict(q=normal(B, K, T, M, N, D), q_timed=normal(B, K, T, M, N, D),
                static=(normal(B, STATICS, N, D), normal(B, STATICS, N, D)),
                timed=(normal(B, TIMED, N, D), normal(B, TIMED, N, D)),
                sink=np.array([0.5, 2.0], np.float32),
                own=(normal(B, K, T, M, N, D), normal(B, K, T, M, N, D)) if own else None)
  # Rotation by time leaves the second half of a head as it is.
  arrays['q_timed'][..., D // 2:] = arrays['q'][..., D // 2:]
  rule = rng.random((T, STATICS + TIMED)) < 0.5
  rule[0, STATICS:] = False  # a frame that sees no timed key in any clip
  shown = rng.random((B, K, STATICS + TIMED)) < 0.7
  shown[0, 1, :STATICS] = False  # a copy with a whole stream dropped
  shown[1, 0] = False  # and one with everything hidden
  return arrays, rule, shown


def plain(q, q_timed, static, timed, sink, own, rule, shown):
  """The softmax, query by query and key by key, in float64."""
  q, q_timed, static, timed, own, sink = jax.tree.map(
      lambda x: np.asarray(x, np.float64), (q, q_timed, static, timed, own, sink))
  out = np.zeros(q.shape)
  for b, k, t, m, n in np.ndindex(*q.shape[:-1]):
    keys = [(q[b, k, t, m, n] @ x[b, i, n], v[b, i, n]) for (x, v) in [static]
            for i in range(STATICS) if rule[t, i] and shown[b, k, i]]
    keys += [(q_timed[b, k, t, m, n] @ timed[0][b, i, n], timed[1][b, i, n])
             for i in range(TIMED) if rule[t, STATICS + i] and shown[b, k, STATICS + i]]
    if own is not None:
      keys += [(q[b, k, t, m, n] @ own[0][b, k, t, i, n], own[1][b, k, t, i, n]) for i in range(M)]
    weights = [np.exp(score * D**-0.5) for score, _ in keys]
    total = sum(weights) + (0 if sink is None else np.exp(sink[n]))
    out[b, k, t, m, n] = sum((w / total * v for w, (_, v) in zip(weights, keys)), np.zeros(D))
  return out

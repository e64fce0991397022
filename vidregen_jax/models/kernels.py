"""Attention in one kernel that never writes its weights to memory, forward or backward.

Such a kernel knows one mask for all clips. Keys that are hidden from one clip alone are another
segment to splash; cuDNN, which knows none, gets a channel of the head more, in which a hidden key
holds a large negative number and queries a one. The learned logit is splash's own; to cuDNN it is
one more key without a value. So all gradients are the kernel's own.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax.distributed import sharding

SAVED = 'attended'  # what splash's gradients need of it, for `jax.checkpoint` to keep
_HIDDEN = -1e9  # its exponential is 0
_LANES = 128  # channels and tokens that a TPU works on at once: splash takes whole multiples
# Tokens of the blocks that splash works on, or skips: queries by keys. Fewer queries, and reading
# keys takes longer than multiplying them.
_BLOCKS = ((384, 256), (512, 256), (384, 384), (384, 512), (512, 512))
_TILE = 64  # cuDNN takes even numbers of tokens, and works on so many


def fused(kernel, q, keys, values, rule, shown, sink, own):
  """What `attention.attend` says, by the kernel 'splash', 'splash_interpreted' or 'cudnn'."""
  batch, copies, heads, frames, cells, size = q.shape

  def spread(x):  # [B, N, L, D] to [B, K, N, L, D]
    return jnp.broadcast_to(x[:, None], (batch, copies, *x.shape[1:]))

  keys, values = [spread(keys)], [spread(values)]
  rule = of_tokens(rule, cells, own is not None)
  if own is not None:
    for parts, x in zip((keys, values), own, strict=True):
      parts.append(x.reshape(batch, copies, heads, -1, size))
    shown = jnp.pad(shown, [(0, 0), (0, 0), (0, frames * cells)], constant_values=True)

  run = sharding.attention(functools.partial(_KERNELS[kernel], rule))
  out = run(q.reshape(batch, copies, heads, frames * cells, size), keys, values, shown, sink)
  return out.reshape(q.shape)


def of_tokens(rule, cells, own):
  """A rule of frames [T, L] as one of their tokens [T M, L], or [T M, L + T M] with own keys."""
  spread = np.repeat(rule, cells, 0)
  if not own:
    return spread
  return np.concatenate([spread, np.kron(np.eye(len(rule)), np.ones((cells, cells))) > 0], 1)


def _join(parts, multiple, more=0):
  """Arrays [..., L, D] as one, with at least `more` tokens of zeros after, to a multiple."""
  count = sum(x.shape[-2] for x in parts) + more
  fill = more + -count % multiple
  return jnp.concatenate([*parts, jnp.zeros_like(parts[0], shape=(
    *parts[0].shape[:-2], fill, parts[0].shape[-1]))], axis=-2)


def _pad_rule(rule, queries, keys):
  """No query sees the keys that were added; the added queries see a key, or they would be NaN."""
  padded = np.pad(rule, [(0, queries - rule.shape[0]), (0, keys - rule.shape[1])])
  padded[rule.shape[0]:, 0] = True
  return padded


@dataclasses.dataclass(frozen=True)
class Sides:
  """Sides of splash's blocks, in tokens: of queries and of keys, forward and backward."""
  forward_q: int
  forward_k: int
  backward_q: int
  backward_k: int


def blocks(rule) -> Sides:
  """The blocks over a rule of which those that see a key hold fewest pairs."""
  def fitting(pair):
    return tuple(min(side, -(-size // _LANES) * _LANES)
                 for side, size in zip(pair, rule.shape, strict=True))
  pair = min((fitting(pair) for pair in _BLOCKS), key=lambda pair: worked_on(rule, *pair))
  return Sides(*pair, *pair)


def worked_on(rule, block_q, block_k):
  """Pairs of a query and a key in blocks that are not skipped."""
  padded = _pad_rule(rule, *(-(-size // block) * block for size, block in zip(
    rule.shape, (block_q, block_k), strict=True)))
  seen = padded.reshape(len(padded) // block_q, block_q, -1, block_k).any((1, 3))
  return int(seen.sum()) * block_q * block_k


def splash_flops(rules, useful):
  """How `flops.count` counts splash.

  Args:
    rules: NumPy bool arrays [Q, L] of all calls, told apart by their sizes.
    useful: whether to count what attention is, pairs that see each other at the head's own size,
      twice that for gradients; or what splash does: whole blocks, wide heads, weights anew.

  Returns:
    Function of (name, operands) to operations.
  """
  pairs = {}
  for rule in rules:
    sides = blocks(rule)
    sizes = tuple(-(-size // side) * side for size, side in zip(rule.shape, sides, strict=True))
    pairs[sizes] = int(rule.sum()) if useful else worked_on(rule, *sides)

  def count(name, operands):
    q, k, v = [x for x in operands if jnp.issubdtype(x.dtype, jnp.floating) and x.ndim > 2][:3]
    wide, size = q.shape[-1], v.shape[-1]
    if useful:
      products = 2 * size
    elif '_fwd' in name:
      products = wide + size
    else:  # both make the weights and their gradients again
      products = 2 * wide + size if '_dq' in name else 2 * wide + 2 * size
    return 2 * math.prod(q.shape[:-2]) * pairs[q.shape[-2], k.shape[-2]] * products

  return count


# The kernels. NumPy bool rule [Q, L]; q [B, K, N, Q, D]; keys and values, lists of
# [B, K, N, l, D] of
# L tokens together; shown bool [B, K, L]; sink [N] or None. They return [B, K, N, Q, D].


def _splash(rule, q, keys, values, shown, sink, interpret=False):
  """jax.experimental's kernel for TPUs: it skips blocks in which no query sees a key."""
  # Loaded where it is used: it is slow to load, and nobody who only samples needs it.
  from jax.experimental.pallas.ops.tpu import splash_attention as splash
  heads, queries, size = q.shape[2:]
  sides = blocks(rule)
  least_q, least_k = (math.lcm(a, b) for a, b in (
    (sides.forward_q, sides.backward_q), (sides.forward_k, sides.backward_k)))
  # Scaled in float32: the scale itself would be rounded too far.
  q = (q.astype(jnp.float32) * size**-0.5).astype(q.dtype)
  q, k, v = (_join(parts, block) for parts, block in (
    ([q], least_q), (keys, least_k), (values, least_k)))
  hidden = jnp.pad(~shown, [(0, 0), (0, 0), (0, k.shape[3] - shown.shape[2])])
  segments = splash.splash_attention_kernel.SegmentIds(
    jnp.zeros((*shown.shape[:2], q.shape[3]), jnp.int32), hidden.astype(jnp.int32))
  mask = splash.splash_attention_mask.NumpyMask(_pad_rule(rule, q.shape[3], k.shape[3]))
  kernel = splash.splash_attention_kernel.make_splash_mha(
    splash.splash_attention_mask.MultiHeadMask([mask] * heads), head_shards=1, q_seq_shards=1,
    interpret=interpret, residual_checkpoint_name=SAVED,
    block_sizes=splash.splash_attention_kernel.BlockSizes(
      block_q=sides.forward_q, block_kv=sides.forward_k,
      block_q_dkv=sides.backward_q, block_kv_dkv=sides.backward_k,
      use_fused_bwd_kernel=True))
  each = functools.partial(kernel, sinks=sink)
  return jax.vmap(jax.vmap(each))(q, k, v, segments)[..., :queries, :]


def _cudnn(rule, q, keys, values, shown, sink):
  """cuDNN's flash attention, of which the mask is a bias: it skips nothing."""
  queries, size, one = q.shape[3], q.shape[-1], int(sink is not None)
  count = rule.shape[1]
  # The sink is one more key, without a value.
  rule = np.pad(rule, [(0, 0), (0, one)], constant_values=True)
  k, v = (_join(parts, _TILE, one) for parts in (keys, values))
  q = _join([q], _TILE)
  bias = jnp.where(jnp.pad(~shown, [(0, 0), (0, 0), (0, k.shape[3] - count)]), _HIDDEN, 0.0)
  bias = jnp.broadcast_to(bias[:, :, None], k.shape[:-1])
  if sink is not None:
    bias = bias.at[..., count].set(sink)
  # Scaled in float32: the scale itself would be rounded too far.
  q = (q.astype(jnp.float32) * size**-0.5).astype(q.dtype)
  q = jnp.concatenate([q, jnp.ones_like(q[..., :1])], -1)
  k = jnp.concatenate([k, bias[..., None].astype(k.dtype)], -1)
  wide = q.shape[-1] + -q.shape[-1] % 8
  q, k, v = (jnp.pad(x, [(0, 0)] * 4 + [(0, wide - x.shape[-1])]) for x in (q, k, v))
  mask = _pad_rule(rule, q.shape[3], k.shape[3])
  q, k, v = (jnp.moveaxis(x, 2, 3) for x in (q, k, v))
  out = jax.nn.dot_product_attention(
    *(x.reshape(-1, *x.shape[2:]) for x in (q, k, v)), mask=jnp.asarray(mask)[None, None],
    scale=1.0, implementation='cudnn')
  return jnp.moveaxis(out.reshape(*q.shape)[:, :, :queries, :, :size], 3, 2)


_KERNELS = {'splash': _splash, 'cudnn': _cudnn,
            'splash_interpreted': functools.partial(_splash, interpret=True)}

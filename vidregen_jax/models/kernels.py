"""Attention in one fused kernel that never writes its weights to memory, forward or backward.

Such a kernel takes one query for all keys, and one mask for all clips. Everything else that the
generator needs is put into further channels of the head, where the dot product adds it up:

- static keys meet the query as it is, timed keys meet it rotated. Only the first half of the
  channels is rotated, so queries hold that half twice, and keys have zeros in one of the two;
- a key that is hidden from one clip holds a large negative number where queries hold a one;
- the learned logit, for a kernel without such an argument, is one more key whose value is zero.

All gradients are then the kernel's own, and a head of 128 channels becomes one of 193 or 194.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax.distributed import sharding
from vidregen_jax.models import layers

SAVED = 'attended'  # name of what splash's gradients need, for `jax.checkpoint` to save
_HIDDEN = -1e9  # its exponential is 0
_LANES = 128  # lanes of a TPU: splash takes multiples of this, in channels and in tokens
# Sizes of the blocks that splash computes or skips, in tokens: queries by keys. With fewer queries,
# reading keys would take longer than multiplying them.
_BLOCKS = ((384, 256), (512, 256), (384, 384), (384, 512), (512, 512))
_TILE = 64  # tokens in a cuDNN tile; it takes even numbers only


def fused(kernel, q, q_timed, static, timed, rule, visible, sink, own):
  """`attention.attend` by the kernel 'splash', 'splash_interpreted' or 'cudnn'."""
  batch, copies, heads, frames, cells, size = q.shape

  def spread(x):  # [B, N, L, D] to [B, K, N, L, D]
    return jnp.broadcast_to(x[:, None], (batch, copies, *x.shape[1:]))

  keys, values = [[spread(static[i]), spread(timed[i])] for i in range(2)]
  moving = np.repeat([False, True], [static[0].shape[2], timed[0].shape[2]])
  rule = of_tokens(rule, cells, own is not None)
  if own is not None:
    own_keys, own_values = (x.reshape(batch, copies, heads, -1, size) for x in own)
    keys.append(own_keys)
    values.append(own_values)
    moving = np.pad(moving, (0, frames * cells))
    visible = jnp.pad(visible, [(0, 0), (0, 0), (0, frames * cells)], constant_values=True)

  run = sharding.attention(functools.partial(_KERNELS[kernel], rule, moving))
  flat = [x.reshape(batch, copies, heads, frames * cells, size) for x in (q, q_timed)]
  out = run(*flat, keys, values, visible, sink)
  return out.reshape(q.shape)


def of_tokens(rule, cells, own):
  """Expands a rule of frames [T, L] to their tokens: [T M, L], or [T M, L + T M] with own keys."""
  spread = np.repeat(rule, cells, 0)
  if not own:
    return spread
  return np.concatenate([spread, np.kron(np.eye(len(rule)), np.ones((cells, cells))) > 0], 1)


def _widen(q, q_timed, k, moving, channels, multiple):
  """Queries and keys whose product is the logit of static and timed keys alike.

  Args:
    q, q_timed, k: [B, K, N, L, D].
    moving: NumPy bool [L], which keys are timed: they meet the query with its time rotated in.
    channels: float32 arrays, broadcast to [B, K, N, L] of the keys, that are added to the logits.
    multiple: the number of channels of the results is a multiple of this.

  Returns:
    Scaled queries and keys [B, K, N, L, wide].
  """
  size = q.shape[-1]
  half, used = size // 2, 3 * size // 2 + len(channels)
  wide = used + -used % multiple
  still, timed = np.zeros((2, size, wide), np.float32)
  for channel in range(size):
    still[channel, channel if channel < half else channel + half] = 1
    if channel < half:
      timed[channel, channel + half] = 1
  moved = functools.partial(layers.moved, '...D,DE->...E')
  ones = np.zeros(wide, np.float32)
  ones[used - len(channels):used] = 1
  # Scaled in float32: in bfloat16 the scale itself would be rounded too much.
  wide_q = (moved(q, still) + moved(q_timed, timed)).astype(jnp.float32)
  wide_q = (wide_q * size**-0.5 + ones).astype(q.dtype)
  meets = np.ones((len(moving), wide), bool)  # keys are zero in the other query's channels
  meets[moving, :half], meets[~moving, half:size] = False, False
  wide_k = jnp.where(meets, moved(k, still + timed), 0)
  for i, added in enumerate(channels):
    where = jax.nn.one_hot(used - len(channels) + i, wide)
    wide_k += (added[..., None] * where).astype(k.dtype)
  return wide_q, wide_k


def _join(parts, multiple, more=0):
  """Concatenates arrays [..., L, D], and at least `more` tokens of zeros up to a multiple."""
  count = sum(x.shape[-2] for x in parts) + more
  fill = more + -count % multiple
  return jnp.concatenate([*parts, jnp.zeros_like(parts[0], shape=(
    *parts[0].shape[:-2], fill, parts[0].shape[-1]))], axis=-2)


def _pad_rule(rule, queries, keys):
  """Pads a rule: no query sees an added key, and an added query sees one key, lest it be NaN."""
  padded = np.pad(rule, [(0, queries - rule.shape[0]), (0, keys - rule.shape[1])])
  padded[rule.shape[0]:, 0] = True
  return padded


def blocks(rule):
  """The block size (queries, keys) with which splash computes the fewest pairs."""
  def fitting(pair):
    return tuple(min(side, -(-size // _LANES) * _LANES)
                 for side, size in zip(pair, rule.shape, strict=True))
  return min((fitting(pair) for pair in _BLOCKS), key=lambda pair: worked_on(rule, *pair))


def worked_on(rule, block_q, block_k):
  """Number of query-key pairs in the blocks that are not skipped."""
  padded = _pad_rule(rule, *(-(-size // block) * block for size, block in zip(
    rule.shape, (block_q, block_k), strict=True)))
  seen = padded.reshape(len(padded) // block_q, block_q, -1, block_k).any((1, 3))
  return int(seen.sum()) * block_q * block_k


def splash_flops(rules, useful):
  """How `flops.count` counts splash's operations.

  Args:
    rules: NumPy bool arrays [Q, L] of all calls, which differ in size.
    useful: whether to count only what attention requires (pairs that see each other, at the head's
      own size, and twice that for gradients), or all that splash does: whole blocks, widened heads,
      recomputed weights.

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
    else:  # both backward kernels recompute the weights and their gradients
      products = 2 * wide + size if '_dq' in name else 2 * wide + 2 * size
    return 2 * math.prod(q.shape[:-2]) * pairs[q.shape[-2], k.shape[-2]] * products

  return count


# The kernels. NumPy bool rule [Q, L] and moving [L]; q, q_timed [B, K, N, Q, D]; keys and values,
# lists of [B, K, N, l, D] of L tokens together; shown bool [B, K, L]; sink [N] or None. They return
# [B, K, N, Q, D].


def _splash(rule, moving, q, q_timed, keys, values, visible, sink, interpret=False):
  """The TPU kernel in jax.experimental, which skips blocks in which no query sees a key."""
  # Imported where it is used: the import is slow, and sampling does not need it.
  from jax.experimental.pallas.ops.tpu import splash_attention as splash
  heads, queries = q.shape[2:4]
  block_q, block_k = blocks(rule)
  q, q_timed, k, v = (_join(parts, block) for parts, block in (
    ([q], block_q), ([q_timed], block_q), (keys, block_k), (values, block_k)))
  fill = k.shape[3] - len(moving)
  hidden = jnp.where(jnp.pad(visible, [(0, 0), (0, 0), (0, fill)]), 0.0, _HIDDEN)[:, :, None]
  q, k = _widen(q, q_timed, k, np.pad(moving, (0, fill)), [hidden], _LANES)
  mask = splash.splash_attention_mask.NumpyMask(_pad_rule(rule, q.shape[3], k.shape[3]))
  kernel = splash.splash_attention_kernel.make_splash_mha(
    splash.splash_attention_mask.MultiHeadMask([mask] * heads), head_shards=1, q_seq_shards=1,
    interpret=interpret, residual_checkpoint_name=SAVED,
    block_sizes=splash.splash_attention_kernel.BlockSizes(
      block_q=block_q, block_kv=block_k, block_q_dkv=block_q, block_kv_dkv=block_k,
      block_q_dq=block_q, block_kv_dq=block_k))
  return jax.vmap(jax.vmap(functools.partial(kernel, sinks=sink)))(q, k, v)[..., :queries, :]


def _cudnn(rule, moving, q, q_timed, keys, values, visible, sink):
  """cuDNN's flash attention. Its mask is a bias, so it skips nothing."""
  queries, size, one = q.shape[3], q.shape[-1], int(sink is not None)
  # The sink is one more key, without a value.
  rule = np.pad(rule, [(0, 0), (0, one)], constant_values=True)
  visible = jnp.pad(visible, [(0, 0), (0, 0), (0, one)], constant_values=True)
  k, v = (_join(parts, _TILE, one) for parts in (keys, values))
  q, q_timed = (_join([x], _TILE) for x in (q, q_timed))
  fill = k.shape[3] - len(moving)
  hidden = jnp.where(jnp.pad(visible, [(0, 0), (0, 0), (0, fill - one)]), 0.0, _HIDDEN)
  channels = [hidden[:, :, None]]
  if sink is not None:
    channels.append(jnp.zeros((len(sink), k.shape[3])).at[:, len(moving)].set(sink))
  q, k = _widen(q, q_timed, k, np.pad(moving, (0, fill)), channels, 8)
  mask = _pad_rule(rule, q.shape[3], k.shape[3])
  v = jnp.pad(v, [(0, 0)] * 4 + [(0, k.shape[-1] - size)])  # it takes values of the keys' size
  q, k, v = (jnp.moveaxis(x, 2, 3) for x in (q, k, v))
  out = jax.nn.dot_product_attention(
    *(x.reshape(-1, *x.shape[2:]) for x in (q, k, v)), mask=jnp.asarray(mask)[None, None],
    scale=1.0, implementation='cudnn')
  return jnp.moveaxis(out.reshape(*q.shape)[:, :, :queries, :, :size], 3, 2)


_KERNELS = {'splash': _splash, 'cudnn': _cudnn,
            'splash_interpreted': functools.partial(_splash, interpret=True)}

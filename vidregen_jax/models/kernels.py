"""Attention in one fused kernel that never writes its weights to memory, forward or backward.

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

SAVED = 'attended'  # name of what splash's gradients need, for `jax.checkpoint` to save
_HIDDEN = -1e9  # its exponential is 0
_LANES = 128  # channels and tokens that a TPU works on at once: splash takes whole multiples
# Sides of splash's blocks, queries by keys, and the bundles of instructions, one a cycle, that a
# v5e is given for them with heads of 128: in each step of the grid, in a block that is worked on,
# and where a row of blocks begins and ends. By `python -m bench.splash_blocks`, with jax 0.10.1 and
# libtpu 0.0.41.
_FORWARD = {(256, 256): (103, 530, 346), (384, 384): (107, 1030, 518), (384, 512): (241, 859, 518),
            (384, 768): (189, 1624, 518), (512, 512): (147, 1193, 688),
            (768, 512): (192, 1802, 1029), (768, 768): (159, 3152, 1029)}
# All gradients by one kernel, or those of keys and values by one and those of queries by another.
_FUSED = {(256, 256): (183, 832, 162), (384, 384): (200, 1514, 244), (384, 512): (213, 2026, 324),
          (384, 768): (216, 2909, 484), (512, 512): (215, 2434, 324), (768, 512): (261, 3461, 324),
          (768, 768): (264, 5325, 484)}
_UNFUSED = {(384, 512): ((173, 1703, 324), (187, 1180, 122)),
            (384, 768): ((173, 2442, 484), (186, 1731, 122)),
            (512, 512): ((154, 1866, 324), (103, 1514, 162)),
            (512, 768): ((154, 2793, 484), (146, 2246, 162)),
            (768, 512): ((158, 2879, 324), (149, 2225, 244))}
OPERATIONS = 131072  # a v5e's matrix units do in a cycle at most: 4 of 128 x 128
# The one kernel gives a part of the queries' gradients for each row of keys. Cycles in which a
# number of these parts is summed, as the compiler counts.
_PARTS = 0.03
_TILE = 64  # cuDNN takes even numbers of tokens, and works on so many


def fused(kernel, q, keys, values, rule, visible, sink, own):
  """What `attention.attend` says, by the kernel 'splash', 'splash_interpreted' or 'cudnn'."""
  batch, copies, heads, frames, cells, size = q.shape

  def spread(x):  # [B, N, L, D] to [B, K, N, L, D]
    return jnp.broadcast_to(x[:, None], (batch, copies, *x.shape[1:]))

  keys, values = (list(map(spread, parts)) for parts in (keys, values))
  rule = of_tokens(rule, cells, own is not None)
  if own is not None:
    for parts, x in zip((keys, values), own, strict=True):
      parts.append(x.reshape(batch, copies, heads, -1, size))
    visible = jnp.pad(visible, [(0, 0), (0, 0), (0, frames * cells)], constant_values=True)

  run = sharding.attention(functools.partial(_KERNELS[kernel], rule))
  out = run(q.reshape(batch, copies, heads, frames * cells, size), keys, values, visible, sink)
  return out.reshape(q.shape)


def of_tokens(rule, cells, own):
  """Expands a rule of frames [T, L] to their tokens: [T M, L], or [T M, L + T M] with own keys."""
  spread = np.repeat(rule, cells, 0)
  if not own:
    return spread
  return np.concatenate([spread, np.kron(np.eye(len(rule)), np.ones((cells, cells))) > 0], 1)


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


@dataclasses.dataclass(frozen=True)
class Sides:
  """Sides of splash's blocks, in tokens: of queries and of keys, forward and backward."""
  forward_q: int
  forward_k: int
  backward_q: int
  backward_k: int
  fused: bool = True  # whether one kernel gives all gradients

  @property
  def least(self) -> tuple[int, int]:
    """What numbers of queries and of keys are multiples of."""
    return (math.lcm(self.forward_q, self.backward_q), math.lcm(self.forward_k, self.backward_k))


def blocks(rule) -> Sides:
  """The blocks over a rule [Q, L] that take a v5e fewest cycles, see `cycles`."""
  forward = min(_FORWARD, key=lambda known: _forward_cycles(rule, known, _LANES))
  fused = min(_FUSED, key=lambda known: _fused_cycles(rule, known, _LANES))
  unfused = min(_UNFUSED, key=lambda known: _unfused_cycles(rule, known, _LANES))
  one = _fused_cycles(rule, fused, _LANES) <= _unfused_cycles(rule, unfused, _LANES)
  return Sides(*_fitting(rule, forward), *_fitting(rule, fused if one else unfused), bool(one))


def cycles(rule, size) -> float:
  """Cycles that a v5e takes for one head of attention and its gradients, by its compiler.

  Sums of partial gradients are left out: they are XLA's, which counts them.

  Args:
    rule: NumPy bool [Q, L].
    size: channels of the head.
  """
  forward = min(_forward_cycles(rule, known, size) for known in _FORWARD)
  if blocks(rule).fused:
    return forward + min(_fused_cycles(rule, known, size, parts=False) for known in _FUSED)
  return forward + min(_unfused_cycles(rule, known, size) for known in _UNFUSED)


def _fitting(rule, sides):
  """Sides that are no longer than a rule is, in whole lanes."""
  return tuple(min(side, -(-size // _LANES) * _LANES)
               for side, size in zip(sides, rule.shape, strict=True))


def _forward_cycles(rule, known, size):
  seen = _blocks_seen(rule, *_fitting(rule, known))
  return _cycles(rule, known, _FORWARD[known], seen, 2, size)


def _fused_cycles(rule, known, size, parts=True):
  sides = _fitting(rule, known)
  seen = _blocks_seen(rule, *sides).T
  # Here no step is left out.
  steps = seen.size - len(seen) * seen.sum(1).max()
  summed = _PARTS * seen.size * sides[0] * size if parts and len(seen) > 1 else 0
  return _cycles(rule, known, _FUSED[known], seen, 5, size) + steps * _FUSED[known][0] + summed


def _unfused_cycles(rule, known, size):
  seen = _blocks_seen(rule, *_fitting(rule, known))
  of_keys, of_queries = _UNFUSED[known]
  return (_cycles(rule, known, of_keys, seen.T, 4, size)
          + _cycles(rule, known, of_queries, seen, 3, size))


def _cycles(rule, known, bundles, seen, products, size):
  """Cycles of one kernel.

  Args:
    rule: NumPy bool [Q, L].
    known: sides that were compiled; blocks that fit the rule may be smaller.
    bundles: theirs, of a step, a block and a row.
    seen: bool [rows, blocks], those that are worked on.
    products: of a query's and a key's channels, that each pair takes.
    size: channels of the head.
  """
  step, block, row = bundles
  area = math.prod(_fitting(rule, known))
  # Where fewer bundles are scheduled than the matrix units take, these are waited for.
  worked = max(block * area / math.prod(known), 2 * area * products * size / OPERATIONS)
  return float(len(seen) * (seen.sum(1).max() * step + row) + seen.sum() * worked)


def worked_on(rule, block_q, block_k):
  """Pairs of a query and a key in blocks that are not skipped."""
  return int(_blocks_seen(rule, block_q, block_k).sum()) * block_q * block_k


def _blocks_seen(rule, block_q, block_k):
  """Bool [rows of blocks, columns of blocks], those in which a query sees a key."""
  padded = _pad_rule(rule, *(-(-size // block) * block for size, block in zip(
    rule.shape, (block_q, block_k), strict=True)))
  return padded.reshape(len(padded) // block_q, block_q, -1, block_k).any((1, 3))


def splash_flops(rules, useful):
  """How `flops.count` counts splash's operations.

  Args:
    rules: NumPy bool arrays [Q, L] of all calls, told apart by their sizes.
    useful: whether to count what attention is, pairs that see each other, with two products
      forward and four of gradients; or what splash does: whole blocks, and weights anew.

  Returns:
    Function of (name, operands) to operations.
  """
  calls = {}
  for rule in rules:
    sides = blocks(rule)
    sizes = tuple(size + -size % side for size, side in zip(rule.shape, sides.least, strict=True))
    calls[sizes] = (int(rule.sum()), worked_on(rule, sides.forward_q, sides.forward_k),
                    worked_on(rule, sides.backward_q, sides.backward_k), sides.fused)

  def count(name, operands):
    q, k = [x for x in operands if jnp.issubdtype(x.dtype, jnp.floating) and x.ndim > 2][:2]
    seen, forward, backward, fused = calls[q.shape[-2], k.shape[-2]]
    if '_fwd' in name:
      pairs, products = (seen if useful else forward), 2
    elif useful:
      pairs, products = seen, 4 if fused else 2
    else:  # the weights once more, and two kernels make them and their gradients twice
      pairs, products = backward, 5 if fused else 3 if '_dq' in name else 4
    return 2 * math.prod(q.shape[:-2]) * pairs * products * q.shape[-1]

  return count


# The kernels. NumPy bool rule [Q, L]; q [B, K, N, Q, D]; keys and values, lists of [B, K, N, l, D],
# of L tokens together; visible bool [B, K, L]; sink [N] or None. They return [B, K, N, Q, D].


def _splash(rule, q, keys, values, visible, sink, interpret=False):
  """jax.experimental's kernel for TPUs: it skips blocks in which no query sees a key."""
  # Loaded where it is used: it is slow to load, and nobody who only samples needs it.
  from jax.experimental.pallas.ops.tpu import splash_attention as splash
  heads, queries, size = q.shape[2:]
  sides = blocks(rule)
  least_q, least_k = sides.least
  # Scaled in float32: the scale itself would be rounded too far.
  q = (q.astype(jnp.float32) * size**-0.5).astype(q.dtype)
  q, k, v = (_join(parts, block) for parts, block in (
    ([q], least_q), (keys, least_k), (values, least_k)))
  hidden = jnp.pad(~visible, [(0, 0), (0, 0), (0, k.shape[3] - visible.shape[2])])
  segments = splash.splash_attention_kernel.SegmentIds(
    jnp.zeros((*visible.shape[:2], q.shape[3]), jnp.int32), hidden.astype(jnp.int32))
  mask = splash.splash_attention_mask.NumpyMask(_pad_rule(rule, q.shape[3], k.shape[3]))
  kernel = splash.splash_attention_kernel.make_splash_mha(
    splash.splash_attention_mask.MultiHeadMask([mask] * heads), head_shards=1, q_seq_shards=1,
    interpret=interpret, residual_checkpoint_name=SAVED,
    block_sizes=splash.splash_attention_kernel.BlockSizes(
      block_q=sides.forward_q, block_kv=sides.forward_k,
      block_q_dkv=sides.backward_q, block_kv_dkv=sides.backward_k,
      block_q_dq=None if sides.fused else sides.backward_q,
      block_kv_dq=None if sides.fused else sides.backward_k,
      use_fused_bwd_kernel=sides.fused))
  each = functools.partial(kernel, sinks=None if sink is None else _of_its_own_type(sink))
  return jax.vmap(jax.vmap(each))(q, k, v, segments)[..., :queries, :]


@jax.custom_vjp
def _of_its_own_type(sink):
  """`sink`, whose gradient splash gives in the type of its queries."""
  return sink


_of_its_own_type.defvjp(lambda sink: (sink, None), lambda _, x: (x.astype(jnp.float32),))


def _cudnn(rule, q, keys, values, visible, sink):
  """cuDNN's flash attention, of which the mask is a bias: it skips nothing."""
  queries, size, one = q.shape[3], q.shape[-1], int(sink is not None)
  count = rule.shape[1]
  # The sink is one more key, without a value.
  rule = np.pad(rule, [(0, 0), (0, one)], constant_values=True)
  k, v = (_join(parts, _TILE, one) for parts in (keys, values))
  q = _join([q], _TILE)
  bias = jnp.where(jnp.pad(~visible, [(0, 0), (0, 0), (0, k.shape[3] - count)]), _HIDDEN, 0.0)
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

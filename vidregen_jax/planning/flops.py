"""Counts the multiplications and additions of a program, in its jaxpr.

XLA's own count takes the body of a loop once, however often it runs, and does not include kernels.
Here products and convolutions are counted as often as they run; a multiply-add counts as two. The
rest (norms, softmax, the optimizer) is left out, as matrix units do not compute it.
"""

import math

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal


def count(jaxpr, kernel=None, wanted=None, without=()) -> float:
  """Operations on all devices together that contribute to the results.

  Args:
    jaxpr: of `jax.make_jaxpr` or of a traced function. The body of a `while` with an
      unknown number of iterations is counted once, and of a `cond` the most expensive branch.
    kernel: function from a Pallas call's (name, operands as ShapedArrays) to operations; without it
      such calls count as zero.
    wanted: list of bool, which of the jaxpr's results are used; default: all.
    without: names of jitted functions in it that count as zero.
  """
  inner = _inner(jaxpr)
  wanted = wanted or [True] * len(inner.outvars)
  used = {x for x, want in zip(inner.outvars, wanted, strict=True) if want and _is_variable(x)}
  total = 0
  # Backwards: results that nothing uses are not counted. (XLA drops them too.)
  for equation in reversed(inner.eqns):
    live = [x in used for x in equation.outvars]
    if any(live):
      used.update(x for x in equation.invars if _is_variable(x))
      total += _equation(equation, kernel, live, without)
  return float(total)


def _is_variable(x):
  return not isinstance(x, Literal)


def _equation(equation, kernel, live, without):
  name, params = equation.primitive.name, equation.params
  shapes = [x.aval.shape for x in equation.invars if hasattr(x.aval, 'shape')]
  if name == 'dot_general':
    return _product(params['dimension_numbers'], *shapes)
  if name == 'conv_general_dilated':
    return _convolution(params, *shapes, equation.outvars[0].aval.shape)
  if name == 'pallas_call':
    return kernel(str(params['name']), [x.aval for x in equation.invars]) if kernel else 0
  if name == 'cond':
    return max(count(branch, kernel, live, without) for branch in params['branches'])
  if name == 'scan':  # results unused in one iteration may be needed in the next
    return params['length'] * count(params['jaxpr'], kernel, None, without)
  if name == 'jit' and params['name'] in without:
    return 0
  inside = sum(
    count(found, kernel, live if len(_inner(found).outvars) == len(live) else None, without)
    for found in _jaxprs(params))
  if name == 'shard_map':  # its body is one device's share
    return inside * math.prod(params['mesh'].shape[axis] for axis in params['manual_axes'])
  return inside


def _jaxprs(params):
  """All jaxprs in an equation's parameters."""
  for value in params.values():
    for found in value if isinstance(value, (tuple, list)) else [value]:
      if isinstance(found, (Jaxpr, ClosedJaxpr)):
        yield found


def _inner(jaxpr):
  return jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr


def _product(numbers, left, right):
  (_, contracted), (_, batch) = numbers
  return 2 * math.prod(left) * math.prod(
    size for i, size in enumerate(right) if i not in (*contracted, *batch))


def _convolution(params, left, right, out):
  """Counts only taps inside the picture, not those in the padding."""
  numbers = params['dimension_numbers']
  batch, features = (out[numbers.out_spec[i]] for i in (0, 1))
  inputs = right[numbers.rhs_spec[1]]  # of one group
  taps = 1
  for i, (low, _) in enumerate(params['padding']):
    side, kernel, outputs = (shape[spec[2 + i]] for shape, spec in (
      (left, numbers.lhs_spec), (right, numbers.rhs_spec), (out, numbers.out_spec)))
    stretched = params['lhs_dilation'][i]
    at = (np.arange(outputs)[:, None] * params['window_strides'][i]
          + np.arange(kernel) * params['rhs_dilation'][i] - low)
    taps *= np.sum((at >= 0) & (at <= (side - 1) * stretched) & (at % stretched == 0))
  # The gradient of a kernel is a convolution with the examples as groups.
  return 2 * int(taps) * batch * features * inputs // params['batch_group_count']

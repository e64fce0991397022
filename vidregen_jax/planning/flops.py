"""Multiplications and additions of a program, counted in its jaxpr.

XLA's own count takes the body of a loop once, however often it runs, and knows nothing of what
kernels do. Here products and convolutions are counted, as often as they are done; a multiply-add is
two. All else (norms, softmax, the optimizer) is left out: it is not what matrix units do.
"""

import math

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal


def count(jaxpr, kernel=None, wanted=None, without=()) -> float:
  """Operations of all devices together, of what the results are made from.

  Args:
    jaxpr: of `jax.make_jaxpr` or of a traced function. The body of a `while` whose turns are not
      known is counted once, and of a `cond` the dearest branch.
    kernel: function of a Pallas call's (name, operands as ShapedArrays) to operations; without it
      such calls count nothing.
    wanted: which of the jaxpr's results are used, list of bool; default all.
    without: names of jitted functions inside of it that count nothing.
  """
  inner = _inner(jaxpr)
  wanted = wanted or [True] * len(inner.outvars)
  used = {x for x, want in zip(inner.outvars, wanted, strict=True) if want and _is_variable(x)}
  total = 0
  # Backwards: what nothing after it uses is not computed. (XLA drops it too.)
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
  if name == 'scan':  # what a turn leaves out, the next may need
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
  """All jaxprs that an equation holds."""
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
  """Only taps that meet the picture count: at its edge a kernel stands over nothing."""
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
  # The gradient of a kernel is a convolution in which examples are grouped.
  return 2 * int(taps) * batch * features * inputs // params['batch_group_count']

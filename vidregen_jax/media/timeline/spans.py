"""Spans of time: parsed, checked, merged, and mapped to frames."""

import re

import numpy as np

from vidregen_jax.errors import UserError


def parse(text) -> tuple[float, float]:
  """'1.20-2.04' to (1.2, 2.04) seconds.

  Raises:
    UserError: not two times, or an empty or reversed span.
  """
  match = re.fullmatch(r'(\d+(?:\.\d*)?|\.\d+)-(\d+(?:\.\d*)?|\.\d+)', text.strip())
  if not match:
    raise UserError(f'span {text!r} is not START-END in seconds, such as 1.20-2.04')
  start, stop = map(float, match.groups())
  if start >= stop:
    raise UserError(f'span {text} is {"empty" if start == stop else "reversed"}: '
                    'give START-END with START before END')
  return start, stop


def check(spans, begin: float, end: float, path) -> None:
  """Refuses spans that do not lie in the video, which lasts from `begin` to `end` seconds."""
  for start, stop in spans:
    # Half a millisecond, as times are typed with three decimals.
    if start < begin - 5e-4 or stop > end + 5e-4:
      raise UserError(f'span {start:g}-{stop:g} does not lie in {path}, which lasts from {begin:g} '
                      f'to {end:.3f} s')


def merge(spans) -> list[tuple[float, float]]:
  """Sorted spans; those that touch or overlap are one."""
  merged = []
  for start, stop in sorted(spans):
    if merged and start <= merged[-1][1]:
      merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
    else:
      merged.append((start, stop))
  return merged


def around(spans, seconds: float, moments=()) -> list[tuple[float, float]]:
  """Merged spans, widened by `seconds` on either side, and moments widened by one second."""
  return merge([(start - seconds, stop + seconds) for start, stop in spans]
               + [(start - 1.0, stop + 1.0) for start, stop in moments])


def stretches(mask) -> list[tuple[int, int]]:
  """(start, stop) of each run of true values in a mask bool [N]."""
  edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
  return [(start, stop) for start, stop in edges.reshape(-1, 2).tolist()]


def frames(spans, times):
  """Which frames are in a span, bool [F]: those that start in one.

  Args:
    spans: (start, stop) in seconds.
    times: [F] seconds.
  """
  times = np.asarray(times)
  inside = np.zeros(len(times), bool)
  for start, stop in spans:
    # A microsecond, as times are exact fractions and spans decimal.
    inside |= (times >= start - 1e-6) & (times < stop - 1e-6)
  return inside

"""What single edits of a list may have of their own, and which frames are whose."""

import numpy as np

from vidregen_jax.errors import UserError
from vidregen_jax.reporting.edit_report import EditOptions


def owners(times, spans) -> np.ndarray:
  """For each frame the edit that it belongs to: the one that is nearest in time; int [F].

  Args:
    times: [F] seconds.
    spans: (start, stop) of each edit, seconds.
  """
  times = np.asarray(times)[:, None]
  starts, stops = np.array(spans, float).T
  return np.maximum(np.maximum(starts - times, times - stops), 0).argmin(1)


def aligned(options, spans) -> tuple[EditOptions, ...]:
  """The options of each span, or of all alike where no edit has any.

  Args:
    options: of each edit, in the order of time.
    spans: the edits' spans, of which those that touch are one.

  Raises:
    UserError: edits that differ touch.
  """
  if len(set(options)) <= 1:
    return (*options[:1], EditOptions())[:1] * len(spans)
  if len(options) != len(spans):
    raise UserError('edits that touch or overlap are one, and can have no options of their own: '
                    'leave at least a frame between them')
  return tuple(options)

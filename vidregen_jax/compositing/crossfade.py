"""The edges of a span: made faces turn into the real ones there, not all at once.

A made face differs from the real one a little everywhere: it is softer, and its mouth is not quite
as open. Inside a span nothing shows that; at its edges all of it appears between two frames. So the
model also makes the real frame next to an edge, which it hears as it was said: what its face lacks
there belongs to no word. That is added to the made faces near the edge, less and less away from it.
"""

import numpy as np


def residual(real, generated):
  """What a made face lacks, int16 [S, S, 3]; both are crops, uint8 [S, S, 3]."""
  return real.astype(np.int16) - generated


def mend(generated, time, residuals, seconds):
  """A made face with what it lacks near the edges of its span.

  Args:
    generated: uint8 [S, S, 3].
    time: of the frame, seconds.
    residuals: (time of the real frame, `residual` there) of each edge.
    seconds: how far an edge reaches.

  Returns:
    uint8 [S, S, 3]: at an edge's own time the real face, `seconds` away the made one.
  """
  near = [(1 - abs(time - at) / seconds, residual) for at, residual in residuals
          if abs(time - at) < seconds]
  if not near:
    return generated
  total = max(sum(weight for weight, _ in near), 1.0)
  added = sum(weight / total * residual for weight, residual in near)
  return np.clip(np.rint(generated + added), 0, 255).astype(np.uint8)

"""Cross-fades between generated and real faces at the edges of a span.

A generated face differs slightly from the real one everywhere: it is softer, and its mouth a little
less open. Inside a span this goes unnoticed, but at an edge it shows as a jump between two frames.
So the model also generates the real frame next to each edge, with its original sound. There the
difference from the real face is independent of any word; it is added to the generated faces near
the edge, fading out with distance.
"""

import numpy as np

LONGEST = 2.0  # seconds of a fade; that many frames are held in memory


def residual(real, generated):
  """The real crop minus the generated one, int16 [S, S, 3]; both are uint8 [S, S, 3]."""
  return real.astype(np.int16) - generated


def mend(generated, time, residuals, seconds):
  """A generated face, corrected by the residuals at the nearby edges of its span.

  Args:
    generated: uint8 [S, S, 3].
    time: of the frame, seconds.
    residuals: (time of the real frame, its `residual`) for each edge.
    seconds: length of the fade.

  Returns:
    uint8 [S, S, 3]: the real face at an edge's own time, the generated one `seconds` away.
  """
  near = [(1 - abs(time - at) / seconds, residual) for at, residual in residuals
          if abs(time - at) < seconds]
  if not near:
    return generated
  total = max(sum(weight for weight, _ in near), 1.0)
  added = sum(weight / total * residual for weight, residual in near)
  return np.clip(np.rint(generated + added), 0, 255).astype(np.uint8)

"""Progress of an edit, told to a function of the caller's as it goes.

  def tell(progress):
    print(progress.stage, progress.done, 'of', progress.total)

  vidregen_jax.edit('in.mp4', ..., progress=tell)
"""

import dataclasses
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Progress:
  """How far an edit is, or a line about it.

  Attributes:
    stage: what is being done, such as 'track faces' or 'regenerate'; '' with a note.
    done, total: how many frames of the stage are finished, and how many there are.
    note: a line for the user, such as where two soundtracks were found to differ; else ''.
    warning: whether the note warns of a poor result.
    picture: function that returns the frame that was finished last as it will be shown, but for
      rotation, uint8 [H, W, 3] RGB; None in stages that make no frames. To be called at once: the
      frame is not kept.
  """

  stage: str = ''
  done: int = 0
  total: int = 0
  note: str = ''
  warning: bool = False
  picture: Callable[[], np.ndarray] | None = None


# It may be called from a thread of the edit's own; what it raises ends the edit, which leaves
# nothing behind.
Tell = Callable[[Progress], None]


class Stage:
  """Tells the progress of one stage; a context manager.

  Args:
    tell: what is called, first with nothing done, then after each update; None for silence.
    stage: its name.
    total: of its frames.
  """

  def __init__(self, tell: Tell | None, stage: str, total: int):
    self._tell, self._stage, self._total, self._done = tell, stage, total, 0

  def __enter__(self) -> 'Stage':
    self.update(0)
    return self

  def __exit__(self, kind, error, trace) -> None:
    pass

  def update(self, count: int = 1, picture: Callable[[], np.ndarray] | None = None) -> None:
    """Adds finished frames; `picture` as of `Progress`."""
    self._done += count
    if self._tell is not None:
      self._tell(Progress(self._stage, self._done, self._total, picture=picture))

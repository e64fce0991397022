"""How a person's lips should move, of what is heard: a latent frame at a time, some of them ahead.

What is heard is a usual speaker's; the person's manner (`speaking_manner`) makes it theirs.
"""

import collections

import numpy as np

from vidregen_jax.editing import speaking_manner
from vidregen_jax.inference import streaming_listener
from vidregen_jax.models import codec, lip_listener

# What is heard of closed lips, and by how much made mouths are seen less open than they should be:
# on eight validation clips, with their own sound, they are then seen .91 times as far open as lips
# truly are (the true films .80), and closed in all of the frames with a p, b or m.
_CLOSED, _WIDER = .01, 1.3
_SPEAKING = .97  # mean width of mouths that speak, beside their width at rest: of rendered people
# By how much mouths change their width more than they are seen to. So usual ones change it 1.16
# times as much as is heard, and what is heard changes .86 as much as true widths do.
_ROUNDER = 1.7
_HEARD = 500  # gaps that are kept
_LATELY = .8  # seconds over which the width of a mouth is averaged


class LipMotion:
  """Lips of consecutive latent frames.

  Args:
    listener: lip_listener.Listener.
    manner: the person's; what is learned of it later may be set.
  """

  def __init__(self, listener, manner=speaking_manner.USUAL):
    self._listener = streaming_listener.StreamingListener(listener)
    self.manner, self._heard, self._before = manner, collections.deque(), None
    self._gaps = collections.deque(maxlen=_HEARD)

  def hear(self, windows, valid=True):
    """Hears the next latent frame; arguments as of `streaming_listener.StreamingListener`."""
    self._heard.append(self._listener(windows, valid))
    self._gaps.extend(self._heard[-1].gap)

  @property
  def heard(self) -> np.ndarray:
    """Gaps [N] that were heard of late."""
    return np.array(self._gaps)

  def next(self, seconds: float) -> lip_listener.Lips:
    """Lips of [4], of the next latent frame to be made; those heard after it are ahead.

    Gaps are as they should be seen; widths are beside what is usual of this mouth as it speaks.

    Args:
      seconds: from frame to frame.
    """
    coming = np.concatenate([each.gap for each in self._heard])
    width = self._heard.popleft().width
    made = paced(gaps(coming, self.manner.share), self._before, self.manner.pace * seconds)
    self._before = made[-1]
    return lip_listener.Lips(made, 1 + _ROUNDER * self.manner.rounding * (width - _SPEAKING))


class MouthWidth:
  """How wide a mouth should be made from frame to frame.

  People smile as they speak, and their cheeks, which are not made, show it. So the width of the
  mouth is what the generator makes of it, on average of late, and what is heard beside that.
  """

  def __init__(self):
    self._lately, self._seconds = 0., 0.

  def __call__(self, wider: float, made: float, seconds: float) -> float:
    """The width of the next frame's mouth, in distances between the eyes.

    Args:
      wider: of `LipMotion.next`; nan where it is not known, and then the width is nan as well.
      made: as the generator made it.
      seconds: since the frame before.
    """
    self._seconds = min(self._seconds + seconds, _LATELY)
    self._lately += (made - self._lately) * min(seconds / self._seconds, 1)
    return wider * self._lately


def gaps(heard, part: float) -> np.ndarray:
  """How far lips should be seen apart, of gaps that are heard, in distances between the eyes."""
  return _WIDER * part * np.maximum(heard - _CLOSED, 0)


def paced(coming, before: float | None, step: float) -> np.ndarray:
  """Lip gaps of a latent frame [4] that change by no more than a step from frame to frame.

  Lips that should close do close, and what opens before and after gives way. Only where they should
  close sooner than was known do they move faster.

  Args:
    coming: [4N], how far lips should be apart from this latent frame on; as far as is known.
    before: the gap of the frame before it; None if there is none.
    step: in the unit of the gaps.
  """
  made, far = [], step * np.arange(len(coming))
  for i in range(codec.TIME_FACTOR):
    gap = (coming[i:] + far[:len(coming) - i]).min()
    before = gap if before is None else min(gap, before + step)
    made.append(before)
  return np.array(made)

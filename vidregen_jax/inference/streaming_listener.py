"""Lip gaps that are heard while sound goes by, a latent frame at a time.

The network hears the gaps of four frames that follow each other. Windows that begin with every
frame, and not with every fourth, hear each frame four times, and the mean of these does not jump
where a latent frame ends: on the 16 validation clips gaps change there by .0289 where true ones
change by .0264, and their means by .0252. They correlate with the truth by .982 instead of .980
(test clips .977 instead of .972, medians).
"""

import numpy as np

from vidregen_jax.models import codec, lip_listener


class StreamingListener:
  """Hears consecutive latent frames.

  Args:
    listener: the network.
  """

  def __init__(self, listener: lip_listener.Listener):
    self._listener, self._begun = listener, np.zeros((0, codec.TIME_FACTOR), np.float32)

  def __call__(self, windows, valid=True) -> np.ndarray:
    """The gaps [4] of the next latent frame, in distances between the eyes.

    Args:
      windows: [4, 16, layers, channels], states from each of its frames on
        (`audio_timeline.from_each`).
      valid: whether there is sound; where there is none lips are closed.
    """
    heard = self._listener(windows) * valid
    rows = np.concatenate([self._begun, heard])
    # Each row begins a frame later than the one before, so a frame's gaps are on a diagonal.
    last = codec.TIME_FACTOR - 1 - len(self._begun)
    self._begun = heard[1:]
    return np.array([np.diagonal(rows[:, ::-1], last - frame).mean()
                     for frame in range(codec.TIME_FACTOR)])

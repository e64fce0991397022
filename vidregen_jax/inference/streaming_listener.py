"""Lips that are heard while sound goes by, a latent frame at a time.

The network hears the lips of four frames that follow each other. Windows that begin with every
frame, and not with every fourth, hear each frame four times, and the mean of these does not jump
where a latent frame ends: on the 16 validation clips gaps change there by .0289 where true ones
change by .0264, and their means by .0252. They correlate with the truth by .982 instead of .980
(test clips .977 instead of .972, medians).
"""

import numpy as np

from vidregen_jax.models import codec, lip_listener

# Lips that rest, of four windows.
_REST = lip_listener.Lips(np.zeros((4, codec.TIME_FACTOR), np.float32),
                          np.ones((4, codec.TIME_FACTOR), np.float32))


class StreamingListener:
  """Hears consecutive latent frames.

  Args:
    listener: the network.
  """

  def __init__(self, listener: lip_listener.Listener):
    self._listener, self._begun = listener, np.zeros((0, codec.TIME_FACTOR, 2), np.float32)

  def __call__(self, windows, valid=True) -> lip_listener.Lips:
    """Lips of [4], of the next latent frame.

    Args:
      windows: [4, 16, layers, channels], states from each of its frames on
        (`audio_timeline.from_each`).
      valid: whether there is sound; where there is none lips rest.
    """
    heard = np.stack(self._listener(windows) if valid else _REST, -1)
    rows = np.concatenate([self._begun, heard])
    # Each row begins a frame later than the one before, so a frame's lips are on a diagonal.
    last = codec.TIME_FACTOR - 1 - len(self._begun)
    self._begun = heard[1:]
    return lip_listener.Lips(*np.stack([np.diagonal(rows[:, ::-1], last - frame).mean(1)
                                        for frame in range(codec.TIME_FACTOR)], 1))

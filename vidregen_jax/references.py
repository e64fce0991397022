"""Stills of the person, from the video itself: who is shown, to the generator."""

import numpy as np

_STRIDE = 3  # frames between stills that are considered
_DISTANCE = 4  # frames between a span and a reference


def choose(track, wanted, count):
  """Frames that show the person: unlike one another in mouth and pose, and not in a span.

  Args:
    track: faces.Track.
    wanted: bool [F], the frames to be regenerated.
    count: references R.

  Returns:
    At most `count` frame numbers, ascending. For a whole video, whose every frame is regenerated,
    they are taken from all of it.
  """
  usable = track.valid & ~track.filled
  kernel = np.ones(2 * _DISTANCE + 1)
  near = np.convolve(wanted, kernel, mode='same') > 0
  if (usable & ~near).any():
    usable &= ~near
  candidates = np.flatnonzero(usable)[::_STRIDE]
  if not len(candidates):
    return candidates
  seen = np.stack([track.lip_gap, track.mouth_width, np.radians(track.yaw)], 1)[candidates]
  seen = (seen - seen.mean(0)) / (seen.std(0) + 1e-6)
  chosen = [int(np.argmin(np.abs(seen).sum(1)))]  # the most ordinary first, then the farthest
  while len(chosen) < min(count, len(candidates)):
    distance = np.linalg.norm(seen[:, None] - seen[chosen][None], axis=-1).min(1)
    chosen.append(int(np.argmax(distance)))
  return np.sort(candidates[chosen])

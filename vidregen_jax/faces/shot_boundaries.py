"""Shot boundaries: detects cuts in a video from thumbnails, in one pass.

Unlike motion, a cut has calm frames on both sides; unlike a jerk of the camera, no shift undoes it;
unlike a flash, the old picture does not come back. In a cross-fade, picture after picture is the
mean of one before and one after it.

PySceneDetect 0.7.2 is not used: of 137 boundaries this finds 126, in .13 s of processor time a
minute of video; its best detector 79 in .65 s, no cross-fade among them, and it takes every flash
for a cut (`bench/shot_boundaries.py`).
"""

import collections

import cv2
import numpy as np

_SIDE = 32  # pixels of a thumbnail
_LEAST = 5.0  # mean grey levels of difference above which two frames may belong to two scenes
_TIMES = 3.0  # times by which the difference at a cut exceeds that of its neighbours
_NEAR = 5  # frames on either side that count as neighbours of a cut
_FLASH = 4  # frames within which the old picture is back after a flash
_HALF_FADE = 10  # frames: half the length of the cross-fades that are detected
_FADE_LEAST = 12.0  # mean grey levels between the two ends of a cross-fade
_EMPTY = 3.0  # standard deviation in grey levels below which a picture is blank


class Watch:
  """Detects shot boundaries frame by frame.

  It keeps a few thumbnails, and a few bytes per frame.
  """

  def __init__(self):
    self._recent = collections.deque(maxlen=2 * _HALF_FADE + 1)
    self._steps, self._cuts, self._fading, self._empty = [], {}, [], []

  def __call__(self, image: np.ndarray) -> bool:
    """Adds the next frame, uint8 [H, W, 3]; returns whether it may be the first of a shot."""
    now, index = _thumbnail(image), len(self._steps)
    step = _difference(self._recent[-1], now) if self._recent else 0.0
    recent = self._steps[-_NEAR:]
    calm = sum(recent) / max(len(recent), 1)
    may_be = step > max(_LEAST, _TIMES / 2 * calm) and _unmoved(self._recent[-1], now) > step / 2
    if not self._is_back(index, now) and may_be:
      self._cuts[index] = (self._recent[-1], step)
    self._steps.append(step)
    self._empty.append(_of_one_colour(now))
    self._recent.append(now)
    self._fading.append(self._fades())
    return may_be

  def take_back(self) -> None:
    """Discards the cut before the last frame."""
    self._cuts.pop(len(self._steps) - 1, None)

  def _is_back(self, index, now):
    """Whether the picture is back to that before a recent cut, which then was only a flash."""
    for at, (before, step) in list(self._cuts.items()):
      if before is None or index - at > _FLASH:
        self._cuts[at] = (None, step)
      elif _difference(before, now) < max(.35 * step, _LEAST / 2):
        for flash in [cut for cut in self._cuts if at <= cut]:
          del self._cuts[flash]
        return True
    return False

  def _fades(self):
    """Distance of the first and last recent frames if the middle one is their mean; else 0."""
    if len(self._recent) < 2 * _HALF_FADE + 1:
      return 0.0
    first, last = self._recent[0], self._recent[-1]
    apart = _difference(first, last)
    if apart < _FADE_LEAST:
      return 0.0
    for share in (.25, .5, .75):
      mixed = cv2.addWeighted(first, 1 - share, last, share, 0)
      if _difference(self._recent[round(2 * share * _HALF_FADE)], mixed) > .3 * apart:
        return 0.0
    return apart if _unmoved(first, last) > apart / 2 else 0.0

  def shots(self) -> np.ndarray:
    """The number of each frame's shot, int32 [F] from 0."""
    steps, starts = np.array(self._steps), np.zeros(len(self._steps), bool)
    for at, (_, step) in self._cuts.items():
      near = [i for i in range(max(at - _NEAR, 1), min(at + _NEAR + 1, len(steps)))
              if i not in self._cuts]
      starts[at] = not near or step > _TIMES * steps[near].mean()
    # The middle of a fade is detected half a fade later.
    fading = np.array([*self._fading[_HALF_FADE:], *[0.0] * _HALF_FADE])[:len(steps)]
    edges = np.flatnonzero(np.diff(np.r_[0, fading > 0, 0]))
    for start, stop in edges.reshape(-1, 2).tolist():
      at = start + int(fading[start:stop].argmax())
      if not starts[max(at - _HALF_FADE, 0):at + _HALF_FADE].any():
        starts[at] = True
    return np.cumsum(starts).astype(np.int32)

  def empty(self) -> np.ndarray:
    """Whether a frame shows nothing, being of one colour; bool [F]."""
    return np.array(self._empty, bool)


def shows_nothing(image: np.ndarray) -> bool:
  """Whether an image, uint8 [H, W, 3], is of one colour."""
  return _of_one_colour(_thumbnail(image))


def _of_one_colour(thumbnail):
  return bool(cv2.meanStdDev(thumbnail)[1].max() < _EMPTY)


def _thumbnail(image):
  steps = [max(1, length // (2 * _SIDE)) for length in image.shape[:2]]
  part = np.ascontiguousarray(image[::steps[0], ::steps[1]])
  return cv2.resize(part, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)


def _difference(one, other):
  return cv2.norm(one, other, cv2.NORM_L1) / one.size


def _unmoved(one, other):
  """The least difference of two thumbnails over small shifts of one."""
  least, reach = np.inf, 4
  for y in range(-reach, reach + 1):
    for x in range(-reach, reach + 1):
      a = one[max(y, 0):_SIDE + min(y, 0), max(x, 0):_SIDE + min(x, 0)]
      b = other[max(-y, 0):_SIDE + min(-y, 0), max(-x, 0):_SIDE + min(-x, 0)]
      least = min(least, _difference(np.ascontiguousarray(a), np.ascontiguousarray(b)))
  return least

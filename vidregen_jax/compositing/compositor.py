"""Pastes generated faces into their frames, with what pasting has to remember along a video."""

import functools

import cv2
import numpy as np

from vidregen_jax.compositing import colour_limits, film_grain, flicker, occlusion, paste
from vidregen_jax.faces import crop_mask, face_track

_NOTICED = .01  # of the lower face: less is not reported
# Share of the mouth that is hidden. Frames are left as they are from the first value up, and until
# it falls below the second, so that old and new mouths do not alternate (hysteresis).
_HIDDEN, _SEEN = .6, .4
# Levels between the colours of a crop. It counts as black and white up to the first value, and
# stays so up to the second (hysteresis).
_GREY, _COLOUR = 2., 4.


class Paster:
  """Pastes frame after frame, in order; memory does not grow with the video.

  Args:
    size: S, the crop's side.
    track: face_track.Track of the film.
    seed: of the grain.
    clear_crops: by person of the track, crops uint8 [N, S, S, 3] of any size that show how the face
      varies; with fewer than 4, occluders are not searched for, and without any, colours are not
      held.
    keep_occluders: whether to search for occluders.
    grain: whether generated crops lack the source's grain, and get some.

  Attributes:
    hidden: [start, stop, share] of frames in which this share of the lower face is occluded,
      rounded to tenths; consecutive frames are one row.
    left: [start, stop] of frames that were left as they are, as the mouth is hidden.
  """

  def __init__(self, size, track, seed, clear_crops, keep_occluders=True, grain=True):
    self._size, self._track = size, track
    self._limits = {person: colour_limits.ColourLimits(_resized(crops, size))
                    for person, crops in clear_crops.items()}
    self._lower_face = crop_mask.lower_face_mask(size, soft=True)
    self._mouths = face_track.largest_mouths(track)
    self._grain = film_grain.Grain(seed) if grain else None
    self._deflicker = flicker.Deflicker()
    self._occluders = {person: occlusion.Occluders(crops) for person, crops in clear_crops.items()
                       if keep_occluders}
    self._next, self._passing, self._grey = None, False, False
    self.hidden, self.left = [], []

  def __call__(self, shot, new):
    """Pastes the generated face into the part of a frame that its shot holds.

    Args:
      shot: regenerator.Shot of the film.
      new: uint8 [S, S, 3], the generated crop.

    Returns:
      uint8 [h, w, 3], or None if the mouth is hidden and the frame stays as it is.
    """
    index, crop, track = shot.frame.index, shot.crop, self._track
    if index != self._next:
      if self._grain:
        self._grain.restart()
      self._deflicker.restart()
      for each in self._occluders.values():
        each.restart()
      self._passing = self._grey = False
    self._next = index + 1
    mask = crop_mask.paste_mask(self._size, track.jaw[index], self._mouths[index])
    occluders = self._occluders.get(int(track.person[index]))
    matte = occluders(crop) if occluders else np.zeros_like(mask)
    share = float((self._lower_face * matte).sum() / self._lower_face.sum())
    if share >= _NOTICED:
      _note(self.hidden, index, [max(round(share, 1), .1)])
    mouth = occlusion.hides(matte, track.mouth_box[index])
    self._passing = mouth >= (_SEEN if self._passing else _HIDDEN)
    if self._passing:
      _note(self.left, index, [])
      return None
    new = np.rint(new + matte[..., None] * (crop.astype(np.float32) - new)).astype(np.uint8)
    self._grey = paste.colours_apart(crop) <= (_COLOUR if self._grey else _GREY)
    if self._grey:
      new = paste.luma_alone(new, crop)
    new = self._limits[int(track.person[index])](new, crop)
    new = paste.match_rim(new, crop, mask)
    new = self._deflicker(new, crop, track.mouth_box[index])
    pasted = paste.paste(shot.image, new, shot.affine, mask * (1 - matte), crop,
                         functools.partial(self._grain, index) if self._grain else None,
                         crop_mask.skin_mask(self._size, track.jaw[index], track.mouth_box[index]))
    # Once more, as the grain, once rounded, has a little colour.
    return paste.luma_alone(pasted, shot.image) if self._grey else pasted


def _resized(crops, size):
  """Crops uint8 [N, s, s, 3] at another size."""
  return np.stack([cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
                   for crop in crops]) if len(crops) else crops


def _note(rows, index, what):
  """Appends a frame to rows of [start, stop, *what]."""
  if rows and rows[-1][1] == index and rows[-1][2:] == what:
    rows[-1][1] = index + 1
  else:
    rows.append([index, index + 1, *what])

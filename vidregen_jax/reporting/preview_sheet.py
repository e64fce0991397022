"""A sheet of stills: what an edit will look like, before all of it is paid for.

Of every stretch the first second is made, as it will be in the video (but where the stretch is
longer, without knowing what comes after it).
"""

import dataclasses
import os
import pathlib

import cv2
import numpy as np

from vidregen_jax.errors import UserError
from vidregen_jax.faces import landmarks
from vidregen_jax.media import image_grid
from vidregen_jax.models import codec

_SECONDS = 1.0
_STILLS = 5  # of a stretch
_MOST = 40  # stretches on a sheet
_SIDE, _TOP = 320, .3  # of an enlarged crop; what lies above is the same in both
_LINE = 36  # pixels of a line of text
_PAPER, _INK, _QUIET = (22, 21, 19), (236, 233, 227), (169, 163, 153)
_SUFFIXES = ('.png', '.jpg')


def check(path) -> None:
  """Refuses a path that no sheet can be written to."""
  path = pathlib.Path(path)
  if path.suffix.lower() not in _SUFFIXES:
    raise UserError(f'--preview {path}: can write {" and ".join(_SUFFIXES)}; choose one of them')
  if not os.path.isdir(path.parent):
    raise UserError(f'{path.parent}: no such folder; make it first')


def write(part, take, paster, runs, track, fade: float) -> int:
  """Makes a little of every stretch and writes the sheet, source above edit.

  Args:
    part: pathlib.Path, .png or .jpg, that will get its name when it is whole.
    take: regenerator.Retake.
    paster: compositor.Paster.
    runs: run_plan.Run of what the edit would make.
    track: face_track.Track along the film.
    fade: seconds, as of the edit: what is made must reach so much farther than what is shown.

  Returns:
    How many stretches there are, of which the first 40 are shown.

  Raises:
    OSError: it cannot be written.
  """
  short = [_beginning(run, track.times, _SECONDS + fade) for run in runs[:_MOST]]
  stills = [_moments(run, track.times) for run in short]
  tiles = {}
  for shot, face in take.frames(short, [(run.start, run.stop) for run in short]):
    index = shot.frame.index
    pasted = None if face is None else paster(shot, face)
    if any(index in moments for moments in stills):
      tiles[index] = [_mouth(picture, track.affine[index])
                      for picture in (shot.frame.image, _whole(shot, pasted))]
  rows = []
  for run, moments in zip(runs, stills, strict=False):
    begin, end = track.times[[run.start, min(run.stop, len(track) - 1)]]
    rows.append(_text([(12, f'{begin:.2f} to {end:.2f} s: source above, edit below')], _INK))
    for pictures in zip(*(tiles[index] for index in moments), strict=True):
      rows.append(_filled(np.concatenate(pictures, 1)))
    rows.append(_text([(12 + _SIDE * i, f'{track.times[index]:.2f} s')
                       for i, index in enumerate(moments)], _QUIET))
  image_grid.write(part, np.concatenate(rows))
  return len(runs)


def _beginning(run, times, seconds):
  """A run, or its first seconds."""
  stop = int(np.searchsorted(times, times[run.start] + seconds))
  if stop >= run.stop:
    return run
  padded = run.start + -(-(stop - run.start) // codec.TIME_FACTOR) * codec.TIME_FACTOR
  return dataclasses.replace(run, stop=stop, padded=padded, anchor=None)


def _moments(run, times) -> list[int]:
  """The frames of a run that are shown."""
  last = min(int(np.searchsorted(times, times[run.start] + _SECONDS)), run.stop) - 1
  return np.unique(np.linspace(run.start, last, _STILLS).round().astype(int)).tolist()


def _whole(shot, pasted):
  """A frame's picture with what was pasted into a part of it, if anything."""
  image = shot.frame.image.copy()
  if pasted is not None:
    left, top = shot.at
    image[top:top + len(pasted), left:left + pasted.shape[1]] = pasted
  return image


def _mouth(image, affine):
  return landmarks.crop(image, affine, _SIDE)[round(_TOP * _SIDE):]


def _filled(row):
  """A row of pictures as wide as the sheet."""
  sheet = np.full((len(row), _STILLS * _SIDE, 3), _PAPER, np.uint8)
  sheet[:, :row.shape[1]] = row
  return sheet


def _text(words, colour):
  """A line of words, [(pixels from the left, words)]."""
  line = np.full((_LINE, _STILLS * _SIDE, 3), _PAPER, np.uint8)
  for left, word in words:
    cv2.putText(line, word, (left, _LINE - 12), cv2.FONT_HERSHEY_SIMPLEX, .5, colour, 1,
                cv2.LINE_AA)
  return line

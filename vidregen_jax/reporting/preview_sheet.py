"""A sheet of stills that previews an edit at a fraction of its cost.

The first second of every stretch is generated as it will be in the video (except that in a longer
stretch the model does not know the frames after it).
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
_STILLS = 5  # per stretch
_MOST = 40  # stretches on a sheet
_SIDE, _TOP = 320, .3  # of an enlarged crop; above this share both pictures are the same
_LINE = 36  # pixels of a line of text
_PAPER, _INK, _QUIET = (22, 21, 19), (236, 233, 227), (169, 163, 153)
_SUFFIXES = ('.png', '.jpg')


def check(path) -> None:
  """Checks that a sheet can be written to a path.

  Raises:
    UserError: it cannot.
  """
  path = pathlib.Path(path)
  if path.suffix.lower() not in _SUFFIXES:
    raise UserError(f'--preview {path}: can write {" and ".join(_SUFFIXES)}; choose one of them')
  if not os.path.isdir(path.parent):
    raise UserError(f'{path.parent}: no such folder; make it first')


def write(part, take, paster, runs, track, fade: float) -> int:
  """Generates the beginning of every stretch and writes the sheet, source above edit.

  Args:
    part: pathlib.Path, .png or .jpg, of the temporary file.
    take: regenerator.Retake.
    paster: compositor.Paster.
    runs: run_plan.Run of the frames that the edit would regenerate.
    track: face_track.Track along the film.
    fade: seconds, as in the edit: frames are generated this much beyond those that are shown.

  Returns:
    The number of stretches, of which the first 40 are shown.

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
                      for picture in (shot.frame.image, shot.whole(pasted))]
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
  """A run, cut to its first seconds."""
  stop = int(np.searchsorted(times, times[run.start] + seconds))
  if stop >= run.stop:
    return run
  padded = run.start + -(-(stop - run.start) // codec.TIME_FACTOR) * codec.TIME_FACTOR
  return dataclasses.replace(run, stop=stop, padded=padded, anchor=None)


def _moments(run, times) -> list[int]:
  """The frames of a run that are shown."""
  last = min(int(np.searchsorted(times, times[run.start] + _SECONDS)), run.stop) - 1
  return np.unique(np.linspace(run.start, last, _STILLS).round().astype(int)).tolist()


def _mouth(image, affine):
  return landmarks.crop(image, affine, _SIDE)[round(_TOP * _SIDE):]


def _filled(row):
  """A row of pictures, padded to the width of the sheet."""
  sheet = np.full((len(row), _STILLS * _SIDE, 3), _PAPER, np.uint8)
  sheet[:, :row.shape[1]] = row
  return sheet


def _text(words, colour):
  """A line of text from [(pixels from the left, words)]."""
  line = np.full((_LINE, _STILLS * _SIDE, 3), _PAPER, np.uint8)
  for left, word in words:
    cv2.putText(line, word, (left, _LINE - 12), cv2.FONT_HERSHEY_SIMPLEX, .5, colour, 1,
                cv2.LINE_AA)
  return line

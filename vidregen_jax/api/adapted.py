"""A checkpoint that is tuned to the very video that is edited, before it is edited."""

import os
import pathlib

import numpy as np
from scipy import ndimage

from vidregen_jax.api import models
from vidregen_jax.editing import preparation
from vidregen_jax.errors import UserError
from vidregen_jax.media.timeline import spans
from vidregen_jax.provenance import consent as consents

_NEAR = 4  # frames around a span that are not learned from either


def folder(request: preparation.Edit, minutes: float) -> pathlib.Path:
  """Where the tuned checkpoint of an edit will be, beside its video.

  Raises:
    UserError: the edit cannot be made with one.
  """
  if not minutes > 0:
    raise UserError(f'--adapt {minutes:g}: give the minutes that it may take')
  faces = [request.face, *(one.face for one in request.options if one.face is not None)]
  if other := [face for face in faces if face != 'largest']:
    raise UserError(f'--adapt learns the largest face, and --face {other[0]} names another: adapt '
                    'to footage of that one (`python -m vidregen_jax.adapt`), and name the result '
                    'by --checkpoint')
  path = pathlib.Path(request.out).with_suffix('.adapted')
  if os.path.lexists(path):
    raise UserError(f'{path} is there already: edit with it, --checkpoint {path}, or remove it')
  return path


def load(ready: preparation.Prepared, checkpoint: pathlib.Path, minutes: float,
         perceptual: str = '', compile_cache: bool = True) -> models.Model:
  """Tunes a checkpoint to the frames outside an edit's spans, and loads the result.

  Args:
    ready: the prepared edit.
    checkpoint: folder of the system to tune.
    minutes: how long it may take.
    perceptual: folder of VGG16 with LPIPS heads; '' for none.
    compile_cache: as of `models.load`.

  Raises:
    UserError: the video shows too little of the person, or what trains is not installed.
  """
  try:
    from vidregen_jax.adaptation import tuning  # with the extra of trainings
  except ModuleNotFoundError as error:
    raise UserError(f"--adapt needs {error.name}: pip install 'vidregen_jax[train]'") from error
  from vidregen_jax.adaptation import footage

  made = folder(ready.edit, minutes)
  source, film = pathlib.Path(ready.film.source.path), ready.film
  in_spans = np.zeros(film.source.frame_count, bool)
  in_spans[film.timeline.source[spans.frames(ready.sound.spans, film.times)]] = True
  # A frame beside the span is nearly one of it.
  left_out = ndimage.binary_dilation(in_spans, iterations=_NEAR)
  tuning.tune(tuning.Request(
    system=checkpoint, own=(source, ),
    beside=tuple(footage.spread(footage.videos(footage.BESIDE))), perceptual=perceptual,
    consent=consents.told(ready.edit.consent), minutes=minutes, left_out={source: left_out}), made)
  return models.load(made, compile_cache=compile_cache)

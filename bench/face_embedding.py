"""Whose face is it? The face recognition network of dlib, to compare people by.

  pip install -e '.[identity]'

The network (Davis King, 2017, CC0) was trained to bring pictures of one person within .6 of each
other and of two people further apart: 99.4 % of the pairs of Labeled Faces in the Wild. The package
face_recognition_models carries its weights.
"""

import importlib.util
import pathlib

import numpy as np

from vidregen_jax.errors import UserError

SAME = 0.6  # distance within which two pictures show one person, by its author
# Where dlib's own detector sees the face in a canonical crop: left, top, right, bottom.
_BOX = (.07, .07, .91, .91)
_WEIGHTS = 'dlib_face_recognition_resnet_model_v1.dat'
_CORNERS = 'shape_predictor_5_face_landmarks.dat'


def load():
  """A function of canonical crops uint8 [N, S, S, 3], to float64 [N, 128].

  Raises:
    UserError: the packages are not installed.
  """
  try:
    import dlib
  except ImportError as error:
    raise UserError("dlib is missing: install it with pip install -e '.[identity]'") from error
  package = importlib.util.find_spec('face_recognition_models')
  if not package:
    raise UserError("face_recognition_models is missing: install it with pip install -e "
                    "'.[identity]'")
  models = pathlib.Path(package.submodule_search_locations[0]) / 'models'
  corners = dlib.shape_predictor(str(models / _CORNERS))
  network = dlib.face_recognition_model_v1(str(models / _WEIGHTS))

  def embed(crops):
    box = dlib.rectangle(*(round(part * crops.shape[1]) for part in _BOX))
    return np.array([network.compute_face_descriptor(crop, corners(crop, box)) for crop in crops])

  return embed


def distance(ones, others) -> float:
  """Between two people, of whom some pictures are given, [N, 128] and [K, 128]: of their means."""
  return float(np.linalg.norm(ones.mean(0) - others.mean(0)))

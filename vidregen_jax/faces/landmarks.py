"""Faces: found in an image, and brought to one canonical crop.

The crop is set by the eyes and the nose alone. Jaw and lips must not move it: a crop that shrank
when the mouth opened would tell a model how far open the mouth was.

Coordinates: an integer is a pixel's centre. In a crop of S pixels, pixel x lies at the crop
fraction (x + .5) / S, so one affine serves every S.

The two networks are Google's BlazeFace (arXiv 1907.05047) and face mesh (arXiv 1907.06724), run by
LiteRT on one thread. Point numbers are those of the 468-point mesh.
"""

import dataclasses
import math
import os
import pathlib
from typing import NamedTuple

import cv2
import numpy as np
from ai_edge_litert import interpreter as litert

from vidregen_jax import terminal
from vidregen_jax.faces import crop_mask

# Mesh points. 'Left' and 'right' are the image's, not the person's.
LEFT_EYE = (33, 133)
RIGHT_EYE = (263, 362)
# The nose's base, not its bridge: so low that the whole chin stays inside the crop.
NOSE = (1, 2, 98, 327)
EYE_CORNERS = (33, 263)
INNER_LIPS = (13, 14)
MOUTH_CORNERS = (61, 291)
LIPS = (0, 13, 14, 17, 37, 39, 40, 61, 78, 80, 81, 82, 84, 87, 88, 91, 95, 146, 178, 181, 185, 191,
        267, 269, 270, 291, 308, 310, 311, 312, 314, 317, 318, 321, 324, 375, 402, 405, 409, 415)
# The face's outline below the ears' tops, from the image's left along the chin to its right.
JAW = (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288,
       361, 323, 454, 356)

# Where the three anchors lie in the crop, in fractions (x, y).
ANCHORS = np.array(crop_mask.ANCHORS)

_MIN_SCORE = .5
_FOLDER = pathlib.Path(__file__).parent
_DELEGATE = 'INFO: Created TensorFlow Lite XNNPACK delegate'  # told of every network, by no flag


@dataclasses.dataclass(frozen=True)
class Landmarks:
  """One face in one image.

  Attributes:
    points: float32 [468, 3]: x and y in image pixels, z (depth, away from the camera) alike.
    score: How sure the mesh network is that this is a face, 0 to 1.
  """

  points: np.ndarray
  score: float


class _Network:
  """A LiteRT model on one thread: one input, outputs returned largest first."""

  def __init__(self, name: str):
    self._run = litert.Interpreter(os.fspath(_FOLDER / name), num_threads=1)
    with terminal.without(_DELEGATE):
      self._run.allocate_tensors()
    self._input = self._run.get_input_details()[0]['index']
    outputs = sorted(self._run.get_output_details(), key=lambda d: -np.prod(d['shape']))
    self._outputs = [d['index'] for d in outputs]

  def __call__(self, image: np.ndarray) -> list[np.ndarray]:
    self._run.set_tensor(self._input, image[None])
    self._run.invoke()
    return [self._run.get_tensor(index) for index in self._outputs]


def _sigmoid(x):
  return 1 / (1 + np.exp(-np.clip(x, -80, 80)))


def _detector_grid() -> np.ndarray:
  """BlazeFace's anchor centres, float32 [896, 2]: 2 in each 16x16 cell, 6 in each 8x8 cell."""
  grids = []
  for cells, boxes in ((16, 2), (8, 6)):
    y, x = np.mgrid[:cells, :cells]
    centres = (np.stack([x, y], -1).reshape(-1, 2) + .5) / cells
    grids.append(np.repeat(centres, boxes, axis=0))
  return np.concatenate(grids).astype(np.float32)


def views(width: int, height: int) -> list[list[tuple[int, int, int, int]]]:
  """Rectangles (left, top, width, height) to search an image in, the coarsest first.

  The detector sees 128 pixels and wants a face to fill a tenth of them: so the whole image, then
  squares that cover it and overlap by at least half, then squares half as large.
  """
  side = min(width, height)
  return [[(0, 0, width, height)], _squares(width, height, side),
          _squares(width, height, side // 2)]


def _squares(width: int, height: int, side: int) -> list[tuple[int, int, int, int]]:
  if side == max(width, height) or side < 2 * Finder.DETECTOR_SIZE:
    return []
  left, top = (np.linspace(0, length - side, 1 + -(-(length - side) * 2 // side)).astype(int)
               for length in (width, height))
  return [(x, y, side, side) for y in top for x in left]


class Region(NamedTuple):
  """Where a face is: a square about half as large again as the face, which the mesh network wants.

  Attributes:
    centre: float64 [2], x and y in image pixels.
    side: in pixels.
    angle: of the line from the right eye to the left one, radians, clockwise.
    score: how sure the detector is that this is a face, 0 to 1; 1 where it was not asked.
  """

  centre: np.ndarray
  side: float
  angle: float
  score: float = 1.

  def meets(self, other: 'Region') -> bool:
    """Whether both are of one face, rather than of two side by side."""
    return math.dist(self.centre, other.centre) < .35 * max(self.side, other.side)


class Finder:
  """Finds faces in an image, and reads the points of one whose region is known."""

  DETECTOR_SIZE = 128
  _MESH_SIZE = 192
  _REGION_SCALE = 1.5

  def __init__(self):
    self._detector = _Network('face_detection_short_range.tflite')
    self._mesh = _Network('face_landmark.tflite')
    self._grid = _detector_grid()
    self.detections = 0

  def search(self, image: np.ndarray, view: tuple[int, int, int, int],
             turns: int = 0) -> list[Region]:
    """The faces in one rectangle of an image.

    Args:
      image: uint8 [H, W, 3] RGB.
      view: as in `views`.
      turns: quarter turns, clockwise, that bring the image upright: the detector knows no faces
        that lie on their side.
    """
    self.detections += 1
    left, top, width, height = view
    size, side = self.DETECTOR_SIZE, max(width, height)
    scale = size / side
    if min(width, height) * scale < 1:  # a strip that the detector would not see a pixel of
      return []
    part = image[top:top + height, left:left + width]
    if side > 4 * size:  # of many pixels 16 are enough to make one of the detector's
      part = cv2.resize(part, None, fx=4 * scale, fy=4 * scale, interpolation=cv2.INTER_NEAREST)
    small = cv2.resize(part, (max(1, round(width * scale)), max(1, round(height * scale))),
                       interpolation=cv2.INTER_AREA)
    y, x = (size - small.shape[0]) // 2, (size - small.shape[1]) // 2
    square = np.zeros((size, size, 3), np.float32)
    square[y:y + small.shape[0], x:x + small.shape[1]] = small
    boxes, logits = self._detector(np.ascontiguousarray(np.rot90(square, -turns)) / 127.5 - 1)
    scores = _sigmoid(logits[0, :, 0])
    keep = scores > _MIN_SCORE
    scores, boxes, grid = scores[keep], boxes[0, keep] / size, self._grid[keep]
    # Columns: centre, width and height, then six points of which the first two are the eyes.
    centres, sides = boxes[:, :2] + grid, boxes[:, 2]
    eyes = boxes[:, 4:8].reshape(-1, 2, 2) + grid[:, None]
    # The same turn back, of a point from the square's middle and of a line between points.
    back = np.linalg.matrix_power(np.array([(0, 1), (-1, 0)]), turns)
    regions = []
    while len(scores):
      best = scores.argmax()
      same = np.abs(centres - centres[best]).max(1) < .3 * sides[best]
      weights = scores[same] / scores[same].sum()
      centre, (right, left_eye) = weights @ centres[same], np.tensordot(weights, eyes[same], 1)
      turn, centre = back @ (left_eye - right), .5 + back @ (centre - .5)
      regions.append(Region(
        centre * side - np.array([x, y]) / scale + (left, top),
        float(weights @ sides[same]) * side * self._REGION_SCALE,
        float(np.arctan2(turn[1], turn[0])), float(scores[best])))
      scores, centres, sides, eyes = (a[~same] for a in (scores, centres, sides, eyes))
    return regions

  def read(self, image: np.ndarray, region: Region) -> Landmarks | None:
    """The face in a region of an image, uint8 [H, W, 3]; None if there is none."""
    centre, side, angle, _ = region
    size = self._MESH_SIZE
    scale = side / size
    rotation = scale * np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
    affine = np.concatenate([rotation, (centre - rotation @ (size / 2, size / 2))[:, None]], 1)
    sample = warp(image, affine, size).astype(np.float32)
    sample *= 1 / 255
    points, logit = self._mesh(sample)
    score = float(_sigmoid(logit.item()))
    if score < _MIN_SCORE:
      return None
    points = points.reshape(-1, 3)
    flat = points[:, :2] @ rotation.T.astype(np.float32) + affine[:, 2].astype(np.float32)
    return Landmarks(np.concatenate([flat, points[:, 2:] * np.float32(scale)], 1), score)

  def region_around(self, points: np.ndarray) -> Region:
    """Where a face, [468, 2 or 3] image pixels, is to be looked for next."""
    eyes = points[EYE_CORNERS[1], :2] - points[EYE_CORNERS[0], :2]
    angle = float(np.arctan2(eyes[1], eyes[0]))
    turn = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    upright = points[:, :2] @ turn.T
    low, high = upright.min(0), upright.max(0)
    return Region(turn.T @ ((low + high) / 2), float((high - low).max()) * self._REGION_SCALE,
                  angle)


def warp(image: np.ndarray, affine: np.ndarray, size: int, exact: bool = False) -> np.ndarray:
  """Samples a [size, size] square of pixels from an image through an affine (square to image).

  Where the square is coarser than the image, across or down, the image is first averaged over whole
  blocks of pixels, so that nothing aliases. `exact` is slower: cubic, in floating point, and
  sampled twice as densely where blocks are too coarse a measure.
  """
  height, width = image.shape[:2]
  steps = np.hypot(affine[:, 0], affine[:, 1])  # image pixels, across and down, of the square's one
  blocks = np.maximum(np.trunc(steps) if exact else np.rint(steps), 1).astype(int)
  corners = affine @ np.array([(0, size, 0, size), (0, 0, size, size), (1, 1, 1, 1)], float)
  start = np.clip(np.floor(corners.min(1)) - 3 * blocks, 0, (width - 1, height - 1)).astype(int)
  stop = np.clip(np.ceil(corners.max(1)) + 3 * blocks, 1, (width, height)).astype(int)
  # Whole blocks only: a block that the image's edge cuts is left to the repeated border.
  count = np.maximum((stop - start) // blocks, 1)
  (x0, y0), (x1, y1) = start, start + count * blocks
  patch = image[y0:y1, x0:x1]
  if exact:
    patch = patch.astype(np.float32)
  if blocks.max() > 1:
    patch = cv2.resize(patch, count.tolist(), interpolation=cv2.INTER_AREA)
  affine = np.concatenate([affine[:, :2], affine[:, 2:] - (start + (blocks - 1) / 2)[:, None]],
                          1) / blocks[:, None]
  fine = 2 if exact and (steps / blocks).max() > 1.1 else 1
  affine = affine @ np.array([(1 / fine, 0, .5 / fine - .5), (0, 1 / fine, .5 / fine - .5),
                              (0, 0, 1)])
  sample = cv2.warpAffine(
    patch, affine, (size * fine, size * fine), borderMode=cv2.BORDER_REPLICATE,
    flags=(cv2.INTER_CUBIC if exact else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP)
  return cv2.resize(sample, (size, size), interpolation=cv2.INTER_AREA) if fine > 1 else sample


def crop(image: np.ndarray, affine: np.ndarray, size: int) -> np.ndarray:
  """Cuts the canonical crop out of an image.

  Args:
    image: uint8 [H, W, 3].
    affine: [2, 3], crop fraction to image pixel, as in `face_track.Track.affine`.
    size: S, the crop's side in pixels.

  Returns:
    uint8 [S, S, 3]. What lies outside the image repeats its edge.

  Raises:
    ValueError: the affine is not finite, as in frames where a track is not valid.
  """
  sample = warp(image, pixel_affine(affine, size), size, exact=True)
  return np.clip(np.rint(sample), 0, 255).astype(np.uint8)


def pixel_affine(affine: np.ndarray, size: int) -> np.ndarray:
  """The same transform from the pixels of a crop of side `size`, float64 [2, 3].

  Raises:
    ValueError: the affine is not finite, as in frames where a track is not valid.
  """
  affine = np.asarray(affine, np.float64)
  if not np.isfinite(affine).all():
    raise ValueError('no crop here: the affine is not finite, the track not valid in this frame')
  return affine @ np.array([(1 / size, 0, .5 / size), (0, 1 / size, .5 / size), (0, 0, 1)])


def to_fractions(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
  """Image pixels [..., F, P, 2] as crop fractions, given affine [..., F, 2, 3]."""
  inverse = np.linalg.inv(np.asarray(affine, np.float64)[..., :2])
  return ((points - affine[..., None, :, 2]) @ np.swapaxes(inverse, -1, -2)).astype(np.float32)


def lip_gap(landmarks: np.ndarray) -> np.ndarray:
  """Opening of the inner lips over the distance of the outer eye corners.

  Args:
    landmarks: [..., 468, 2 or 3].

  Returns:
    [...], no unit: 0 closed, about .5 wide open.
  """
  return _distance(landmarks, INNER_LIPS) / _distance(landmarks, EYE_CORNERS)


def mouth_width(landmarks: np.ndarray) -> np.ndarray:
  """Distance of the mouth's corners over that of the outer eye corners, [...], no unit."""
  return _distance(landmarks, MOUTH_CORNERS) / _distance(landmarks, EYE_CORNERS)


def _distance(landmarks: np.ndarray, ends: tuple[int, int]) -> np.ndarray:
  one, other = ends
  return np.linalg.norm(landmarks[..., one, :2] - landmarks[..., other, :2], axis=-1)


def yaw(points: np.ndarray) -> float:
  """Degrees by which the line between the temples (points 234 and 454) is turned in depth."""
  across = points[454] - points[234]
  return float(np.degrees(np.arctan2(across[2], np.hypot(across[0], across[1]))))


def similarity(points: np.ndarray) -> np.ndarray:
  """The least-squares similarity from ANCHORS to a face's anchors.

  In complex numbers, with both sets taken from their means: w = s z, s = sum(z* w) / sum(|z|^2).

  Args:
    points: [468, 2 or 3] image pixels.

  Returns:
    float64 [4]: real and imaginary part of s (pixels per crop side), mean x, mean y.
  """
  anchors = np.array([points[list(group), :2].mean(0) for group in (LEFT_EYE, RIGHT_EYE, NOSE)])
  mean = anchors.mean(0)
  z = (ANCHORS - ANCHORS.mean(0)) @ (1, 1j)
  w = (anchors - mean) @ (1, 1j)
  scale = (z.conj() @ w) / (z.conj() @ z).real
  return np.array([scale.real, scale.imag, *mean])


def affines(similarity: np.ndarray) -> np.ndarray:
  """[F, 4] as `similarity` gives it to [F, 2, 3], crop fraction to image pixel."""
  real, imaginary = similarity[:, 0], similarity[:, 1]
  turn = np.stack([np.stack([real, -imaginary], -1), np.stack([imaginary, real], -1)], -2)
  shift = similarity[:, 2:] - turn @ ANCHORS.mean(0)
  return np.concatenate([turn, shift[..., None]], -1)

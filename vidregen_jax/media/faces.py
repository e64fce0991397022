"""Faces: found, followed and brought to one canonical crop.

A video of F frames becomes a `Track`: for every frame, the similarity transform from the canonical
crop to the image. The crop is set by the eyes and the nose alone. Jaw and lips must not move it:
a crop that shrank when the mouth opened would tell a model how far open the mouth was.

Coordinates: an integer is a pixel's centre. In a crop of S pixels, pixel x lies at the crop
fraction (x + .5) / S, so one affine serves every S.

The two networks are Google's BlazeFace (arXiv 1907.05047) and face mesh (arXiv 1907.06724), run by
LiteRT on one thread. Point numbers are those of the 468-point mesh.

  python -m vidregen_jax.media.faces VIDEO      prints how many frames have a face, and the speed
"""

import argparse
import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
from ai_edge_litert import interpreter as litert

from vidregen_jax import errors
from vidregen_jax.media import video

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

# Where the three anchors lie in the crop, in fractions (x, y).
ANCHORS = np.array([(.32, .30), (.68, .30), (.50, .50)])

MAX_GAP = 8
MAX_YAW = 60.
_MIN_SCORE = .5
_SHARPNESS_SIDE = 128  # pixels of the crop that is looked at
_MOUTH_PADDING = .15
# Smoothing: the kernel's standard deviation, 2 frames at 25 per second, and how far, as a share of
# the crop's side, a single frame may stand out before it is taken for a mistake.
_SIGMA_SECONDS = .08
_OUTLIER = .05
_FOLDER = pathlib.Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Landmarks:
  """One face in one image.

  Attributes:
    points: float32 [468, 3]: x and y in image pixels, z (depth, away from the camera) alike.
    score: How sure the mesh network is that this is a face, 0 to 1.
  """

  points: np.ndarray
  score: float


@dataclasses.dataclass(frozen=True)
class Track:
  """One face through a video of F frames.

  Attributes:
    times: float64 [F] seconds.
    affine: float32 [F, 2, 3], crop fraction to image pixel, smoothed in time; nan where not valid.
    valid: bool [F]; whether the frame can be worked on: a face was found or filled in, and not
      turned away by more than MAX_YAW degrees.
    filled: bool [F]; no face was found, but there was one so shortly before and after that the
      frame's values are interpolated. These frames are valid.
    score: float32 [F] of the mesh network; 0 where no face was found.
    yaw: float32 [F] degrees by which the head is turned, positive to the image's right.
    mouth_box: float32 [F, 4] crop fractions x0, y0, x1, y1 around the lips, padded.
    lip_gap: float32 [F], see `lip_gap`.
    mouth_width: float32 [F], see `mouth_width`.
    sharpness: float32 [F], mean absolute Laplacian of the crop's luma: of two frames of a video,
      the one with less is blurred.
    landmarks: float32 [F, 468, 2] image pixels, as found (not smoothed), or None if not kept.
      All of these are nan where there is no face.
  """

  times: np.ndarray
  affine: np.ndarray
  valid: np.ndarray
  filled: np.ndarray
  score: np.ndarray
  yaw: np.ndarray
  mouth_box: np.ndarray
  lip_gap: np.ndarray
  mouth_width: np.ndarray
  sharpness: np.ndarray
  landmarks: np.ndarray | None

  def __len__(self) -> int:
    return len(self.valid)


class _Network:
  """A LiteRT model on one thread: one input, outputs returned largest first."""

  def __init__(self, name: str):
    self._run = litert.Interpreter(os.fspath(_FOLDER / name), num_threads=1)
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


def _squares(width: int, height: int, side: int) -> list[tuple[int, int, int, int]]:
  """Squares (left, top, side, side) that cover an image and overlap by at least half."""
  if side == max(width, height) or side < 2 * Tracker.DETECTOR_SIZE:
    return []
  left, top = (np.linspace(0, length - side, 1 + -(-(length - side) * 2 // side)).astype(int)
               for length in (width, height))
  return [(x, y, side, side) for y in top for x in left]


class Tracker:
  """Follows the largest face of the first image through a video, one image at a time.

  The region looked at in an image comes from the points of the image before; only when those are
  lost is the whole image searched again.
  """

  DETECTOR_SIZE = 128
  _MESH_SIZE = 192
  # The mesh network wants a square half as large again as the face.
  _REGION_SCALE = 1.5

  def __init__(self):
    self._detector = _Network('face_detection_short_range.tflite')
    self._mesh = _Network('face_landmark.tflite')
    self._grid = _detector_grid()
    self._region = None
    self._faceless = 0
    self.detections = 0

  def __call__(self, image: np.ndarray) -> Landmarks | None:
    """Finds the face in the next image.

    Args:
      image: uint8 [H, W, 3] RGB.
    """
    face = self._read_points(image, self._region) if self._region is not None else None
    if face is None:
      region = self._detect(image)
      face = self._read_points(image, region) if region is not None else None
    self._region = self._region_around(face.points) if face is not None else None
    self._faceless = 0 if face is not None else self._faceless + 1
    return face

  def _detect(self, image: np.ndarray):
    """The largest face's region: centre (x, y), side in pixels, angle in radians; or None.

    The detector sees 128 pixels and wants a face to fill a tenth of them. So where the whole image
    shows none, its overlapping squares are searched too, and then squares half as large: at once
    when a face is lost, and in every eighth image from then on, as it takes as long as ten images.
    """
    self.detections += 1
    thorough = self._faceless % 8 == 0
    height, width = image.shape[:2]
    side = min(height, width)
    levels = [[(0, 0, width, height)]]
    if thorough:
      levels += [_squares(width, height, side), _squares(width, height, side // 2)]
    for views in levels:
      found = [face for view in views for face in self._detect_in(image, *view)]
      if found:
        return max(found, key=lambda region: region[1])
    return None

  def _detect_in(self, image, left, top, width, height) -> list:
    size, side = self.DETECTOR_SIZE, max(width, height)
    scale = size / side
    part = image[top:top + height, left:left + width]
    small = cv2.resize(part, (max(1, round(width * scale)), max(1, round(height * scale))),
                       interpolation=cv2.INTER_AREA)
    y, x = (size - small.shape[0]) // 2, (size - small.shape[1]) // 2
    square = np.zeros((size, size, 3), np.float32)
    square[y:y + small.shape[0], x:x + small.shape[1]] = small
    boxes, logits = self._detector(square / 127.5 - 1)
    scores = _sigmoid(logits[0, :, 0])
    keep = scores > _MIN_SCORE
    scores, boxes, grid = scores[keep], boxes[0, keep] / size, self._grid[keep]
    # Columns: centre, width and height, then six points of which the first two are the eyes.
    centres, sides = boxes[:, :2] + grid, boxes[:, 2]
    eyes = boxes[:, 4:8].reshape(-1, 2, 2) + grid[:, None]
    faces = []
    while len(scores):
      best = scores.argmax()
      same = np.abs(centres - centres[best]).max(1) < .3 * sides[best]
      weights = scores[same] / scores[same].sum()
      centre, (right, left_eye) = weights @ centres[same], np.tensordot(weights, eyes[same], 1)
      turn = left_eye - right
      centre = centre * side - np.array([x, y]) / scale + (left, top)
      faces.append((centre, float(weights @ sides[same]) * side * self._REGION_SCALE,
                    float(np.arctan2(turn[1], turn[0]))))
      scores, centres, sides, eyes = (a[~same] for a in (scores, centres, sides, eyes))
    return faces

  def _read_points(self, image: np.ndarray, region) -> Landmarks | None:
    centre, side, angle = region
    size = self._MESH_SIZE
    scale = side / size
    rotation = scale * np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
    affine = np.concatenate([rotation, (centre - rotation @ (size / 2, size / 2))[:, None]], 1)
    seen = _warp_to(image, affine, size).astype(np.float32)
    seen *= 1 / 255
    points, logit = self._mesh(seen)
    score = float(_sigmoid(logit.item()))
    if score < _MIN_SCORE:
      return None
    points = points.reshape(-1, 3)
    flat = points[:, :2] @ rotation.T.astype(np.float32) + affine[:, 2].astype(np.float32)
    return Landmarks(np.concatenate([flat, points[:, 2:] * np.float32(scale)], 1), score)

  def _region_around(self, points: np.ndarray):
    eyes = points[EYE_CORNERS[1], :2] - points[EYE_CORNERS[0], :2]
    angle = float(np.arctan2(eyes[1], eyes[0]))
    turn = np.array([(np.cos(angle), np.sin(angle)), (-np.sin(angle), np.cos(angle))])
    upright = points[:, :2] @ turn.T
    low, high = upright.min(0), upright.max(0)
    return turn.T @ ((low + high) / 2), float((high - low).max()) * self._REGION_SCALE, angle


def _warp_to(image: np.ndarray, affine: np.ndarray, size: int, exact: bool = False) -> np.ndarray:
  """Samples a [size, size] square of pixels from an image through an affine (square to image).

  Where the square is coarser than the image, the image is first averaged over whole blocks of
  pixels, so that nothing aliases. `exact` is slower: cubic, in floating point, and sampled twice as
  densely where blocks are too coarse a measure.
  """
  height, width = image.shape[:2]
  step = float(np.hypot(*affine[:, 0]))
  block = max(1, int(step) if exact else round(step))
  corners = affine @ np.array([(0, size, 0, size), (0, 0, size, size), (1, 1, 1, 1)], float)
  x0, y0 = np.clip(np.floor(corners.min(1)) - 3 * block, 0, (width - 1, height - 1)).astype(int)
  x1, y1 = np.clip(np.ceil(corners.max(1)) + 3 * block, 1, (width, height)).astype(int)
  # Whole blocks only: a block that the image's edge cuts is left to the repeated border.
  columns, rows = max(1, (x1 - x0) // block), max(1, (y1 - y0) // block)
  patch = image[y0:y0 + rows * block, x0:x0 + columns * block]
  if exact:
    patch = patch.astype(np.float32)
  if block > 1:
    patch = cv2.resize(patch, (columns, rows), interpolation=cv2.INTER_AREA)
  affine = np.concatenate(
    [affine[:, :2], affine[:, 2:] - [[x0 + (block - 1) / 2], [y0 + (block - 1) / 2]]], 1) / block
  fine = 2 if exact and step / block > 1.1 else 1
  affine = affine @ np.array([(1 / fine, 0, .5 / fine - .5), (0, 1 / fine, .5 / fine - .5),
                              (0, 0, 1)])
  seen = cv2.warpAffine(
    patch, affine, (size * fine, size * fine), borderMode=cv2.BORDER_REPLICATE,
    flags=(cv2.INTER_CUBIC if exact else cv2.INTER_LINEAR) | cv2.WARP_INVERSE_MAP)
  return cv2.resize(seen, (size, size), interpolation=cv2.INTER_AREA) if fine > 1 else seen


def crop(image: np.ndarray, affine: np.ndarray, size: int) -> np.ndarray:
  """Cuts the canonical crop out of an image.

  Args:
    image: uint8 [H, W, 3].
    affine: [2, 3], crop fraction to image pixel, as in `Track.affine`.
    size: S, the crop's side in pixels.

  Returns:
    uint8 [S, S, 3]. What lies outside the image repeats its edge.

  Raises:
    ValueError: the affine is not finite, as in frames where a track is not valid.
  """
  seen = _warp_to(image, pixel_affine(affine, size), size, exact=True)
  return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


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


def _yaw(points: np.ndarray) -> float:
  """Degrees by which the line between the temples (points 234 and 454) is turned in depth."""
  across = points[454] - points[234]
  return float(np.degrees(np.arctan2(across[2], np.hypot(across[0], across[1]))))


def _similarity(points: np.ndarray) -> np.ndarray:
  """The least-squares similarity from ANCHORS to a face's anchors.

  In complex numbers, with both sets taken from their means: w = s z, s = sum(z* w) / sum(|z|^2).

  Args:
    points: [468, 2 or 3] image pixels.

  Returns:
    float64 [4]: real and imaginary part of s (pixels per crop side), mean x, mean y.
  """
  found = np.array([points[list(group), :2].mean(0) for group in (LEFT_EYE, RIGHT_EYE, NOSE)])
  mean = found.mean(0)
  z = (ANCHORS - ANCHORS.mean(0)) @ (1, 1j)
  w = (found - mean) @ (1, 1j)
  scale = (z.conj() @ w) / (z.conj() @ z).real
  return np.array([scale.real, scale.imag, *mean])


def _affines(similarity: np.ndarray) -> np.ndarray:
  """[F, 4] as `_similarity` gives it to [F, 2, 3], crop fraction to image pixel."""
  real, imaginary = similarity[:, 0], similarity[:, 1]
  turn = np.stack([np.stack([real, -imaginary], -1), np.stack([imaginary, real], -1)], -2)
  shift = similarity[:, 2:] - turn @ ANCHORS.mean(0)
  return np.concatenate([turn, shift[..., None]], -1)


def _jumps(before: np.ndarray, after: np.ndarray) -> np.ndarray:
  """Whether a face cannot have moved so far from one frame to the next: a cut, or another face."""
  side, other = np.hypot(*before[..., :2].T), np.hypot(*after[..., :2].T)
  moved = np.hypot(*(after - before)[..., 2:].T)
  return (moved > .35 * side) | (other > 1.3 * side) | (side > 1.3 * other)


def _fill_gaps(present: np.ndarray, times: np.ndarray, similarity: np.ndarray,
               values: Sequence[np.ndarray]) -> np.ndarray:
  """Interpolates short gaps in place, in `similarity` and `values` alike; returns which, bool [F].

  A gap is left alone if the face is somewhere else after it.
  """
  filled = np.zeros_like(present)
  known = np.flatnonzero(present)
  for before, after in zip(known[:-1], known[1:], strict=True):
    if not 1 < after - before <= MAX_GAP + 1 or _jumps(similarity[before], similarity[after]):
      continue
    gap = np.arange(before + 1, after)
    share = (times[gap] - times[before]) / (times[after] - times[before])
    for array in (similarity, *values):
      weight = share.reshape(-1, *[1] * (array.ndim - 1))
      array[gap] = (1 - weight) * array[before] + weight * array[after]
    filled[gap] = True
  return filled


def _smooth(times: np.ndarray, values: np.ndarray, tolerance: float) -> np.ndarray:
  """Smooths one unbroken stretch, symmetrically in time and so without lag.

  A parabola is fitted around every moment with Gaussian weights in seconds (Savitzky and Golay's
  filter for uneven times). Frames that stand out from their neighbours have no weight.

  Args:
    times: [N] seconds.
    values: [N, K].
    tolerance: By how much a frame must at least stand out, in the values' unit.
  """
  out = _standing_out(times, values)
  trusted = out <= max(tolerance, 4 * 1.4826 * float(np.median(out)))
  smoothed = np.empty_like(values)
  for i, now in enumerate(times):
    low, high = np.searchsorted(times, (now - 3 * _SIGMA_SECONDS, now + 3 * _SIGMA_SECONDS))
    near = np.arange(low, high)[trusted[low:high]]
    if not len(near):
      smoothed[i] = values[i]
      continue
    when = (times[near] - now) / _SIGMA_SECONDS
    powers = when[:, None] ** np.arange(1 + min(2, (len(near) - 1) // 2))
    weighted = powers * np.exp(-.5 * when**2)[:, None]
    smoothed[i] = np.linalg.solve(weighted.T @ powers, weighted.T @ values[near])[0]
  return smoothed


def _standing_out(times: np.ndarray, values: np.ndarray) -> np.ndarray:
  """How far each frame lies off the lines through its neighbours at 1, 2 and 3 frames, float [N].

  The least of the three counts: next to a wrong frame, one line is wrong and two are right.
  """
  count = len(times)
  least = np.full(count, np.inf)
  for step in range(1, min(3, (count - 1) // 2) + 1):
    before, at, after = (slice(k, count - 2 * step + k) for k in (0, step, 2 * step))
    share = ((times[at] - times[before]) / (times[after] - times[before]))[:, None]
    line = (1 - share) * values[before] + share * values[after]
    least[at] = np.minimum(least[at], np.abs(values[at] - line).max(1))
  return np.where(np.isfinite(least), least, 0)


def track(images: Iterable[np.ndarray], times: Sequence[float] | None = None, *,
          keep_landmarks: bool = True) -> Track:
  """Follows one face, the largest at the start, through a video.

  Images are looked at once and let go. What is kept is 0.4 kB per frame, and 3.7 kB more with the
  landmarks, which an hour of video can do without.

  Args:
    images: uint8 [H, W, 3] RGB each.
    times: Seconds of each frame, read after the images are used up, so a list that is filled by
      the generator of the images will do; 25 frames per second if None.
    keep_landmarks: Whether to return the 468 points of every frame.
  """
  tracker = Tracker()
  scores, yaws, similarities, gaps, widths, lips, sharp, points = [], [], [], [], [], [], [], []
  nothing = np.full((468, 3), np.nan, np.float32)
  for image in images:
    face = tracker(image)
    at = nothing if face is None else face.points
    scores.append(0. if face is None else face.score)
    yaws.append(_yaw(at))
    similarities.append(_similarity(at))
    gaps.append(lip_gap(at))
    widths.append(mouth_width(at))
    lips.append(at[list(LIPS), :2])
    sharp.append(np.nan if face is None else _sharpness_at(image, similarities[-1]))
    if keep_landmarks:
      points.append(at[:, :2])
  count = len(scores)
  times = np.arange(count) / 25 if times is None else np.asarray(times, np.float64)
  if len(times) != count:
    raise ValueError(f'{len(times)} times for {count} images')
  similarity = np.array(similarities, np.float64).reshape(count, 4)
  yaw, gap, width = (np.array(values, np.float32) for values in (yaws, gaps, widths))
  lips = np.array(lips, np.float32).reshape(count, len(LIPS), 2)
  landmarks = np.array(points, np.float32).reshape(count, 468, 2) if keep_landmarks else None
  score = np.array(scores, np.float32)

  present = score > 0
  kept = [landmarks] if keep_landmarks else []
  filled = _fill_gaps(present, times, similarity, [yaw, gap, width, lips, *kept])
  present |= filled
  for stretch in _stretches(present, similarity):
    side = np.median(np.hypot(*similarity[stretch, :2].T))
    similarity[stretch] = _smooth(times[stretch], similarity[stretch], _OUTLIER * side)
  valid = present & (np.abs(np.nan_to_num(yaw)) <= MAX_YAW)
  similarity[~valid] = np.nan
  affine = _affines(similarity).astype(np.float32)
  return Track(
    times=times, affine=affine, valid=valid, filled=filled & valid, score=score, yaw=yaw,
    mouth_box=_mouth_boxes(affine, lips, valid), lip_gap=gap, mouth_width=width,
    sharpness=np.array(sharp, np.float32), landmarks=landmarks)


def _sharpness_at(image: np.ndarray, similarity: np.ndarray) -> float:
  affine = pixel_affine(_affines(np.asarray(similarity)[None])[0], _SHARPNESS_SIDE)
  luma = cv2.cvtColor(_warp_to(image, affine, _SHARPNESS_SIDE), cv2.COLOR_RGB2GRAY)
  return float(np.abs(cv2.Laplacian(luma, cv2.CV_16S)).mean())


def _stretches(present: np.ndarray, similarity: np.ndarray) -> list[slice]:
  """Runs of frames with a face that nowhere jumps."""
  known = np.flatnonzero(present)
  if not len(known):
    return []
  breaks = (np.diff(known) > 1) | _jumps(similarity[known[:-1]], similarity[known[1:]])
  runs = np.split(known, np.flatnonzero(breaks) + 1)
  return [slice(int(run[0]), int(run[-1]) + 1) for run in runs]


def _mouth_boxes(affine: np.ndarray, lips: np.ndarray, valid: np.ndarray) -> np.ndarray:
  boxes = np.full((len(valid), 4), np.nan, np.float32)
  inside = to_fractions(affine[valid], lips[valid])
  low, high = inside.min(1), inside.max(1)
  padding = _MOUTH_PADDING * (high - low)
  # A closed mouth is a thin line of points; its box still needs room above and below.
  padding = np.maximum(padding, _MOUTH_PADDING * (high - low).max(1, keepdims=True) / 2)
  boxes[valid] = np.clip(np.concatenate([low - padding, high + padding], 1), 0, 1)
  return boxes


def track_file(path: str | os.PathLike, start: int = 0, stop: int | None = None, *,
               keep_landmarks: bool = False) -> Track:
  """`track` over frames `start` to `stop` of a video file, at the file's own times."""
  times = []

  def images():
    for frame in video.frames(path, start, stop):
      times.append(float(frame.time))
      yield frame.draft

  return track(images(), times, keep_landmarks=keep_landmarks)


def main(arguments: Sequence[str] | None = None) -> int:
  """Prints in how many frames a face was found, and the tracker's speed without decoding."""
  parser = argparse.ArgumentParser(description=main.__doc__)
  parser.add_argument('video')
  path = parser.parse_args(arguments).video
  cv2.setNumThreads(1)
  tracker, found, total, seconds = Tracker(), 0, 0, 0.
  try:
    for frame in video.frames(path):
      image = frame.draft
      began = time.thread_time()
      face = tracker(image)
      seconds += time.thread_time() - began
      found += face is not None
      total += 1
  except errors.UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  print(f'found {found}/{total}  {total / max(seconds, 1e-9):.0f} frames per second of CPU  '
        f'{tracker.detections} searches of the whole image')
  return 0


if __name__ == '__main__':
  sys.exit(main())

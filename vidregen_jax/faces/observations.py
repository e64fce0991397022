"""Measurements of one face, image by image, and the pieces of a track that they make."""

import cv2
import numpy as np
from scipy import ndimage

from vidregen_jax.faces import face_track, landmarks, mouth_cover, reidentify, smoothing

_SHARPNESS_SIDE = 128  # pixels of the crop that is measured
_MOUTH_PADDING = .15
_OUTLIER = .05  # of the crop's side: a larger deviation may be a detection error
_LIPS_OUTSIDE = .2  # share of the lips' points that may lie outside the image
# How many descriptors are kept to tell people apart, and frames between them.
_DESCRIPTORS, _DESCRIBE_EVERY = 8, 20
_WORN = 51  # frames; a cover must hide the mouth in most of them: it is worn, not held
_COVER_EVERY = 4  # frames between measurements of the cover


class Observations:
  """Collects measurements of one face, image by image."""

  def __init__(self):
    self.frames, self.rows, self.points = [], [], []
    self._descriptors, self._first_descriptors, self._stride = [], [], _DESCRIBE_EVERY
    self._cover = 0.

  def add(self, index, image, face, keep_landmarks, may_be_cut):
    fresh = may_be_cut or not self.frames or index > self.frames[-1] + 1
    similarity = landmarks.similarity(face.points)
    affine, lips = landmarks.affines(similarity[None])[0], face.points[list(landmarks.LIPS), :2]
    if fresh or len(self.frames) % _COVER_EVERY == 0:
      self._cover = mouth_cover.cover(image, affine, lips)
    self.frames.append(index)
    self.rows.append(np.r_[
      similarity, face.score, landmarks.yaw(face.points), landmarks.lip_gap(face.points),
      landmarks.mouth_width(face.points), _sharpness_at(image, affine),
      self._cover, lips.ravel(), face.points[list(landmarks.JAW), :2].ravel()].astype(np.float32))
    if keep_landmarks:
      self.points.append(face.points[:, :2])
    if fresh or len(self.frames) % self._stride == 0:
      descriptor = index, reidentify.descriptor(image, affine)
      (self._first_descriptors if fresh else self._descriptors).append(descriptor)
      if len(self._descriptors) > _DESCRIPTORS:
        self._stride *= 2
        self._descriptors = self._descriptors[::2]

  def since(self, frame) -> 'Observations':
    """What was measured from a frame on, which is then the first, without descriptors."""
    later = Observations()
    at = next((i for i, number in enumerate(self.frames) if number >= frame), len(self.frames))
    later.frames, later.rows = [number - frame for number in self.frames[at:]], self.rows[at:]
    later.points, later._cover = self.points[at:], self._cover
    return later

  def pieces(self, times, shot, empty, size, keep_landmarks):
    """A face_track.Piece of each shot."""
    frames = np.array(self.frames)
    for number in np.unique(shot[frames]).tolist():
      inside = shot[frames] == number
      yield _piece(
        frames[inside], np.stack(self.rows)[inside], times, shot, empty, size,
        np.stack(self.points)[inside] if keep_landmarks else None,
        [descriptor for index, descriptor in self._first_descriptors + self._descriptors
         if shot[index] == number])


def _piece(frames, rows, times, shot, empty, size, points, descriptors) -> face_track.Piece:
  start, stop = int(frames[0]), int(frames[-1]) + 1
  count, times = stop - start, times[start:stop]
  at = frames - start

  def along(values):
    whole = np.full((count, *values.shape[1:]), np.nan, values.dtype)
    whole[at] = values
    return whole

  similarity = along(rows[:, :4].astype(np.float64))
  trust, yaw, gap, width, sharp, cover = along(rows[:, 4:10]).T.copy()
  score = np.nan_to_num(trust)
  shown = along(rows[:, 10:].reshape(len(rows), -1, 2))
  lips, jaw = shown[:, :len(landmarks.LIPS)], shown[:, len(landmarks.LIPS):]
  landmark_points = None if points is None else along(points)
  present = score > 0
  raw = similarity.copy()
  values = [trust, yaw, gap, width, cover, shown]
  if landmark_points is not None:
    values.append(landmark_points)
  filled = smoothing.fill_gaps(present, empty[start:stop], times, similarity, values)
  present |= filled
  for stretch in smoothing.stretches(present, similarity):
    side = np.median(np.hypot(*similarity[stretch, :2].T))
    similarity[stretch] = smoothing.smooth(times[stretch], similarity[stretch], _OUTLIER * side)
  side = np.hypot(*similarity[:, :2].T)
  outside = ((lips < 0) | (lips > np.array(size) - 1)).any(-1).mean(-1)
  reason = np.select(
    [~present, np.abs(yaw) > face_track.MAX_YAW, side < face_track.MIN_SIDE,
     outside > _LIPS_OUTSIDE],
    [face_track.NO_FACE, face_track.PROFILE, face_track.TOO_SMALL, face_track.OUT_OF_FRAME],
    0).astype(np.int8)
  valid = reason == 0
  apart = np.abs(raw - similarity).max(1) / side
  confidence = _confidence(trust, yaw, side, sharp, np.nan_to_num(apart), filled)
  similarity[~valid] = np.nan
  affine = landmarks.affines(similarity).astype(np.float32)
  box = np.concatenate([raw[:, 2:] - side[:, None] / 3, raw[:, 2:] + side[:, None] / 3], 1)
  return face_track.Piece(start, face_track.Track(
    times=times, affine=affine, valid=valid, filled=filled & valid, score=score, yaw=yaw,
    mouth_box=_mouth_boxes(affine, lips, valid), jaw=_jaws(times, affine, jaw, valid),
    lip_gap=gap, mouth_width=width, sharpness=sharp,
    confidence=np.where(valid, confidence, 0).astype(np.float32), reason=reason,
    cover=ndimage.median_filter(np.nan_to_num(cover), _WORN, mode='nearest'),
    shot=shot[start:stop], person=np.zeros(count, np.int32), landmarks=landmark_points),
    box.astype(np.float32), np.array(descriptors, np.float32))


def _confidence(score, yaw, side, sharpness, apart, filled):
  """See `Track.confidence`.

  Args:
    apart: how far a frame is from its smoothed place, as a share of the crop's side.
  """
  frontal = np.clip((face_track.MAX_YAW + 15 - np.abs(yaw)) / 45, 0, 1)  # 1 up to 30 degrees of yaw
  large = np.clip(side / (2 * face_track.MIN_SIDE), 0, 1)
  usual = .7 * np.nanpercentile(sharpness, 90)
  sharp = np.clip(np.where(filled, 1, sharpness / max(usual, 1e-6)), 0, 1)
  steady = 1 / (1 + (apart / _OUTLIER)**2)
  return score * frontal * large * sharp * steady * np.where(filled, .5, 1)


def _sharpness_at(image: np.ndarray, affine: np.ndarray) -> float:
  size = _SHARPNESS_SIDE
  affine = landmarks.pixel_affine(affine, size)
  # Convert to luma first, around the crop: sampling one channel takes a third of the time.
  corners = affine @ np.array([(0, size, 0, size), (0, 0, size, size), (1, 1, 1, 1)], float)
  limit, step = image.shape[1::-1], 4 * float(np.hypot(*affine[:, 0])) + 4
  x0, y0 = np.clip(corners.min(1) - step, 0, np.array(limit) - 1).astype(int)
  x1, y1 = np.clip(corners.max(1) + step, (x0 + 1, y0 + 1), limit).astype(int)
  near = cv2.cvtColor(image[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY)
  affine[:, 2] -= x0, y0
  luma = landmarks.warp(near, affine, size)
  return float(np.abs(cv2.Laplacian(luma, cv2.CV_16S)).mean())


def _mouth_boxes(affine: np.ndarray, lips: np.ndarray, valid: np.ndarray) -> np.ndarray:
  boxes = np.full((len(valid), 4), np.nan, np.float32)
  inside = landmarks.to_fractions(affine[valid], lips[valid])
  low, high = inside.min(1), inside.max(1)
  padding = _MOUTH_PADDING * (high - low)
  # A closed mouth is a thin line of points; its box still needs room above and below.
  padding = np.maximum(padding, _MOUTH_PADDING * (high - low).max(1, keepdims=True) / 2)
  boxes[valid] = np.clip(np.concatenate([low - padding, high + padding], 1), 0, 1)
  return boxes


def _jaws(times: np.ndarray, affine: np.ndarray, jaw: np.ndarray, valid: np.ndarray) -> np.ndarray:
  """The outlines in crop fractions, smoothed in time as the crop is: they bound what is pasted."""
  smoothed = np.full(jaw.shape, np.nan, np.float32)
  smoothed[valid] = landmarks.to_fractions(affine[valid], jaw[valid])
  edges = np.flatnonzero(np.diff(np.r_[False, valid, False].astype(np.int8)))
  for start, stop in edges.reshape(-1, 2):
    flat = smoothed[start:stop].reshape(stop - start, -1).astype(np.float64)
    smoothed[start:stop] = smoothing.smooth(times[start:stop], flat, _OUTLIER).reshape(
      stop - start, -1, 2)
  return smoothed

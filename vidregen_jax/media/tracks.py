"""A face followed through a video, smoothly in time.

A video of F frames becomes a `Track`: for every frame, the similarity transform from the canonical
crop to the image, and what is to be read of the mouth.

  python -m vidregen_jax.media.tracks VIDEO      prints how many frames have a face, and the speed
"""

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np

from vidregen_jax import ahead, errors
from vidregen_jax.media import faces, video

MAX_GAP = 8
MAX_YAW = 60.
_AHEAD = 4  # frames that are decoded ahead
_SHARPNESS_SIDE = 128  # pixels of the crop that is looked at
_MOUTH_PADDING = .15
# Smoothing: the kernel's standard deviation, 2 frames at 25 per second, and how far, as a share of
# the crop's side, a single frame may stand out before it is taken for a mistake.
_SIGMA_SECONDS = .08
_OUTLIER = .05


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
    lip_gap: float32 [F], see `faces.lip_gap`.
    mouth_width: float32 [F], see `faces.mouth_width`.
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
  tracker = faces.Tracker()
  scores, yaws, similarities, gaps, widths, lips, sharp, points = [], [], [], [], [], [], [], []
  nothing = np.full((468, 3), np.nan, np.float32)
  for image in images:
    face = tracker(image)
    at = nothing if face is None else face.points
    scores.append(0. if face is None else face.score)
    yaws.append(faces.yaw(at))
    similarities.append(faces.similarity(at))
    gaps.append(faces.lip_gap(at))
    widths.append(faces.mouth_width(at))
    lips.append(at[list(faces.LIPS), :2])
    sharp.append(np.nan if face is None else _sharpness_at(image, similarities[-1]))
    if keep_landmarks:
      points.append(at[:, :2])
  count = len(scores)
  times = np.arange(count) / 25 if times is None else np.asarray(times, np.float64)
  if len(times) != count:
    raise ValueError(f'{len(times)} times for {count} images')
  similarity = np.array(similarities, np.float64).reshape(count, 4)
  yaw, gap, width = (np.array(values, np.float32) for values in (yaws, gaps, widths))
  lips = np.array(lips, np.float32).reshape(count, len(faces.LIPS), 2)
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
  affine = faces.affines(similarity).astype(np.float32)
  return Track(
    times=times, affine=affine, valid=valid, filled=filled & valid, score=score, yaw=yaw,
    mouth_box=_mouth_boxes(affine, lips, valid), lip_gap=gap, mouth_width=width,
    sharpness=np.array(sharp, np.float32), landmarks=landmarks)


def _sharpness_at(image: np.ndarray, similarity: np.ndarray) -> float:
  affine = faces.pixel_affine(faces.affines(np.asarray(similarity)[None])[0], _SHARPNESS_SIDE)
  luma = cv2.cvtColor(faces.warp(image, affine, _SHARPNESS_SIDE), cv2.COLOR_RGB2GRAY)
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
  inside = faces.to_fractions(affine[valid], lips[valid])
  low, high = inside.min(1), inside.max(1)
  padding = _MOUTH_PADDING * (high - low)
  # A closed mouth is a thin line of points; its box still needs room above and below.
  padding = np.maximum(padding, _MOUTH_PADDING * (high - low).max(1, keepdims=True) / 2)
  boxes[valid] = np.clip(np.concatenate([low - padding, high + padding], 1), 0, 1)
  return boxes


def track_file(path: str | os.PathLike, start: int = 0, stop: int | None = None, *,
               keep_landmarks: bool = False, stamps: np.ndarray | None = None,
               looked: Callable[[], object] | None = None) -> Track:
  """`track` over frames `start` to `stop` of a video file, at the file's own times.

  Frames are decoded in a thread, ahead of the look at them. `looked` is called after each.
  """
  times = []

  def drafts():
    for frame in video.frames(path, start, stop, stamps=stamps):
      yield frame.time, frame.draft

  def images(coming):
    for moment, image in coming:
      times.append(float(moment))
      yield image
      if looked:
        looked()

  with ahead.Ahead(drafts(), _AHEAD) as coming:
    return track(images(coming), times, keep_landmarks=keep_landmarks)


def track_parts(info: video.VideoInfo, parts: Sequence[tuple[int, int]],
                looked: Callable[[], object] | None = None) -> Track:
  """The track of a whole video, of which only some parts are looked at.

  Args:
    info: Of the video.
    parts: (start, stop) of frames, ascending and apart. In all others no frame is valid.
    looked: Called after each frame that was looked at.
  """
  times = np.array([float(stamp * info.time_base) for stamp in info.stamps.tolist()])
  count = len(times)
  empty = track((), [], keep_landmarks=False)
  fields = {}
  for field in dataclasses.fields(Track):
    values = getattr(empty, field.name)
    if values is None:
      fields[field.name] = None
    elif values.dtype == bool or field.name == 'score':
      fields[field.name] = np.zeros((count, *values.shape[1:]), values.dtype)
    else:
      fields[field.name] = np.full((count, *values.shape[1:]), np.nan, values.dtype)
  fields['times'] = times
  for start, stop in parts:
    seen = track_file(info.path, start, stop, stamps=info.stamps, looked=looked)
    for name, values in fields.items():
      if values is not None and name != 'times':
        values[start:start + len(seen)] = getattr(seen, name)
  return Track(**fields)


def main(arguments: Sequence[str] | None = None) -> int:
  """Prints in how many frames a face was found, and the tracker's speed without decoding."""
  parser = argparse.ArgumentParser(description=main.__doc__)
  parser.add_argument('video')
  path = parser.parse_args(arguments).video
  cv2.setNumThreads(1)
  tracker, found, total, seconds = faces.Tracker(), 0, 0, 0.
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

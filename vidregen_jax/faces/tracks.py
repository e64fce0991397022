"""Faces followed through a video, smoothly in time.

What is seen of one face in one shot becomes a `Piece`; pieces along a video of F frames make a
`Track`: for every frame, the similarity transform from the canonical crop to the image, and what is
to be read of the mouth.

  python -m vidregen_jax.faces.tracks VIDEO      prints the faces of a video, and the speed
"""

import argparse
import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np
from scipy import ndimage

from vidregen_jax import cli, terminal
from vidregen_jax.faces import (
  detect_and_track,
  landmarks,
  mouth_cover,
  reidentify,
  shot_boundaries,
  smoothing,
)
from vidregen_jax.media import pixel_aspect, prefetch, video

MAX_YAW = 60.
MIN_SIDE = 48.  # pixels of the canonical crop's side, which is some three times from eye to eye
_AHEAD = 4  # frames that are decoded ahead
_SHARPNESS_SIDE = 128  # pixels of the crop that is looked at
_MOUTH_PADDING = .15
_OUTLIER = .05  # of the crop's side: a frame that stands out by more may be a mistake
_LIPS_OUTSIDE = .2  # share of the lips' points that may lie outside the image
_LOOKS, _LOOK_EVERY = 8, 20  # frames that are kept to tell people apart, and how far apart
_WORN = 51  # frames, over most of which something must hide a mouth: it is worn, not held
_COVER_EVERY = 4  # frames between looks for it
_FEW = 4  # frames; a face seen in fewer, beside others, is none

# Why a frame cannot be worked on, by number; 0 where it can.
REASONS = ('', 'no face', 'profile', 'too small', 'out of frame', 'another person',
           'not looked at', 'something hides the mouth')
NO_FACE, PROFILE, TOO_SMALL, OUT_OF_FRAME, ANOTHER, NOT_LOOKED_AT, COVERED = range(1, len(REASONS))


@dataclasses.dataclass(frozen=True)
class Track:
  """One face through a video of F frames.

  Attributes:
    times: float64 [F] seconds.
    affine: float32 [F, 2, 3], crop fraction to image pixel, smoothed in time; nan where not valid.
      Of a file, to stored pixels; the crop is a square as it is shown.
    valid: bool [F]; whether the frame can be worked on: a face was found or filled in, is not
      turned away by more than MAX_YAW degrees nor smaller than MIN_SIDE, and its lips are in the
      image.
    filled: bool [F]; no face was found, but there was one so shortly before and after that the
      frame's values are interpolated. These frames are valid.
    score: float32 [F] of the mesh network; 0 where no face was found.
    yaw: float32 [F] degrees by which the head is turned, positive to the image's right.
    mouth_box: float32 [F, 4] crop fractions x0, y0, x1, y1 around the lips, padded.
    lip_gap: float32 [F], see `landmarks.lip_gap`.
    mouth_width: float32 [F], see `landmarks.mouth_width`.
    sharpness: float32 [F], mean absolute Laplacian of the crop's luma: of two frames of a video,
      the one with less is blurred.
    confidence: float32 [F] from 0, where not valid, to 1: how good the ground is to work on. The
      product of the score and of what yaw, size, sharpness and the smoothing leave of it; half as
      much where filled.
    cover: float32 [F], `mouth_cover.cover` in the middle of the frames around: above 1 a mask or
      the like hides the mouth. Such frames are valid all the same; see `uncovered`.
    reason: int8 [F], why a frame is not valid, an index into REASONS.
    shot: int32 [F], the number of the unbroken stretch that a frame belongs to: frames of one face
      between two cuts. What is made of a frame may rest on frames of the same number alone. -1
      where the video was not looked at.
    person: int32 [F], whose face it is: frames of one number show one person; -1 where nobody's.
    landmarks: float32 [F, 468, 2] image pixels, as found (not smoothed), or None if not kept.
      All of these are nan where there is no face. Lengths are measured in shown pixels.
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
  confidence: np.ndarray
  cover: np.ndarray
  reason: np.ndarray
  shot: np.ndarray
  person: np.ndarray
  landmarks: np.ndarray | None

  def __len__(self) -> int:
    return len(self.valid)

  @classmethod
  def of_nobody(cls, times: np.ndarray, keep_landmarks: bool = False) -> 'Track':
    """A track in which no face is seen."""
    count = len(times)
    nothing = lambda *shape: np.full((count, *shape), np.nan, np.float32)
    return cls(
      times=np.asarray(times, np.float64), affine=nothing(2, 3), valid=np.zeros(count, bool),
      filled=np.zeros(count, bool), score=np.zeros(count, np.float32), yaw=nothing(),
      mouth_box=nothing(4), lip_gap=nothing(), mouth_width=nothing(), sharpness=nothing(),
      confidence=np.zeros(count, np.float32), cover=nothing(),
      reason=np.full(count, NO_FACE, np.int8), shot=np.zeros(count, np.int32),
      person=np.full(count, -1, np.int32),
      landmarks=nothing(468, 2) if keep_landmarks else None)

  def put(self, start: int, other: 'Track') -> None:
    """Overwrites frames from `start` on with those of another track, times and shots apart."""
    for field in dataclasses.fields(self):
      values = getattr(self, field.name)
      if values is not None and field.name not in ('times', 'shot'):
        values[start:start + len(other)] = getattr(other, field.name)

  def at(self, frames) -> 'Track':
    """The same of some frames, in any order."""
    values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    return Track(**{name: None if x is None else x[frames] for name, x in values.items()})


@dataclasses.dataclass(frozen=True)
class Piece:
  """One face in one shot, from the first frame in which it was seen to the last.

  Attributes:
    start: the first frame.
    track: what was seen from there on.
    box: float32 [N, 4], x0, y0, x1, y1 of the canonical crop's middle two thirds in image pixels:
      about the face; nan where it was not found.
    looks: [K, C], see `reidentify.look`, of a few frames.
  """

  start: int
  track: Track
  box: np.ndarray
  looks: np.ndarray

  @property
  def stop(self) -> int:
    return self.start + len(self.track)

  @property
  def shot(self) -> int:
    return int(self.track.shot[0])

  @property
  def area(self) -> np.ndarray:
    """Of the face, square pixels [N]; 0 where it was not found."""
    sides = self.box[:, 2:] - self.box[:, :2]
    return np.nan_to_num(sides.prod(1))


@dataclasses.dataclass(frozen=True)
class Seen:
  """All faces that were seen in a video of F frames.

  Attributes:
    times: float64 [F] seconds.
    shot: int32 [F], the number of each frame's shot; -1 where it was not looked at.
    pieces: by start.
    size: (width, height) of the images, which are as shown but for the turns.
    turns: quarter turns, clockwise, by which players turn the image.
  """

  times: np.ndarray
  shot: np.ndarray
  pieces: list[Piece]
  size: tuple[int, int]
  turns: int = 0

  def track(self, pieces: Iterable[Piece], keep_landmarks: bool = False) -> Track:
    """Some pieces, of which no two overlap, as a track of the whole video."""
    whole = Track.of_nobody(self.times, keep_landmarks)
    whole.shot[:] = self.shot
    whole.reason[self.shot < 0] = NOT_LOOKED_AT
    for piece in pieces:
      whole.put(piece.start, piece.track)
    return whole


class _Notes:
  """What is noted of one face, image by image."""

  def __init__(self):
    self.frames, self.rows, self.points = [], [], []
    self._looks, self._first_looks, self._seldom = [], [], _LOOK_EVERY
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
      self._cover, lips.ravel()].astype(np.float32))
    if keep_landmarks:
      self.points.append(face.points[:, :2])
    if fresh or len(self.frames) % self._seldom == 0:
      look = index, reidentify.look(image, affine)
      (self._first_looks if fresh else self._looks).append(look)
      if len(self._looks) > _LOOKS:
        self._seldom *= 2
        self._looks = self._looks[::2]

  def pieces(self, times, shot, empty, size, keep_landmarks):
    """A Piece of each shot."""
    frames = np.array(self.frames)
    for number in np.unique(shot[frames]).tolist():
      inside = shot[frames] == number
      yield _piece(
        frames[inside], np.stack(self.rows)[inside], times, shot, empty, size,
        np.stack(self.points)[inside] if keep_landmarks else None,
        [look for index, look in self._first_looks + self._looks if shot[index] == number])


def _piece(frames, rows, times, shot, empty, size, points, seen_looks) -> Piece:
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
  lips = along(rows[:, 10:].reshape(len(rows), -1, 2))
  found = None if points is None else along(points)
  present = score > 0
  raw = similarity.copy()
  kept = [trust, yaw, gap, width, cover, lips, *([] if found is None else [found])]
  filled = smoothing.fill_gaps(present, empty[start:stop], times, similarity, kept)
  present |= filled
  for stretch in smoothing.stretches(present, similarity):
    side = np.median(np.hypot(*similarity[stretch, :2].T))
    similarity[stretch] = smoothing.smooth(times[stretch], similarity[stretch], _OUTLIER * side)
  side = np.hypot(*similarity[:, :2].T)
  outside = ((lips < 0) | (lips > np.array(size) - 1)).any(-1).mean(-1)
  reason = np.select(
    [~present, np.abs(yaw) > MAX_YAW, side < MIN_SIDE, outside > _LIPS_OUTSIDE],
    [NO_FACE, PROFILE, TOO_SMALL, OUT_OF_FRAME], 0).astype(np.int8)
  valid = reason == 0
  apart = np.abs(raw - similarity).max(1) / side
  confidence = _confidence(trust, yaw, side, sharp, np.nan_to_num(apart), filled)
  similarity[~valid] = np.nan
  affine = landmarks.affines(similarity).astype(np.float32)
  box = np.concatenate([raw[:, 2:] - side[:, None] / 3, raw[:, 2:] + side[:, None] / 3], 1)
  return Piece(start, Track(
    times=times, affine=affine, valid=valid, filled=filled & valid, score=score, yaw=yaw,
    mouth_box=_mouth_boxes(affine, lips, valid), lip_gap=gap, mouth_width=width, sharpness=sharp,
    confidence=np.where(valid, confidence, 0).astype(np.float32), reason=reason,
    cover=ndimage.median_filter(np.nan_to_num(cover), _WORN, mode='nearest'),
    shot=shot[start:stop], person=np.zeros(count, np.int32), landmarks=found),
    box.astype(np.float32), np.array(seen_looks, np.float32))


def _confidence(score, yaw, side, sharpness, apart, filled):
  """See `Track.confidence`.

  Args:
    apart: how far a frame is from its smoothed place, as a share of the crop's side.
  """
  frontal = np.clip((MAX_YAW + 15 - np.abs(yaw)) / 45, 0, 1)  # 1 up to 30 degrees
  large = np.clip(side / (2 * MIN_SIDE), 0, 1)
  usual = .7 * np.nanpercentile(sharpness, 90)
  sharp = np.clip(np.where(filled, 1, sharpness / max(usual, 1e-6)), 0, 1)
  steady = 1 / (1 + (apart / _OUTLIER)**2)
  return score * frontal * large * sharp * steady * np.where(filled, .5, 1)


def follow(images: Iterable[np.ndarray], times: Sequence[float] | None = None, *, turns: int = 0,
           keep_landmarks: bool = True) -> Seen:
  """Follows all faces through a video.

  Images are looked at once and let go. What is kept is 0.5 kB per face and frame, and 3.7 kB more
  with the landmarks, which an hour of video can do without.

  Args:
    images: uint8 [H, W, 3] RGB each.
    times: Seconds of each frame, read after the images are used up, so a list that is filled by
      the generator of the images will do; 25 frames per second if None.
    turns: quarter turns, clockwise, by which players turn the images.
    keep_landmarks: Whether to return the 468 points of every frame.
  """
  follower, watch, notes, count, size = detect_and_track.Follower(turns), shot_boundaries.Watch(
      ), {}, 0, (0, 0)
  before = None
  for image in images:
    size = image.shape[1::-1]
    may_be_cut = watch(image)
    seen = follower(image, may_be_cut)
    if may_be_cut and _stays(*before, image, seen):
      watch.take_back()
    for number, face in seen.items():
      notes.setdefault(number, _Notes()).add(count, image, face, keep_landmarks,
                                                   may_be_cut)
    before, count = (image, seen), count + 1
  times = np.arange(count) / 25 if times is None else np.asarray(times, np.float64)
  if len(times) != count:
    raise ValueError(f'{len(times)} times for {count} images')
  shot = watch.shots()
  pieces = [piece for noted in notes.values()
            for piece in noted.pieces(times, shot, watch.empty(), size, keep_landmarks)]
  longest = np.zeros(shot[-1] + 1 if count else 0, int)
  for piece in pieces:
    longest[piece.shot] = max(longest[piece.shot], (piece.track.score > 0).sum())
  pieces = [piece for piece in pieces
            if (piece.track.score > 0).sum() >= min(_FEW, longest[piece.shot])]
  return Seen(times, shot, sorted(pieces, key=lambda piece: piece.start), size, turns)


def _stays(before, seen_before, image, seen) -> bool:
  """Whether somebody looks the same in two images and has hardly moved: so there is no cut.

  However much has changed besides; an arm that is flung up can fill half of the picture.
  """
  for number in seen_before.keys() & seen.keys():
    one, other = (landmarks.similarity(face.points) for face in (seen_before[number], seen[number]))
    looks = [reidentify.look(picture, landmarks.affines(at[None])[0])[None]
             for picture, at in ((before, one), (image, other))]
    if not smoothing.jumps(one, other) and reidentify.likeness(*looks) > reidentify.STAYS:
      return True
  return False


def track(images: Iterable[np.ndarray], times: Sequence[float] | None = None, *,
          turns: int = 0, keep_landmarks: bool = True) -> Track:
  """The largest face of each shot; arguments as in `follow`."""
  seen = follow(images, times, turns=turns, keep_landmarks=keep_landmarks)
  taken = np.zeros(len(seen.times), bool)
  chosen = []
  for piece in sorted(seen.pieces, key=lambda piece: -piece.area.sum()):
    if not taken[piece.start:piece.stop].any():
      taken[piece.start:piece.stop] = True
      chosen.append(piece)
  return seen.track(chosen, keep_landmarks)


def uncovered(seen: Track) -> Track:
  """A track of which frames with a mask or the like before the mouth are not valid."""
  covered = seen.valid & (seen.cover > 1)
  valid = seen.valid & ~covered
  affine, box = seen.affine.copy(), seen.mouth_box.copy()
  affine[covered], box[covered] = np.nan, np.nan
  return dataclasses.replace(
    seen, affine=affine, mouth_box=box, valid=valid, filled=seen.filled & valid,
    confidence=np.where(valid, seen.confidence, 0),
    reason=np.where(covered, COVERED, seen.reason).astype(np.int8))


def _sharpness_at(image: np.ndarray, affine: np.ndarray) -> float:
  size = _SHARPNESS_SIDE
  affine = landmarks.pixel_affine(affine, size)
  # Luma first, of the crop's surroundings: one channel is sampled in a third of the time.
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


def _opened(info, shape, start, stop, times, looked=None):
  """Drafts of a file's frames in square pixels, decoded in a thread, ahead of the look at them.

  Their times are put in a list, and `looked` is called after each look.
  """

  def drafts():
    for frame in video.frames(info.path, start, stop, stamps=info.stamps):
      yield frame.time, shape.picture(frame.draft)

  with prefetch.Ahead(drafts(), _AHEAD) as coming:
    for moment, image in coming:
      times.append(float(moment))
      yield image
      if looked:
        looked()


def track_file(path: str | os.PathLike, start: int = 0, stop: int | None = None, *,
               keep_landmarks: bool = False) -> Track:
  """`track` over frames `start` to `stop` of a video file, at the file's own times."""
  info, times = video.probe(path), []
  shape = pixel_aspect.Squares.of(info)
  with contextlib.closing(_opened(info, shape, start, stop, times)) as images:
    return _stored(track(images, times, turns=info.rotation // 90, keep_landmarks=keep_landmarks),
                   shape)


def _stored(seen: Track, shape: pixel_aspect.Squares) -> Track:
  """A track of shown pixels as one of stored pixels."""
  landmarks = None if seen.landmarks is None else shape.to_stored(seen.landmarks)
  return dataclasses.replace(seen, affine=shape.affines(seen.affine), landmarks=landmarks)


def follow_parts(info: video.VideoInfo, parts: Sequence[tuple[int, int]],
                 looked: Callable[[], object] | None = None) -> Seen:
  """The faces of a whole video, of which only some parts are looked at.

  Args:
    info: Of the video.
    parts: (start, stop) of frames, ascending and apart. In all others no face is seen.
    looked: Called after each frame that was looked at.
  """
  times = np.array([float(info.seconds(stamp)) for stamp in info.stamps.tolist()])
  turns, shape = info.rotation // 90, pixel_aspect.Squares.of(info)
  shot, pieces, size = np.full(len(times), -1, np.int32), [], (0, 0)
  for start, stop in parts:
    when = []
    with contextlib.closing(_opened(info, shape, start, stop, when, looked)) as images:
      seen = follow(images, when, turns=turns, keep_landmarks=False)
    first, size = int(shot.max(initial=-1)) + 1, seen.size
    shot[start:start + len(seen.times)] = first + seen.shot
    for piece in seen.pieces:
      piece.track.shot[:] += first
      pieces.append(dataclasses.replace(piece, start=start + piece.start,
                                        track=_stored(piece.track, shape)))
  return Seen(times, shot, pieces, size, turns)


def main(arguments: Sequence[str] | None = None) -> int:
  """Prints the faces of a video, its cuts, and the speed without decoding."""
  parser = argparse.ArgumentParser(description=main.__doc__)
  parser.add_argument('video')
  path = parser.parse_args(arguments).video
  return cli.guarded(lambda: _show(path), 'nothing was written')


def _show(path):
  cv2.setNumThreads(1)
  times = []
  info = video.probe(path)
  shape = pixel_aspect.Squares.of(info)
  with contextlib.closing(_opened(info, shape, 0, None, times)) as images:
    began = time.thread_time()  # not that of decoding, which has a thread of its own
    seen = follow(images, times, turns=info.rotation // 90, keep_landmarks=False)
    seconds = time.thread_time() - began
  total, found = len(times), np.zeros(len(times), bool)
  for piece in seen.pieces:
    found[piece.start:piece.stop] |= piece.track.score > 0
  terminal.say(f'found {found.sum()}/{total}  {total / max(seconds, 1e-9):.0f} frames per second '
               'of CPU')
  cuts = seen.times[np.flatnonzero(np.diff(seen.shot)) + 1] if total else []
  terminal.say('cuts: ' + (', '.join(f'{at:.3f} s' for at in cuts) if len(cuts) else 'none'))
  for person in reidentify.tell_apart(seen):
    face = person.appearance(seen)
    terminal.say(f'face {face.id}: {face.first:.2f}-{face.last:.2f} s, in {face.share:.0%} of '
                 f'frames, {face.size:.0f} pixels wide, at '
                 + ', '.join(f'{x:.2f}' for x in face.box))


if __name__ == '__main__':
  sys.exit(main())

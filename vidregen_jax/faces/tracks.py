"""Tracks faces through a video, smoothly in time.

The frames of one face in one shot become a `face_track.Piece`; pieces along a video of F frames are
joined into a `face_track.Track`: for every frame, the similarity transform from the canonical crop
to the image, and measurements of the mouth.

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

from vidregen_jax import cli, terminal
from vidregen_jax.faces import (
  detect_and_track,
  landmarks,
  observations,
  reidentify,
  shot_boundaries,
  smoothing,
)
from vidregen_jax.faces.face_track import FaceTracks, Track
from vidregen_jax.media import pixel_aspect, prefetch, video

_AHEAD = 4  # frames decoded ahead
_FEW = 4  # frames; a face found in fewer, beside others, is a false detection


def follow(images: Iterable[np.ndarray], times: Sequence[float] | None = None, *, turns: int = 0,
           keep_landmarks: bool = True) -> FaceTracks:
  """Tracks all faces through a video.

  Images are read once and released. Memory is 0.7 kB per face and frame, and 3.7 kB more with
  landmarks.

  Args:
    images: uint8 [H, W, 3] RGB each.
    times: seconds of each frame, read after the images are used up, so it may be a list that the
      generator of the images fills; 25 frames per second if None.
    turns: clockwise quarter turns by which players rotate the images.
    keep_landmarks: whether to keep the 468 points of every frame.
  """
  follower, watch = detect_and_track.Follower(turns), shot_boundaries.Watch()
  observed, before, count, size = {}, None, 0, (0, 0)
  for image in images:
    size = image.shape[1::-1]
    may_be_cut = watch(image)
    faces = follower(image, may_be_cut)
    if may_be_cut and _stays(*before, image, faces):
      watch.take_back()
    for number, face in faces.items():
      if number not in observed:
        observed[number] = observations.Observations()
      observed[number].add(count, image, face, keep_landmarks, may_be_cut)
    before, count = (image, faces), count + 1
  times = np.arange(count) / 25 if times is None else np.asarray(times, np.float64)
  if len(times) != count:
    raise ValueError(f'{len(times)} times for {count} images')
  shot = watch.shots()
  pieces = [piece for face in observed.values()
            for piece in face.pieces(times, shot, watch.empty(), size, keep_landmarks)]
  longest = np.zeros(shot[-1] + 1 if count else 0, int)
  for piece in pieces:
    longest[piece.shot] = max(longest[piece.shot], (piece.track.score > 0).sum())
  pieces = [piece for piece in pieces
            if (piece.track.score > 0).sum() >= min(_FEW, longest[piece.shot])]
  return FaceTracks(times, shot, sorted(pieces, key=lambda piece: piece.start), size, turns)


def _stays(before, faces_before, image, faces) -> bool:
  """Whether somebody looks the same in two images and has hardly moved, so that there is no cut.

  Anything else may have changed: an arm that is flung up can fill half of the picture.
  """
  for number in faces_before.keys() & faces.keys():
    one, other = (landmarks.similarity(each[number].points) for each in (faces_before, faces))
    descriptors = [reidentify.descriptor(picture, landmarks.affines(at[None])[0])[None]
             for picture, at in ((before, one), (image, other))]
    if not smoothing.jumps(one, other) and reidentify.likeness(*descriptors) > reidentify.STAYS:
      return True
  return False


def track(images: Iterable[np.ndarray], times: Sequence[float] | None = None, *,
          turns: int = 0, keep_landmarks: bool = True) -> Track:
  """The largest face of each shot; arguments as in `follow`."""
  faces = follow(images, times, turns=turns, keep_landmarks=keep_landmarks)
  occupied = np.zeros(len(faces.times), bool)
  pieces = []
  for piece in sorted(faces.pieces, key=lambda piece: -piece.area.sum()):
    if not occupied[piece.start:piece.stop].any():
      occupied[piece.start:piece.stop] = True
      pieces.append(piece)
  return faces.track(pieces, keep_landmarks=keep_landmarks)


def _drafts(info, shape, start, stop, times, progress=None):
  """Yields drafts of a file's frames in square pixels, decoded ahead in a thread.

  Appends their times to a list, and calls `progress` after each was consumed.
  """

  def drafts():
    for frame in video.frames(info.path, start, stop, stamps=info.stamps):
      yield frame.time, shape.picture(frame.draft)

  with prefetch.Ahead(drafts(), _AHEAD) as queue:
    for moment, image in queue:
      times.append(float(moment))
      yield image
      if progress:
        progress()


def track_file(path: str | os.PathLike, start: int = 0, stop: int | None = None, *,
               keep_landmarks: bool = False) -> Track:
  """`track` over frames `start` to `stop` of a video file, at the file's own times."""
  info, times = video.probe(path), []
  shape = pixel_aspect.Squares.of(info)
  with contextlib.closing(_drafts(info, shape, start, stop, times)) as images:
    return _stored(track(images, times, turns=info.rotation // 90, keep_landmarks=keep_landmarks),
                   shape)


def _stored(face: Track, shape: pixel_aspect.Squares) -> Track:
  """A track in displayed pixels, converted to stored pixels."""
  landmarks = None if face.landmarks is None else shape.to_stored(face.landmarks)
  return dataclasses.replace(face, affine=shape.affines(face.affine), landmarks=landmarks)


def follow_parts(info: video.VideoInfo, parts: Sequence[tuple[int, int]],
                 progress: Callable[[], object] | None = None) -> FaceTracks:
  """The faces of a whole video, of which only some parts are searched.

  Args:
    info: of the video.
    parts: (start, stop) of frames, ascending and disjoint. All other frames have no face.
    progress: called after each frame that was searched.
  """
  times = np.array([float(info.seconds(stamp)) for stamp in info.stamps.tolist()])
  turns, shape = info.rotation // 90, pixel_aspect.Squares.of(info)
  shot, pieces, size = np.full(len(times), -1, np.int32), [], (0, 0)
  for start, stop in parts:
    when = []
    with contextlib.closing(_drafts(info, shape, start, stop, when, progress)) as images:
      faces = follow(images, when, turns=turns, keep_landmarks=False)
    first, size = int(shot.max(initial=-1)) + 1, faces.size
    shot[start:start + len(faces.times)] = first + faces.shot
    for piece in faces.pieces:
      track = dataclasses.replace(piece.track, shot=piece.track.shot + np.int32(first))
      pieces.append(dataclasses.replace(piece, start=start + piece.start,
                                        track=_stored(track, shape)))
  return FaceTracks(times, shot, pieces, size, turns)


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
  with contextlib.closing(_drafts(info, shape, 0, None, times)) as images:
    began = time.thread_time()  # without decoding, which has its own thread
    faces = follow(images, times, turns=info.rotation // 90, keep_landmarks=False)
    seconds = time.thread_time() - began
  total, with_face = len(times), np.zeros(len(times), bool)
  for piece in faces.pieces:
    with_face[piece.start:piece.stop] |= piece.track.score > 0
  terminal.say(f'found {with_face.sum()}/{total}  {total / max(seconds, 1e-9):.0f} frames per '
               'second of CPU')
  cuts = faces.times[np.flatnonzero(np.diff(faces.shot)) + 1] if total else []
  terminal.say('cuts: ' + (', '.join(f'{at:.3f} s' for at in cuts) if len(cuts) else 'none'))
  for person in reidentify.tell_apart(faces):
    face = person.appearance(faces)
    terminal.say(f'face {face.id}: {face.first:.2f}-{face.last:.2f} s, in {face.share:.0%} of '
                 f'frames, {face.size:.0f} pixels wide, at '
                 + ', '.join(f'{x:.2f}' for x in face.box))


if __name__ == '__main__':
  sys.exit(main())

"""The faces of a retimed film: tracked in its source, mapped to displayed frames, cropped."""

import dataclasses

import numpy as np

from vidregen_jax.faces import face_track, landmarks, tracks
from vidregen_jax.media import video
from vidregen_jax.media.timeline import spans

_LEFT_OUT = 25  # frames that retiming may skip between two displayed ones


def follow(film, parts, progress=None) -> face_track.FaceTracks:
  """Tracks the faces of a film's source.

  Args:
    film: retimed_video.Film.
    parts: (start, stop) seconds of the film, ascending and disjoint; the rest is not searched.
    progress: called without arguments for each frame of the source that was searched.
  """
  times, of = film.times, film.timeline.source
  inside = np.zeros(film.source.frame_count, bool)
  for begin, end in parts:
    inside[of[slice(*np.searchsorted(times, (begin, end)))]] = True
  # Frames that a faster film skips are searched too, as tracking needs consecutive frames.
  parts = spans.merge([(start, stop + _LEFT_OUT) for start, stop in spans.stretches(inside)])
  return tracks.follow_parts(film.source,
                             [(start, stop - _LEFT_OUT) for start, stop in parts], progress)


def along(film, track) -> face_track.Track:
  """A track of the source, mapped to the film's frames."""
  return dataclasses.replace(track.at(film.timeline.source), times=film.times)


def crops(film, indices, track, size) -> np.ndarray:
  """Crops uint8 [N, S, S, 3] of some displayed frames, ascending."""
  indices = np.asarray(indices)
  of = film.timeline.source[indices] if len(indices) else indices
  sources, images = set(of.tolist()), {}
  if sources:
    for frame in video.frames(film.source.path, min(sources), max(sources) + 1,
                              stamps=film.source.stamps):
      if frame.index in sources:
        images[frame.index] = frame.image
  if missing := sources - set(images):
    raise film.too_few(min(missing))
  cropped = [landmarks.crop(images[source], track.affine[index], size)
         for index, source in zip(indices.tolist(), of.tolist(), strict=True)]
  return np.array(cropped, np.uint8).reshape(-1, size, size, 3)

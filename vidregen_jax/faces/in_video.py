"""The faces of a film: looked for in its source, told along what is shown, cut out of it."""

import dataclasses

import numpy as np

from vidregen_jax.faces import face_track, landmarks, tracks
from vidregen_jax.media import video
from vidregen_jax.media.timeline import spans

_LEFT_OUT = 25  # frames that may be left out between two that are shown


def follow(film, parts, progress=None) -> face_track.FaceTracks:
  """The faces of a film's source.

  Args:
    film: retimed_video.Film.
    parts: (start, stop) in seconds of what is shown, ascending and apart; in all else nobody is
      looked for.
    progress: called for each frame of the source that was looked at, without arguments.
  """
  times, of = film.times, film.timeline.source
  inside = np.zeros(film.source.frame_count, bool)
  for begin, end in parts:
    inside[of[slice(*np.searchsorted(times, (begin, end)))]] = True
  # Frames that a faster film leaves out are looked at all the same: nothing is followed in jumps.
  parts = spans.merge([(start, stop + _LEFT_OUT) for start, stop in spans.stretches(inside)])
  return tracks.follow_parts(film.source,
                             [(start, stop - _LEFT_OUT) for start, stop in parts], progress)


def along(film, track) -> face_track.Track:
  """A track of the source, along the film."""
  return dataclasses.replace(track.at(film.timeline.source), times=film.times)


def crops(film, indices, track, size) -> np.ndarray:
  """Crops uint8 [N, S, S, 3] of some shown frames, ascending."""
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

"""Searches a film for the faces among which an edit chooses: those around its spans."""

from collections.abc import Callable, Iterable

from vidregen_jax.faces import face_track, in_video
from vidregen_jax.media.timeline import spans as spanning

_AROUND = 10.0  # seconds around a span to search for faces, for warm-up and references


def count(film, spans, references: Iterable[float] = ()) -> int:
  """How many frames of a film `follow` searches, at least 1."""
  return max(int(spanning.frames(_parts(spans, references), film.times).sum()), 1)


def follow(film, spans, references: Iterable[float] = (),
           progress: Callable[[], None] | None = None) -> face_track.FaceTracks:
  """Tracks all faces around the spans; people are numbered by what is found there.

  Args:
    film: retimed_video.Film.
    spans: (start, stop) seconds of the film.
    references: seconds of the stills that show the person.
    progress: called for each frame that was searched.
  """
  return in_video.follow(film, _parts(spans, references), progress)


def _parts(spans, references):
  return spanning.around(spans, _AROUND, [(x, x) for x in references])

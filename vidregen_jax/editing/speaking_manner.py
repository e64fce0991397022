"""How far a person opens the mouth for what they say, beside what is heard in it.

Some people hardly open it, others shape every word. What is heard says how far apart the lips of a
usual speaker would be; the person's own real frames, beside their own sound, say how far theirs
are seen to be. It is one number, in which nothing of the old words is left.

Lips are seen less far apart than they are, by the tracker that finds them: of the rendered clips by
a fifth. As a made mouth is looked at by the same tracker (`face_fit`), that is in the number too.
"""

import numpy as np

from vidregen_jax.editing import audio_features
from vidregen_jax.media.audio import aac, sound_file
from vidregen_jax.media.timeline import retimed_video
from vidregen_jax.models import codec

_FEWEST = 48  # frames
# A mouth that agrees less with its own sound, such as one that is dubbed, says nothing.
_AGREES = .5
_LEAST, _MOST = .5, 1.25
# What is heard of closed lips, and by how much made mouths are seen less open than they should be:
# on the validation clips, with their own sound, they are then seen 1.04 times as far open as in the
# true films, and closed in 96 of 100 of the frames with a p, b or m.
_CLOSED, _WIDER = .01, 1.25
USUAL = .8  # the median of rendered people, in validation clips; taken where nothing is told


def factor(film, lip_gap, pieces, machine) -> float:
  """By what the gaps that are heard are multiplied; USUAL where nothing can be told.

  Args:
    film: retimed_video.Film.
    lip_gap: [F] of its frames, as the person's face is tracked; nan where it is not.
    pieces: of consecutive groups of 4 of its frames, the first frame of each group.
    machine: pipeline.System.
  """
  if machine.listener is None or not film.source.has_audio:
    return USUAL
  recording = sound_file.Recording(film.source.path)
  sound = aac.Soundtrack(recording, recording.rate, recording.start)
  shown = retimed_video.Film.of(film.source).times
  lasting = np.diff(shown, append=2 * shown[-1] - shown[-2])
  heard, seen = [], []
  for piece in pieces:
    frames = np.arange(piece[0], piece[-1] + codec.TIME_FACTOR)
    source = film.timeline.source[frames]
    if (np.diff(source) <= 0).any():  # they are held, or run backwards
      continue
    heard += map(machine.listener, audio_features.of_frames(sound, shown[source], lasting[source],
                                                            machine.hear))
    seen.append(lip_gap[frames])
  return told(np.concatenate([np.zeros(0), *heard]), np.concatenate([np.zeros(0), *seen]))


def gaps(heard, manner: float = USUAL) -> np.ndarray:
  """How far lips should be seen apart, of gaps that are heard, in distances between the eyes."""
  return _WIDER * manner * np.maximum(heard - _CLOSED, 0)


def told(heard, seen) -> float:
  """The factor, of gaps [N] that are heard and seen in the same frames; nan where none is seen."""
  known = np.isfinite(seen)
  heard, seen = heard[known], seen[known]
  if len(seen) < _FEWEST or min(heard.std(), seen.std()) < 1e-6 or (
      np.corrcoef(heard, seen)[0, 1] < _AGREES):
    return USUAL
  return float(np.clip(seen.std() / heard.std(), _LEAST, _MOST))

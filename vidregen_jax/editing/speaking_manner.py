"""How far a person opens the mouth for what they say, and how fast, beside what is heard in it.

Some people hardly open it, others shape every word. What is heard says how far apart the lips of a
usual speaker would be; the person's own real frames, beside their own sound, say how far theirs
are seen to be, and how fast they move. These are two numbers, in which nothing of the old words is
left.

Lips are seen less far apart than they are, by the tracker that finds them: of the rendered clips by
a fifth. As a made mouth is looked at by the same tracker (`face_fit`), that is in the numbers too.
"""

import dataclasses

import numpy as np

from vidregen_jax.editing import audio_features
from vidregen_jax.inference import streaming_listener
from vidregen_jax.media.audio import aac, sound_file
from vidregen_jax.media.timeline import retimed_video
from vidregen_jax.models import codec

_FEWEST = 48  # frames
# A mouth that agrees less with its own sound, such as one that is dubbed, says nothing. Five
# speakers of GRID agree by .50 to .83, two people who laugh by .12 and .18.
_AGREES = .4
_LEAST, _MOST = .4, 1.25
# What is heard of closed lips, and by how much made mouths are seen less open than they should be:
# on eight validation clips, with their own sound, they are then seen .91 times as far open as lips
# truly are (the true films .80), and closed in 96 of 100 of the frames with a p, b or m.
_CLOSED, _WIDER = .01, 1.3
# The pace is what all but the first of a person's frames stay below, times the second: so that few
# frames show nearly the fastest.
_FAST, _ROOM = .99, 1.25
_SLOWEST, _FASTEST = .75, 5.  # distances between the eyes, a second


@dataclasses.dataclass(frozen=True)
class Manner:
  """How a person moves the lips.

  Attributes:
    share: how far apart they are seen, beside what is heard.
    pace: how fast they come together or apart at most, in distances between the eyes a second.
  """

  share: float
  pace: float


USUAL = Manner(.8, 3.3)  # medians of rendered people, in validation clips; where nothing is told


def of_person(film, lip_gap, groups, machine) -> Manner:
  """A person's manner, and of what their frames do not tell the usual.

  Args:
    film: retimed_video.Film.
    lip_gap: [F] of its frames, as the person's face is tracked; nan where it is not.
    groups: the first frames of groups of 4 of its frames, to tell it from.
    machine: pipeline.System.
  """
  shown = retimed_video.Film.of(film.source).times
  lasting = np.diff(shown, append=2 * shown[-1] - shown[-2])
  sound = None
  if machine.listener is not None and film.source.has_audio:
    recording = sound_file.Recording(film.source.path)
    sound = aac.Soundtrack(recording, recording.rate, recording.start)
  # In the source's order, whether or not frames are held or run backwards where they are shown.
  frames = np.add.outer(groups, np.arange(codec.TIME_FACTOR)).ravel()
  source, first = np.unique(film.timeline.source[frames], return_index=True)
  gap_of = dict(zip(source.tolist(), lip_gap[frames[first]], strict=True))
  heard, seen, speeds = [], [], []
  for row in np.split(source, np.flatnonzero(np.diff(source) > 1) + 1):
    row = row[:len(row) // codec.TIME_FACTOR * codec.TIME_FACTOR]
    seen.append(np.array([gap_of[i] for i in row.tolist()]))
    speeds.append(np.abs(np.diff(seen[-1])) / np.diff(shown[row]))
    if sound is not None and len(row):
      listener = streaming_listener.StreamingListener(machine.listener)
      heard += map(listener, audio_features.of_frames(sound, shown[row], lasting[row],
                                                      machine.hear))
  joined = lambda parts: np.concatenate([np.zeros(0), *parts])
  return Manner(USUAL.share if sound is None else share(joined(heard), joined(seen)),
                pace(joined(speeds)))


def gaps(heard, part: float = USUAL.share) -> np.ndarray:
  """How far lips should be seen apart, of gaps that are heard, in distances between the eyes."""
  return _WIDER * part * np.maximum(heard - _CLOSED, 0)


def paced(coming, before: float | None, step: float) -> np.ndarray:
  """Lip gaps of a latent frame [4] that change by no more than a step from frame to frame.

  Lips that should close do close, and what opens before and after gives way. Only where they should
  close sooner than was known do they move faster.

  Args:
    coming: [4N], how far lips should be apart from this latent frame on; as far as is known.
    before: the gap of the frame before it; None if there is none.
    step: in the unit of the gaps.
  """
  made, far = [], step * np.arange(len(coming))
  for i in range(codec.TIME_FACTOR):
    gap = (coming[i:] + far[:len(coming) - i]).min()
    before = gap if before is None else min(gap, before + step)
    made.append(before)
  return np.array(made)


def share(heard, seen) -> float:
  """Of gaps [N] that are heard and seen in the same frames; nan where none is seen."""
  known = np.isfinite(seen)
  heard, seen = heard[known], seen[known]
  if len(seen) < _FEWEST or min(heard.std(), seen.std()) < 1e-6 or (
      np.corrcoef(heard, seen)[0, 1] < _AGREES):
    return USUAL.share
  return float(np.clip(seen.std() / heard.std(), _LEAST, _MOST))


def pace(speeds) -> float:
  """Of speeds [N] between frames, a second; nan where one is unknown."""
  known = speeds[np.isfinite(speeds)]
  if len(known) < _FEWEST:
    return USUAL.pace
  return float(np.clip(_ROOM * np.quantile(known, _FAST), _SLOWEST, _FASTEST))

"""How far a person opens the mouth for what they say, how fast, and how much they round it.

Some people hardly open it, others shape every word. What is heard says how a usual speaker's lips
would be; the person's own real frames, beside their own sound, say how far apart theirs are seen to
be, how fast they move, and how much wider and narrower the mouth gets. These are three numbers, in
which nothing of the old words is left.

Lips are seen less far apart than they are, by the tracker that finds them: of the rendered clips by
a fifth, and widths change by a third less. As a made mouth is looked at by the same tracker
(`face_fit`), that is in the numbers too.
"""

import dataclasses

import numpy as np

from vidregen_jax.editing import audio_features
from vidregen_jax.inference import streaming_listener
from vidregen_jax.media.audio import aac, sound_file
from vidregen_jax.media.timeline import retimed_video
from vidregen_jax.models import codec

# Frames. With 36 that counted by halves, two people's own sound was further from them (LPIPS of the
# mouth .061 and .073, without .054 and .065).
_FEWEST = 48
# A mouth that agrees less with its own sound, such as one that is dubbed, says nothing. Five
# speakers of GRID agree by .50 to .83, two people who laugh by .12 and .18.
_AGREES = .4
_LEAST, _MOST = .4, 1.25
# Of a stream it is not known what was said in the images. So many tell more: of four seconds the
# share was .67 to .85 in turn. Lips that move less than the second, by standard deviation in
# distances between the eyes, do not speak; eleven people who speak have .017 to .051.
_MANY, _SPEAKS = 250, .012
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
    rounding: how much the mouth is seen to change its width, beside what is heard.
  """

  share: float
  pace: float
  rounding: float


# Medians of rendered people, in validation clips; where nothing is told.
USUAL = Manner(.8, 3.3, .68)


def of_person(film, track, groups, machine) -> Manner:
  """A person's manner, and of what their frames do not tell the usual.

  Args:
    film: retimed_video.Film.
    track: face_track.Track of the person along it.
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
  shape_of = dict(zip(source.tolist(), np.stack(
    [track.lip_gap[frames[first]], track.mouth_width[frames[first]]], 1), strict=True))
  heard, seen, speeds = [], [], []
  for row in np.split(source, np.flatnonzero(np.diff(source) > 1) + 1):
    row = row[:len(row) // codec.TIME_FACTOR * codec.TIME_FACTOR]
    if not len(row):
      continue
    seen.append(np.array([shape_of[i] for i in row.tolist()]))
    speeds.append(np.abs(np.diff(seen[-1][:, 0])) / np.diff(shown[row]))
    if sound is not None:
      listener = streaming_listener.StreamingListener(machine.listener)
      heard += [np.stack(listener(windows), 1) for windows in audio_features.of_frames(
        sound, shown[row], lasting[row], machine.hear)]
  joined = lambda parts, *shape: np.concatenate([np.zeros((0, *shape)), *parts])
  heard, seen = joined(heard, 2), joined(seen, 2)
  seen[:, 1] /= np.nanmedian(seen[:, 1]) if np.isfinite(seen[:, 1]).any() else 1.  # as is heard
  agrees = lambda i, usual: usual if sound is None else share(heard[:, i], seen[:, i], usual)
  return Manner(agrees(0, USUAL.share), pace(joined(speeds)), agrees(1, USUAL.rounding))


def of_images(gaps, heard, rate: float) -> Manner:
  """A person's manner, of lip gaps in images of late; of few, or who is silent, the usual.

  Args:
    gaps: [N] in consecutive images, in which they may have said anything; nan where no face is
      seen.
    heard: [M] gaps in what they are to say.
    rate: images a second.
  """
  seen = gaps[np.isfinite(gaps)]
  if min(len(seen), len(heard)) < _MANY or min(np.std(seen), np.std(heard)) < _SPEAKS:
    return USUAL
  return Manner(float(np.clip(np.std(seen) / np.std(heard), _LEAST, _MOST)),
                pace(rate * np.abs(np.diff(gaps))), USUAL.rounding)


def share(heard, seen, usual: float) -> float:
  """How much what is seen [N] changes beside what is heard [N], in the same frames.

  What is seen is nan where no face is. Where the two do not agree it is the usual share.
  """
  known = np.isfinite(seen)
  heard, seen = heard[known], seen[known]
  if len(seen) < _FEWEST or min(heard.std(), seen.std()) < 1e-6 or (
      np.corrcoef(heard, seen)[0, 1] < _AGREES):
    return usual
  return float(np.clip(seen.std() / heard.std(), _LEAST, _MOST))


def pace(speeds) -> float:
  """Of speeds [N] between frames, a second; nan where one is unknown."""
  known = speeds[np.isfinite(speeds)]
  if len(known) < _FEWEST:
    return USUAL.pace
  return float(np.clip(_ROOM * np.quantile(known, _FAST), _SLOWEST, _FASTEST))

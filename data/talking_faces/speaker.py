"""Who speaks, and when: stretches of frames that show one speaking face. Pure, after tracking."""

import dataclasses
from collections.abc import Callable

import numpy as np

from data.talking_faces import filters, probing, sync_offset
from vidregen_jax.faces import face_track
from vidregen_jax.media.audio import waveform
from vidregen_jax.media.timeline import spans

# Two faces seen together whose evidence differs by less are a tie; see `bench.sync_offsets`.
LEAST_LEAD = 0.4


@dataclasses.dataclass(frozen=True)
class Stretch:
  """Frames `start` to `stop` of a source that are left out, and why.

  Attributes:
    start, stop: frames.
    reason: of filters.REASONS.
    detail: in words.
  """

  start: int
  stop: int
  reason: str
  detail: str = ''


@dataclasses.dataclass(frozen=True, eq=False)
class Take:
  """Frames that show one speaking face.

  Attributes:
    start, stop: frames of the source.
    piece: face_track.Piece that they belong to.
    offset: by which the sound is late; applied only where `moved`.
    moved: whether the offset is certain enough.
  """

  start: int
  stop: int
  piece: face_track.Piece
  offset: sync_offset.Offset
  moved: bool


def choose(faces: face_track.FaceTracks, sound: probing.Sound, bounds: filters.Bounds,
           scored: Callable[[face_track.Piece, int, int], sync_offset.Curve]
           ) -> tuple[list[Take], list[Stretch]]:
  """The takes of a source, and what is left out.

  A shot's faces that are seen together compete: whose lips agree best with the sound, at whatever
  lag, is the speaker. The offset is that of all speakers of the source together; a take that is
  certain of another by itself, as where a source is cut together, has its own.

  Args:
    faces: `tracks.follow_parts` of the source.
    sound: its voice.
    bounds: what takes must have.
    scored: the scorer's curve of a face, in frames of the source from one to another.

  Returns:
    (takes, stretches), both ascending; together they are all frames, but for those of pieces of
    faces beside a chosen one.
  """
  predicted = sync_offset.prediction(sync_offset.bands(sound.samples))
  out = _without_faces(faces)
  chosen = []
  for group in _together([piece for piece in faces.pieces if piece.shot >= 0]):
    found = [_judged(piece, sound, predicted, bounds, scored) for piece in group]
    speaking, left = _speaker(found, sound, bounds)
    out += left
    if speaking is not None:
      chosen.append(speaking)
  whole = sync_offset.estimate(sync_offset.pooled([each.curve for each in chosen]))
  takes = []
  for each in chosen:
    offset = each.offset if each.offset.sure or not whole.sure else whole
    if not offset.sure and not bounds.keep_unsure:
      out += [Stretch(start, stop, 'offset unsure', _said(offset)) for start, stop in each.runs]
      continue
    if not offset.sure and filters.is_music(_during(sound, each.piece)):
      out += [Stretch(start, stop, 'music only', 'the sound has no pauses of speech')
              for start, stop in each.runs]
      continue
    takes += [Take(start, stop, each.piece, offset, offset.sure) for start, stop in each.runs]
  return sorted(takes, key=lambda take: take.start), sorted(out, key=lambda one: one.start)


@dataclasses.dataclass(frozen=True, eq=False)
class _Judged:
  """A piece, the runs of its frames that are usable, and how it agrees with the sound."""

  piece: face_track.Piece
  runs: list[tuple[int, int]]
  unusable: list[Stretch]
  curve: sync_offset.Curve
  offset: sync_offset.Offset


def _judged(piece, sound, predicted, bounds, scored) -> _Judged:
  runs, unusable = _runs(piece, bounds)
  track = piece.track
  gap, width = (np.where(track.valid, x, np.nan) for x in (track.lip_gap, track.mouth_width))
  curve = sync_offset.curve(track.times, gap, width, predicted, sound.start)
  if runs:
    longest = max(runs, key=lambda run: run[1] - run[0])
    curve = sync_offset.together(curve, scored(piece, *longest))
  return _Judged(piece, runs, unusable, curve, sync_offset.estimate(curve))


def _runs(piece, bounds):
  """Usable runs of frames that are long enough, and the other stretches of a piece."""
  why, times = filters.usable(piece.track, bounds), piece.track.times
  step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
  runs, out = [], []
  edges = np.flatnonzero(np.diff(why)) + 1
  for start, stop in zip([0, *edges], [*edges, len(why)], strict=True):
    start, stop = int(start), int(stop)
    seconds = float(times[stop - 1] - times[start]) + step
    reason = '' if why[start] < 0 else filters.REASONS[why[start]]
    if not reason and seconds < bounds.min_seconds:
      reason = 'too short'
    if reason:
      out.append(Stretch(piece.start + start, piece.start + stop, reason, f'{seconds:.2f} s'))
    else:
      runs.append((piece.start + start, piece.start + stop))
  return runs, out


def _together(pieces):
  """Groups of pieces that are seen together, directly or by way of others."""
  groups, end = [], -1
  for piece in sorted(pieces, key=lambda one: (one.start, one.stop)):
    if groups and piece.start < end and piece.shot == groups[-1][0].shot:
      groups[-1].append(piece)
    else:
      groups.append([piece])
      end = -1
    end = max(end, piece.stop)
  return groups


def _speaker(found, sound, bounds):
  """The speaking face of a group, or None; and the stretches that are left out."""
  fit = [each for each in found if each.runs]
  if not fit:
    largest = max(found, key=lambda each: each.piece.area.sum())
    return None, largest.unusable
  best, *others = sorted(fit, key=lambda each: -each.offset.evidence)
  whole = lambda reason, detail: [Stretch(start, stop, reason, detail)
                                  for start, stop in best.runs] + best.unusable
  if not best.offset.moves:
    music = filters.is_music(_during(sound, best.piece))
    return None, whole('music only' if music else 'no lips move with the sound',
                       _said(best.offset))
  # Faces that are far too small to be the subject, in the background, are no rivals.
  rivals = [each for each in others if _side(each) > _side(best) / 3]
  first, second = best.offset, rivals[0].offset if rivals else None
  if rivals and first.evidence - second.evidence < LEAST_LEAD:
    return None, whole('who speaks is undecided', f'{len(rivals) + 1} faces agree with the sound '
                       f'by {first.evidence:.2f} and {second.evidence:.2f}')
  return best, best.unusable


def _side(judged):
  return float(np.median(np.sqrt(judged.piece.area)))


def _said(offset):
  return f'agreement {offset.agreement:.2f} at {offset.seconds:+.2f} s, {offset.lead:.2f} above ' \
         'any other'


def _during(sound, piece):
  first, last = (round((float(at) - sound.start) * waveform.MODEL_RATE)
                 for at in piece.track.times[[0, -1]])
  return sound.samples[max(first, 0):max(last, 0)]


def _without_faces(faces):
  seen = np.zeros(len(faces.times), bool)
  for piece in faces.pieces:
    seen[piece.start:piece.stop] = True
  return [Stretch(start, stop, 'no face') for start, stop in spans.stretches(~seen)]

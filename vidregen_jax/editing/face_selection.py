"""Chooses the face that is changed in a video that shows several."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from vidregen_jax.errors import UserError
from vidregen_jax.faces import face_track, reidentify
from vidregen_jax.media.timeline import spans
from vidregen_jax.reporting import edit_report

# Agreement of lips and sound: below the first value nobody counts as speaking, and two faces whose
# values differ by less than the second are a tie. Of 150 pairs of rendered people who both talked
# for 2 to 5 s, with the sound of one, 81 % differed by that much, and 96 % of those correctly.
_LEAST_AGREEMENT = 0.2
_LEAST_LEAD = 0.08
_MOST_FACES = 10_000  # the largest number that is accepted; a larger one is a mistake


def parse(text: str) -> str | int | tuple[float, float]:
  """'largest', 'speaking', a face's number such as '2', or a place such as '0.25,0.4'.

  Raises:
    UserError: it is none of these.
  """
  if text in ('largest', 'speaking'):
    return text
  try:
    parts = [float(part) for part in text.split(',')]
  except ValueError:
    parts = []
  if len(parts) == 1 and parts[0].is_integer() and 1 <= parts[0] <= _MOST_FACES:
    return int(parts[0])
  if len(parts) == 2 and all(0 <= part <= 1 for part in parts):
    return parts[0], parts[1]
  raise UserError(f'--face {text} is not largest, speaking, the number of a face (from 1), or a '
                  'place X,Y in fractions of the picture as it is shown, such as 0.25,0.4')


@dataclasses.dataclass(frozen=True)
class Selection:
  """The face that is changed.

  Attributes:
    track: face_track.Track of the source; `person` is the number of a face.
    choice: for the report: the rule, all faces, the chosen ones, and doubts.
  """

  track: face_track.Track
  choice: edit_report.FaceChoice


def choose(rule, faces: face_track.FaceTracks, weights: np.ndarray, starts,
           agree: Callable[[np.ndarray, np.ndarray, np.ndarray], float]) -> Selection:
  """Chooses a face.

  After a cut the same person is recognised by likeness. In a shot where nobody certainly is that
  person but somebody may be, the rule is applied again and the doubt is noted; people who certainly
  are somebody else are left alone.

  Args:
    rule: from `parse`.
    faces: the faces of the source.
    weights: [F], how often each frame is to be changed.
    starts: (first, stop) of each span, in frames of the source.
    agree: `active_speaker.agreement` of times, lip gaps and mouth widths with the source's own
      sound.

  Raises:
    UserError: the rule matches nobody, or it cannot be decided who speaks.
  """
  everybody = reidentify.tell_apart(faces)
  cast = _Cast(rule, faces, everybody, weights, agree)
  pieces, others = [], np.zeros(len(faces.times), bool)
  if everybody:
    for first, stop, at in _territories(rule, starts, len(faces.times)):
      present, absent = _within(cast, cast.main(at), first, stop)
      pieces += present
      others |= absent
  track = _parted(faces.track(pieces, others))
  return Selection(track, edit_report.FaceChoice(
    rule=rule, faces=tuple(person.appearance(faces) for person in everybody),
    chosen=tuple(np.unique(track.person[track.valid]).tolist()), notes=tuple(cast.notes)))


def combined(selections: dict, rules: list) -> Selection:
  """The faces that several rules name, each in its own frames.

  Args:
    selections: Selection by rule.
    rules: the rule of each frame.
  """
  fields = {field.name: [getattr(one.track, field.name) for one in selections.values()]
            for field in dataclasses.fields(face_track.Track)}
  number = {rule: i for i, rule in enumerate(selections)}
  at = np.array([number[rule] for rule in rules]), np.arange(len(rules))
  tracks = {name: None if values[0] is None else np.stack(values)[at]
            for name, values in fields.items()}
  # Frames of different faces are of different shots: none may be made from another's.
  tracks['shot'] = np.where(tracks['shot'] < 0, -1, tracks['shot'] * len(number) + at[0]).astype(
    np.int32)
  choices = [one.choice for one in selections.values()]
  return Selection(face_track.Track(**tracks), dataclasses.replace(
    choices[0], chosen=tuple(sorted({one for choice in choices for one in choice.chosen})),
    notes=tuple(dict.fromkeys(note for choice in choices for note in choice.notes))))


class _Cast:
  """Applies the rule to all people of a video, or to those of one shot."""

  def __init__(self, rule, faces, everybody, weights, agree):
    self.rule, self.faces, self.everybody = rule, faces, everybody
    self.weights, self._agree, self.notes = weights, agree, []

  def main(self, span) -> reidentify.Person:
    """The person that the rule names, in the whole video or for a span (first, stop) of frames."""
    if isinstance(self.rule, tuple):
      return self._there(*span, self.everybody)
    return self._named(self.everybody, self.weights)

  def stand_in(self, person, shot) -> reidentify.Person | None:
    """Somebody in a shot who may be a person not recognised in it; None if there is nobody."""
    frames = np.flatnonzero(self.faces.shot == shot)
    begin, end = float(self.faces.times[frames[0]]), float(self.faces.times[frames[-1]])
    maybe = [other for other in self.everybody if other.within(shot)
             and not _together(other, person)
             and reidentify.likeness(other.descriptors, person.descriptors) > reidentify.DIFFERENT]
    if not maybe:
      return None
    if isinstance(self.rule, tuple):
      other = self._there(int(frames[0]), int(frames[-1]) + 1, maybe)
    elif isinstance(self.rule, int):
      other = max(maybe, key=lambda one: reidentify.likeness(one.descriptors, person.descriptors))
    else:
      other = self._named(maybe, np.where(self.faces.shot == shot, self.weights, 0))
    self.notes.append(f'from {begin:.2f} to {end:.2f} s it is uncertain whether face '
                      f'{other.number} is the same person as face {person.number}: it was chosen '
                      'by the same rule')
    return other

  def _named(self, candidates, weights):
    if isinstance(self.rule, int):
      for person in candidates:
        if person.number == self.rule:
          return person
      raise UserError(f'--face {self.rule}: near the spans there is only ' + '; '.join(
          _at(person.number, person.boxes(self.faces.size, self.faces.turns).mean(0))
          for person in candidates))
    if self.rule == 'speaking' and len(candidates) > 1:
      return self._speaking(candidates)
    weights = weights if any(person.area(weights) for person in candidates) else weights * 0 + 1
    return max(candidates, key=lambda person: person.area(weights))

  def _speaking(self, candidates):
    scores = {}
    for person in candidates:
      track = self.faces.track(person.pieces)
      # A mouth that is not visible enough to be changed is not visible enough to be read.
      gap, width = (np.where(track.valid, x, np.nan) for x in (track.lip_gap, track.mouth_width))
      score = self._agree(self.faces.times, gap, width)
      if np.isfinite(score):
        scores[person.number] = round(score, 3)
    order = sorted(scores, key=scores.get, reverse=True)
    ranking = ', '.join(f'face {number} by {scores[number]:.2f}' for number in order)
    if not order or scores[order[0]] < _LEAST_AGREEMENT:
      raise UserError('--face speaking: no lips move with the sound'
                      + (f' ({ranking})' if ranking else '') + ': name the face by number or place')
    if len(order) > 1 and scores[order[0]] - scores[order[1]] < _LEAST_LEAD:
      raise UserError(f'--face speaking: lips match the sound about equally ({ranking}): name the '
                      'face by number or place')
    self.notes.append(f'face {order[0]} is speaking; agreement of lips and sound: {ranking}')
    return next(person for person in candidates if person.number == order[0])

  def _there(self, first, stop, candidates):
    """The person at the given place when the span begins, or when a face first appears in it."""
    x, y = self.rule
    for frame in range(first, stop):
      boxes = {}
      for person in candidates:
        piece = person.at(frame)
        if piece is not None and np.isfinite(piece.box[frame - piece.start]).all():
          boxes[person.number] = reidentify.displayed_box(
              piece.box[frame - piece.start], self.faces.size, self.faces.turns)
      if boxes:
        far = {number: math.hypot((x - (b[0] + b[2]) / 2) / (b[2] - b[0]),
                                  (y - (b[1] + b[3]) / 2) / (b[3] - b[1]))
               for number, b in boxes.items()}
        number = min(far, key=far.get)
        if far[number] < 1:
          return next(person for person in candidates if person.number == number)
        there = '; '.join(_at(number, box) for number, box in boxes.items())
        raise UserError(f'--face {x:g},{y:g}: no face is there at {self.faces.times[frame]:.2f} s, '
                        f'but {there}')
    return max(candidates, key=lambda person: person.area(self.weights))


def _at(number, box):
  return f'face {number} at {(box[0] + box[2]) / 2:.2f},{(box[1] + box[3]) / 2:.2f}'


def _together(one, other):
  """Whether two people appear in the same frame, and so cannot be the same."""
  return any(a.start < b.stop and b.start < a.stop for a in one.pieces for b in other.pieces)


def _territories(rule, starts, count):
  """(first, stop, span) of frames that share one person; with a place, each span has its own."""
  if not isinstance(rule, tuple) or not len(starts):
    return [(0, count, (0, count))]
  between = [(before[1] + after[0]) // 2
             for before, after in zip(starts, starts[1:], strict=False)]
  return [(first, stop, span)
          for first, stop, span in zip([0, *between], [*between, count], starts, strict=True)]


def _within(cast, person, first, stop):
  """The pieces of a person, or of whoever stands in for them, in some frames.

  Returns:
    face_track.Piece of them, and the frames in which somebody else is visible, bool [F].
  """
  pieces, others = [], np.zeros(len(cast.faces.times), bool)
  inside = np.zeros(len(others), bool)
  inside[first:stop] = True
  for shot in np.unique(cast.faces.shot[first:stop]).tolist():
    if shot < 0:
      continue
    here = inside & (cast.faces.shot == shot)
    someone = person
    if not person.within(shot) and cast.weights[here].any():
      someone = cast.stand_in(person, shot)
    for piece in (piece for one in cast.everybody if one is not someone
                  for piece in one.within(shot)):
      others[piece.start:piece.stop] |= here[piece.start:piece.stop] & piece.track.valid
    for piece in someone.within(shot) if someone else ():
      low, high = max(piece.start, first), min(piece.stop, stop)
      if low < high:
        pieces.append(piece.part(low, high, someone.number))
  return pieces, others


def _parted(track):
  """The same with shots renumbered, so that a shot also ends where the face becomes another's."""
  with_face = np.flatnonzero(track.person >= 0)
  changes = np.zeros(len(track), bool)
  changes[1:] = np.diff(track.shot) != 0
  changes[with_face[1:]] |= np.diff(track.person[with_face]) != 0
  return dataclasses.replace(
    track, shot=np.where(track.shot < 0, -1, np.cumsum(changes)).astype(np.int32))


def skipped(track, in_spans) -> tuple[edit_report.SkippedFrames, ...]:
  """The frames of the spans, bool [F], that cannot be changed, by reason."""
  return tuple(edit_report.SkippedFrames(first, stop, face_track.REASONS[number])
               for number in range(1, len(face_track.REASONS))
               for first, stop in spans.stretches(in_spans & (track.reason == number)))

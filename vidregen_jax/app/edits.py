"""What the page asks of the package: looks at what was given, stills, drafts and finished edits."""

import base64
import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

import vidregen_jax
from vidregen_jax.editing import audio_diff, changed_spans, face_search, soundtrack
from vidregen_jax.errors import UserError
from vidregen_jax.faces import reidentify
from vidregen_jax.media import video
from vidregen_jax.media.audio import lazy, sound_file, waveform
from vidregen_jax.media.timeline import spans as spanning
from vidregen_jax.media.timeline import transcripts
from vidregen_jax.reporting.edit_report import EditReport

_PEAKS_A_SECOND, _MOST_PEAKS = 100, 20_000
_FACE = 144  # pixels of a face's picture
_WIDEST = 640  # pixels of a frame that is shown while it is made
_AGAIN = .3  # seconds between two such frames, so that showing costs little
_DRAFT_STEPS = 1
SUFFIXES = ('.mp4', '.m4v', '.mov', '.mkv', '.webm')  # others become mp4


class Span(NamedTuple):
  """Seconds of the video that change; with patches, to the sound of a piece."""

  start: float
  stop: float
  piece: str = ''


@dataclasses.dataclass(frozen=True)
class Request:
  """What a page asks to be made.

  Attributes:
    video: its path.
    sound: path of the whole new soundtrack; None with pieces.
    spans: that change; each names its piece where there is no whole soundtrack.
    face: whose mouth, by number; None for the largest.
    consent: who is shown and who agreed.
    seed: of all noise.
    teacher: whether the generator makes the finished video, instead of its faster student.
  """

  video: pathlib.Path
  sound: pathlib.Path | None
  spans: tuple[Span, ...]
  face: int | None = None
  consent: str = ''
  seed: int = 0
  teacher: bool = False


@dataclasses.dataclass(frozen=True)
class Seen:
  """A sign of progress.

  Attributes:
    stage: what is being done.
    done, total: frames of it.
    left: seconds that the stage will take; None while nothing is known.
    picture: the newest frame as an address that holds a JPEG; '' for none.
  """

  stage: str
  done: int = 0
  total: int = 0
  left: float | None = None
  picture: str = ''


class Word(NamedTuple):
  """A word of the old sound, and the span in which the mouth that says it changes."""

  text: str
  start: float
  stop: float


@dataclasses.dataclass(frozen=True)
class Sounds:
  """The old and the new sound as the waveform shows them.

  Attributes:
    begin, end: seconds of the video.
    rate: its frames a second.
    old, new: loudness from 0 to 100 in equal parts of the video, 100 the loudest of both; empty
      where there is no sound.
    spans: where they differ, or where the pieces lie at first.
    note: about the spans, in words.
    said: the words of the old sound; empty without a transcript.
  """

  begin: float
  end: float
  rate: float
  old: list[int]
  new: list[int]
  spans: tuple[Span, ...]
  note: str
  said: tuple[Word, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
  """A face that can be chosen.

  Attributes:
    number: as in the report of an edit of the same spans.
    first, last: seconds at which it is seen first and last.
    picture: an address that holds a JPEG.
    descriptors: [K, C], as of `reidentify.descriptor`.
  """

  number: int
  first: float
  last: float
  picture: str
  descriptors: np.ndarray

  def shown(self) -> dict:
    """What the page shows of it."""
    return {name: getattr(self, name) for name in ('number', 'first', 'last', 'picture')}


def probed(path: pathlib.Path) -> video.VideoInfo:
  """The properties of a video; raises UserError if it is none."""
  info = video.probe(path)
  if not info.frame_count:
    raise UserError(f'{path}: has no picture')
  return info


def seconds(path: pathlib.Path) -> float:
  """How long a sound is; raises UserError if it is none that can be used."""
  waveform.check(path)
  recording = sound_file.Recording(path)
  return recording.shape[1] / recording.rate


def compared(path: pathlib.Path, sound: pathlib.Path | None,
             pieces: dict[str, pathlib.Path], placed: dict[str, tuple[float, float]],
             transcript: pathlib.Path | None, show: Callable[[Seen], None]) -> Sounds:
  """The old and the new sound, and the spans in which they differ.

  Args:
    path: of the video.
    sound: path of the new soundtrack; None with pieces.
    pieces: paths of pieces of sound by what identifies them.
    placed: (start, stop) seconds where some of them lie; the others are laid out evenly.
    transcript: path of the words of the old sound; None for none.
    show: called as it goes on.
  """
  info = probed(path)
  begin, end = float(info.start_time), float(info.start_time + info.duration)
  show(Seen('listen'))
  old = _peaks(path, begin, end) if info.has_audio else []
  new = _peaks(sound, begin, end) if sound else []
  loudest = max([*old, *new, 1e-6])
  part = lambda values: [round(100 * value / loudest) for value in values]
  show(Seen('compare the sounds'))
  spans, note = _pieced(info, pieces, placed) if not sound else _differences(info, sound)
  said = _said(info, transcript) if transcript else ()
  return Sounds(begin, end, float(info.rate), part(old), part(new), spans, note, said)


def _said(info, transcript) -> tuple[Word, ...]:
  """The words of a transcript, each with the margin that the mouth needs around it."""
  begin, end = float(info.start_time), float(info.start_time + info.duration)
  words = [word for word in transcripts.read(transcript).words if begin < word.stop
           and word.start < end]
  spans = [(word.start, word.stop) for word in words]
  if info.has_audio:
    old = sound_file.Recording(info.path)
    spans = audio_diff.widen(spans, lazy.mono_16k(old), float(old.start), audio_diff.MARGIN)
  return tuple(Word(word.text, max(start, begin), min(stop, end))
               for word, (start, stop) in zip(words, spans, strict=True))


def _peaks(path, begin, end) -> list[float]:
  """The loudest sample in equal parts of the time from `begin` to `end`."""
  recording = sound_file.Recording(path)
  sound = lazy.mono_16k(recording)
  count = min(max(round((end - begin) * _PEAKS_A_SECOND), 1), _MOST_PEAKS)
  edges = np.rint((np.linspace(begin, end, count + 1) - float(recording.start)) * sound.rate)
  edges = np.clip(edges.astype(int), 0, sound.shape[1])
  return [float(np.abs(sound[:, a:b]).max()) if a < b else 0.0
          for a, b in zip(edges, edges[1:], strict=False)]


def _differences(info, sound):
  found = changed_spans.differences(info, sound, audio_diff.MARGIN)
  if found is None:
    begin, end = float(info.start_time), float(info.start_time + info.duration)
    return (Span(begin, end), ), (
      'The video has no sound to compare with: all of it will change.' if not info.has_audio else
      'Nearly all of the sound is new: all of the video will change.')
  if not found:
    return (), 'Both sounds are the same from end to end. Add a span where the mouth should change.'
  count = len(found)
  return tuple(Span(*span) for span in found), (
    f'The sounds differ in {count} {"span" if count == 1 else "spans"}.')


def _pieced(info, pieces, placed):
  """A span for each piece: where it was placed, or over as much of the video as it lasts."""
  begin, length = float(info.start_time), float(info.duration)
  lasts = {key: min(seconds(path), length / len(pieces)) for key, path in pieces.items()
           if key not in placed}
  gap = (length - sum(lasts.values())) / (len(lasts) + 1)
  spans, at = [Span(*placed[key], key) for key in pieces if key in placed], begin
  for key, last in lasts.items():
    at += gap
    spans.append(Span(at, at + last, key))
    at += last
  return tuple(sorted(spans)), 'Put each piece over the words that it replaces.'


def faces(request: Request, show: Callable[[Seen], None]) -> list[Face]:
  """The faces around the spans, numbered as an edit of them numbers them."""
  info = probed(request.video)
  composed = soundtrack.compose(info, **_sound(request, info))
  film = composed.film
  count, done = face_search.count(film, composed.spans), 0

  def update():
    nonlocal done
    done += 1
    show(Seen('track faces', done, count))

  found = face_search.follow(film, composed.spans, progress=update)
  return [_face(info, found, person) for person in reidentify.tell_apart(found)]


def _sound(request, info) -> dict:
  """The new sound and its spans, as `soundtrack.compose` takes them."""
  if request.sound is None:
    return {'patches': [soundtrack.Patch(*span) for span in request.spans]}
  whole = _is_whole(request, info)
  return {'new_audio': str(request.sound),
          'spans': () if whole else [span[:2] for span in request.spans]}


def _is_whole(request, info) -> bool:
  """Whether the spans are all of the video."""
  begin, end = float(info.start_time), float(info.start_time + info.duration)
  merged = spanning.merge([span[:2] for span in request.spans])
  return any(start <= begin + 1e-3 and stop >= end - 1e-3 for start, stop in merged)


def _face(info, found, person) -> Face:
  where = person.appearance(found)
  piece = max(person.pieces, key=lambda piece: np.nanmax(piece.area))
  at = int(np.nanargmax(piece.area))
  frame = next(video.frames(info.path, piece.start + at, piece.start + at + 1,
                            stamps=info.stamps))
  left, top, right, bottom = piece.box[at]
  side = 1.5 * max(right - left, bottom - top)
  x, y = (left + right) / 2, (top + bottom) / 2 - .06 * side
  picture = cv2.warpAffine(
    frame.image, np.float32([[_FACE / side, 0, _FACE * (.5 - x / side)],
                             [0, _FACE / side, _FACE * (.5 - y / side)]]), (_FACE, _FACE),
    flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
  return Face(person.number, where.first, where.last, _jpeg(np.rot90(picture, -found.turns)),
              person.descriptors)


def with_known_face(request: Request, spans: tuple[Span, ...], known: list[Face],
                    show: Callable[[Seen], None]) -> Request:
  """The request with the number that its chosen face has among those around its spans.

  Args:
    request: its face is numbered as in `known`.
    spans: around which those were found.
    known: faces.
    show: called as it goes on.

  Raises:
    UserError: the face is not there.
  """
  if request.face is None or [span[:2] for span in spans] == [span[:2] for span in request.spans]:
    return request
  chosen = next(face for face in known if face.number == request.face)
  there = faces(request, show)
  alike = {face.number: reidentify.likeness(face.descriptors, chosen.descriptors)
           for face in there}
  best = max(alike, key=alike.get, default=None)
  if best is None or alike[best] < reidentify.SAME_PLACE:
    raise UserError(f'face {request.face} is not seen near the spans: choose another, or move the '
                    'spans back')
  return dataclasses.replace(request, face=best)


def _jpeg(image: np.ndarray) -> str:
  """A picture uint8 [H, W, 3] as an address that holds it."""
  _, data = cv2.imencode('.jpg', cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR),
                         [cv2.IMWRITE_JPEG_QUALITY, 85])
  return 'data:image/jpeg;base64,' + base64.b64encode(data).decode()


class Studio:
  """Makes what is asked for, with models that are loaded once.

  Args:
    checkpoint: a folder, or the name of the bundled model.

  Attributes:
    has_student: whether there is a student beside the generator.

  Raises:
    UserError: as `vidregen_jax.load`.
  """

  def __init__(self, checkpoint: str):
    self._checkpoint = checkpoint
    model = vidregen_jax.load(checkpoint)
    self.has_student = model.is_student
    self._models = {not model.is_student: model}

  def _model(self, teacher: bool):
    teacher = teacher or not self.has_student
    if teacher not in self._models:
      self._models[teacher] = vidregen_jax.load(self._checkpoint, teacher=teacher)
    return self._models[teacher]

  def preview(self, request: Request, folder: pathlib.Path,
              show: Callable[[Seen], None]) -> tuple[pathlib.Path, int]:
    """Stills of what would be made: the path of the sheet and the number of stretches."""
    sheet = folder / 'stills.png'
    made = self._edit(request, folder / _name(request.video, 'edited'), False, show, page=False,
                      preview=sheet)
    return sheet, made.stretches

  def draft(self, request: Request, folder: pathlib.Path,
            show: Callable[[Seen], None]) -> EditReport:
    """The video made fast: by the student in one step, without a page."""
    return self._edit(request, folder / _name(request.video, 'draft'), False, show, page=False,
                      sampler={'steps': _DRAFT_STEPS})

  def final(self, request: Request, folder: pathlib.Path,
            show: Callable[[Seen], None]) -> EditReport:
    """The finished video, with its page, of the same noise as its draft."""
    return self._edit(request, folder / _name(request.video, 'edited'), request.teacher, show)

  def _edit(self, request, out, teacher, show, **options):
    info = probed(request.video)
    sound = ({'patches': request.spans} if request.sound is None else
             {'audio': request.sound, 'whole': True} if _is_whole(request, info) else
             {'audio': request.sound, 'spans': [span[:2] for span in request.spans]})
    if teacher and True not in self._models:
      show(Seen('load the generator'))
    return vidregen_jax.edit(
      request.video, model=self._model(teacher), out=out, consent=request.consent,
      face=request.face or 'largest', seed=request.seed,
      progress=_Watch(info.rotation, show), **sound, **options)


def _name(path, ending) -> str:
  """The name of what is made of a file."""
  suffix = path.suffix.lower()
  return f'{path.stem}_{ending}{suffix if suffix in SUFFIXES else ".mp4"}'


class _Watch:
  """Turns the edit's progress into what is shown of it."""

  def __init__(self, rotation, show):
    self._turns, self._show = rotation // 90, show
    self._stage, self._began, self._before = '', 0.0, 0
    self._shown, self._picture = 0.0, ''

  def __call__(self, progress):
    now = time.monotonic()
    # From the first frame on, as before it the model is compiled.
    if progress.stage != self._stage or not self._before:
      self._stage, self._began, self._before = progress.stage, now, progress.done
    if progress.picture is not None and now - self._shown > _AGAIN:
      self._shown, self._picture = now, _jpeg(_small(np.rot90(progress.picture(), -self._turns)))
    fresh = progress.done - self._before
    left = (now - self._began) / fresh * (progress.total - progress.done) if fresh > 0 else None
    self._show(Seen(progress.note or progress.stage, progress.done, progress.total, left,
                    self._picture))


def _small(image):
  """A picture, no wider than is shown."""
  high, wide = image.shape[:2]
  if wide <= _WIDEST:
    return image
  return cv2.resize(image, (_WIDEST, round(high * _WIDEST / wide)), interpolation=cv2.INTER_AREA)

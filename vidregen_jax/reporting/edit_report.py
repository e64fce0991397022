"""The report of an edit: what was changed, from what, by what, with whose consent.

It is written beside the video as JSON, signed into the video, printed, and shown on the page. Only
this module knows the names of its JSON fields: every attribute is named like its field.

  report = EditReport.from_json(json.loads(pathlib.Path('OUT.json').read_text()))
  report.regenerated_frames[0].start
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from vidregen_jax.faces import reidentify
from vidregen_jax.provenance import consent as consents
from vidregen_jax.provenance import content_credentials as signing
from vidregen_jax.reporting import dataclass_json, notebook, stage_clock

# Differs from run to run, and is only known after the report was signed.
MEASURED = ('stages', 'seconds', 'peak_memory_mb')
_UNSIGNED = ('sha256', 'content_credentials', *MEASURED)
_SHOWN = 20  # stretches of frames in a line


class TimeSpan(NamedTuple):
  """A part of the video, in seconds on its own clock; `stop` is excluded."""

  start: float
  stop: float


class FrameRange(NamedTuple):
  """A range of frame numbers, from 0; `stop` is excluded."""

  start: int
  stop: int


class SkippedFrames(NamedTuple):
  """A range of frames that was left as it is, and why: one of `face_track.REASONS`."""

  start: int
  stop: int
  reason: str


class OccludedFrames(NamedTuple):
  """A range of frames in which an object hides `share` of the lower face, 0 to 1 in tenths."""

  start: int
  stop: int
  share: float


@dataclasses.dataclass(frozen=True)
class File:
  """A file that was read.

  Attributes:
    path: as given by the user; bytes that are not text are escaped.
    sha256: of its bytes, in hexadecimal.
  """

  path: str
  sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """The video that was edited.

  Attributes:
    path: as given by the user; bytes that are not text are escaped.
    sha256: of its bytes, in hexadecimal.
    frames: number of frames.
    size: width and height in stored pixels.
    rate: frames per second.
    credentials: its own Content Credentials; None if it has none.
  """

  path: str
  sha256: str
  frames: int
  size: tuple[int, int]
  rate: Fraction
  credentials: signing.SourceCredentials | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class NewSound:
  """The new sound.

  Attributes:
    files: that it was read from.
    seconds_past_the_video: seconds of it past the video's end, which were left out.
    why_all_is_encoded: why the soundtrack was re-encoded from end to end; None if only some packets
      were replaced.
    notes: what was decided about it, in words.
  """

  files: tuple[File, ...]
  seconds_past_the_video: float
  why_all_is_encoded: str | None
  notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditOptions:
  """What one edit of a list has of its own; None for what all have.

  Attributes:
    face: whose mouth is changed, as `face_selection.parse` gives it.
    fade: seconds over which made faces turn into the real ones at the span's edges.
    guidance: of the sampler by the sound: how wide lips open.
    mute: whether the mouth is closed, as if nothing were said; the sound is not changed by it.
    opening: how far a fitted mouth opens.
    offset: seconds by which the mouth is later than the sound; negative if it is earlier.
  """

  face: str | int | tuple[float, ...] | None = None
  fade: float | None = None
  guidance: float | None = None
  mute: bool = False
  opening: float | None = None
  offset: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class FaceChoice:
  """Whose mouth was changed.

  Attributes:
    rule: the value of `--face`: 'largest', 'speaking', a face's number, or a place (x, y) in
      fractions of the displayed picture.
    faces: all people who were found.
    chosen: numbers of those who were changed.
    notes: doubts, in words.
  """

  rule: str | int | tuple[float, ...]
  faces: tuple[reidentify.Appearance, ...]
  chosen: tuple[int, ...]
  notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PersonFit:
  """How the model was fitted to one person.

  Attributes:
    frames: how many frames of the video it was fitted to.
    crossed: whether these lie inside the spans too; a frame is then made by a fit that leaves out
      those around it. Otherwise they lie outside, and outside the cross-fades.
    shrinkage: the median ridge penalty over the windows of a face, in mean eigenvalues.
    opening: how far the mouth was made to open, 1 as calibrated; None where neither the
      frames nor the checkpoint say how far it opens, and it was left as it was generated.
    manner: how far the person's lips are seen to open beside how far they are heard to; that of a
      usual speaker where their own frames and sound do not tell; None where nothing is heard.
    pace: how fast their lips come together or apart at most, in distances between the eyes a
      second; None likewise.
    rounding: how much their mouth is seen to change its width beside what is heard; as `manner`.
  """

  frames: int
  crossed: bool
  shrinkage: float
  opening: float | None = None
  manner: float | None = None
  pace: float | None = None
  rounding: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FaceFit:
  """How the model was fitted to the faces of the video.

  Attributes:
    size: pixels of the side of the crops that were made.
    people: by number of the person, what was fitted; people with too few frames are missing.
  """

  size: int
  people: dict[str, PersonFit]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Familiarity:
  """How well the model knows a face, measured on frames that were to be changed.

  Attributes:
    share: what of the confidence is left, 0 to 1.
    codec_error: of the lower face after the codec, root mean square in grey levels.
    distance: of the latents from the training's mean, in its standard deviations.
    doubt: why the model hardly knows this face, in words; None if it does.
  """

  share: float
  codec_error: float
  distance: float
  doubt: str | None


class Paragraph(NamedTuple):
  """A paragraph of a fact; `kind` is 'words', 'consent' or 'sha256'."""

  text: str
  kind: str = 'words'


class Fact(NamedTuple):
  """A fact for whoever watches or archives the video."""

  name: str
  paragraphs: list[Paragraph]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EditReport:
  """What was done to a video.

  The last five fields are filled in when the video is finished and signed: see `sidecars.seal`.

  Attributes:
    source: the video that was edited.
    original: what the source was made from by an earlier edit, and real frames were taken from;
      None if it was not named.
    audio: the new sound.
    out: path of the edited video.
    frames: number of frames of the edited video.
    retimed: whether any of them are shown at another time than in the source.
    consent: of the people who are shown.
    spans: of the edited video, in which the face was to be changed.
    regenerated_frames: whose lower face is new.
    encoded_frames: that were re-encoded; all others are the source's own packets.
    why_all_are_encoded: why all frames were re-encoded; None if not all were.
    left_out: what of the source the edited video cannot hold, in words.
    frames_without_a_face: numbers of the frames in the spans in which no face could be changed.
    skipped: the same frames, with reasons.
    confidence: for each range of `regenerated_frames`, a value per frame from 0 to 1: how well the
      face could be regenerated, as far as it was seen, is known to the model, and was not hidden.
    familiarity: by number of the person, how well the model knows the face.
    face: whose mouth was changed; None in reports of earlier versions.
    occluded: frames in which an object hides part of the lower face, and was kept.
    frames_left_as_occluded: those of them that were left as they are, as the mouth is hidden.
    references: numbers of the frames that show the model what the person looks like.
    fade: seconds over which, at a span's edges, generated faces turn into the real ones.
    fitted: how the model was fitted to the faces; None if it was not.
    options: what each edit of a list has of its own, in the order of time; empty if none has any.
    model: sha256 of each part of the model, by its name.
    sampler: the sampler's settings, by name; None if nothing was generated.
    seed: of all noise.
    content_credentials: who signed; None if the video is unsigned.
    sha256: of the edited video's bytes, in hexadecimal.
    stages: what each stage took, by its name; stages may overlap.
    seconds: of the whole edit, wall time.
    peak_memory_mb: peak memory of the process, in mebibytes.
  """

  source: Source
  audio: NewSound
  out: str
  frames: int
  retimed: bool
  consent: consents.Consent
  spans: tuple[TimeSpan, ...]
  regenerated_frames: tuple[FrameRange, ...]
  encoded_frames: tuple[FrameRange, ...]
  why_all_are_encoded: str | None
  left_out: tuple[str, ...]
  frames_without_a_face: tuple[int, ...]
  skipped: tuple[SkippedFrames, ...] = ()
  confidence: tuple[tuple[float, ...], ...] = ()
  face: FaceChoice | None = None
  familiarity: dict[str, Familiarity] = dataclasses.field(default_factory=dict)
  occluded: tuple[OccludedFrames, ...] = ()
  frames_left_as_occluded: tuple[FrameRange, ...] = ()
  references: tuple[int, ...]
  fade: float
  fitted: FaceFit | None = None
  options: tuple[EditOptions, ...] = ()
  original: File | None = None
  model: dict[str, str]
  sampler: dict[str, int | float | str] | None
  seed: int
  content_credentials: signing.Signature | None = None
  sha256: str = signing.NO_DIGEST
  stages: dict[str, stage_clock.Stage] = dataclasses.field(default_factory=dict)
  seconds: float = 0.0
  peak_memory_mb: int = 0

  def to_json(self) -> dict:
    """The report as JSON values, in the order of OUT.json."""
    return dataclass_json.to_json(self)

  @classmethod
  def from_json(cls, document) -> 'EditReport':
    """Reads the output of `to_json`, also that of earlier versions, which had fewer fields.

    Unknown fields are ignored.

    Raises:
      UserError: a field is missing or has the wrong type.
    """
    return dataclass_json.from_json(cls, document, 'the report')

  def statement(self) -> signing.Statement:
    """The part of the report that is signed into the video."""
    document = self.to_json()
    return signing.Statement(self.spans, signed_facts(document), digest(document))

  def lines(self) -> Iterator[str]:
    """The lines that are printed on a terminal."""
    source, sound = self.source, self.audio
    yield f'regenerated_frames: {_pairs(self.regenerated_frames)}'
    yield f'encoded_frames: {_pairs(self.encoded_frames)}'
    yield f'frames_without_a_face: {list(self.frames_without_a_face)}'
    yield f'peak_memory_mb: {self.peak_memory_mb}'
    yield f'seconds: {self.seconds}'
    for start, stop, reason in self.skipped:
      yield f'frames {start} to {stop - 1} are left as they are: {reason}'
    if source.credentials and source.credentials.state == 'Invalid':
      yield (f'the credentials of {source.path} are not valid: '
             f'{"; ".join(source.credentials.problems)}; the new ones say so')
    yield from self.face.notes if self.face else ()
    if self.occluded:
      yield (f'something hides part of the face in {_count(self.occluded)} frames and was kept; in '
             f'{_count(self.frames_left_as_occluded)} of them it hides the mouth, and they were '
             'left as they are')
    for fit in self.fitted.people.values() if self.fitted else ():
      left_out = 'with those around each left out' if fit.crossed else 'outside the spans'
      yield f'the model was fitted to {fit.frames} frames of the video, {left_out}'
      if fit.opening is None:
        yield 'nothing says how far the mouth opens: it opens as far as it was generated'
    if self.why_all_are_encoded:
      yield f'{source.path} cannot be joined: {self.why_all_are_encoded}'
    if self.left_out:
      yield f'left out of {self.out}: {", ".join(self.left_out)}'
    for note in sound.notes:
      yield f'sound: {note}'
    if sound.seconds_past_the_video:
      yield (f'the last {sound.seconds_past_the_video} s of the new sound lie past the end of the '
             'video and were left out')
    if self.retimed:
      yield f'{self.frames} frames instead of {source.frames}'

  def _repr_mimebundle_(self, include=None, exclude=None) -> dict[str, str]:
    """What a notebook shows: the video, if it is still where it was written."""
    shown = notebook.video(self.out, self.summary)
    return {'text/plain': f'{self.out}: {self.summary}'} | ({'text/html': shown} if shown else {})

  @property
  def summary(self) -> str:
    """The edit in one line."""
    count, (width, height) = len(self.regenerated_frames), self.source.size
    return (f'{_count(self.regenerated_frames)} of {self.frames} frames regenerated in {count} '
            f'{"stretch" if count == 1 else "stretches"} · {width} × {height} · '
            f'{float(self.source.rate):.5g} frames a second')

  def facts(self) -> Iterator[Fact]:
    """The facts that the page shows."""
    consent, credentials = self.consent, self.source.credentials
    words = (Paragraph(consent.statement, 'consent') if consent.statement else Paragraph(
      f'in the file {_name(consent.file)}, which is kept apart'))
    yield Fact('Consent', [words, _sha256(consent.sha256)])
    yield Fact('Source', _file(self.source))
    if credentials and credentials.state == 'Invalid':
      yield Fact('Credentials of the source', [
        Paragraph(f'Signed by {credentials.signer or "nobody known"}, and not valid:'),
        *map(Paragraph, credentials.problems)])
    elif credentials:
      yield Fact('Credentials of the source', [Paragraph(f'Valid, signed by {credentials.signer}')])
    yield Fact('New sound', [row for file in self.audio.files for row in _file(file)])
    yield Fact('Edited video', _file(self))
    yield Fact('Content Credentials', [Paragraph(self._signed_by())])
    yield Fact('Model', [row for name, value in self.model.items()
                         for row in (Paragraph(name), _sha256(value))])
    settings = {**(self.sampler or {'made': 'nothing: the codec alone'}), 'seed': self.seed,
                'fade': self.fade}
    yield Fact('Settings', [Paragraph(', '.join(
      f'{name.replace("_", " ")} {value}' for name, value in settings.items()))])
    some = f'{_count(self.encoded_frames)} of {self.frames} frames'
    yield Fact('Encoded anew', [Paragraph(
      f'all frames: {self.why_all_are_encoded}' if self.why_all_are_encoded else
      f'{some}; all others are the source’s packets')])
    if self.frames_without_a_face:
      yield Fact('No face found', [Paragraph(
        f'in {len(self.frames_without_a_face)} frames of the spans, which are as they were')])
    if self.left_out:
      yield Fact('Left out', [Paragraph(', '.join(self.left_out))])

  def _signed_by(self):
    signature = self.content_credentials
    if not signature:
      return 'Not signed'
    own = ', with a certificate that this computer made for itself' * signature.local_certificate
    return f'Signed by {signature.signer}, in {_name(signature.where)}{own}'


def _pairs(ranges) -> list:
  return [tuple(row) for row in ranges]


def _count(ranges) -> int:
  """The number of frames in some ranges."""
  return sum(row.stop - row.start for row in ranges)


def _name(path) -> str:
  return pathlib.PurePath(path).name


def _sha256(value) -> Paragraph:
  return Paragraph(f'sha256 {value}', 'sha256')


def _file(row) -> list[Paragraph]:
  path = row.out if isinstance(row, EditReport) else row.path
  return [Paragraph(_name(path)), _sha256(row.sha256)]


# ------------------------------------------------------------------------------------------------
# What is signed. These functions take the JSON document instead of the report, as the signature
# binds the document as it was written, by whatever version.
# ------------------------------------------------------------------------------------------------


def is_report(document) -> bool:
  """Whether a JSON value is an edit's report, rather than another program's file."""
  return isinstance(document, dict) and 'regenerated_frames' in document


def signed_facts(document) -> dict:
  """The facts of a report that are signed in plain text, from its JSON.

  They contain names of files, but no folders, and no consent that was given in a file.
  """
  file = lambda row: {'title': signing.title(row['path'])} | {
    key: row[key] for key in ('sha256', 'credentials') if key in row}
  consent = {key: document['consent'][key] for key in ('statement', 'sha256')}
  return signing.condensed({
    'source': file(document['source']),
    'sound': [file(row) for row in document['audio']['files']],
    'consent': {key: value for key, value in consent.items() if value is not None},
    **{key: document[key] for key in (
      'frames', 'retimed', 'spans', 'regenerated_frames', 'model', 'sampler', 'seed')},
  })


def digest(document) -> str:
  """sha256 of everything in a report's JSON that is known before signing, in any layout."""
  signed = {key: value for key, value in document.items() if key not in _UNSIGNED}
  return hashlib.sha256(json.dumps(signed, sort_keys=True).encode()).hexdigest()


def differences(document, facts: dict, report_sha256: str | None, video_sha256: str,
                signer: str | None) -> tuple[list[str], list[str], list[str]]:
  """Compares a report's JSON with what was signed of it.

  Args:
    document: the report.
    facts: that were signed.
    report_sha256: that was signed; None in early versions.
    video_sha256: of the video beside it.
    signer: name of the video's signer.

  Returns:
    Names of what differs, of what was compared, and of what is not covered by the signature.

  Raises:
    AttributeError, KeyError, TypeError, ValueError: it is not a report of this program.
  """
  own = signed_facts(document)
  names = [name for name in own if own[name] != facts.get(name)]
  if document.get('sha256') != video_sha256:
    names.append('sha256 of the video')
  if (document.get('content_credentials') or {}).get('signer') != signer:
    names.append('content_credentials')
  rest = sorted(set(document) - set(own) - set(_UNSIGNED))
  compared, missing = [*own, 'sha256', 'signer'], []
  if report_sha256 is None:
    missing += rest
  else:
    compared += rest
    if not names and report_sha256 != digest(document):
      names.append(f'one of {", ".join(rest)}, or of what lies within the others')
  return names, compared, [*missing, *MEASURED]


def signed_lines(facts: dict) -> Iterator[tuple[str, str]]:
  """Lines (name, text) that print signed facts; the name is empty in a continuation.

  Raises:
    AttributeError, KeyError, TypeError, ValueError: the facts are not of this program.
  """
  file = lambda row: f'{row["title"]}, sha256 {row["sha256"]}'
  yield 'consent', facts['consent'].get('statement', 'in a file')
  yield '', f'sha256 {facts["consent"]["sha256"]}'
  yield 'source', file(facts['source'])
  credentials = facts['source'].get('credentials')
  if credentials and credentials['state'] == 'Invalid':
    yield '', f'its own credentials were not valid: {"; ".join(credentials["problems"])}'
  for row in facts['sound'] if isinstance(facts['sound'], list) else ():  # a digest if condensed
    yield 'new sound', file(row)
  for name, value in facts['model'].items():
    yield 'model', f'{name}, sha256 {value}'
  ranges = facts['regenerated_frames']
  yield 'frames', (f'{ranges["count"]} stretches' if isinstance(ranges, dict) else
                   first_of([f'{a}-{b - 1}' for a, b in ranges])) + (
    f' regenerated of {facts["frames"]}')


def first_of(rows: list[str]) -> str:
  """The first rows, joined in a line, and the number of further ones."""
  more = f' and {len(rows) - _SHOWN} more' if len(rows) > _SHOWN else ''
  return ', '.join(rows[:_SHOWN]) + more

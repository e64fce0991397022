"""Edits and translations of videos.

Times are seconds on the video's own clock, from its start. A mistake is a
`vidregen_jax.errors.UserError`, a ValueError whose message is one line with the cause and the way
out; nothing is written then, nor if the edit is interrupted. Nothing is printed.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping

from vidregen_jax import files
from vidregen_jax.api import compiled, models
from vidregen_jax.editing import (
  audio_diff,
  edit_list,
  edit_timeline,
  editor,
  face_selection,
  preparation,
  reference_frames,
  soundtrack,
)
from vidregen_jax.errors import UserError
from vidregen_jax.exports import pipeline
from vidregen_jax.media import containers, video
from vidregen_jax.media.timeline import spans as spanning
from vidregen_jax.media.timeline import transcripts
from vidregen_jax.provenance import consent as consents
from vidregen_jax.reporting import sidecars
from vidregen_jax.reporting.edit_report import EditReport
from vidregen_jax.reporting.progress import Progress, Tell

_LONGEST_MARGIN = 1.0  # seconds

PathLike = str | os.PathLike
Span = tuple[float, float] | str


@dataclasses.dataclass(frozen=True)
class Preview:
  """A sheet of stills that shows what an edit would make.

  Attributes:
    path: of the picture.
    stretches: how many stretches of frames the edit would regenerate.
  """

  path: str
  stretches: int

  def _repr_mimebundle_(self, include=None, exclude=None):
    kind = 'image/png' if self.path.lower().endswith('.png') else 'image/jpeg'
    return {kind: pathlib.Path(self.path).read_bytes(), 'text/plain': repr(self)}


def edit(source: PathLike, *, model: models.Model | PathLike, out: PathLike = '',
         consent: str | None = None, consent_file: PathLike | None = None,
         audio: PathLike = '', spans: Iterable[Span] = (),
         patches: Iterable[tuple[float, float, PathLike] | str] = (),
         words: Iterable[str] = (), replace: Iterable[tuple[str, PathLike] | str] = (),
         transcript: PathLike = '', edits: PathLike = '', original: PathLike = '',
         whole: bool = False, margin: float | None = None, fit: str = '',
         face: str | int | tuple[float, float] = 'largest',
         references: Iterable[float] | str = (), fade: float = preparation.Edit.fade,
         keep_occluders: bool = True, fit_face: bool | None = None, opening: float = 1.0,
         strict: bool = False, reencode: bool = False,
         lossless: bool = False, seed: int = 0, sampler: Mapping[str, float | str] | None = None,
         certificate: PathLike | None = None, key: PathLike | None = None, page: bool = True,
         preview: PathLike = '', overwrite: bool = False, teacher: bool = False,
         compile_cache: bool = True, progress: Tell | None = None) -> EditReport | Preview:
  """Regenerates the lower face in spans of a video so that the mouth follows new sound.

  Writes the video, and beside it the report (`.json`), a page (`.html`) and, if the container
  cannot hold them, the credentials (`.c2pa`).

  Args:
    source: a video of somebody talking.
    model: from `load`, for any number of edits; or a checkpoint, which is loaded once everything
      else was found to be right.
    out: path of the edited video, .mp4, .m4v, .mov, .mkv or .webm.
    consent: who is shown, who agreed, on what basis; it is repeated in all outputs.
    consent_file: instead, a file that says so, of which only the digest is written.
    original: where `source` is an edited video, the video that it was made from: in the spans the
      real frames are taken from it, and all that lies outside them stays as it was edited.
    audio: the whole new soundtrack, in sync with the video: any audio or video file.
    spans: (start, stop) of where it is heard and the mouth regenerated, or texts such as
      '1.2-2.04'; if empty, they are found where the two soundtracks differ.
    patches: instead of `audio`, (start, stop, path) of pieces of sound that replace spans, or
      texts such as '1.2-1.95=word.wav'; the picture is retimed to them.
    words: instead of `spans`, phrases of the transcript, each of which is said once in it.
    replace: instead of `patches`, (phrase, path) of pieces of sound that replace phrases, or texts
      such as 'two soon=word.wav'.
    transcript: path of a transcript with times, of a kind that `media.timeline.transcripts` reads.
    edits: instead of all of these, path of an edit list, or of an editing program's timeline:
      .otio, .otioz, .fcpxml, .xml or .edl.
    whole: whether to regenerate all of the video.
    margin: seconds by which regeneration may extend beyond a span, to the quietest moment; None for
      .12 where spans are found, also by words, and 0 where they are given.
    fit: as of `translate`; '' to cut sound that is longer than the video.
    face: of several: 'largest', 'speaking', a number as in the report, or (x, y), fractions of the
      displayed picture.
    references: times at which the person is clearly visible; empty to choose them.
    fade: seconds over which, at a span's edges, generated faces turn into the real ones.
    keep_occluders: whether what hides the face keeps its pixels.
    fit_face: whether to fit the model to the video's own frames first; None: if it makes small
      crops.
    opening: how far a fitted mouth opens: 0 keeps it closed, 1 is calibrated, 2 the widest.
    strict: whether to refuse a face that the model hardly knows, rather than warn.
    reencode: whether to encode all frames even where the source could be joined.
    lossless: whether to encode without loss.
    seed: of all noise.
    sampler: settings of the sampler to change, such as {'steps': 4}.
    certificate, key: PEM files to sign with; None for a certificate of this computer's own.
    page: whether to write the page.
    preview: path of a .png or .jpg: writes only a sheet of stills of what would be made.
    overwrite: whether to replace files that exist.
    teacher, compile_cache: as of `load`, where `model` is a checkpoint.
    progress: called with a `Progress` as the edit goes on, from several threads in turn; what it
      raises ends the edit.

  Returns:
    The report, which a notebook shows as the video; with `preview` a Preview.

  Raises:
    UserError: the edit cannot be made; nothing is written then.
  """
  ways = {'--span': spans, '--whole': whole, '--patch': patches, '--words': words,
          '--replace': replace, '--edits': edits}
  named = [way for way, given in ways.items() if given]
  if len(named) > 1:
    raise UserError(f'{" and ".join(named)} exclude each other: give one')
  if edits and audio:
    raise UserError(f'{edits} names the new sound itself: leave --audio out')
  listed = _listed(edits, source) if edits else edit_list.EditList(
    _path(audio), tuple(map(_span, spans)), tuple(map(_patch, patches)))
  if bool(words or replace) != bool(transcript):
    raise UserError('--words and --replace need a transcript with times, --transcript FILE'
                    if not transcript else '--transcript is for --words and --replace: give one')
  notes = ()
  if transcript:
    listed, notes = _by_words(listed.audio, words, replace, transcripts.read(transcript))
    margin = audio_diff.MARGIN if margin is None else margin
  if edits and not listed.audio and not listed.patches:  # closed mouths: the sound stays
    listed = dataclasses.replace(listed, audio=_path(source))
  if bool(listed.audio) == bool(listed.patches):
    raise UserError('give either the whole new soundtrack with --audio, or its pieces with --patch '
                    'or --replace')
  if margin is not None and not 0 <= margin <= _LONGEST_MARGIN:
    raise UserError(f'--margin {margin:g} is not between 0 and {_LONGEST_MARGIN:g} seconds')
  request = preparation.Edit(
    source=_path(source), original=_path(original), out=_path(out),
    consent=consents.from_flags(consent, consent_file), new_audio=listed.audio,
    spans=listed.spans, patches=listed.patches, options=listed.options, margin=margin,
    find=not named and not fit, fit=fit, overwrite=overwrite, seed=seed,
    overrides=tuple((sampler or {}).items()),
    references=reference_frames.parse(references) if isinstance(references, str) else tuple(
      references),
    face=face_selection.parse(face) if isinstance(face, str) else face, fade=fade,
    keep_occluders=keep_occluders, fit_face=fit_face, opening=opening, strict=strict,
    join=not reencode, lossless=lossless, signer=sidecars.signer(certificate, key), page=page,
    preview=_path(preview))
  inputs = [request.source, *request.sounds,
            *filter(None, (request.original, consent_file, certificate, key, _path(edits),
                           _path(transcript)))]
  folder = models.find(model.folder if isinstance(model, models.Model) else model)
  _check_files(request, inputs, folder)
  if isinstance(model, models.Model):
    load = lambda: model
  else:
    if not (folder / 'config.json').exists():
      pipeline.load(folder)  # raises, and says what is wrong
    load = lambda: models.load(folder, teacher=teacher, compile_cache=compile_cache)
  return _carried_out(request, load, progress, notes)


def translate(source: PathLike, *, audio: PathLike, fit: str = 'trim',
              **options) -> EditReport | Preview:
  """Regenerates a whole performance so that the mouth follows a dub.

  Args:
    source: a video of somebody talking.
    audio: the whole new soundtrack, which is never cut.
    fit: how the picture is fitted to it: 'trim' leaves out what lies past a shorter dub, and
      refuses a longer one; with 'hold' the last frame stays; with 'pingpong' the video runs back
      and forth; with 'retime' all of it is slower or faster.
    **options: `model`, `out`, `consent` and others, as of `edit`.

  Returns:
    As `edit`.

  Raises:
    UserError: as `edit`.
  """
  return edit(source, audio=audio, fit=fit, **options)


def _listed(path, source) -> edit_list.EditList:
  """The edits of a file, of our own form or an editing program's."""
  if pathlib.Path(path).suffix.lower() not in edit_timeline.SUFFIXES:
    return edit_list.read(path)
  files.check_readable(source)
  return edit_timeline.read(path, source, float(video.probe(source).rate))


def _by_words(audio, words, replace, transcript):
  """The spans or patches that phrases mean, and notes about them."""
  patches, found = [], [transcript.find(phrase) for phrase in words]
  for row in replace:
    phrase, _, path = row.rpartition('=') if isinstance(row, str) else (row[0], '', row[1])
    if not phrase or not path:
      raise UserError(f'--replace {row!r} is not WORDS=FILE, such as "two soon=word.wav"')
    found.append(transcript.find(phrase))
    patches.append(soundtrack.Patch(found[-1].start, found[-1].stop, os.fspath(path)))
  notes = tuple(
    f'"{one.text}" is said at {one.start:.2f}-{one.stop:.2f} s' + (
      f', by an estimate: {transcript.path} has no times of these words' if one.estimated else '')
    for one in found)
  spans = () if patches else tuple((one.start, one.stop) for one in found)
  return edit_list.EditList(audio, spans, tuple(patches)), notes


def _carried_out(request, load, tell, notes):
  """Makes what is asked for; whoever is interrupted hears whether it was written."""
  output_files = None
  try:
    with preparation.prepared(request) as ready:
      output_files = ready.output_files
      for note in (*notes, *ready.notes):
        if tell is not None:
          tell(Progress(note=note))
      model = load()
      if request.preview:
        made = Preview(request.preview, editor.preview(ready, model.system, tell))
      else:
        made = editor.make(ready, model.system, tell)
      compiled.share()
      return made
  except KeyboardInterrupt as error:
    compiled.forget()
    if output_files is not None and output_files.published:
      error.add_note(f'{request.preview or request.out} was written')
    raise


def _check_files(request, inputs, folder):
  """Refuses outputs that would replace an input, and inputs that are not there."""
  containers.of(request.out)  # refuses a name that is not a video's
  sidecars.check_inputs(request.outputs, inputs, folder)
  for path in (request.source, *filter(None, [request.original]), *request.sounds):
    files.check_readable(path)


def _path(path) -> str:
  return os.fspath(path) if path else ''


def _span(span) -> tuple[float, float]:
  if isinstance(span, str):
    return spanning.parse(span)
  start, stop = map(float, span)
  if not start < stop:
    raise UserError(f'span {start:g}-{stop:g} does not begin before it ends')
  return start, stop


def _patch(patch) -> soundtrack.Patch:
  if not isinstance(patch, str):
    start, stop, path = patch
    return soundtrack.Patch(start, stop, os.fspath(path))
  span, separator, path = patch.partition('=')
  if not separator or not path:
    raise UserError(f'patch {patch!r} is not START-END=FILE, such as 1.20-1.95=word.wav')
  return soundtrack.Patch(*spanning.parse(span), path)

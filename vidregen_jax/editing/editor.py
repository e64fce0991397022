"""Carries out an edit: prepares it, makes it, reports on it.

  report = regenerate(edit, pipeline.load(folder))
"""

import contextlib
import dataclasses
import functools
import time

import numpy as np

from vidregen_jax import files, outputs, terminal
from vidregen_jax.compositing import compositor
from vidregen_jax.editing import (
  active_speaker,
  face_fit,
  face_search,
  face_selection,
  familiarity,
  preparation,
  reference_frames,
  regenerator,
  run_plan,
)
from vidregen_jax.editing.preparation import Edit, Prepared
from vidregen_jax.errors import UserError
from vidregen_jax.exports import pipeline
from vidregen_jax.faces import face_track, in_video
from vidregen_jax.inference import streaming_codec
from vidregen_jax.media import prefetch, smart_render_plan, video
from vidregen_jax.media.audio import sound_file
from vidregen_jax.media.timeline import spans
from vidregen_jax.models import codec, flow_matching
from vidregen_jax.reporting import edit_report, preview_sheet, progress, sidecars, stage_clock

_BEHIND = 8  # frames queued for pasting and encoding while the model works
_CLEAR_CROPS = 10  # frames that show how the person's face varies


def regenerate(edit: Edit, machine: pipeline.System, tell: progress.Tell | None = None,
               walk=regenerator.Retake) -> edit_report.EditReport:
  """Makes the edited video and what lies beside it: `preparation.prepared` and `make`."""
  with preparation.prepared(edit) as ready:
    return make(ready, machine, tell, walk)


def make(ready: Prepared, machine: pipeline.System, tell: progress.Tell | None = None,
         walk=regenerator.Retake) -> edit_report.EditReport:
  """Makes the edited video and what lies beside it.

  Args:
    ready: the prepared edit.
    machine: the loaded system.
    tell: what is told of the progress; None for silence.
    walk: the class that generates the frames.

  Returns:
    The report, which is also written beside the video.

  Raises:
    UserError: the edit cannot be made; nothing is written then.
  """
  began = time.perf_counter()
  session = _begin(ready, machine, tell, walk)
  part = ready.output_files.part(ready.edit.out)
  report = _report(session, machine, _write(session, part, tell))
  affines = {index: session.track.affine[index]
             for run in session.runs for index in range(run.start, run.stop)}
  return sidecars.seal(ready.output_files, part, edit=ready.edit, report=report, film=ready.film,
                       affines=affines, clock=session.clock, began=began)


def preview(ready: Prepared, machine: pipeline.System,
            tell: progress.Tell | None = None) -> int:
  """Writes a sheet of stills that previews what `make` would produce.

  Args:
    ready, machine, tell: as of `make`.

  Returns:
    The number of stretches of frames that the edit would regenerate.

  Raises:
    UserError: as `make`.
  """
  session, path = _begin(ready, machine, tell, regenerator.Retake), ready.edit.preview
  with outputs.disk_errors(path):
    return preview_sheet.write(ready.output_files.part(path), session.take, session.paster,
                               session.runs, session.track, _longest_fade(ready))


@dataclasses.dataclass(frozen=True, eq=False)
class _Session:
  """An edit in progress: whose face is changed, in which frames, and the parts that do it.

  Attributes:
    ready: the prepared edit.
    sampler: SamplerConfig; None if nothing is generated.
    choice: whose face was chosen, for the report.
    track: face_track.Track of that face along the film.
    in_spans: bool [F], the frames inside the spans.
    runs: run_plan.Run of those that can be changed.
    stills: by person, numbers of the frames that are their references.
    fitted: face_fit.Fitted, the model's corrections for these people.
    known: by person, familiarity.Familiarity.
    take: generates the frames.
    paster: pastes generated faces into the frames.
    clock: times the stages.
  """

  ready: Prepared
  sampler: flow_matching.SamplerConfig | None
  choice: edit_report.FaceChoice
  track: face_track.Track
  in_spans: np.ndarray
  runs: list[run_plan.Run]
  stills: dict[int, np.ndarray]
  fitted: face_fit.Fitted
  known: dict[int, familiarity.Familiarity]
  take: regenerator.Retake
  paster: compositor.Paster
  clock: stage_clock.Clock

  @property
  def ranges(self) -> list[tuple[int, int]]:
    """(start, stop) of the frames that are changed."""
    return [(run.start, run.stop) for run in self.runs]


def _begin(ready, machine, tell, walk) -> _Session:
  """Finds the face, and sets up what generates and pastes frames.

  Raises:
    UserError: no face in the spans can be changed.
  """
  edit, film, models, clock = ready.edit, ready.film, machine.models, stage_clock.Clock()
  sampler = None if edit.reconstruct else preparation.sampler(edit, machine.sampler)
  in_spans = spans.frames(ready.sound.spans, film.times)
  selection = _choose(ready, clock, tell)
  track = in_video.along(film, selection.track)
  if edit.keep_occluders:
    track = face_track.uncovered(track)
  runs = run_plan.plan(ready.sound.spans, track.times, track.valid, track.shot,
                       models.generator.window, ready.owner)
  if not runs:
    raise _nothing_to_make(edit, track, in_spans)
  encoder = streaming_codec.Encoder(models.codec, machine.params.codec, machine.params.latent_mean,
                                    machine.params.latent_std)
  stills = _stills(edit, track, runs, in_spans, models.generator.references)
  references, clear_crops = _people(ready, track, in_spans, stills, encoder, models.codec.size,
                                    clock)
  fitted = _fitted(ready, machine, track, in_spans, references, encoder, clock, tell)
  known = _known(ready, machine, track, runs, fitted, encoder, clock)
  if doubts := [each.doubt for each in known.values() if each.doubt]:
    if edit.strict:
      raise UserError(f'--strict: {doubts[0]}')
    if tell is not None:
      tell(progress.Progress(note=f'warning: {doubts[0]}', warning=True))
  take = walk(edit, machine, sampler, film, track, ready.sound.track, encoder, references, fitted,
              clock, ready.options)
  choice = dataclasses.replace(selection.choice, notes=(
    *selection.choice.notes, *reference_frames.doubts(stills, in_spans)))
  # Where the decoder is fitted, its crops have the source's own grain.
  paster = compositor.Paster(fitted.size, track, edit.seed, clear_crops, edit.keep_occluders,
                             grain=not fitted.people)
  return _Session(ready, sampler, choice, track, in_spans, runs, stills, fitted, known, take,
                  paster, clock)


def _choose(ready, clock, tell) -> face_selection.Selection:
  """Tracks all faces around the spans, and chooses the one that `--face` names."""
  edit, film, wanted_spans = ready.edit, ready.film, ready.sound.spans
  count = face_search.count(film, wanted_spans, edit.references)
  with (
    clock('track faces', count),
    progress.Stage(tell, 'track faces', count) as stage,
  ):
    faces = face_search.follow(film, wanted_spans, edit.references, stage.update)
    rules = [edit.face if one.face is None else one.face for one in ready.options]
    chosen = {rule: _chosen(rule, faces, film, wanted_spans, [
      mine == rule for mine in rules], ready.owner, _agreement(edit, film))
              for rule in dict.fromkeys(rules)}
  if len(chosen) == 1:
    return chosen[rules[0]]
  return face_selection.combined(
    chosen, [rules[number] for number in _owners_of_source(ready)])


def _chosen(rule, faces, film, wanted_spans, mine, owner, agreement):
  """The face that a rule names in the spans of those edits that are marked as its own."""
  source = film.timeline.source
  own = np.asarray(mine)[owner]
  inside = spans.frames(wanted_spans, film.times) & own
  each = [source[spans.frames([span], film.times) & own] for span in wanted_spans]
  return face_selection.choose(
    rule, faces, np.bincount(source[inside], minlength=len(faces.times)),
    sorted((int(frames.min()), int(frames.max()) + 1) for frames in each if len(frames)),
    agreement)


def _owners_of_source(ready):
  """The edit that each frame of the source belongs to; of the first where it is not shown."""
  owner = np.zeros(ready.film.source.frame_count, int)
  owner[ready.film.timeline.source] = ready.owner
  return owner


def _agreement(edit, film):
  """`active_speaker.agreement` with the source's own sound, which is read on first use."""
  @functools.cache
  def sound():
    if not film.source.has_audio:
      raise UserError(f'--face speaking: {edit.source} has no sound to decide by: name the face by '
                      'number or place')
    recording = sound_file.Recording(edit.source)
    return active_speaker.loudness(recording, recording.rate), float(recording.start)

  return lambda times, lip_gap, mouth_width: active_speaker.agreement(
    times, lip_gap, mouth_width, *sound())


def _nothing_to_make(edit, track, in_spans) -> UserError:
  reasons = ', '.join(dict.fromkeys(
    row.reason for row in face_selection.skipped(track, in_spans)))
  if reasons == face_track.REASONS[face_track.COVERED]:
    return UserError(f'{reasons} throughout the span of {edit.source}, such as a mask: nothing is '
                     'generated there; --no-keep_occluders generates a mouth in front of it')
  return UserError(f'no face was found in the span of {edit.source} ({reasons}): it needs a face, '
                   'seen from the front or half turned, at least 50 pixels wide')


def _stills(edit, track, runs, in_spans, count) -> dict[int, np.ndarray]:
  """By person, their reference frames: the requested ones that show them, or else chosen ones."""
  frames = reference_frames.at(edit.references, track, in_spans, count) if edit.references else ()
  stills = {}
  for person in np.unique(track.person[[run.start for run in runs]]).tolist():
    of = _of_person(track, person)
    own = [frame for frame in frames if of.valid[frame]]
    stills[person] = np.array(own) if own else reference_frames.choose(of, in_spans, count)
  return stills


def _people(ready, track, in_spans, stills, encoder, size, clock) -> tuple[dict, dict]:
  """By person: latents of their references, and crops that show how the face varies."""
  crops = lambda frames: in_video.crops(ready.film, frames, track, size)
  with clock('references', sum(map(len, stills.values()))):
    latents = {person: encoder.stills(crops(frames)) for person, frames in stills.items()}
    return latents, {
      person: crops(reference_frames.variety(_of_person(track, person), in_spans, _CLEAR_CROPS))
      for person in stills}


def _fitted(ready, machine, track, in_spans, references, encoder, clock, tell) -> face_fit.Fitted:
  """The model's corrections for the people whose references [R, H, W, C] are given, if wanted."""
  if not _fit_is_wanted(ready.edit, machine):
    if any(opening != 1 for opening in (ready.edit.opening, *(
        one.opening for one in ready.options if one.opening is not None))):
      raise UserError('--opening needs --fit_face, which shows how this mouth opens and is not the '
                      'default with this checkpoint')
    return face_fit.Fitted(machine.models.codec.size, {})
  people = {person: face_fit.choose(ready.film, _of_person(track, person), in_spans,
                                    _longest_fade(ready)) for person in references}
  count = sum(len(chosen.groups) for chosen in people.values()) * codec.TIME_FACTOR
  with (
    clock('fit to the video', count),
    progress.Stage(tell, 'fit to the video', count) as stage,
  ):
    return face_fit.fit(ready.film, track, people, references, machine, encoder, stage.update)


def _longest_fade(ready) -> float:
  return max(ready.edit.fade if one.fade is None else one.fade for one in ready.options)


def _known(ready, machine, track, runs, fitted, encoder, clock) -> dict:
  """By person, how well the model knows the face in the frames that are to be changed."""
  wanted = _fit_is_wanted(ready.edit, machine)
  decoder = streaming_codec.Decoder(machine.models.codec, machine.params.codec,
                                    machine.params.latent_mean, machine.params.latent_std)
  known = {}
  for person in np.unique(track.person[[run.start for run in runs]]).tolist():
    frames = familiarity.frames([run for run in runs if track.person[run.start] == person])
    with clock('look at the face', len(frames)):
      crops = in_video.crops(ready.film, frames, track, machine.models.codec.size)
      known[person] = familiarity.measure(crops, encoder, decoder,
                                          wanted and person not in fitted.people)
  return known


def _fit_is_wanted(edit, machine) -> bool:
  """Whether the model is to be fitted to the video's own frames."""
  return (machine.models.codec.size < face_fit.SMALL if edit.fit_face is None else edit.fit_face)


def _of_person(track, person):
  return dataclasses.replace(track, valid=track.valid & (track.person == person))


@dataclasses.dataclass(frozen=True)
class _Written:
  """The outcome of writing a video.

  Attributes:
    encoded: (start, stop) of the frames that were re-encoded.
    why_all: the reason if all frames were; else None.
    left_out: what the output file cannot hold, in words.
  """

  encoded: list[tuple[int, int]]
  why_all: str | None
  left_out: list[str]


def _write(session, part, tell) -> _Written:
  """Generates the frames and writes the video."""
  ready, clock = session.ready, session.clock
  plan = ready.join_plan
  if isinstance(plan, smart_render_plan.Plan):
    plan = plan.around(ready.edit.out, session.ranges)
  regions = [(0, len(session.track))] if isinstance(plan, str) else plan.regions
  count = sum(stop - start for start, stop in regions)
  target = preparation.writer(ready.edit, ready.sound, plan, ready.crf, part)
  # Untouched packets are copied, and checked, when the target is closed.
  with (
    clock.leaving('write file', target),
    clock('regenerate', count),
    progress.Stage(tell, 'regenerate', count) as stage,
    contextlib.closing(session.take.frames(session.runs, regions)) as frames,
    contextlib.closing(_kept(ready, regions)) as kept,
    prefetch.Behind(functools.partial(_put, target, session.paster, clock, stage),
                    _BEHIND) as writing,
  ):
    for (shot, face), frame in zip(frames, kept, strict=False):
      with clock('wait for encode', 1):
        writing.put(shot, face, frame or shot.frame)
  return _Written(regions, plan if isinstance(plan, str) else None, target.left_out)


def _kept(ready, regions):
  """Yields the frames of the regions as they are without new faces; None for the real ones."""
  for start, stop in regions:
    if ready.original is None:
      yield from (None for _ in range(start, stop))
    else:
      yield from video.frames(ready.edit.source, start, stop, stamps=ready.sound.film.source.stamps)


def _put(target, paster, clock, stage, shot, face, kept):
  """Writes a frame, with the generated face pasted in if there is one and its mouth is visible.

  Without a face it is written as it is in `kept`, which is of the same time.
  """
  image = None
  if face is not None:
    with clock('paste', 1):
      image = paster(shot, face)
  with clock('write', 1):
    if image is None:
      target.copy(kept)
    else:
      frame = dataclasses.replace(shot.frame, pts=kept.pts, duration=kept.duration)
      target.replace(frame, image, shot.at)
  stage.update(picture=functools.partial(shot.whole, image))


def _report(session, machine, written) -> edit_report.EditReport:
  """The report, without the fields that `sidecars.seal` fills in."""
  ready, track = session.ready, session.track
  edit, sound, film = ready.edit, ready.sound, ready.film
  return edit_report.EditReport(
    source=edit_report.Source(
      **_file(edit.source), frames=film.source.frame_count,
      size=(film.info.width, film.info.height), rate=film.info.rate,
      credentials=ready.source_credentials),
    audio=edit_report.NewSound(
      files=tuple(edit_report.File(**_file(path)) for path in edit.sounds),
      seconds_past_the_video=round(sound.cut, 3), why_all_is_encoded=sound.why_all_is_encoded,
      notes=sound.notes),
    original=edit_report.File(**_file(edit.original)) if edit.original else None,
    out=terminal.printable(edit.out), frames=len(track), retimed=not film.is_the_source,
    consent=edit.consent,
    spans=tuple(edit_report.TimeSpan(round(a, 4), round(b, 4)) for a, b in sound.spans),
    regenerated_frames=_ranges(session.ranges), encoded_frames=_ranges(written.encoded),
    why_all_are_encoded=written.why_all,
    left_out=tuple(map(terminal.printable, written.left_out)),
    frames_without_a_face=tuple(np.flatnonzero(session.in_spans & ~track.valid).tolist()),
    skipped=face_selection.skipped(track, session.in_spans),
    confidence=_confidence(session), face=session.choice,
    familiarity={str(person): each.report() for person, each in session.known.items()},
    occluded=tuple(edit_report.OccludedFrames(*row) for row in session.paster.hidden),
    frames_left_as_occluded=_ranges(session.paster.left),
    references=tuple(np.unique(np.concatenate(list(session.stills.values()))).tolist()),
    fade=edit.fade, options=ready.options if any(edit.options) else (),
    fitted=session.fitted.report(edit.opening), model=machine.digests,
    sampler=session.sampler and dataclasses.asdict(session.sampler), seed=edit.seed)


def _confidence(session) -> tuple[tuple[float, ...], ...]:
  """By range of changed frames, how well each was seen, its face known, and its mouth in sight."""
  values = session.track.confidence.astype(float)
  for person, each in session.known.items():
    values[session.track.person == person] *= each.share
  for start, stop, hidden in session.paster.hidden:
    values[start:stop] *= 1 - hidden
  for start, stop in session.paster.left:
    values[start:stop] = 0
  return tuple(tuple(values[a:b].round(2).tolist()) for a, b in session.ranges)


def _file(path) -> dict:
  return {'path': terminal.printable(path), 'sha256': files.digest(path)}


def _ranges(rows) -> tuple[edit_report.FrameRange, ...]:
  return tuple(edit_report.FrameRange(*row) for row in rows)

"""An edit: what is asked for, and how it is made, to a video and what lies beside it.

  with prepared(edit) as ready:           # all that can be known without a model; takes seconds
    report = make(ready, pipeline.load(folder))

When the block ends well, what was made gets its names.
"""

import contextlib
import dataclasses
import functools
import pathlib
import time
from collections.abc import Iterator

import numpy as np

from vidregen_jax import files, outputs, terminal
from vidregen_jax.compositing import compositor
from vidregen_jax.editing import (
  active_speaker,
  audio_diff,
  face_selection,
  reference_frames,
  regenerator,
  run_plan,
  soundtrack,
)
from vidregen_jax.errors import UserError
from vidregen_jax.exports import pipeline
from vidregen_jax.faces import in_video, tracks
from vidregen_jax.inference import streaming_codec
from vidregen_jax.media import containers, prefetch, smart_render, video, video_writer
from vidregen_jax.media.audio import lazy as recordings
from vidregen_jax.media.audio import packet_splice
from vidregen_jax.media.timeline import retimed_video as films
from vidregen_jax.media.timeline import spans
from vidregen_jax.models import flow_matching
from vidregen_jax.provenance import consent as consents
from vidregen_jax.provenance import content_credentials
from vidregen_jax.reporting import preview_sheet, sidecars, stage_clock

_LONGEST_FADE = 2.0  # seconds: so many frames wait in memory
_LARGEST_SEED = 2**32 - 1  # JAX takes a larger one for a smaller one
_AROUND = 10.0  # seconds around a span in which faces are looked for, to warm up and to refer to
_BEHIND = 8  # frames that wait to be pasted and encoded while the model works
_KNOWN = 10  # frames that say how the person's face varies
# Of frames that are encoded anew: some 51 dB from the source. x264's `medium` at crf 12 is as near
# in luma, and takes five times as long for three quarters of the bytes.
_CRF, _PRESET = 10.5, 'superfast'


@dataclasses.dataclass(frozen=True)
class Edit:
  """What is asked for.

  Attributes:
    source: the video.
    consent: consent.Consent, of the people who are shown.
    out: where to write.
    overwrite: whether to replace what is there, and beside it.
    new_audio: the new soundtrack; '' with patches.
    spans: (start, stop) seconds; empty for the whole video.
    find: whether to look for the spans in which the two soundtracks differ, instead.
    patches: soundtrack.Patch of each; empty where there is a new soundtrack.
    margin: seconds by which the picture of a span may be made anew beyond it, to where it is
      quietest; None for none, or for the usual ones of spans that are found.
    fit: of retiming.FITS, what the whole picture does if the new soundtrack has another length; ''
      to leave out what lies past its end.
    seed: of all noise.
    overrides: SamplerConfig fields to change.
    references: seconds of the stills that show the person; empty to choose them.
    face: whose mouth is changed, as `face_selection.parse` gives it.
    fade: seconds over which, at a span's edges, made faces turn into the real ones.
    keep_occluders: whether what is seen before the face keeps its pixels.
    join: whether to copy what is not encoded anew, where the source allows it.
    lossless: whether to encode without loss.
    reconstruct: make nothing: paste what the codec makes of the true faces, to be measured against.
    signer: certificates.Identity that signs what was done; None to leave it unsigned.
    page: whether to write a page beside the video.
    preview: where to write a sheet of stills, and then nothing else; '' for the video.
  """

  source: str
  consent: consents.Consent
  out: str
  new_audio: str = ''
  spans: tuple = ()
  overwrite: bool = False
  find: bool = False
  seed: int = 0
  overrides: tuple = ()
  references: tuple = ()
  patches: tuple = ()
  margin: float | None = None
  fit: str = ''
  face: str | int | tuple = 'largest'
  fade: float = 0.2
  keep_occluders: bool = True
  join: bool = True
  lossless: bool = False
  reconstruct: bool = False
  signer: sidecars.Identity | None = None
  page: bool = False
  preview: str = ''

  @property
  def outputs(self) -> list[pathlib.Path]:
    """All files that may come to be."""
    return [pathlib.Path(self.preview)] if self.preview else sidecars.paths(self.out)


@dataclasses.dataclass(frozen=True)
class Prepared:
  """An edit of which all is known that can be without a model.

  Attributes:
    edit: what is asked for; spans that were to be found are.
    made: the files to be, which get their names when the block of `prepared` ends well.
    sound: what is heard, on which film.
    planned: smart_render.Plan around the spans, or why every frame is encoded.
    brought: what the source's own credentials say, as `content_credentials.of_source`.
    notes: lines for the user.
  """

  edit: Edit
  made: outputs.Outputs
  sound: soundtrack.Composed
  planned: smart_render.Plan | str
  brought: dict | None
  notes: tuple[str, ...] = ()

  @property
  def film(self) -> films.Film:
    return self.sound.film


@contextlib.contextmanager
def prepared(edit: Edit) -> Iterator[Prepared]:
  """Finds what is wrong with an edit, cheap things first, and keeps its outputs' names.

  Args:
    edit: what is asked for.

  Yields:
    Prepared. What was made of it then gets its names.

  Raises:
    UserError: a mistake in what is asked for; nothing is written then.
  """
  _check_settings(edit)
  if edit.preview:
    preview_sheet.check(edit.preview)
  with outputs.Outputs(edit.outputs, edit.overwrite) as made:
    info = video.probe(edit.source)
    _check_times(info)
    edit, notes = _with_spans(edit, info)
    soundtrack.check_samples(info, edit.new_audio, edit.patches)
    sound = soundtrack.patched(soundtrack.compose(info, edit.new_audio, edit.spans, edit.patches,
                                                  edit.fit))
    if edit.margin:
      sound = soundtrack.with_margin(sound, edit.margin)
    if isinstance(sound.written, packet_splice.Patched) and not containers.takes_sound(
        edit.out, sound.written.codec):
      why = f'{edit.out} cannot hold {sound.written.codec}'
      sound = dataclasses.replace(sound, written=sound.track, why_all_is_encoded=why)
    in_spans = spans.frames(sound.spans, sound.film.times)
    if not in_spans.any():
      raise UserError(f'no frame of {edit.source} starts in the span: make it at least one frame, '
                      f'{float(1 / info.rate):.3f} s, long')
    if edit.references:
      reference_frames.check(edit.references, sound.film.times, in_spans)
    touched = spans.stretches(in_spans)
    planned = _planned(edit, sound.film, touched)
    _writer(edit, sound, planned, made.rehearsal(edit.out)).rehearse()
    yield Prepared(edit, made, sound, planned, content_credentials.of_source(edit.source), notes)


def _check_settings(edit):
  """What can be wrong with numbers alone."""
  if not 0 <= edit.fade <= _LONGEST_FADE:
    raise UserError(f'--fade {edit.fade:g} is not between 0 and {_LONGEST_FADE:g} seconds')
  if not 0 <= edit.seed <= _LARGEST_SEED:
    raise UserError(f'--seed is not between 0 and {_LARGEST_SEED}')
  _sampler(edit, flow_matching.SamplerConfig(1, 'euler', 1.0, 1.0, 1.0))


def _sampler(edit, usual):
  """The sampler's settings, with what the edit says of them."""
  try:
    return dataclasses.replace(usual, **dict(edit.overrides))
  except UserError as error:
    raise UserError(f'--{error}') from error


def _check_times(info):
  if (np.diff(info.stamps) <= 0).any():
    at = float(info.stamps[1:][np.diff(info.stamps) <= 0][0] * info.time_base)
    raise UserError(f'{info.path}: two of its frames have the same time, {at:.3f} s: re-encode it '
                    'first')


def _with_spans(edit, info):
  """The edit with the spans that are to be found, and lines about them.

  Raises:
    UserError: there are none.
  """
  if not edit.find:
    return edit, ()
  margin = audio_diff.MARGIN if edit.margin is None else edit.margin
  found = soundtrack.differences(info, edit.new_audio, margin)
  edit = dataclasses.replace(edit, find=False, margin=None)
  if found is None:
    why = _why_all(info, edit.new_audio)
    return edit, (f'{why}, and so the whole video is made anew', )
  if not found:
    raise UserError(f'{edit.new_audio} sounds as {info.path} does from end to end: there is '
                    'nothing to regenerate; --whole does it all the same')
  where = ', '.join(f'{a:.2f}-{b:.2f}' for a, b in found)
  return dataclasses.replace(edit, spans=tuple(found)), (f'the soundtracks differ at {where} s', )


def _why_all(info, new_audio):
  """Why no spans are found, in words."""
  if not info.has_audio:
    return f'{info.path} has no soundtrack to compare with'
  late, of = soundtrack.lag(info, new_audio), f'the soundtrack differs from that of {info.path}'
  if not late:
    return f'all but a tenth of {of}'
  return (f'{of} everywhere, as it is the same {"later" if late > 0 else "earlier"} by '
          f'{abs(late):.3f} s (an encoder may have done that: a wav has no such lag)')


def _planned(edit, film, touched) -> smart_render.Plan | str:
  """How the source can be joined; or why it cannot."""
  if edit.lossless or not edit.join:
    return f'--{"lossless" if edit.lossless else "reencode"} asks for all of it anew'
  if not film.is_the_source:
    return 'its frames are not shown when they were'
  return smart_render.plan(film.info, edit.out, touched)


def _writer(edit, sound, planned, part) -> video_writer.File:
  """What writes the video, by a plan or the reason why there is none."""
  kept = dict(audio=sound.written, keep=edit.source, crf=0 if edit.lossless else _CRF,
              preset=_PRESET, part=part)
  if isinstance(planned, str):
    return video_writer.Writer(edit.out, sound.film.info, **kept)
  return smart_render.Joined(edit.out, sound.film.info, planned, **kept)


def regenerate(edit: Edit, machine: pipeline.System, show=True, walk=regenerator.Retake) -> dict:
  """Makes the edited video and what lies beside it: `prepared` and `make`."""
  with prepared(edit) as ready:
    return make(ready, machine, show, walk)


def make(ready: Prepared, machine: pipeline.System, show=True, walk=regenerator.Retake) -> dict:
  """Makes the edited video and its report.

  Args:
    ready: what is asked for.
    machine: the loaded system.
    show: whether to show progress.
    walk: the class that makes the frames.

  Returns:
    The report that is also written beside the video; of a preview, how many 'stretches' there are.

  Raises:
    UserError: a mistake in what is asked for; nothing is written then.
  """
  clock, began = stage_clock.Clock(), time.perf_counter()
  edit, sound, film = ready.edit, ready.sound, ready.film
  sampler = None if edit.reconstruct else _sampler(edit, machine.sampler)
  wanted, info = sound.spans, film.info
  looked_at = spans.around(wanted, _AROUND, [(x, x) for x in edit.references])
  in_spans = spans.frames(wanted, film.times)
  count = max(int(spans.frames(looked_at, film.times).sum()), 1)
  with (
    clock('track faces', count),
    terminal.Progress(count, 'frame', 'track faces', show) as bar,
  ):
    chosen = _choose(edit, film, in_video.look(film, looked_at, bar.update), wanted)
  track, models = in_video.along(film, chosen.track), machine.models
  if edit.keep_occluders:
    track = tracks.uncovered(track)
  runs = run_plan.plan(wanted, track.times, track.valid, track.shot, models.generator.window)
  if not runs:
    reasons = ', '.join(dict.fromkeys(why for *_, why in face_selection.skipped(track, in_spans)))
    if reasons == tracks.REASONS[tracks.COVERED]:
      raise UserError(f'{reasons} in all of the span of {edit.source}, as a mask does: nothing is '
                      'made there; --no-keep_occluders makes a mouth before it')
    raise UserError(f'no face was found in the span of {edit.source} ({reasons}): it needs a face, '
                    'seen from the front or half turned, at least 50 pixels wide')

  touched = [(run.start, run.stop) for run in runs]
  encoder = streaming_codec.Encoder(models.codec, machine.params.codec, machine.params.latent_mean,
                                    machine.params.latent_std)
  stills = _stills(edit, track, runs, in_spans, models.generator.references)
  with clock('references', sum(map(len, stills.values()))):
    crops = lambda frames: in_video.crops(film, frames, track, models.codec.size)
    shown = {person: encoder.stills(crops(frames)) for person, frames in stills.items()}
    known = {} if not edit.keep_occluders else {
      person: crops(reference_frames.known(_of_person(track, person), in_spans, _KNOWN))
      for person in stills}
  paster = compositor.Paster(models.codec.size, track, edit.seed, known)
  take = walk(edit, machine, sampler, film, track, sound.track, encoder, shown, clock)
  if edit.preview:
    with outputs.told(edit.preview):
      return {'stretches': preview_sheet.write(ready.made.part(edit.preview), take, paster, runs,
                                               track,
                                               edit.fade)}

  planned, regions = ready.planned, [(0, len(track))]
  if not isinstance(planned, str):
    planned = planned.around(edit.out, touched)
  if not isinstance(planned, str):
    regions = planned.regions
  part = ready.made.part(edit.out)
  target = _writer(edit, sound, planned, part)

  def write(shot, made):
    image = None
    if made is not None:
      with clock('paste', 1):
        image = paster(shot, made)
    with clock('write', 1):
      if image is None:
        target.copy(shot.frame)
      else:
        target.replace(shot.frame, image, shot.at)
    bar.update()

  count = sum(stop - start for start, stop in regions)
  with target:
    with (
      clock('regenerate', count),
      terminal.Progress(count, 'frame', 'regenerate', show) as bar,
      contextlib.closing(take.frames(runs, regions)) as frames,
      prefetch.Behind(write, _BEHIND) as writing,
    ):
      for shot, made in frames:
        with clock('wait for encode', 1):
          writing.put(shot, made)
    finished = time.perf_counter()
  clock.add('write file', time.perf_counter() - finished)  # what was not touched, and a check of it
  said = {
    'source': {'path': terminal.printable(edit.source), 'sha256': files.digest(edit.source),
               'frames': film.source.frame_count,
               'size': [info.width, info.height], 'rate': str(info.rate),
               'credentials': ready.brought},
    'audio': {'files': [{'path': terminal.printable(path), 'sha256': files.digest(path)}
                        for path in sounds(edit)],
              'seconds_past_the_video': round(sound.cut, 3),
              'why_all_is_encoded': sound.why_all_is_encoded, 'notes': list(sound.notes)},
    'out': terminal.printable(edit.out),
    'frames': len(track),
    'retimed': not film.is_the_source,
    'consent': dataclasses.asdict(edit.consent),
    'spans': [[round(a, 4), round(b, 4)] for a, b in wanted],
    'regenerated_frames': touched,
    'encoded_frames': regions,
    'why_all_are_encoded': planned if isinstance(planned, str) else None,
    'left_out': list(map(terminal.printable, target.left_out)),
    'frames_without_a_face': np.flatnonzero(in_spans & ~track.valid).tolist(),
    'skipped': face_selection.skipped(track, in_spans),
    'confidence': [track.confidence[a:b].astype(float).round(2).tolist() for a, b in touched],
    'face': chosen.said,
    'occluded': paster.hidden,
    'frames_left_as_occluded': paster.left,
    'references': np.unique(np.concatenate(list(stills.values()))).tolist(),
    'fade': edit.fade,
    'model': machine.digests,
    'sampler': sampler and dataclasses.asdict(sampler),
    'seed': edit.seed,
  }
  affines = {index: track.affine[index] for a, b in touched for index in range(a, b)}
  sidecars.seal(ready.made, part, edit=edit, said=said, film=film, affines=affines, clock=clock,
                began=began)
  return said


def _choose(edit, film, seen, wanted) -> face_selection.Chosen:
  """The face that `--face` names."""
  source = film.timeline.source

  @functools.cache
  def sound():
    if not film.source.has_audio:
      raise UserError(f'--face speaking: {edit.source} has no sound to tell it by: name the face '
                      'by number or place')
    heard = recordings.Recording(edit.source)
    return active_speaker.loudness(heard, heard.rate), float(heard.start)

  agree = lambda times, lip_gap, mouth_width: active_speaker.agreement(times, lip_gap, mouth_width,
                                                                       *sound())
  inside = spans.frames(wanted, film.times)
  each = [source[spans.frames([span], film.times)] for span in wanted]
  return face_selection.choose(
      edit.face, seen, np.bincount(source[inside], minlength=len(seen.times)),
      sorted((int(frames.min()), int(frames.max()) + 1) for frames in each if len(frames)), agree)


def _stills(edit, track, runs, in_spans, count) -> dict:
  """By person, the frames that show who they are; of the times that are asked for, their own."""
  asked = reference_frames.at(edit.references, track, in_spans, count) if edit.references else ()
  stills = {}
  for person in np.unique(track.person[[run.start for run in runs]]).tolist():
    of = _of_person(track, person)
    own = [frame for frame in asked if of.valid[frame]]
    stills[person] = np.array(own) if own else reference_frames.choose(of, in_spans, count)
  return stills


def _of_person(track, person):
  return dataclasses.replace(track, valid=track.valid & (track.person == person))


def sounds(edit) -> list:
  """The paths of all new sound."""
  return [edit.new_audio] if edit.new_audio else [patch.path for patch in edit.patches]

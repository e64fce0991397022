"""An edit: what is asked for, and how it is made, to a video and what lies beside it."""

import contextlib
import dataclasses
import functools
import time

import numpy as np
import tqdm

from vidregen_jax import (
  ahead,
  choice,
  files,
  latents,
  papers,
  pasting,
  preview,
  references,
  report,
  retake,
  soundtrack,
  spans,
  speaking,
  system,
)
from vidregen_jax import consent as consents
from vidregen_jax import film as films
from vidregen_jax.errors import UserError
from vidregen_jax.media import containers, encode, join, patches, tracks, video
from vidregen_jax.media import sound as recordings

_LONGEST_FADE = 2.0  # seconds: so many frames wait in memory
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
    new_audio: the new soundtrack; '' with patches.
    spans: (start, stop) seconds; empty for the whole video.
    patches: soundtrack.Patch of each; empty where there is a new soundtrack.
    margin: seconds by which the picture of a span may be made anew beyond it, to where it is
      quietest.
    fit: of timeline.FITS, what the whole picture does if the new soundtrack has another length; ''
      to leave out what lies past its end.
    seed: of all noise.
    overrides: SamplerConfig fields to change.
    references: seconds of the stills that show the person; empty to choose them.
    face: whose mouth is changed, as `choice.parse` gives it.
    fade: seconds over which, at a span's edges, made faces turn into the real ones.
    keep_occluders: whether what is seen before the face keeps its pixels.
    join: whether to copy what is not encoded anew, where the source allows it.
    lossless: whether to encode without loss.
    reconstruct: make nothing: paste what the codec makes of the true faces, to be measured against.
    signer: identity.Identity that signs what was done; None to leave it unsigned.
    page: whether to write a page beside the video.
    preview: where to write a sheet of stills, and then nothing else; '' for the video.
  """

  source: str
  consent: consents.Consent
  out: str
  new_audio: str = ''
  spans: tuple = ()
  seed: int = 0
  overrides: tuple = ()
  references: tuple = ()
  patches: tuple = ()
  margin: float = 0.0
  fit: str = ''
  face: str | int | tuple = 'largest'
  fade: float = 0.2
  keep_occluders: bool = True
  join: bool = True
  lossless: bool = False
  reconstruct: bool = False
  signer: papers.Identity | None = None
  page: bool = False
  preview: str = ''


def regenerate(edit: Edit, machine: system.System, show=True, walk=retake.Retake) -> dict:
  """Makes the edited video and its report.

  Args:
    edit: what is asked for.
    machine: the loaded system.
    show: whether to draw progress bars.
    walk: the class that makes the frames.

  Returns:
    The report that is also written beside the video; of a preview, how many 'stretches' there are.

  Raises:
    UserError: a mistake in what is asked for; nothing is written then.
  """
  clock, began = report.Clock(), time.perf_counter()
  if not 0 <= edit.fade <= _LONGEST_FADE:
    raise UserError(f'--fade {edit.fade:g} is not between 0 and {_LONGEST_FADE:g} seconds')
  try:
    sampler = dataclasses.replace(machine.sampler, **dict(edit.overrides))
  except UserError as error:
    raise UserError(f'--{error}') from error
  if edit.reconstruct:
    sampler = None
  info = video.probe(edit.source)
  sound = _compose(edit, info)
  if edit.margin:
    sound = soundtrack.with_margin(sound, edit.margin)
  film, wanted = sound.film, sound.spans
  info = film.info
  if isinstance(sound.written, patches.Patched) and not containers.takes_sound(
      edit.out, sound.written.codec):
    sound = dataclasses.replace(sound, written=sound.track,
                                why_all_is_encoded=f'{edit.out} cannot hold {sound.written.codec}')
  crf = 0 if edit.lossless else _CRF
  kept = dict(audio=sound.written, keep=edit.source, crf=crf, preset=_PRESET)
  target = encode.Writer(edit.out, info, **kept)  # refuses a wrong path already
  if edit.preview:
    preview.check(edit.preview)

  looked_at = spans.around(wanted, _AROUND, [(x, x) for x in edit.references])
  in_spans = spans.frames(wanted, film.times)
  count = max(int(spans.frames(looked_at, film.times).sum()), 1)
  with (
    clock('track faces', count),
    tqdm.tqdm(total=count, unit='frame', desc='track faces', disable=not show) as bar,
  ):
    chosen = _choose(edit, film, film.look(looked_at, bar.update), wanted)
  track, models = film.along(chosen.track), machine.models
  if edit.keep_occluders:
    track = tracks.uncovered(track)
  runs = spans.plan(wanted, track.times, track.valid, track.shot, models.generator.window)
  if not in_spans.any():
    raise UserError(f'no frame of {edit.source} starts in the span: make it at least one frame, '
                    f'{float(1 / info.rate):.3f} s, long')
  if not runs:
    reasons = ', '.join(dict.fromkeys(why for *_, why in choice.skipped(track, in_spans)))
    if reasons == tracks.REASONS[tracks.COVERED]:
      raise UserError(f'{reasons} in all of the span of {edit.source}, as a mask does: nothing is '
                      'made there; --no-keep_occluders makes a mouth before it')
    raise UserError(f'no face was found in the span of {edit.source} ({reasons}): it needs a face, '
                    'seen from the front or half turned, at least 50 pixels wide')

  touched = [(run.start, run.stop) for run in runs]
  if edit.lossless or not edit.join:
    planned = f'--{"lossless" if edit.lossless else "reencode"} asks for all of it anew'
  elif not film.is_the_source:
    planned = 'its frames are not shown when they were'
  else:
    planned = join.plan(info, edit.out, touched)
  regions = [(0, len(track))]
  if not isinstance(planned, str):
    target, regions = join.Joined(edit.out, info, planned, **kept), planned.regions
  encoder = latents.Encoder(models.codec, machine.params.codec, machine.params.latent_mean,
                            machine.params.latent_std)
  stills = _stills(edit, track, runs, in_spans, models.generator.references)
  with clock('references', sum(map(len, stills.values()))):
    crops = lambda frames: film.crops(frames, track, models.codec.size)
    shown = {person: encoder.stills(crops(frames)) for person, frames in stills.items()}
    known = {} if not edit.keep_occluders else {
      person: crops(references.known(_of_person(track, person), in_spans, _KNOWN))
      for person in stills}
  paster = pasting.Paster(models.codec.size, track, edit.seed, known)
  take = walk(edit, machine, sampler, film, track, sound.track, encoder, shown, clock)
  if edit.preview:
    return {'stretches': preview.write(edit.preview, take, paster, runs, track, edit.fade)}

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
  with papers.Beside(edit.out) as beside, target:
    with (
      clock('regenerate', count),
      tqdm.tqdm(total=count, unit='frame', desc='regenerate', disable=not show) as bar,
      contextlib.closing(take.frames(runs, regions)) as frames,
      ahead.Behind(write, _BEHIND) as writing,
    ):
      for shot, made in frames:
        with clock('wait for encode', 1):
          writing.put(shot, made)
    said = {
      'source': {'path': str(edit.source), 'sha256': files.digest(edit.source),
                 'frames': film.source.frame_count,
                 'size': [info.width, info.height], 'rate': str(info.rate)},
      'audio': {'files': [{'path': str(path), 'sha256': files.digest(path)}
                          for path in sounds(edit)],
                'seconds_past_the_video': round(sound.cut, 3),
                'why_all_is_encoded': sound.why_all_is_encoded},
      'out': str(edit.out),
      'frames': len(track),
      'retimed': not film.is_the_source,
      'consent': dataclasses.asdict(edit.consent),
      'spans': [[round(a, 4), round(b, 4)] for a, b in wanted],
      'regenerated_frames': touched,
      'encoded_frames': regions,
      'why_all_are_encoded': planned if isinstance(planned, str) else None,
      'left_out': target.left_out,
      'frames_without_a_face': np.flatnonzero(in_spans & ~track.valid).tolist(),
      'skipped': choice.skipped(track, in_spans),
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
    finished = time.perf_counter()

    def seal(part):
      # What was not touched, and a check of it.
      clock.add('write file', time.perf_counter() - finished)
      beside.seal(part, edit=edit, said=said, film=film, affines=affines, clock=clock, began=began)

    target.seal = seal
  return said


def _choose(edit, film, seen, wanted) -> choice.Chosen:
  """The face that `--face` names."""
  source = film.timeline.source

  @functools.cache
  def sound():
    if not film.source.has_audio:
      raise UserError(f'--face speaking: {edit.source} has no sound to tell it by: name the face '
                      'by number or place')
    heard = recordings.Recording(edit.source)
    return speaking.loudness(heard, heard.rate), float(heard.start)

  agree = lambda times, lip_gap, mouth_width: speaking.agreement(times, lip_gap, mouth_width,
                                                                 *sound())
  inside = spans.frames(wanted, film.times)
  each = [source[spans.frames([span], film.times)] for span in wanted]
  return choice.choose(
      edit.face, seen, np.bincount(source[inside], minlength=len(seen.times)),
      sorted((int(frames.min()), int(frames.max()) + 1) for frames in each if len(frames)), agree)


def _stills(edit, track, runs, in_spans, count) -> dict:
  """By person, the frames that show who they are; of the times that are asked for, their own."""
  asked = references.at(edit.references, track, in_spans, count) if edit.references else ()
  stills = {}
  for person in np.unique(track.person[[run.start for run in runs]]).tolist():
    of = _of_person(track, person)
    own = [frame for frame in asked if of.valid[frame]]
    stills[person] = np.array(own) if own else references.choose(of, in_spans, count)
  return stills


def _of_person(track, person):
  return dataclasses.replace(track, valid=track.valid & (track.person == person))


def sounds(edit) -> list:
  """The paths of all new sound."""
  return [edit.new_audio] if edit.new_audio else [patch.path for patch in edit.patches]


def _compose(edit, info) -> soundtrack.Composed:
  """The sound that is asked for, and the film it is for."""
  film = films.Film.of(info)
  begin, end = float(info.start_time), float(info.start_time + info.duration)
  if edit.patches:
    spans.check([(patch.start, patch.stop) for patch in edit.patches], begin, end, edit.source)
    return soundtrack.compose_patches(film, edit.patches)
  if not edit.spans:
    return soundtrack.compose_whole(film, edit.new_audio, edit.fit)
  wanted = spans.merge(edit.spans)
  spans.check(wanted, begin, end, edit.source)
  return soundtrack.compose_spans(film, edit.new_audio, wanted)

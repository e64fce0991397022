"""Regenerate the lower face in spans of a video so that the mouth follows new audio.

  python -m vidregen_jax.regenerate IN.mp4 --audio NEW.wav --span 1.20-2.04 --checkpoint DIR \
    --consent "Ann Lee, who is shown, agreed on 2026-05-01" --out OUT.mp4
  python -m vidregen_jax.regenerate IN.mp4 --patch 1.20-1.95=WORD.wav ...
  python -m vidregen_jax.regenerate IN.mp4 --edits EDITS.json ...

NEW.wav is the whole new soundtrack, in time with the video; inside the spans it is what is heard
and what the mouth follows, outside them the video's own sound stays. Without --span the spans are
found: wherever the two soundtracks differ. With --patch the new sound comes in pieces; where one is
longer or shorter than its span, the picture is retimed to it, and what follows moves. EDITS.json
says either of these in a file: see `edit_list`.

Where the source can be joined (H.264, HEVC, VP9 or AV1 in mp4, mov, mkv or webm), only the frames
from a span to the next key frame are encoded anew; all others are copied as they are. Beside
OUT.mp4, OUT.json says what was changed, by which model, with whose consent, and how long each stage
took; OUT.html shows it. The same is signed in OUT.mp4 itself (Content Credentials); `python -m
vidregen_jax.inspect` reads them.
"""

import argparse
import contextlib
import dataclasses
import functools
import pathlib
import sys
import time

import numpy as np
import tqdm

from vidregen_jax import (
  ahead,
  choice,
  differences,
  edit_list,
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
from vidregen_jax.media import aac, containers, encode, join, video
from vidregen_jax.media import sound as recordings

_LONGEST_FADE = 2.0  # seconds: so many frames wait in memory
_LONGEST_MARGIN = 1.0  # seconds
_AROUND = 10.0  # seconds around a span in which faces are looked for, to warm up and to refer to
_BEHIND = 8  # frames that wait to be pasted and encoded while the model works
_KNOWN = 10  # frames that say how the person's face varies
# Of frames that are encoded anew: some 51 dB from the source. x264's `medium` at crf 12 is as near
# in luma, and takes three times as long for nine tenths of the bytes.
_CRF, _PRESET = 11, 'veryfast'


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
  if isinstance(sound.written, aac.Patched) and not containers.takes_sound(edit.out, 'aac'):
    sound = dataclasses.replace(sound, written=sound.track,
                                why_all_is_encoded=f'{edit.out} cannot hold AAC')
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
  runs = spans.plan(wanted, track.times, track.valid, track.shot, models.generator.window)
  if not in_spans.any():
    raise UserError(f'no frame of {edit.source} starts in the span: make it at least one frame, '
                    f'{float(1 / info.rate):.3f} s, long')
  if not runs:
    reasons = ', '.join(dict.fromkeys(why for *_, why in choice.skipped(track, in_spans)))
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
      'source': {'path': str(edit.source), 'sha256': report.digest(edit.source),
                 'frames': film.source.frame_count,
                 'size': [info.width, info.height], 'rate': str(info.rate)},
      'audio': {'files': [{'path': str(path), 'sha256': report.digest(path)}
                          for path in _sounds(edit)],
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


def _sounds(edit):
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


class _Parser(argparse.ArgumentParser):
  """One line for a mistake, like every other program here."""

  def error(self, message):
    raise UserError(f'{message}: `{self.prog} --help` says how')

  def parse_args(self, *args):
    given = super().parse_args(*args)
    for name, value in vars(given).items():
      values = value if isinstance(self.get_default(name), list) else [value]
      if [] in values:  # what Python 3.11 makes of --name=--
        self.error(f'argument --{name}: expected one argument')
    return given


def parser_of(module, description):
  """The flags that all edits have in common."""
  parser = _Parser(prog=f'python -m vidregen_jax.{module}', description=description,
                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('source', metavar='IN.mp4', help='a video of somebody talking')
  parser.add_argument('--checkpoint', required=True, metavar='DIR',
                      help="the `export` folder of the generator's training")
  papers.add_flags(parser)
  parser.add_argument('--out', required=True, metavar='OUT.mp4')
  parser.add_argument('--overwrite', action='store_true',
                      help='replace OUT.mp4, and what lies beside it, where they exist')
  parser.add_argument('--references', default='', metavar='SECONDS',
                      help='times at which the person is seen well, such as 0.5,3.2; default: '
                           'sharp frames of unlike mouths and poses')
  parser.add_argument('--face', default='largest', metavar='WHICH',
                      help='of several: largest (default); speaking: whose lips move as the old '
                           'sound does; a number as OUT.json lists them; or a place X,Y, in '
                           'fractions of the picture as it is shown: the face there when a span '
                           'begins')
  parser.add_argument('--fade', type=float, default=Edit.fade, metavar='SECONDS',
                      help="over which, at a span's edges, made faces turn into the real ones "
                           f'(default {Edit.fade:g}; 0: at once)')
  parser.add_argument('--keep_occluders', action=argparse.BooleanOptionalAction, default=True,
                      help='keep the pixels of what hides the face, such as a microphone or a cup; '
                           'a frame whose mouth is hidden is left as it is (default: on)')
  parser.add_argument('--reencode', action='store_true',
                      help='encode every frame anew, also where the source could be joined')
  parser.add_argument('--lossless', action='store_true',
                      help='encode without loss: larger, and not played by every browser; FFV1 if '
                           'OUT is an .mkv')
  parser.add_argument('--student', action='store_true',
                      help="sample with the checkpoint's student: few steps, one branch")
  parser.add_argument('--seed', type=int, default=0, help='of the noise (default 0)')
  parser.add_argument('--steps', type=int, help='flow steps a latent frame')
  parser.add_argument('--solver', choices=('euler', 'heun'))
  parser.add_argument('--guidance_appearance', type=float)
  parser.add_argument('--guidance_audio', type=float)
  parser.add_argument('--noise', type=float, help='size of the noise that sampling starts from')
  return parser


def asked(given, **fields) -> Edit:
  """The Edit that flags ask for; `fields` are what not all edits have.

  Raises:
    UserError: no consent, nothing to sign with, or an output that is an input.
  """
  consent = consents.given(given.consent, given.consent_file)
  signer = papers.signer(given.certificate, given.key)
  names = ('steps', 'solver', 'guidance_appearance', 'guidance_audio', 'noise')
  overrides = tuple((n, getattr(given, n)) for n in names if getattr(given, n) is not None)
  edit = Edit(
      source=given.source, consent=consent, out=given.out, seed=given.seed,
      overrides=overrides, references=references.parse(given.references), fade=given.fade,
      face=choice.parse(given.face), keep_occluders=given.keep_occluders,
      join=not given.reencode, lossless=given.lossless, signer=signer, page=not given.no_page,
      preview=given.preview, **fields)
  inputs = (given.source, *_sounds(edit), given.consent_file, given.certificate, given.key)
  inputs = [pathlib.Path(path).resolve() for path in inputs if path]
  containers.of(given.out)  # refuses what is no name of a video
  flag, paths = (('--preview', [pathlib.Path(given.preview)]) if given.preview
                 else ('--out', papers.paths(given.out)))
  for path in paths:
    if path.resolve() in inputs:
      raise UserError(f'{flag} would replace an input, {path}: give another name')
    if path.exists() and not given.overwrite:
      raise UserError(f'{flag} would replace {path}: give another name, or --overwrite')
  return edit


def carry_out(read, argv) -> int:
  """Runs a command: `read(argv)` gives its flags and what they ask for; returns the exit status."""
  try:
    given, edit = read(argv)
    said = regenerate(edit, system.load(given.checkpoint, given.student))
  except UserError as error:
    # A name may have a line's end in it, and a message has none.
    print('error: ' + str(error).replace('\n', '\\n'), file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print('\ninterrupted: nothing was written', file=sys.stderr)
    return 130
  if edit.preview:
    print(f'wrote {edit.preview}, the beginning of {said["stretches"]} stretches and no video')
    return 0
  for name in ('regenerated_frames', 'encoded_frames', 'frames_without_a_face', 'peak_memory_mb',
               'seconds'):
    print(f'{name}: {said[name]}')
  for first, stop, why in said['skipped']:
    print(f'frames {first} to {stop - 1} are left as they are: {why}')
  for note in said['face']['notes']:
    print(note)
  if said['occluded']:
    kept, left = (sum(row[1] - row[0] for row in said[name])
                  for name in ('occluded', 'frames_left_as_occluded'))
    print(f'something hides part of the face in {kept} frames and was kept; in {left} of them it '
          'hides the mouth, and they were left as they are')
  if said['why_all_are_encoded']:
    print(f'{given.source} cannot be joined: {said["why_all_are_encoded"]}')
  if said['left_out']:
    print(f'left out, as {given.out} cannot hold them: {", ".join(said["left_out"])}')
  if said['audio']['seconds_past_the_video']:
    print(f'the last {said["audio"]["seconds_past_the_video"]} s of the new sound lie past the end '
          'of the video and were left out')
  if said['retimed']:
    print(f'{said["frames"]} frames instead of {said["source"]["frames"]}')
  print(f'wrote {", ".join(str(path) for path in papers.paths(given.out) if path.exists())}; '
        f'signed by {edit.signer.name}')
  return 0


def _read(argv):
  parser = parser_of('regenerate', __doc__)
  parser.add_argument('--audio', default='', metavar='NEW.wav',
                      help='the whole new soundtrack: any audio or video file')
  parser.add_argument('--span', action='append', default=[], metavar='START-END',
                      help='seconds to regenerate; can be given several times; default: where '
                           'the new soundtrack differs from the old one')
  parser.add_argument('--patch', action='append', default=[], metavar='START-END=WORD.wav',
                      help='instead of --audio: sound for a span of seconds, as long as it is; the '
                           'picture is retimed to it; can be given several times')
  parser.add_argument('--edits', default='', metavar='EDITS.json',
                      help='spans or patches from a file, which also names their sound')
  parser.add_argument('--margin', type=float, metavar='SECONDS',
                      help='by which a mouth may be made anew beyond a span, to where it is '
                           f'quietest (default {differences.MARGIN:g} for spans that are found, '
                           '0 for those that are given)')
  parser.add_argument('--whole', action='store_true', help='regenerate the whole video')
  given = parser.parse_args(argv)
  ways = {'--span': given.span, '--whole': given.whole, '--patch': given.patch,
          '--edits': given.edits}
  if len([way for way in ways.values() if way]) > 1:
    raise UserError(f'{" and ".join(w for w in ways if ways[w])} exclude each other: give one')
  if given.edits and given.audio:
    raise UserError(f'{given.edits} names the new sound itself: leave --audio out')
  wanted = (edit_list.read(given.edits) if given.edits else edit_list.EditList(
      given.audio, tuple(map(spans.parse, given.span)), tuple(map(_patch, given.patch))))
  if bool(wanted.audio) == bool(wanted.patches):
    raise UserError('give either the whole new soundtrack with --audio, or its pieces with --patch')
  if given.margin is not None and not 0 <= given.margin <= _LONGEST_MARGIN:
    raise UserError(f'--margin {given.margin:g} is not between 0 and {_LONGEST_MARGIN:g} seconds')
  found = not any(ways.values())
  edit = asked(given, new_audio=wanted.audio, spans=wanted.spans, patches=wanted.patches,
               margin=0.0 if found else given.margin or 0.0)
  info = video.probe(given.source)  # a wrong path is told before a model is loaded
  if found:
    margin = differences.MARGIN if given.margin is None else given.margin
    edit = dataclasses.replace(edit, spans=_found_spans(info, given.audio, margin))
  return given, edit


def _patch(text):
  span, separator, path = text.partition('=')
  if not separator or not path:
    raise UserError(f'patch {text!r} is not START-END=FILE, such as 1.20-1.95=word.wav')
  return soundtrack.Patch(*spans.parse(span), path)


def _found_spans(info, new_audio, margin):
  """Spans in which the sound is new, told to the user; none for the whole video.

  Raises:
    UserError: there are none.
  """
  found = soundtrack.differences(info, new_audio, margin)
  if found is None:
    return ()
  if not found:
    raise UserError(f'{new_audio} sounds as {info.path} does from end to end: there is nothing to '
                    'regenerate; --whole does it all the same')
  print('the soundtracks differ at ' + ', '.join(f'{a:.2f}-{b:.2f}' for a, b in found) + ' s')
  return tuple(found)


def main(argv=None) -> int:
  return carry_out(_read, argv)


if __name__ == '__main__':
  sys.exit(main())

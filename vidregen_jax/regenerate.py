"""Regenerate the lower face in spans of a video so that the mouth follows new audio.

  python -m vidregen_jax.regenerate IN.mp4 --audio NEW.wav --span 1.20-2.04 --checkpoint DIR \
    --consent "Ann Lee, who is shown, agreed on 2026-05-01" --out OUT.mp4
  python -m vidregen_jax.regenerate IN.mp4 --patch 1.20-1.95=WORD.wav ...

NEW.wav is the whole new soundtrack, in time with the video; inside the spans it is what is heard
and what the mouth follows, outside them the video's own sound stays. Without --span the spans are
found: wherever the two soundtracks differ. With --patch the new sound comes in pieces; where one is
longer or shorter than its span, the picture is retimed to it, and what follows moves.

Where the source can be joined (H.264 in mp4 or mov), only the frames from a span to the next key
frame are encoded anew; all others are copied as they are. Beside OUT.mp4, OUT.json says what was
changed, by which model, with whose consent, and how long each stage took.
"""

import argparse
import dataclasses
import functools
import pathlib
import resource
import sys
import time

import numpy as np
import tqdm

from vidregen_jax import (
  choice,
  latents,
  references,
  report,
  retake,
  soundtrack,
  spans,
  speaking,
  system,
)
from vidregen_jax import film as films
from vidregen_jax.errors import UserError
from vidregen_jax.media import audio, encode, join, video

_LONGEST_FADE = 2.0  # seconds: so many frames wait in memory
_AROUND = 10.0  # seconds around a span in which faces are looked for, to warm up and to refer to
_CRF = 12  # of frames that are encoded anew: some 52 dB from the source


@dataclasses.dataclass(frozen=True)
class Edit:
  """What is asked for.

  Attributes:
    source: the video.
    consent: who is shown, who agreed, on what basis.
    out: where to write.
    new_audio: the new soundtrack; '' with patches.
    spans: (start, stop) seconds; empty for the whole video.
    patches: soundtrack.Patch of each; empty where there is a new soundtrack.
    fit: of timeline.FITS, what the whole picture does if the new soundtrack has another length; ''
      to leave out what lies past its end.
    seed: of all noise.
    overrides: SamplerConfig fields to change.
    references: seconds of the stills that show the person; empty to choose them.
    face: whose mouth is changed, as `choice.parse` gives it.
    fade: seconds over which, at a span's edges, made faces turn into the real ones.
    join: whether to copy what is not encoded anew, where the source allows it.
    lossless: whether to encode without loss.
    reconstruct: make nothing: paste what the codec makes of the true faces, to be measured against.
  """

  source: str
  consent: str
  out: str
  new_audio: str = ''
  spans: tuple = ()
  seed: int = 0
  overrides: tuple = ()
  references: tuple = ()
  patches: tuple = ()
  fit: str = ''
  face: str | int | tuple = 'largest'
  fade: float = 0.2
  join: bool = True
  lossless: bool = False
  reconstruct: bool = False


def regenerate(edit: Edit, machine: system.System, show=True) -> dict:
  """Makes the edited video and its report.

  Args:
    edit: what is asked for.
    machine: the loaded system.
    show: whether to draw progress bars.

  Returns:
    The report that is also written beside the video.

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
  film, wanted = sound.film, sound.spans
  info = film.info
  crf = 0 if edit.lossless else _CRF
  kept = dict(audio=sound.written, keep=edit.source, crf=crf)
  target = encode.Writer(edit.out, info, **kept)  # refuses a wrong path already

  looked_at = spans.around(wanted, _AROUND, [(x, x) for x in edit.references])
  in_spans = spans.frames(wanted, film.times)
  with clock('track faces', max(int(spans.frames(looked_at, film.times).sum()), 1)):
    chosen = _choose(edit, film, film.look(looked_at), wanted)
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
    shown = {person: encoder.stills(film.crops(frames, track, models.codec.size))
             for person, frames in stills.items()}
  take = retake.Retake(edit, machine, sampler, film, track, sound.track, encoder, shown, clock)

  with (
    target as writer,
    tqdm.tqdm(total=sum(b - a for a, b in regions), unit='frame', desc='regenerate',
              disable=not show) as bar,
  ):
    for frame, image in take.frames(runs, regions):
      with clock('write', 1):
        if image is None:
          writer.copy(frame)
        else:
          writer.replace(frame, image)
      bar.update()
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
    'consent': edit.consent,
    'spans': [[round(a, 4), round(b, 4)] for a, b in wanted],
    'regenerated_frames': touched,
    'encoded_frames': regions,
    'why_all_are_encoded': planned if isinstance(planned, str) else None,
    'left_out': target.left_out,
    'frames_without_a_face': np.flatnonzero(in_spans & ~track.valid).tolist(),
    'skipped': choice.skipped(track, in_spans),
    'confidence': [track.confidence[a:b].astype(float).round(2).tolist() for a, b in touched],
    'face': chosen.said,
    'references': np.unique(np.concatenate(list(stills.values()))).tolist(),
    'fade': edit.fade,
    'model': machine.digests,
    'sampler': sampler and dataclasses.asdict(sampler),
    'seed': edit.seed,
    'stages': clock.report(),
    'seconds': round(time.perf_counter() - began, 2),
    'peak_memory_mb': round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
  }
  report.write_json(pathlib.Path(edit.out).with_suffix('.json'), said)
  return said


def _choose(edit, film, seen, wanted) -> choice.Chosen:
  """The face that `--face` names."""
  source = film.timeline.source

  @functools.cache
  def sound():
    if not film.source.has_audio:
      raise UserError(f'--face speaking: {edit.source} has no sound to tell it by: name the face '
                      'by number or place')
    samples, rate, start = audio.read(edit.source)
    return speaking.loudness(samples, rate), float(start)

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
    of = dataclasses.replace(track, valid=track.valid & (track.person == person))
    own = [frame for frame in asked if of.valid[frame]]
    stills[person] = np.array(own) if own else references.choose(of, in_spans, count)
  return stills


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
    raise UserError(f'{message}: `python -m vidregen_jax.regenerate --help` says how')


def parser_of(module, description):
  """The flags that all edits have in common."""
  parser = _Parser(prog=f'python -m vidregen_jax.{module}', description=description,
                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('source', metavar='IN.mp4', help='a video of somebody talking')
  parser.add_argument('--checkpoint', required=True, metavar='DIR',
                      help="the `export` folder of the generator's training")
  parser.add_argument('--consent', default='', metavar='TEXT',
                      help='who is shown, who agreed, on what basis; written into the report')
  parser.add_argument('--out', required=True, metavar='OUT.mp4')
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
  parser.add_argument('--reencode', action='store_true',
                      help='encode every frame anew, also where the source could be joined')
  parser.add_argument('--lossless', action='store_true',
                      help='encode without loss: larger, and not played by every browser')
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
    UserError: no consent, or an output that is an input.
  """
  if not given.consent.strip():
    raise UserError('--consent is missing: say who is shown, who agreed and on what basis, such '
                    'as --consent "Ann Lee, who is shown, agreed on 2026-05-01"')
  names = ('steps', 'solver', 'guidance_appearance', 'guidance_audio', 'noise')
  overrides = tuple((n, getattr(given, n)) for n in names if getattr(given, n) is not None)
  edit = Edit(
      source=given.source, consent=given.consent.strip(), out=given.out, seed=given.seed,
      overrides=overrides, references=references.parse(given.references), fade=given.fade,
      face=choice.parse(given.face),
      join=not given.reencode, lossless=given.lossless, **fields)
  inputs = [pathlib.Path(path).resolve() for path in (given.source, *_sounds(edit))]
  if pathlib.Path(given.out).resolve() in inputs:
    raise UserError(f'--out {given.out} would replace an input: give another name')
  return edit


def carry_out(read, argv) -> int:
  """Runs a command: `read(argv)` gives its flags and what they ask for; returns the exit status."""
  try:
    given, edit = read(argv)
    said = regenerate(edit, system.load(given.checkpoint, given.student))
  except UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print('\ninterrupted: nothing was written', file=sys.stderr)
    return 130
  for name in ('regenerated_frames', 'encoded_frames', 'frames_without_a_face', 'peak_memory_mb',
               'seconds'):
    print(f'{name}: {said[name]}')
  for first, stop, why in said['skipped']:
    print(f'frames {first} to {stop - 1} are left as they are: {why}')
  for note in said['face']['notes']:
    print(note)
  if said['why_all_are_encoded']:
    print(f'{given.source} cannot be joined: {said["why_all_are_encoded"]}')
  if said['left_out']:
    print(f'left out, as {given.out} cannot hold them: {", ".join(said["left_out"])}')
  if said['audio']['seconds_past_the_video']:
    print(f'the last {said["audio"]["seconds_past_the_video"]} s of the new sound lie past the end '
          'of the video and were left out')
  if said['retimed']:
    print(f'{said["frames"]} frames instead of {said["source"]["frames"]}')
  print(f'wrote {given.out} and {pathlib.Path(given.out).with_suffix(".json")}')
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
  parser.add_argument('--whole', action='store_true', help='regenerate the whole video')
  given = parser.parse_args(argv)
  ways = {'--span': given.span, '--whole': given.whole, '--patch': given.patch}
  if len([way for way in ways.values() if way]) > 1:
    raise UserError(f'{" and ".join(w for w in ways if ways[w])} exclude each other: give one')
  if bool(given.audio) == bool(given.patch):
    raise UserError('give either the whole new soundtrack with --audio, or its pieces with --patch')
  patches = tuple(_patch(text) for text in given.patch)
  edit = asked(given, new_audio=given.audio, spans=tuple(map(spans.parse, given.span)),
               patches=patches)
  info = video.probe(given.source)  # a wrong path is told before a model is loaded
  if not any(ways.values()):
    edit = dataclasses.replace(edit, spans=_found_spans(info, given.audio))
  return given, edit


def _patch(text):
  span, separator, path = text.partition('=')
  if not separator or not path:
    raise UserError(f'patch {text!r} is not START-END=FILE, such as 1.20-1.95=word.wav')
  return soundtrack.Patch(*spans.parse(span), path)


def _found_spans(info, new_audio):
  """Spans in which the sound is new, told to the user; none for the whole video.

  Raises:
    UserError: there are none.
  """
  found = soundtrack.differences(info, new_audio)
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

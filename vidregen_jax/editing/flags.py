"""The command line that all edits have in common: its flags, what they ask for, what is printed."""

import argparse
import os

from vidregen_jax import cli, files, terminal
from vidregen_jax.editing import editor, face_selection, reference_frames
from vidregen_jax.exports import pipeline
from vidregen_jax.media import containers
from vidregen_jax.provenance import consent as consents
from vidregen_jax.reporting import sidecars


def parser_of(module, description):
  """The flags that all edits have in common."""
  parser = cli.Parser(prog=f'python -m vidregen_jax.{module}', description=description)
  parser.add_argument('source', metavar='IN.mp4', help='a video of somebody talking')
  parser.add_argument('--checkpoint', required=True, metavar='DIR',
                      help="the `export` folder of the generator's training")
  sidecars.add_flags(parser)
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
  parser.add_argument('--fade', type=float, default=editor.Edit.fade, metavar='SECONDS',
                      help="over which, at a span's edges, made faces turn into the real ones "
                           f'(default {editor.Edit.fade:g}; 0: at once)')
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


def asked(given, **fields) -> editor.Edit:
  """The Edit that flags ask for; `fields` are what not all edits have.

  Raises:
    UserError: no consent, nothing to sign with, or an output that is an input.
  """
  consent = consents.given(given.consent, given.consent_file)
  signer = sidecars.signer(given.certificate, given.key)
  names = ('steps', 'solver', 'guidance_appearance', 'guidance_audio', 'noise')
  overrides = tuple((n, getattr(given, n)) for n in names if getattr(given, n) is not None)
  edit = editor.Edit(
      source=given.source, consent=consent, out=given.out, overwrite=given.overwrite,
      seed=given.seed, overrides=overrides, references=reference_frames.parse(given.references),
      fade=given.fade, face=face_selection.parse(given.face), keep_occluders=given.keep_occluders,
      join=not given.reencode, lossless=given.lossless, signer=signer, page=not given.no_page,
      preview=given.preview, **fields)
  containers.of(given.out)  # refuses what is no name of a video
  inputs = [given.source, *editor.sounds(edit), *filter(None, (
      given.consent_file, given.certificate, given.key, getattr(given, 'edits', None)))]
  sidecars.check_inputs(edit.outputs, inputs, given.checkpoint)
  files.check_readable(given.source)
  for path in editor.sounds(edit):
    files.check_readable(path)
  if not os.path.exists(os.path.join(given.checkpoint, 'config.json')):
    pipeline.load(given.checkpoint, given.student)  # which says so
  return edit


def carry_out(read, argv) -> int:
  """Runs a command: `read(argv)` gives its flags and what they ask for; returns the exit status."""
  found = {}

  def work():
    cli.check_room()
    given, edit = read(argv)
    with editor.prepared(edit) as ready:
      found.update(given=given, edit=edit, made=ready.made)
      for note in ready.notes:
        terminal.say(note)
      found['said'] = editor.make(ready, pipeline.load(given.checkpoint, given.student))

  def left():
    written = 'made' in found and found['made'].published
    return f'{found["given"].out} was written' if written else 'nothing was written'

  status = cli.guarded(work, left)
  if not status:
    _tell(**found)
  return status


def _tell(given, edit, made, said):
  """Says what was made."""
  if edit.preview:
    terminal.say(f'wrote {edit.preview}, the beginning of {said["stretches"]} stretches and no '
                 'video')
    return
  for name in ('regenerated_frames', 'encoded_frames', 'frames_without_a_face', 'peak_memory_mb',
               'seconds'):
    terminal.say(f'{name}: {said[name]}')
  for first, stop, why in said['skipped']:
    terminal.say(f'frames {first} to {stop - 1} are left as they are: {why}')
  brought = said['source']['credentials']
  if brought and brought['state'] == 'Invalid':
    terminal.say(f'the credentials that {given.source} brought are not sound: '
                 f'{"; ".join(brought["problems"])}; the new ones say so')
  for note in said['face']['notes']:
    terminal.say(note)
  if said['occluded']:
    kept, left = (sum(row[1] - row[0] for row in said[name])
                  for name in ('occluded', 'frames_left_as_occluded'))
    terminal.say(f'something hides part of the face in {kept} frames and was kept; in {left} of '
                 'them it hides the mouth, and they were left as they are')
  if said['why_all_are_encoded']:
    terminal.say(f'{given.source} cannot be joined: {said["why_all_are_encoded"]}')
  if said['left_out']:
    terminal.say(f'left out of {given.out}: {", ".join(said["left_out"])}')
  for note in said['audio']['notes']:
    terminal.say(f'sound: {note}')
  if said['audio']['seconds_past_the_video']:
    terminal.say(f'the last {said["audio"]["seconds_past_the_video"]} s of the new sound lie past '
                 'the end of the video and were left out')
  if said['retimed']:
    terminal.say(f'{said["frames"]} frames instead of {said["source"]["frames"]}')
  written = ', '.join(str(path) for path in sidecars.paths(given.out) if path.exists())
  terminal.say(f'wrote {written}; signed by {edit.signer.name}')

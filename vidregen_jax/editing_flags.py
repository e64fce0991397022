"""The command line that all edits have in common: its flags, what they ask for, what is printed."""

import argparse
import os
import pathlib
import sys

from vidregen_jax import choice, editing, papers, references, system
from vidregen_jax import consent as consents
from vidregen_jax.errors import UserError
from vidregen_jax.media import containers


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
  parser.add_argument('--fade', type=float, default=editing.Edit.fade, metavar='SECONDS',
                      help="over which, at a span's edges, made faces turn into the real ones "
                           f'(default {editing.Edit.fade:g}; 0: at once)')
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


def asked(given, **fields) -> editing.Edit:
  """The Edit that flags ask for; `fields` are what not all edits have.

  Raises:
    UserError: no consent, nothing to sign with, or an output that is an input.
  """
  consent = consents.given(given.consent, given.consent_file)
  signer = papers.signer(given.certificate, given.key)
  names = ('steps', 'solver', 'guidance_appearance', 'guidance_audio', 'noise')
  overrides = tuple((n, getattr(given, n)) for n in names if getattr(given, n) is not None)
  edit = editing.Edit(
      source=given.source, consent=consent, out=given.out, seed=given.seed,
      overrides=overrides, references=references.parse(given.references), fade=given.fade,
      face=choice.parse(given.face), keep_occluders=given.keep_occluders,
      join=not given.reencode, lossless=given.lossless, signer=signer, page=not given.no_page,
      preview=given.preview, **fields)
  inputs = (given.source, *editing.sounds(edit), given.consent_file, given.certificate, given.key)
  inputs = [pathlib.Path(path).resolve() for path in inputs if path]
  containers.of(given.out)  # refuses what is no name of a video
  flag, paths = (('--preview', [pathlib.Path(given.preview)]) if given.preview
                 else ('--out', papers.paths(given.out)))
  for path in paths:
    if path.resolve() in inputs:
      raise UserError(f'{flag} would replace an input, {path}: give another name')
    if os.path.exists(path) and not given.overwrite:
      raise UserError(f'{flag} would replace {path}: give another name, or --overwrite')
  return edit


def carry_out(read, argv) -> int:
  """Runs a command: `read(argv)` gives its flags and what they ask for; returns the exit status."""
  try:
    given, edit = read(argv)
    said = editing.regenerate(edit, system.load(given.checkpoint, given.student))
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
    print(f'left out of {given.out}: {", ".join(said["left_out"])}')
  if said['audio']['seconds_past_the_video']:
    print(f'the last {said["audio"]["seconds_past_the_video"]} s of the new sound lie past the end '
          'of the video and were left out')
  if said['retimed']:
    print(f'{said["frames"]} frames instead of {said["source"]["frames"]}')
  print(f'wrote {", ".join(str(path) for path in papers.paths(given.out) if path.exists())}; '
        f'signed by {edit.signer.name}')
  return 0

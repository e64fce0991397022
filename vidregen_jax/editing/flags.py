"""The command line that all edits share: flags, the Edit that they describe, and the output."""

import argparse
import functools
import os

from vidregen_jax import cli, files, terminal
from vidregen_jax.editing import editor, face_fit, face_selection, preparation, reference_frames
from vidregen_jax.exports import pipeline
from vidregen_jax.media import containers
from vidregen_jax.provenance import consent as consents
from vidregen_jax.reporting import sidecars


def parser_of(module, description):
  """A parser with the flags that all edits share."""
  parser = cli.Parser(prog=f'python -m vidregen_jax.{module}', description=description)
  parser.add_argument('source', metavar='IN.mp4', help='a video of somebody talking')
  parser.add_argument('--checkpoint', required=True, metavar='DIR',
                      help="the `export` folder of the generator's training")
  sidecars.add_flags(parser)
  parser.add_argument('--out', required=True, metavar='OUT.mp4')
  parser.add_argument('--overwrite', action='store_true',
                      help='replace OUT.mp4 and the files beside it if they exist')
  parser.add_argument('--references', default='', metavar='SECONDS',
                      help='times at which the person is clearly visible, such as 0.5,3.2; '
                           'default: sharp frames of varied mouths and poses')
  parser.add_argument('--face', default='largest', metavar='WHICH',
                      help='of several: largest (default); speaking: whose lips move with the old '
                           'sound; a number as listed in OUT.json; or a place X,Y in fractions of '
                           'the displayed picture: the face there when a span begins')
  parser.add_argument('--fade', type=float, default=preparation.Edit.fade, metavar='SECONDS',
                      help="over which, at a span's edges, generated faces turn real "
                           f'(default {preparation.Edit.fade:g}; 0: at once)')
  parser.add_argument('--keep_occluders', action=argparse.BooleanOptionalAction, default=True,
                      help='keep the pixels of what hides the face, such as a microphone or a cup; '
                           'a frame whose mouth is hidden is left as it is (default: on)')
  parser.add_argument('--fit_face', action=argparse.BooleanOptionalAction, default=None,
                      help="fit the model to the face in the video's own frames outside the spans, "
                           'and paste at their sharpness; takes seconds (default: on if the '
                           f"checkpoint's crops are smaller than {face_fit.SMALL} pixels)")
  parser.add_argument('--reencode', action='store_true',
                      help='re-encode every frame, even if the source could be joined')
  parser.add_argument('--lossless', action='store_true',
                      help='encode losslessly: larger, and not played by every browser; FFV1 if '
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


def edit_of(options, **fields) -> preparation.Edit:
  """The Edit that the flags describe; `fields` are those that not all edits have.

  Raises:
    UserError: there is no consent or no way to sign, or an output would replace an input.
  """
  consent = consents.from_flags(options.consent, options.consent_file)
  signer = sidecars.signer(options.certificate, options.key)
  names = ('steps', 'solver', 'guidance_appearance', 'guidance_audio', 'noise')
  overrides = tuple((n, getattr(options, n)) for n in names if getattr(options, n) is not None)
  edit = preparation.Edit(
      source=options.source, consent=consent, out=options.out, overwrite=options.overwrite,
      seed=options.seed, overrides=overrides, references=reference_frames.parse(options.references),
      fade=options.fade, face=face_selection.parse(options.face),
      keep_occluders=options.keep_occluders, join=not options.reencode, lossless=options.lossless,
      fit_face=options.fit_face,
      signer=signer, page=not options.no_page, preview=options.preview, **fields)
  containers.of(options.out)  # refuses a name that is not a video's
  inputs = [options.source, *edit.sounds, *filter(None, (
      options.consent_file, options.certificate, options.key, getattr(options, 'edits', None)))]
  sidecars.check_inputs(edit.outputs, inputs, options.checkpoint)
  files.check_readable(options.source)
  for path in edit.sounds:
    files.check_readable(path)
  if not os.path.exists(os.path.join(options.checkpoint, 'config.json')):
    pipeline.load(options.checkpoint, options.student)  # raises, and says what is wrong
  return edit


def loaded(options, ready) -> pipeline.System:
  """The system that the flags name; it does not depend on the prepared edit."""
  return pipeline.load(options.checkpoint, options.student)


def carry_out(read, argv, load=loaded) -> int:
  """Runs a command and returns its exit status.

  Args:
    read: function of argv to the options and the Edit.
    argv: arguments, list of str; None for the process's own.
    load: function of the options and the preparation.Prepared to the System.
  """
  command = _Command(read, argv, load)
  return cli.guarded(command.run, command.state)


class _Command:
  """A command that can say at any moment what it has written."""

  def __init__(self, read, argv, load):
    self._read, self._argv, self._load = read, argv, load
    self._edit, self._outputs = None, None

  def run(self) -> None:
    cli.check_room()
    options, self._edit = self._read(self._argv)
    load = functools.partial(self._load, options)
    if self._edit.preview:
      count = self._carried_out(editor.preview, load)
      terminal.say(f'wrote {self._edit.preview}, the beginning of {count} stretches and no video')
    else:
      _say(self._edit, self._carried_out(editor.make, load))

  def _carried_out(self, make, load):
    """What `make` returns, once its files have their final names."""
    with preparation.prepared(self._edit) as ready:
      self._outputs = ready.output_files
      for note in ready.notes:
        terminal.say(note)
      return make(ready, load(ready))

  def state(self) -> str:
    """What is written, in words."""
    written = self._outputs and self._outputs.published
    return f'{self._edit.preview or self._edit.out} was written' if written else (
      'nothing was written')


def _say(edit, report):
  """Prints what was made."""
  for line in report.lines():
    terminal.say(line)
  written = ', '.join(str(path) for path in edit.outputs if path.exists())
  terminal.say(f'wrote {written}; signed by {edit.signer.name}')

"""The flags that all edits share, and what they say in the words of `vidregen_jax.edit`."""

import argparse

from vidregen_jax import cli
from vidregen_jax.editing import face_fit, preparation
from vidregen_jax.inference import mouth_opening
from vidregen_jax.reporting import sidecars

_SAMPLER = ('steps', 'solver', 'guidance_appearance', 'guidance_audio', 'noise')


def parser_of(module, description, many=False):
  """A parser with the flags that all edits share; `many` are edited where no video is given."""
  parser = cli.Parser(prog=f'python -m vidregen_jax.{module}', description=description)
  parser.add_argument('source', metavar='IN.mp4', help='a video of somebody talking',
                      **dict(nargs='?', default='') if many else {})
  parser.add_argument('--checkpoint', required=True, metavar='DIR',
                      help="the `export` folder of a training, or `talkers`, the bundled one")
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
  parser.add_argument('--opening', type=float, default=preparation.Edit.opening, metavar='AMOUNT',
                      help='how far a fitted mouth opens: 0 keeps it closed, 1 is calibrated '
                           f'(default), {mouth_opening.FURTHEST:g} the widest')
  parser.add_argument('--strict', action='store_true',
                      help='refuse a face that the model hardly knows, rather than warn')
  parser.add_argument('--reencode', action='store_true',
                      help='re-encode every frame, even if the source could be joined')
  parser.add_argument('--lossless', action='store_true',
                      help='encode losslessly: larger, and not played by every browser; FFV1 if '
                           'OUT is an .mkv')
  parser.add_argument('--teacher', action='store_true',
                      help="sample with the generator even where the checkpoint has a student, "
                           'which is several times faster')
  parser.add_argument('--compile_cache', action=argparse.BooleanOptionalAction, default=True,
                      help='keep compiled programs in the cache folder of the user, for the next '
                           'edit (default: on)')
  parser.add_argument('--seed', type=int, default=0, help='of the noise (default 0)')
  parser.add_argument('--steps', type=int, help='flow steps a latent frame')
  parser.add_argument('--solver', choices=('euler', 'heun'))
  parser.add_argument('--guidance_appearance', type=float)
  parser.add_argument('--guidance_audio', type=float)
  parser.add_argument('--noise', type=float, help='size of the noise that sampling starts from')
  return parser


def arguments(options) -> dict:
  """What the flags say, as arguments of `vidregen_jax.edit`."""
  same = ('source', 'out', 'consent', 'consent_file', 'face', 'references', 'fade',
          'keep_occluders', 'fit_face', 'opening', 'strict', 'reencode', 'lossless', 'seed',
          'certificate', 'key', 'preview', 'overwrite', 'teacher', 'compile_cache')
  return {name: getattr(options, name) for name in same} | {
    'model': options.checkpoint, 'page': not options.no_page,
    'sampler': {name: getattr(options, name) for name in _SAMPLER
                if getattr(options, name) is not None}}

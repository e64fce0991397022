"""What does each part of the fit to a person add, to how a mouth listens and to how it looks?

  python -m bench.fits --clips=12
  python -m bench.fits --clips=0 --real=VIDEO,... --perceptual=FOLDER

Parts are added one after another, as an edit has them: the mean error of the prediction (prior),
the decoder's errors (texture), the direction in which the mouth opens (direction), lips as far
apart as is heard (lips), the person's own teeth (inside), and the look that their mouth has when it
is as far open (look). Rendered clips are edited with the next one's sound, and real videos in their
middle with their own, as `evaluate listening` and `bench.own_sound` do.
"""

import contextlib
import dataclasses
import sys
import tempfile

import numpy as np

from bench import own_sound
from vidregen_jax import cli, terminal
from vidregen_jax.compositing import mouth_shape
from vidregen_jax.editing import face_fit
from vidregen_jax.evaluation import lip_sync
from vidregen_jax.exports import pipeline
from vidregen_jax.inference import decoder_fit
from vidregen_jax.models import perceptual

PARTS = ('prior', 'texture', 'direction', 'lips', 'inside', 'look')
_PACK = 'data/talkers/pack'


class Partial(face_fit.Fitted):
  """A fit of which some parts are left out."""

  parts = PARTS

  @classmethod
  def of(cls, fitted, parts):
    """The fit with some of its parts alone."""
    people = {person: dataclasses.replace(
      fit, errors=fit.errors if 'prior' in parts else fit.errors[:, :0],
      opening=fit.opening if 'direction' in parts else None,
      mouth=mouth_shape.Mouth(fit.mouth.interior if 'inside' in parts else None,
                              fit.mouth.appearance if 'look' in parts else None))
      for person, fit in fitted.people.items()}
    made = cls(fitted.size, people, fitted.points, fitted.hears)
    object.__setattr__(made, 'parts', parts)
    return made

  def corrected(self, person, decoded, index):
    """As of the whole fit; without texture, crops are enlarged alone."""
    if 'texture' in self.parts:
      return super().corrected(person, decoded, index)
    return decoder_fit.enlarged(decoded, self.size)

  def motion(self, person, listener):
    """As of the whole fit; without lips, None."""
    return super().motion(person, listener) if 'lips' in self.parts else None

  def read(self, person, gaps):
    """As of the whole fit; without lips, None."""
    return super().read(person, gaps) if 'lips' in self.parts else None


@contextlib.contextmanager
def only(parts):
  """Within it, edits are fitted in some parts alone."""
  whole = face_fit.fit
  face_fit.fit = lambda *given: Partial.of(whole(*given), parts)
  try:
    yield
  finally:
    face_fit.fit = whole


def rows():
  """(name, parts or None for no fit) of the table's rows."""
  yield 'nothing', None
  for count in range(1, len(PARTS) + 1):
    yield ('' if count == 1 else 'and ') + PARTS[count - 1], PARTS[:count]


def rendered(machine, clips):
  """Prints how the rendered clips' mouths listen."""
  pairs = lip_sync.pair(lip_sync.read_clips(_PACK, 'test'))[:clips]
  print('| fitted | new sound | old sound | opening | closed where p, b, m are said |')
  print('|---|---|---|---|---|')
  for name, parts in rows():
    with only(parts or ()), tempfile.TemporaryDirectory() as folder:
      found = lip_sync.medians(lip_sync.listening(machine, pairs, 0, (), folder, ('new',),
                                                  parts is not None))['new']
    cells = [f'{found["whole"][column]:.3f}' for column in ('new', 'old', 'opening')]
    print(f'| {name} | {" | ".join(cells)} | {found["closed"]:.3f} |', flush=True)


def real(machine, videos, vgg16):
  """Prints how real people's mouths look, by video."""
  print('| video | fitted | PSNR of the lower face | LPIPS of the mouth | sharpness |')
  print('|---|---|---|---|---|')
  for path in terminal.progress(videos, 'video', 'editing'):
    for name, parts in rows():
      kind = ('student', {'fit_face': parts is not None})
      with only(parts or ()), tempfile.TemporaryDirectory() as folder:
        shown, _, boxes = own_sound.edits(path, None, {'': machine}, folder, (kind,))
      true = shown.pop('source')
      (made,) = shown.values()
      found = own_sound.measure(made, true, boxes, vgg16)
      cells = [f'{found["psnr"]:.1f}', f'{found.get("lpips", np.nan):.3f}',
               f'{found["sharpness"]:.2f}']
      print(f'| {path} | {name} | {" | ".join(cells)} |', flush=True)


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.fits', description=__doc__)
  flags.add_argument('--real', type=cli.several(str), default=(), metavar='VIDEO,...',
                     help='videos of somebody talking')
  flags.add_argument('--checkpoint', default='checkpoints/talkers')
  flags.add_argument('--clips', type=cli.whole(0), default=12, help='rendered ones (default 12)')
  flags.add_argument('--perceptual', help='VGG16 with LPIPS heads; default: no LPIPS')
  return flags


def run(flags):
  """Prints both tables.

  Raises:
    UserError: something is missing.
  """
  machine = pipeline.load(flags.checkpoint)
  if flags.clips:
    rendered(machine, flags.clips)
  if flags.real:
    real(machine, flags.real, perceptual.load(flags.perceptual) if flags.perceptual else None)


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

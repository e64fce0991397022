"""Does a system that was tuned to one person still listen?

  python -m bench.adapted --clips=3 --steps=100,60

Each of some rendered test clips is the footage of a person: the bundled system is tuned to its
first half, as `adapt` does, and the clip is then edited with the next one's sound, by the system
before and after, as `evaluate listening` does. Clips are whole, so half of what is read was learned
from, which is what an edit of one's own footage is.
"""

import pathlib
import sys
import tempfile

from vidregen_jax import cli
from vidregen_jax.adaptation import footage, tuning
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import lip_sync
from vidregen_jax.exports import pipeline

_PACK = 'data/talkers/pack'


def tuned(checkpoint, clip, steps, vgg16, out) -> pipeline.System:
  """The system of a checkpoint, tuned to the first half of a clip, in the new folder `out`."""
  path = clip.path
  tuning.tune(tuning.Request(
    system=pathlib.Path(checkpoint), own=(path,),
    beside=tuple(footage.spread(footage.videos(footage.BESIDE))), perceptual=vgg16,
    consent='nobody is shown: a rendered person', minutes=None, steps=tuple(steps),
    left_out={path: footage.after(path, clip.seconds / 2)}, settings=tuning.Settings(seed=0)), out)
  return pipeline.load(out)


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.adapted', description=__doc__)
  flags.add_argument('--checkpoint', default='checkpoints/talkers')
  flags.add_argument('--clips', type=cli.whole(1), default=3, help='how many (default 3)')
  flags.add_argument('--steps', type=cli.several(int), default=[100, 60], metavar='CODEC,STUDENT',
                     help='of the tuning (default 100,60)')
  flags.add_argument('--perceptual', default='', help='VGG16 with LPIPS heads; default: no LPIPS')
  return flags


def run(flags):
  """Prints a row for each clip and system, fitted and not.

  Raises:
    UserError: a mistake in the flags, or something is missing.
  """
  if len(flags.steps) != 2:
    raise UserError('--steps takes two numbers, of the codec and of the student')
  before = pipeline.load(flags.checkpoint)
  pairs = lip_sync.pair(lip_sync.read_clips(_PACK, 'test'))[:flags.clips]
  print('| clip | system | new sound | old sound | opening |\n|---|---|---|---|---|')
  for clip, other in pairs:
    with tempfile.TemporaryDirectory() as folder:
      after = tuned(flags.checkpoint, clip, flags.steps, flags.perceptual,
                    pathlib.Path(folder, 'tuned'))
      for fit in (False, True):
        for name, machine in (('before', before), ('tuned', after)):
          with tempfile.TemporaryDirectory() as edits:
            made = lip_sync.listening(machine, [(clip, other)], 0, (), edits, ('new',), fit)
          found = lip_sync.medians(made)['new']['whole']
          cells = [clip.path.stem, name + ', fitted' * fit,
                   *(f'{found[column]:.3f}' for column in ('new', 'old', 'opening'))]
          print(f'| {" | ".join(cells)} |', flush=True)


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

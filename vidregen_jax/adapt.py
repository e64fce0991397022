"""Tune a system to one person, on their own footage.

  python -m vidregen_jax.adapt --video FOOTAGE --checkpoint checkpoints/talkers --minutes 6 \
    --consent "Ann Lee, who is shown, agreed on 2026-05-01" --out ANN
  python -m vidregen_jax.regenerate IN.mp4 --checkpoint ANN ...

FOOTAGE is a video or a folder of them; the largest face in each is learned. Beside it, videos of
others (--beside, by default rendered ones of the bundled pack) keep the system listening. OUT is a
folder like any other checkpoint, with a card that says whose footage it was made of and with what
consent. What was reached is kept in OUT.tuning until OUT is written; the same command goes on.

With --perceptual, a folder of VGG16 with LPIPS heads, frames are also compared by LPIPS, which is
what makes them sharp; without it by L1 alone.
"""

import os
import pathlib
import sys

from vidregen_jax import cli, terminal
from vidregen_jax.adaptation import footage, tuning
from vidregen_jax.errors import UserError
from vidregen_jax.provenance import consent as consents

_MINUTES = 6


def make_parser() -> cli.Parser:
  """The program's flags."""
  parser = cli.Parser(prog='python -m vidregen_jax.adapt', description=__doc__, allow_abbrev=False)
  parser.add_argument('--video', required=True, metavar='FOOTAGE',
                      help='a video of the person, or a folder of them')
  parser.add_argument('--checkpoint', required=True, metavar='DIR',
                      help='the system to tune, with a student in it')
  parser.add_argument('--consent', metavar='TEXT',
                      help='who is shown, who agreed, on what basis; written into the card')
  parser.add_argument('--consent_file', metavar='FILE',
                      help='a statement of it, text or JSON, of which only the sha256 is written')
  parser.add_argument('--minutes', type=cli.number(0), metavar='M',
                      help=f'how long it may take (default {_MINUTES})')
  parser.add_argument('--steps', type=cli.several(int), metavar='CODEC,STUDENT',
                      help='instead of --minutes: steps of each phase, for the same result however '
                           'fast the computer is')
  parser.add_argument('--until', type=cli.number(0), metavar='SECONDS',
                      help='learn only from what lies before, in each video (default: all of it)')
  parser.add_argument('--out', required=True, metavar='DIR', help='folder to write')
  parser.add_argument('--beside', default=footage.BESIDE, metavar='FOLDER',
                      help='videos of others (default %(default)s)')
  parser.add_argument('--perceptual', default='', metavar='DIR',
                      help='VGG16 with LPIPS heads; default: no LPIPS')
  parser.add_argument('--seed', type=cli.whole(0), default=0,
                      help='of all draws (default %(default)d)')
  return parser


def adapt(given) -> None:
  """Does what the flags of `make_parser` say.

  Raises:
    UserError: a mistake in the flags, too little footage, or something missing or damaged.
  """
  consent = consents.from_flags(given.consent, given.consent_file)
  if given.steps is not None and len(given.steps) != 2:
    raise UserError('--steps takes two numbers, of the codec and of the student, such as 150,150')
  if os.path.lexists(given.out):
    raise UserError(f'{given.out} is there already: give another --out, or remove it')
  own = footage.videos(given.video)
  others = footage.spread(footage.videos(given.beside))
  minutes = given.minutes if given.minutes is not None or given.steps else _MINUTES
  left_out = {path: footage.after(path, given.until) for path in own} if given.until else {}
  done = tuning.tune(tuning.Request(
    system=pathlib.Path(given.checkpoint), own=tuple(own), beside=tuple(others),
    perceptual=given.perceptual, consent=consents.told(consent), minutes=minutes,
    steps=given.steps and tuple(given.steps), left_out=left_out,
    settings=tuning.Settings(seed=given.seed)), given.out)
  for phase in ('codec', 'student'):
    terminal.say(f'{phase}: ' + ', '.join(f'{name} {x}' for name, x in done[phase].items()))
  terminal.say(f'wrote {given.out}')


def main(argv=None) -> int:
  return cli.command(make_parser(), adapt, 'the same command goes on from what was saved', argv)


if __name__ == '__main__':
  sys.exit(main())

"""Pack a trained system to give away: half the size, one folder, a card that says what it is.

  python -m vidregen_jax.export --checkpoint=out/student/export --card=CARD.md --licence=LICENSE \
    --out=DIR
  python -m vidregen_jax.export --verify=DIR

DIR holds the averaged weights (EMA) of codec, generator and student, the audio encoder, what
latents and sound are normalised with, card and licences, and a manifest with the sha256 of every
file. Where it has learned from footage of people, the card also lists them by hash, with basis,
hours and languages, and says whom a later withdrawal concerns. It runs on one device, whatever the
training ran on. Numbers are kept as float16 and computed with as float32.
`--audio_encoder=../whisper-base` names an encoder that lies elsewhere, as seen from DIR, instead of
one more copy of it. `--stablehlo` adds what runs without this package. A scorer of lip sync
(configs/sync.py) is packed alike, without an audio encoder.
"""

import pathlib
import sys

from vidregen_jax import cli, terminal
from vidregen_jax.datasets import consent_record
from vidregen_jax.errors import UserError
from vidregen_jax.exports import checksums, pack


def _parser():
  parser = cli.Parser(prog='python -m vidregen_jax.export', description=__doc__)
  parser.add_argument('--checkpoint', metavar='DIR', help="folder of a training's export")
  parser.add_argument('--out', metavar='DIR', help='folder to write')
  parser.add_argument('--card', metavar='CARD.md',
                      help='becomes its README.md: what it is, on which data it was trained, and '
                           'who consented')
  parser.add_argument('--licence', metavar='FILE',
                      help='becomes its LICENSE: under what the weights may be used')
  parser.add_argument('--audio_encoder', metavar='DIR',
                      help='where its audio encoder is, as seen from --out (default: a copy in it)')
  parser.add_argument('--stablehlo', action='store_true',
                      help='also write functions that need JAX alone')
  parser.add_argument('--verify', metavar='DIR',
                      help='compare this folder with its manifest; nothing is written')
  return parser


def _run(given):
  """Does what the flags say.

  Raises:
    UserError: see `pack.repack` and `checksums.check`.
  """
  if given.verify:
    count = checksums.check(given.verify)
    terminal.say(f'all {count} files of {given.verify} are as they were packed')
    return
  if not (given.checkpoint and given.out and given.card and given.licence):
    raise UserError('give --checkpoint, --card, --licence and --out; or --verify alone')
  scorer = pack.is_scorer(given.checkpoint)
  if scorer and (given.audio_encoder or given.stablehlo):
    raise UserError(f'{given.checkpoint} is a scorer of lip sync: --audio_encoder and --stablehlo '
                    'are for systems that make faces')
  people = consent_record.read(given.checkpoint)
  papers = (given.card, given.licence)
  about = {'people': consent_record.card(people),
           'consent': consent_record.published(people)} if people else {}
  try:
    if scorer:
      pack.repack_scorer(given.checkpoint, given.out, *papers, **about)
    else:
      pack.repack(given.checkpoint, given.out, *papers, given.audio_encoder, given.stablehlo,
                  **about)
  except OSError as error:
    raise UserError(f'--out {given.out}: cannot be written ({error.strerror}): give another place'
                    ) from error
  size = sum(path.stat().st_size for path in pathlib.Path(given.out).rglob('*') if path.is_file())
  terminal.say(f'wrote {given.out}, {size / 1e6:.1f} MB')


def main(argv=None) -> int:
  return cli.command(_parser(), _run, 'nothing was written', argv)


if __name__ == '__main__':
  sys.exit(main())

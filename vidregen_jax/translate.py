"""Regenerate a whole performance so that the mouth follows a dub.

  python -m vidregen_jax.translate IN.mp4 --audio DUB.wav --fit retime --checkpoint DIR \
    --consent "Ann Lee, who is shown, agreed on 2026-05-01" --out OUT.mp4

The dub replaces the whole sound. If it is longer or shorter than the video, --fit says how the
picture is fitted to it; the dub itself is never cut.
"""

import sys

from vidregen_jax import commands
from vidregen_jax.api import edits
from vidregen_jax.editing import flags
from vidregen_jax.media.timeline import retiming


def _read(argv):
  parser = flags.parser_of('translate', __doc__)
  parser.add_argument('--audio', required=True, metavar='DUB.wav',
                      help='the whole new soundtrack: any audio or video file')
  parser.add_argument('--fit', choices=retiming.FITS, default='trim',
                      help='trim: leave out what lies past a shorter dub, and refuse a longer one '
                           '(default); hold: the last frame stays; pingpong: the video runs back '
                           'and forth; retime: the whole video is slower or faster')
  options = parser.parse_args(argv)
  return edits.translate, flags.arguments(options) | dict(audio=options.audio, fit=options.fit)


def main(argv=None) -> int:
  return commands.edit(lambda: _read(argv))


if __name__ == '__main__':
  sys.exit(main())

"""Show and verify the Content Credentials of a video.

  python -m vidregen_jax.inspect OUT.mp4
  python -m vidregen_jax.inspect OUT.mp4 --trust ANCHORS.pem --json

Exit status 0: the credentials are valid, and so are the report and the page beside the video, if
they exist. 1: there are no credentials, or something is damaged or was changed. 2: the command line
is wrong, or a file cannot be read.

"Valid" means that pictures, sound and statement are as they were signed. Whether signers are who
they claim to be is another question: only an authority named by --trust, or this computer, vouches
for that.
"""

import json
import sys

from vidregen_jax import cli, terminal
from vidregen_jax.api import inspection
from vidregen_jax.errors import UserError


def main(argv=None) -> int:
  parser = cli.Parser(prog='python -m vidregen_jax.inspect', description=__doc__)
  parser.add_argument('video', metavar='OUT.mp4')
  parser.add_argument('--trust', action='append', default=[], metavar='ANCHORS.pem',
                      help='certificates of authorities to believe; can be given several times')
  parser.add_argument('--json', action='store_true', help='print one JSON object')
  terminal.begin()
  try:
    options = parser.parse_args(argv)
    found = inspection.inspect(options.video, trust=options.trust)
  except UserError as error:
    terminal.error(error)
    return 2
  if options.json:
    terminal.say_text(json.dumps(found.to_json(), indent=2))
  else:
    for name, text in found.lines():
      terminal.say(name if text is None else f'  {name:<13}{text}')
  return 0 if found.valid else 1


if __name__ == '__main__':
  sys.exit(main())

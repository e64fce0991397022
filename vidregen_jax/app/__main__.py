"""Edit videos on a page in the browser, with this computer's own model.

  python -m vidregen_jax.app

Then open the address that is printed. Only this computer can reach it, unless --host says
otherwise; Ctrl-C ends it, and removes all files that it was given and has made.
"""

import importlib.util
import sys
import tempfile

from vidregen_jax import cli, scratch_folder, terminal
from vidregen_jax.errors import UserError

_GLANCE = .5  # seconds; how soon a signal is heard


def _parser() -> cli.Parser:
  parser = cli.Parser(prog='python -m vidregen_jax.app', description=__doc__)
  parser.add_argument('--checkpoint', default='talkers', metavar='DIR',
                      help="the `export` folder of the generator's training (default: the bundled "
                           'model)')
  parser.add_argument('--port', type=cli.whole(0), default=7860,
                      help='of the page (default 7860; 0: any that is free)')
  parser.add_argument('--host', default='127.0.0.1',
                      help='address to answer at (default 127.0.0.1, which only this computer '
                           'reaches; with another, whoever reaches it can use the app)')
  parser.add_argument('--max_mb', type=cli.whole(1), default=500,
                      help='megabytes that a file may have (default 500)')
  return parser


def _serve(given):
  if importlib.util.find_spec('gradio') is None:
    raise UserError("the app takes Gradio: pip install 'vidregen_jax[app]'")
  from vidregen_jax.app import edits, server  # Gradio takes seconds

  studio = edits.Studio(given.checkpoint)
  with (
    scratch_folder.ScratchFolder(tempfile.gettempdir()) as folder,
    server.Server(studio, folder, given.host, given.port, given.max_mb) as running,
  ):
    terminal.say(f'the app is at {running.address}; Ctrl-C ends it')
    while not running.wait(_GLANCE):
      pass


def main(argv=None) -> int:
  return cli.command(_parser(), _serve, 'the app has ended, and its files are removed', argv)


if __name__ == '__main__':
  sys.exit(main())

"""How every program of the package ends: a user's mistake is one line and status 2."""

import functools
import sys

from absl import app, flags, logging

from vidregen_jax import terminal
from vidregen_jax.errors import UserError


def run(main, interrupted, words=()):
  """Parse the flags and run a program.

  Args:
    main: function without arguments; with `words`, of the one that was given.
    interrupted: line that says, after Ctrl-C, what is left and how to go on.
    words: what the program can do, where it does several things; the first argument is one.
  """

  def guarded(argv):
    try:
      main(*argv[1:])
    except UserError as error:
      _fail(error)
    except KeyboardInterrupt:
      print(f'\ninterrupted: {interrupted}', file=sys.stderr)
      sys.exit(130)  # the shell's number for Ctrl-C

  app.run(guarded, flags_parser=functools.partial(_parse, words))


def _parse(words, argv):
  try:
    rest = flags.FLAGS(argv)
  # What absl and config_flags raise for a bad flag, an unknown field and a value of a wrong type.
  except (flags.Error, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
    _fail(error)
  if words and rest[1:2] not in [[word] for word in words]:
    _fail(f'say what to do, {" or ".join(words)}, before the flags')
  if len(rest) > 1 + bool(words):
    _fail(f'{rest[-1]!r} is not a flag: flags are written --name=value')
  if flags.FLAGS['verbosity'].using_default_value:
    # Orbax and JAX tell every step of theirs at the level below.
    logging.set_verbosity(logging.WARNING)
  return rest


def _fail(error):
  line = str(error)
  if not isinstance(error, UserError):
    # config_flags puts a whole traceback into its message; the mistake is its last line.
    line = [line for line in line.splitlines() if line.strip()][-1].strip()
  for name in ('ValueError: ', 'UserError: '):
    line = line.removeprefix(name)
  print(f'error: {terminal.printable(line)}', file=sys.stderr)
  sys.exit(2)

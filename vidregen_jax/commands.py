"""How every program of the package ends: a user's mistake is one line and status 2."""

import sys

from absl import app, flags, logging

from vidregen_jax.errors import UserError


def run(main, interrupted):
  """Parse the flags and run a program.

  Args:
    main: function without arguments.
    interrupted: line that says, after Ctrl-C, what is left and how to go on.
  """

  def guarded(_):
    try:
      main()
    except UserError as error:
      _fail(error)
    except KeyboardInterrupt:
      print(f'\ninterrupted: {interrupted}', file=sys.stderr)
      sys.exit(130)  # the shell's number for Ctrl-C

  app.run(guarded, flags_parser=_parse)


def _parse(argv):
  try:
    rest = flags.FLAGS(argv)
  # What absl and config_flags raise for a bad flag, an unknown field and a value of a wrong type.
  except (flags.Error, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
    _fail(error)
  if len(rest) > 1:
    _fail(f'{rest[1]!r} is not a flag: flags are written --name=value')
  if flags.FLAGS['verbosity'].using_default_value:
    # Orbax and JAX tell every step of theirs at the level below.
    logging.set_verbosity(logging.WARNING)
  return rest


def _fail(error):
  # config_flags puts a whole traceback into its message; the mistake is its last line.
  line = [line for line in str(error).splitlines() if line.strip()][-1].strip()
  for name in ('ValueError: ', 'UserError: '):
    line = line.removeprefix(name)
  print(f'error: {line}', file=sys.stderr)
  sys.exit(2)

"""How every program of the package ends: a user's mistake is one line and status 2."""

import argparse
import atexit
import contextlib
import errno
import functools
import resource
import sys
from collections.abc import Callable, Iterator

from absl import app, flags, logging

from vidregen_jax import interrupts, terminal
from vidregen_jax.errors import UserError

_LEAST_ROOM = 3_000_000_000  # bytes of addresses, of which XLA takes far more than it fills
# What XLA and Python say where there is no memory for more.
_NO_MEMORY = ('RESOURCE_EXHAUSTED', 'Out of memory', "can't start new thread", 'bad_alloc')


def guarded(work: Callable[[], None], interrupted: str | Callable[[], str]) -> int:
  """Does some work and returns the exit status: 0, 2 after a mistake, 128 and more after a signal.

  Args:
    work: function without arguments.
    interrupted: line that says, after Ctrl-C or SIGTERM, what is left and how to go on; or a
      function that gives it.
  """
  terminal.begin()
  with interrupts.heard():
    return _guarded(work, interrupted)


def _guarded(work, interrupted):
  try:
    try:
      with _memory_told():
        work()
    except UserError as error:
      interrupts.over()
      terminal.error(error)
      return 2
    interrupts.over()
    return 0
  except KeyboardInterrupt as error:
    interrupts.over()
    # Nor does another signal change the status while Python ends, which takes a while.
    atexit.register(interrupts.ignore)
    name, status = getattr(error, 'name', 'SIGINT'), getattr(error, 'status', 130)
    told = 'interrupted' if name == 'SIGINT' else f'ended by {name}'
    left = interrupted() if callable(interrupted) else interrupted
    terminal.tell(f'{told}: {left}', before='\n')
    return status


def check_room() -> None:
  """Refuses a limit in which XLA's own threads find no memory: it would abort the process then.

  Raises:
    UserError: names the limit.
  """
  limit, _ = resource.getrlimit(resource.RLIMIT_AS)
  if limit != resource.RLIM_INFINITY and limit < _LEAST_ROOM:
    raise UserError(f'this process may have {limit / 1e9:.1f} GB of address space, and needs '
                    f'{_LEAST_ROOM / 1e9:.0f} GB or more: raise the limit (`ulimit -v`)')


@contextlib.contextmanager
def _memory_told() -> Iterator[None]:
  """Memory that the system refuses is told in a line, whoever asked for it."""
  try:
    yield
  except (MemoryError, OSError, RuntimeError) as error:
    refused = isinstance(error, MemoryError) or getattr(error, 'errno', None) == errno.ENOMEM
    # JAX's errors are RuntimeErrors, and differ by their words alone.
    if not (refused or (isinstance(error, RuntimeError)
                        and any(words in str(error) for words in _NO_MEMORY))):
      raise
    raise UserError('the system has no memory for this: end other programs, raise the limit '
                    '(`ulimit -v`), or give a smaller video') from error


class Parser(argparse.ArgumentParser):
  """Reads flags by argparse; a mistake in them is a UserError, told in one line by `guarded`."""

  def __init__(self, *, formatter_class=argparse.RawDescriptionHelpFormatter, **options):
    super().__init__(formatter_class=formatter_class, **options)

  def error(self, message):
    raise UserError(f'{message}: `{self.prog} --help` says how')

  def parse_args(self, *args):
    given = super().parse_args(*args)
    for name, value in vars(given).items():
      values = value if isinstance(self.get_default(name), list) else [value]
      if [] in values:  # what Python 3.11 makes of --name=--
        self.error(f'argument --{name}: expected one argument')
    return given


def command(parser: Parser, work, interrupted, argv=None) -> int:
  """Reads the flags of a program by argparse and runs it; returns the exit status.

  Args:
    parser: of its flags.
    work: function of what was given, an argparse.Namespace.
    interrupted: as in `guarded`.
    argv: arguments, list of str; default: the process's own.
  """
  def checked():
    given = parser.parse_args(argv)
    check_room()
    work(given)

  return guarded(checked, interrupted)


def run(main, interrupted, words=()):
  """Parse the flags and run a program.

  Args:
    main: function without arguments; with `words`, of the one that was given.
    interrupted: line that says, after Ctrl-C, what is left and how to go on.
    words: what the program can do, where it does several things; the first argument is one.
  """
  terminal.begin()

  def work(argv):
    def checked():
      check_room()
      main(*argv[1:])

    if status := guarded(checked, interrupted):
      sys.exit(status)

  app.run(work, flags_parser=functools.partial(_parse, words))


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
  terminal.error(line)
  sys.exit(2)

"""Command lines: flags, and how every program ends: a user's mistake is one line and status 2."""

import argparse
import atexit
import contextlib
import errno
import functools
import math
import resource
import sys
from collections.abc import Callable, Iterator

from absl import app, flags, logging

from vidregen_jax import interrupts, terminal
from vidregen_jax.errors import UserError

_LEAST_ROOM = 3_000_000_000  # bytes of address space, of which XLA reserves far more than it uses
# Messages of XLA and Python when memory runs out.
_NO_MEMORY = ('RESOURCE_EXHAUSTED', 'Out of memory', "can't start new thread", 'bad_alloc')


def guarded(work: Callable[[], None], interrupted: str | Callable[[], str]) -> int:
  """Does some work and returns the exit status: 0, 2 after a mistake, 128 and more after a signal.

  Args:
    work: function without arguments.
    interrupted: line to print after Ctrl-C or SIGTERM: what is left, and how to go on; or a
      function that returns it.
  """
  terminal.begin()
  with interrupts.heard():
    return _guarded(work, interrupted)


def _guarded(work, interrupted):
  try:
    try:
      with memory_told():
        work()
    except UserError as error:
      interrupts.over()
      terminal.error(error)
      return 2
    interrupts.over()
    return 0
  except KeyboardInterrupt as error:
    interrupts.over()
    # Another signal must not change the status while Python exits, which takes a while.
    atexit.register(interrupts.ignore)
    name, status = getattr(error, 'name', 'SIGINT'), getattr(error, 'status', 130)
    cause = 'interrupted' if name == 'SIGINT' else f'ended by {name}'
    # Whoever was interrupted may know more than the program.
    left = '; '.join(getattr(error, '__notes__', ())) or (
      interrupted() if callable(interrupted) else interrupted)
    terminal.tell(f'{cause}: {left}', before='\n')
    return status


def check_room() -> None:
  """Refuses an address space limit that is too low for XLA's threads, as XLA would then abort.

  Raises:
    UserError: names the limit.
  """
  limit, _ = resource.getrlimit(resource.RLIMIT_AS)
  if limit != resource.RLIM_INFINITY and limit < _LEAST_ROOM:
    raise UserError(f'this process may have {limit / 1e9:.1f} GB of address space, and needs '
                    f'{_LEAST_ROOM / 1e9:.0f} GB or more: raise the limit (`ulimit -v`)')


@contextlib.contextmanager
def memory_told() -> Iterator[None]:
  """Turns every failure to allocate memory into a `UserError`."""
  try:
    yield
  except (MemoryError, OSError, RuntimeError) as error:
    refused = isinstance(error, MemoryError) or getattr(error, 'errno', None) == errno.ENOMEM
    # JAX's errors are RuntimeErrors that differ only by their text.
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


def whole(least: int):
  """An argparse type: a whole number of `least` or more."""
  return _from(int, least, f'a whole number of {least} or more')


def number(least: float):
  """An argparse type: a number of `least` or more."""
  return _from(float, least, f'a number of {least:g} or more')


def _from(kind, least, wanted):
  def convert(text):
    try:
      value = kind(text)
    except ValueError:
      value = math.nan
    if not least <= value < math.inf:
      raise argparse.ArgumentTypeError(f'{wanted} is needed, not {text!r}')
    return value
  return convert


def several(kind):
  """An argparse type: a list of values of another type, separated by commas; '' is an empty one."""
  def convert(text):
    return [kind(part.strip()) for part in text.split(',')] if text else []
  convert.__name__ = 'list'  # argparse names it where a value is wrong
  return convert


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
    flags.FLAGS.mark_as_parsed()  # Grain's own, which its worker processes read
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
  unknown = next((x for x in getattr(error, 'args', ()) if isinstance(x, KeyError)), None)
  if unknown:  # an AttributeError of config_flags: the field, and on the next line one like it
    line = 'the config has no field ' + ': '.join(str(unknown.args[0]).splitlines())
  elif not isinstance(error, UserError):
    # config_flags puts a whole traceback into its message; the mistake is its last line.
    line = [line for line in line.splitlines() if line.strip()][-1].strip()
  for name in ('ValueError: ', 'UserError: '):
    line = line.removeprefix(name)
  terminal.error(line)
  sys.exit(2)

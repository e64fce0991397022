"""Output to a terminal, a log or a pipe: lines, errors and progress, for all programs.

Output never fails. If a reader has left, a disk is full, a stream is closed or its encoding lacks a
character, the text is dropped or escaped, and the program goes on.
"""

import contextlib
import io
import os
import select
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator

import tqdm

_LONGEST = 2000  # characters of an error's line, which may quote user input of any length
_PATIENCE = 5.0  # seconds to wait for a pipe that is full
# Seconds. A log gets a line of progress for every tenth of the work, but not sooner than this after
# another line; and after the longer time even if no tenth is done.
_SOON, _LATE = 10.0, 300.0
_ONE_AT_A_TIME = threading.Lock()  # of those who put something in the place of stderr


def printable(text) -> str:
  """Text in one line, without terminal control sequences, which text from a file may contain.

  Characters that are not printable (control characters, line ends, changes of direction, bytes of a
  name that are not UTF-8) are escaped as in Python, such as \\x1b, and so remain distinguishable.
  """
  return ''.join(c if c.isprintable() else _escaped(c) for c in str(text))


def _escaped(character) -> str:
  code = ord(character)
  if 0xDC80 <= code <= 0xDCFF:  # a byte of a file's name, as Python keeps those (PEP 383)
    return f'\\x{code - 0xDC00:02x}'
  return character.encode('unicode_escape', 'backslashreplace').decode('ascii')


class _Lossy(io.RawIOBase):
  """A file descriptor to write to; what it refuses is dropped."""

  def __init__(self, number: int):
    self._number = number

  def fileno(self) -> int:
    return self._number

  def writable(self) -> bool:
    return True

  def isatty(self) -> bool:
    return os.isatty(self._number)

  def write(self, data) -> int:
    data = rest = memoryview(data)
    while rest:
      try:
        rest = rest[os.write(self._number, rest):]
      except BlockingIOError:
        if not select.select([], [self._number], [], _PATIENCE)[1]:
          break
      except OSError:
        break
    return len(data)


def begin() -> None:
  """Makes writing to the standard streams safe, for libraries too; every program's first call.

  A closed stream is opened to /dev/null: otherwise the next file that is opened, the output say,
  would get its number, and all that is written to it.
  """
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:
      os.open(os.devnull, os.O_RDWR)
  for number, name in ((1, 'stdout'), (2, 'stderr')):
    stream = getattr(sys, name)
    if stream is not getattr(sys, f'__{name}__'):
      continue  # replaced by a caller, or here before
    encoding = 'utf-8'
    if stream is not None:
      encoding = stream.encoding
      with contextlib.suppress(OSError):
        stream.flush()
    lossy = io.BufferedWriter(_Lossy(number))
    setattr(sys, name, io.TextIOWrapper(lossy, encoding, 'backslashreplace', line_buffering=True))


def say(line) -> None:
  """Prints a line on stdout; control characters and line ends in it are escaped."""
  _put(sys.stdout, printable(line) + '\n')


def say_text(text: str) -> None:
  """Prints lines of the program's own on stdout, as they are."""
  _put(sys.stdout, text + '\n')


def tell(line, before: str = '') -> None:
  """Prints a line on stderr, as `say`; `before` precedes it unescaped."""
  _put(sys.stderr, before + printable(line) + '\n')


def tell_text(text: str) -> None:
  """Prints text of the program's own on stderr, as it is."""
  _put(sys.stderr, text)


def error(cause) -> None:
  """Prints a mistake as one line on stderr."""
  line = f'error: {cause}'
  if len(line) > _LONGEST:
    line = f'{line[:_LONGEST * 3 // 4]} ... {line[-_LONGEST // 4:]}'
  tell(line)


@contextlib.contextmanager
def without(known: str) -> Iterator[None]:
  """Leaves out lines that a library in C writes to stderr and that begin so; others come later.

  For moments: what other threads write to stderr meanwhile waits for the end too.
  """
  with _ONE_AT_A_TIME, contextlib.ExitStack() as stack:
    try:
      stderr = os.dup(2)
      stack.callback(os.close, stderr)
      held = stack.enter_context(tempfile.TemporaryFile())
    except OSError:  # there is no stderr, or no place to hold it: nothing is left out
      yield
      return
    os.dup2(held.fileno(), 2)
    try:
      yield
    finally:
      os.dup2(stderr, 2)
      held.seek(0)
      for line in held:
        if not line.startswith(known.encode()):
          _Lossy(2).write(line)


def live() -> bool:
  """Whether stderr is a terminal, where a line can be redrawn."""
  try:
    return sys.stderr.isatty()
  except ValueError:  # it was closed
    return False


def _put(stream, text: str) -> None:
  encoding = getattr(stream, 'encoding', None) or 'utf-8'
  with contextlib.suppress(OSError, ValueError):
    stream.write(text.encode(encoding, 'backslashreplace').decode(encoding))
    stream.flush()


class _Refusing:
  """stderr for a progress bar; what it refuses is dropped."""

  encoding = property(lambda self: getattr(sys.stderr, 'encoding', None) or 'utf-8')

  def write(self, text):
    _put(sys.stderr, text)

  def flush(self):
    pass

  def fileno(self):
    return sys.stderr.fileno()

  def isatty(self):
    return live()


class Progress:
  """Progress of some work: a bar on a terminal, a few lines in a log; a context manager.

  Args:
    total: number of units of work.
    unit: name of a unit, in the singular.
    what: description of the work.
    show: whether to print anything.
  """

  def __init__(self, total: int, unit: str, what: str = '', show: bool = True):
    self._total, self._unit, self._what = total, unit, what
    self._done, self._reported, self._show = 0, 0, show
    self._bar = None
    if show and live():
      self._bar = tqdm.tqdm(total=total, unit=unit, desc=what or None, file=_Refusing())

  def __enter__(self) -> 'Progress':
    self._began = self._spoke = time.monotonic()
    return self

  def __exit__(self, kind, error, trace) -> None:
    if self._bar is not None:
      self._bar.close()
    elif self._show and self._done > self._reported:
      self._tell(time.monotonic())

  def update(self, count: int = 1) -> None:
    """Adds finished units."""
    self._done += count
    if self._bar is not None:
      self._bar.update(count)
    elif self._show:
      now, share = time.monotonic(), 10 * (self._done - self._reported) / max(self._total, 1)
      waited = now - self._spoke
      if waited > _LATE or (share >= 1 and waited > _SOON):
        self._tell(now)

  def describe(self, what: str) -> None:
    """Changes the description of the work."""
    self._what = what
    if self._bar is not None:
      self._bar.set_description(what, refresh=False)

  def _tell(self, now):
    self._reported, self._spoke = self._done, now
    spent = now - self._began
    left = spent / self._done * (self._total - self._done)
    tell(f'{self._what}: {self._done} of {self._total} {self._unit}s in {spent:.0f} s'
         + (f', about {left:.0f} s left' if left > 0 else ''))


def progress(items: Iterable, unit: str, what: str = '') -> Iterator:
  """Yields the items of a list and shows the progress."""
  items = list(items)
  with Progress(len(items), unit, what) as bar:
    for item in items:
      yield item
      bar.update()

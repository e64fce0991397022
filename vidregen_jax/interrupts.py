"""Signals that ask a program to end: heard once, and never in the middle of what must be whole.

  with interrupts.heard():        # Ctrl-C, SIGTERM and SIGHUP raise Ended in the main thread
    with interrupts.held():       # but not in here: they wait until the block is left
      os.replace(part, path)

Python runs handlers in the main thread alone; in all others both blocks do nothing.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(KeyboardInterrupt):
  """Somebody asked the program to end.

  Attributes:
    name: the signal's, such as 'SIGTERM'.
    status: with which a shell expects such a program to exit: 130 after Ctrl-C, 143 after SIGTERM.
  """

  def __init__(self, number: int):
    super().__init__(number)
    self.name, self.status = signal.Signals(number).name, 128 + number


class _Ear:
  """What is known of signals while a `heard` block lasts."""

  def __init__(self):
    self.process, self.holds, self.waiting = os.getpid(), 0, []

  def __call__(self, number, frame):
    if os.getpid() != self.process:  # a fork took the handler along, and has nothing to clean up
      signal.signal(number, signal.SIG_DFL)
      signal.raise_signal(number)
    # What cleans up after the first signal is not to be broken off by the next. Told by what is
    # being handled, not by what was raised: Python drops what is raised in some places (`__del__`).
    if _ending(sys.exc_info()[1]):
      return
    if not self.holds:
      raise Ended(number)
    self.waiting.append(number)


_ear: _Ear | None = None


def _ending(error) -> bool:
  while error is not None and not isinstance(error, KeyboardInterrupt):
    error = error.__context__
  return error is not None


@contextlib.contextmanager
def heard() -> Iterator[None]:
  """In the block the signals raise `Ended`, each that was not ignored or given a handler before."""
  global _ear
  if _ear is not None or threading.current_thread() is not threading.main_thread():
    yield
    return
  usual = (signal.SIG_DFL, signal.default_int_handler)
  before = {number: handler for number in _ASKING
            if (handler := signal.getsignal(number)) in usual}
  _ear = _Ear()
  try:
    for number in before:
      signal.signal(number, _ear)
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)
    _ear = None


@contextlib.contextmanager
def held() -> Iterator[None]:
  """In the block the signals wait; when it is left the first that came raises `Ended`."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  with heard():
    ear = _ear
    ear.holds += 1
    try:
      yield
    finally:
      ear.holds -= 1
      if ear.waiting and not ear.holds:
        raise Ended(ear.waiting.pop(0))

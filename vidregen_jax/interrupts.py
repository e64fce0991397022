"""Signals that ask a program to end: heard once, and never in the middle of what must be whole.

  with interrupts.heard():        # Ctrl-C, SIGTERM and SIGHUP raise Ended in the main thread
    with interrupts.held():       # but not in here: they wait until the block is left
      os.replace(part, path)

Python runs handlers in the main thread alone; in all others both blocks do nothing.
"""

import contextlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator

_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN = .1  # seconds after which a signal is repeated, if it has not ended the block


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
    self.process, self.holds, self.waiting, self.over = os.getpid(), 0, [], False
    self.hook = sys.unraisablehook
    self.raised = queue.SimpleQueue()  # the one that a handler may put to, whatever it interrupts

  def __call__(self, number, frame):
    if os.getpid() != self.process:  # a fork took the handler along, and has nothing to clean up
      signal.signal(number, signal.SIG_DFL)
      signal.raise_signal(number)
    # What cleans up after the first signal is not to be broken off by the next.
    if self.over or _ending(sys.exc_info()[1]):
      return
    if frame is not None and frame.f_code is self.drop.__code__:
      self.raised.put(number)
      return
    if self.holds:
      self.waiting.append(number)
      return
    self.end(number)

  def end(self, number):
    self.raised.put(number)
    raise Ended(number)

  def drop(self, what):
    """`sys.unraisablehook`: a signal that is dropped comes again, and is no fault to be told."""
    if not isinstance(what.exc_value, Ended):
      self.hook(what)

  def remind(self, thread):
    """Repeats a signal: Python drops what is raised in some places, such as JAX's part of `gc`."""
    number = self.raised.get()
    while number is not None:
      try:
        number = self.raised.get(timeout=_AGAIN)
      except queue.Empty:
        signal.pthread_kill(thread, number)


_ear: _Ear | None = None


def _ending(error) -> bool:
  while error is not None and not isinstance(error, KeyboardInterrupt):
    error = error.__context__
  return error is not None


@contextlib.contextmanager
def heard() -> Iterator[None]:
  """In the block the signals raise `Ended`, each that was not ignored or given a handler before."""
  if _ear is not None or threading.current_thread() is not threading.main_thread():
    yield
    return
  with _listening() as ear:
    reminder = threading.Thread(target=ear.remind, args=(threading.get_ident(), ), daemon=True)
    reminder.start()
    sys.unraisablehook = ear.drop
    try:
      yield
    finally:
      ear.over = True
      sys.unraisablehook = ear.hook
      ear.raised.put(None)
      reminder.join()


@contextlib.contextmanager
def _listening() -> Iterator[_Ear]:
  global _ear
  if _ear is not None:
    yield _ear
    return
  usual = (signal.SIG_DFL, signal.default_int_handler)
  before = {number: handler for number in _ASKING
            if (handler := signal.getsignal(number)) in usual}
  _ear = _Ear()
  try:
    for number in before:
      signal.signal(number, _ear)
    yield _ear
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
  with _listening() as ear:
    ear.holds += 1
    try:
      yield
    finally:
      ear.holds -= 1
      if ear.waiting and not ear.holds:
        ear.end(ear.waiting.pop(0))


def over() -> None:
  """To the end of the `heard` block nothing is heard any more: what could be ended has."""
  if _ear is not None:
    _ear.over = True


def ignore() -> None:
  """From now on nothing is heard."""
  for number in _ASKING:
    signal.signal(number, signal.SIG_IGN)

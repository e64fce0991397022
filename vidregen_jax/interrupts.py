"""Signals that ask a program to end: handled once, and never within a critical section.

  with interrupts.heard():        # Ctrl-C, SIGTERM and SIGHUP raise Ended in the main thread
    with interrupts.held():       # but not in here: they are deferred until the block is left
      os.replace(part, path)

Python runs handlers only in the main thread; in other threads both blocks do nothing.
"""

import contextlib
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator

_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN = .1  # seconds after which a signal is repeated if the block has not ended


class Ended(KeyboardInterrupt):
  """The program was asked to end by a signal.

  Attributes:
    name: of the signal, such as 'SIGTERM'.
    status: the exit status that shells expect: 130 after Ctrl-C, 143 after SIGTERM.
  """

  def __init__(self, number: int):
    super().__init__(number)
    self.name, self.status = signal.Signals(number).name, 128 + number


class _Ear:
  """State of the signal handling during a `heard` block."""

  def __init__(self):
    self.process, self.holds, self.waiting, self.over = os.getpid(), 0, [], False
    self.hook = sys.unraisablehook
    self.raised = queue.SimpleQueue()  # safe to put to in a handler

  def __call__(self, number, frame):
    if os.getpid() != self.process:  # a fork, with nothing to clean up
      signal.signal(number, signal.SIG_DFL)
      signal.raise_signal(number)
    # The cleanup after the first signal must not be interrupted by the next.
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
    """`sys.unraisablehook`: does not report a dropped `Ended`, which is repeated."""
    if not isinstance(what.exc_value, Ended):
      self.hook(what)

  def remind(self, thread):
    """Repeats a signal: Python drops exceptions in some places, such as JAX's `gc` callback."""
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
  """In the block the signals raise `Ended`, except those that were ignored or handled before."""
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
  """Defers the signals in the block; on leaving it, the first that came raises `Ended`."""
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
  """Ignores the signals to the end of the `heard` block: the work is done."""
  if _ear is not None:
    _ear.over = True


def ignore() -> None:
  """Ignores the signals from now on."""
  for number in _ASKING:
    signal.signal(number, signal.SIG_IGN)

"""Ends a process whose training hangs, so that whatever started it can restart it.

A hung host prints nothing, nor do those that wait for it. Python cannot raise an exception in a
thread that waits for a device, so the process is ended.
"""

import collections
import contextlib
import faulthandler
import os
import pathlib
import socket
import threading
import time

import jax

from vidregen_jax import terminal
from vidregen_jax.distributed import multihost

_COMPILING = 6  # factor by which a step that is compiled may take longer
STATUS = 70  # exit status of the process


class Watchdog:
  """Watches steps as they finish on the devices; a context manager."""

  def __init__(self, seconds, workdir):
    """Args:
      seconds: that a step may take; 0 to turn it off.
      workdir: where the stacks are written when a step takes longer.
    """
    self._seconds, self._folder = seconds, pathlib.Path(workdir)
    self._running = collections.deque()  # (step, array that is ready when the step is done)
    self._begun = self._compiled = None
    self._seen = time.monotonic()  # time of the latest progress
    self._paused, self._ended = False, threading.Event()
    self._thread = threading.Thread(target=self._watch, daemon=True)

  def __enter__(self):
    if self._seconds:
      self._thread.start()
    return self

  def __exit__(self, *_):
    self._ended.set()
    if self._seconds:  # a thread inside JAX while Python exits would abort the process
      self._thread.join()

  def begin(self, step, compiles=False):
    """Notes that a step is about to be dispatched; `compiles` if it is the first of its program."""
    self._begun = step
    if compiles:
      self._compiled = step

  def given(self, step, measured):
    """Notes that a step was dispatched; its measurements are ready when it is done."""
    if self._seconds:
      self._running.append((step, jax.tree.leaves(measured)[0]))

  @contextlib.contextmanager
  def paused(self):
    """Suspends the limit in the `with` block, for a checkpoint, say."""
    self._paused = True
    try:
      yield
    finally:
      self._seen, self._paused = time.monotonic(), False

  def _watch(self):
    while not self._ended.wait(min(1, self._seconds / 10)):
      while self._running and self._running[0][1].is_ready():
        self._running.popleft()
        self._seen = time.monotonic()
      waited = time.monotonic() - self._seen
      step = self._running[0][0] if self._running else self._begun
      allowed = self._seconds * (_COMPILING if step in (None, self._compiled) else 1)
      if waited > allowed and not self._paused and not self._ended.is_set():
        self._end(step, waited)

  def _end(self, step, waited):
    stacks = self._folder / f'hang_{socket.gethostname()}_{jax.process_index()}.txt'
    terminal.tell(f'error: {multihost.name()}: step {step} has not ended in {waited:.0f} s '
                  f'(--watchdog_seconds={self._seconds:g}): what it was doing is in {stacks}; the '
                  'same command goes on from the last checkpoint', before='\n')
    try:
      with stacks.open('w') as file:
        faulthandler.dump_traceback(file)
    finally:
      os._exit(STATUS)

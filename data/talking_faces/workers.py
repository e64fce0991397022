"""Processes that prepare sources, and outlive none of them: a crash costs one source, not the run.

Decoders are native code that meets whatever files there are. So each worker is a process of its
own; when it dies, the source it had is accounted for by that, and another takes its place.
"""

import contextlib
import errno
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from multiprocessing import connection

import jax

from data.talking_faces import source_result
from vidregen_jax import interrupts, terminal
from vidregen_jax.errors import UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def _serve(pipe):
  interrupts.ignore()  # the parent decides when this ends
  # The scorer is small, and an accelerator can often be had by one process only.
  jax.config.update('jax_platforms', 'cpu')
  threading.Thread(target=_end_with_parent, daemon=True).start()
  while True:
    try:
      job = pipe.recv()
    except EOFError:
      return
    try:
      answer = source_result.prepare(job)
    except UserError as error:
      answer = error
    except OSError as error:
      if error.errno not in _FULL:
        raise
      answer = UserError(f'{job.work}: cannot be written to ({error.strerror}): make room there, '
                         'and the same command goes on')
    pipe.send(answer)


def _end_with_parent():
  connection.wait([multiprocessing.parent_process().sentinel])
  os._exit(1)  # even in the middle of a source, which then has no result


class Worker:
  """One process. `close` ends it."""

  def __init__(self):
    self._process = None
    self.job = None

  def give(self, job: source_result.Job) -> None:
    """Has it prepare a source; `answer` is to be read before the next."""
    if self._process is None:
      context = multiprocessing.get_context('spawn')  # threads do not survive a fork
      self._pipe, theirs = context.Pipe()
      self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
      self._process.start()
      theirs.close()
    self.job = job
    self._pipe.send(job)

  @property
  def waits_on(self):
    """What `connection.wait` waits on: an answer, or the end of the process."""
    return self._pipe

  def answer(self) -> dict:
    """The account of the source that was given; waits for it.

    Raises:
      UserError: nothing can be written.
    """
    job, self.job = self.job, None
    try:
      found = self._pipe.recv()
    except (EOFError, ConnectionResetError):
      self._process.join()
      status = self._process.exitcode
      self.close()
      cause = (f'signal {signal.Signals(-status).name}' if status < 0
               else f'exit status {status}; its traceback is in the log')
      terminal.tell(f'{job.path}: the process that read it ended ({cause}): left out')
      return source_result.lost(job, cause)
    if isinstance(found, UserError):
      raise found
    return found

  def close(self) -> None:
    """Ends the process, in the middle of a source if need be."""
    if self._process is not None:
      self._process.kill()
      self._process.join()
      self._pipe.close()
      self._process = None


def prepare(jobs: Iterable[source_result.Job], count: int) -> Iterator[dict]:
  """Prepares sources in several processes; yields their accounts as they come.

  Args:
    jobs: the sources.
    count: processes.

  Raises:
    UserError: nothing can be written.
  """
  coming = iter(jobs)
  with contextlib.ExitStack() as stack:
    idle, busy = [], {}
    for _ in range(count):
      idle.append(Worker())
      stack.callback(idle[-1].close)
    while True:
      while idle and (job := next(coming, None)) is not None:
        worker = idle.pop()
        worker.give(job)
        busy[worker.waits_on] = worker
      if not busy:
        return
      for pipe in connection.wait(list(busy)):
        worker = busy.pop(pipe)
        yield worker.answer()
        idle.append(worker)

"""Jobs that run one at a time, in the order in which they were asked for; each can be cancelled."""

import collections
import sys
import threading
import traceback
from collections.abc import Callable

from vidregen_jax import cli
from vidregen_jax.errors import UserError


class Cancelled(Exception):
  """Raised in a job's work, at its next sign of progress, when the job was cancelled."""


class Job:
  """Some work, from when it is asked for until it has ended.

  Attributes:
    seen: what the work last showed of itself; None before that.
    result: what the work returned; None until it has.
    mistake: why it failed, in one line; '' if it did not.
    was_cancelled: whether it ended because of `cancel`.
  """

  def __init__(self, work: Callable[['Job'], object], leave: Callable[['Job'], None]):
    self._work, self._leave = work, leave
    self._stop, self._over = threading.Event(), threading.Event()
    self._afterwards, self._lock = [], threading.Lock()
    self.seen, self.result, self.mistake, self.was_cancelled = None, None, '', False

  @property
  def has_ended(self) -> bool:
    return self._over.is_set()

  def cancel(self) -> None:
    """Ends the job: at once if it still waits, else at the next sign of progress."""
    self._stop.set()
    self._leave(self)

  @property
  def is_cancelled(self) -> bool:
    """Whether its end was asked for."""
    return self._stop.is_set()

  def show(self, seen) -> None:
    """Called by the work as it goes on.

    Raises:
      Cancelled: the job was cancelled.
    """
    if self._stop.is_set():
      raise Cancelled
    self.seen = seen

  def wait(self, timeout: float | None = None) -> bool:
    """Waits for the end; returns whether it has come."""
    return self._over.wait(timeout)

  def afterwards(self, call: Callable[[], None]) -> None:
    """Calls a function once the job has ended, or now if it has."""
    with self._lock:
      if not self.has_ended:
        self._afterwards.append(call)
        return
    call()

  def run(self) -> None:
    """Does the work; what goes wrong is kept as a line, so that the next job can run."""
    try:
      if self._stop.is_set():
        raise Cancelled
      with cli.memory_told():
        self.result = self._work(self)
    except Cancelled:
      self.was_cancelled = True
    except UserError as error:
      self.mistake = str(error)
    except Exception as error:  # noqa: BLE001 a fault of the program must not end all other jobs
      traceback.print_exc(file=sys.stderr)
      self.mistake = (f'the program failed, which is a fault of its own ({type(error).__name__}); '
                      'the terminal in which it runs says more')
    with self._lock:
      self._over.set()
      afterwards = self._afterwards
    for call in afterwards:
      call()


class Queue:
  """Runs jobs in a thread of its own; a context manager, which cancels what is left."""

  def __init__(self):
    self._waiting, self._running = collections.deque(), None
    self._changed, self._closed = threading.Condition(), False
    self._thread = threading.Thread(target=self._run, daemon=True)

  def __enter__(self) -> 'Queue':
    self._thread.start()
    return self

  def __exit__(self, *_) -> None:
    with self._changed:
      self._closed = True
      jobs = [*self._waiting, *filter(None, [self._running])]
      self._changed.notify_all()
    for job in jobs:
      job.cancel()
    self._thread.join()

  def put(self, work: Callable[[Job], object]) -> Job:
    """Adds a job: a function of the Job itself, to which it shows its progress."""
    job = Job(work, self._leave)
    with self._changed:
      self._waiting.append(job)
      closed = self._closed
      self._changed.notify_all()
    if closed:
      job.cancel()
    return job

  def before(self, job: Job) -> int:
    """How many jobs end before this one begins; 0 if it runs or has ended."""
    with self._changed:
      if job not in self._waiting:
        return 0
      return self._waiting.index(job) + (self._running is not None)

  def _leave(self, job):
    """Ends a job that is to be cancelled if it still waits."""
    with self._changed:
      waits = job in self._waiting
      if waits:
        self._waiting.remove(job)
    if waits:
      job.run()

  def _next(self) -> Job | None:
    """The next job; None when the queue is closed and empty."""
    with self._changed:
      self._running = None
      self._changed.wait_for(lambda: self._waiting or self._closed)
      if self._waiting:
        self._running = self._waiting.popleft()
      return self._running

  def _run(self):
    while (job := self._next()) is not None:
      job.run()

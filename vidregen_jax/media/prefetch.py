"""Work in threads beside the caller's: items are produced ahead of it, and consumed behind it.

  with Ahead(frames(path), 8) as coming, Behind(write, 8) as going:
    for frame in coming:        # the next ones are decoded meanwhile
      going.put(edit(frame))    # and the last ones encoded

Both hold a bounded number of items, keep their order, and end their threads when the block is left,
in whatever way. An error in a thread is raised where the caller waits for its work.
"""

import collections
import contextlib
import threading
from collections.abc import Callable, Generator


class _Closed(Exception):
  """The other end has gone."""


class _Line:
  """A bounded queue of items between two threads."""

  def __init__(self, length: int):
    self._items, self._length = collections.deque(), length
    self._changed, self._closed = threading.Condition(), False

  def put(self, item) -> None:
    with self._changed:
      self._changed.wait_for(lambda: self._closed or len(self._items) < self._length)
      if self._closed:
        raise _Closed
      self._items.append(item)
      self._changed.notify_all()

  def take(self):
    """The next item; items put before the line was closed can still be taken."""
    with self._changed:
      self._changed.wait_for(lambda: self._closed or self._items)
      if not self._items:
        raise _Closed
      item = self._items.popleft()
      self._changed.notify_all()
      return item

  def close(self, drop: bool = False) -> None:
    """Accepts no more items; `drop` discards those that wait."""
    with self._changed:
      self._closed = True
      if drop:
        self._items.clear()
      self._changed.notify_all()


class _Worker:
  """A thread at one end of a line."""

  def __init__(self, count: int):
    self._line, self._error = _Line(count), None
    self._thread = threading.Thread(target=self._run, daemon=True)
    self._ended = threading.Event()

  def _work(self) -> None:
    raise NotImplementedError

  def _run(self):
    try:
      self._work()
    except _Closed:
      pass
    except BaseException as error:  # noqa: BLE001 the other end raises it
      self._error = error
    finally:
      self._line.close()
      self._ended.set()

  def __enter__(self):
    self._thread.start()
    return self

  def _end(self, drop: bool) -> None:
    """Returns when the thread has ended; Ctrl-C only makes it end sooner."""
    self._line.close(drop)
    try:
      self._ended.wait()  # not `join`, which after an interrupt takes the thread for ended
    except BaseException:
      self._line.close(drop=True)
      self._ended.wait()
      raise
    finally:
      self._thread.join()


class Ahead(_Worker):
  """An iterator over a generator that runs in a thread of its own, some items ahead.

  Args:
    items: the generator; it is closed when the block is left.
    count: how many items may wait.
  """

  def __init__(self, items: Generator, count: int):
    super().__init__(count)
    self._items = items

  def _work(self):
    with contextlib.closing(self._items):
      for item in self._items:
        self._line.put(item)

  def __iter__(self) -> 'Ahead':
    return self

  def __next__(self):
    try:
      return self._line.take()
    except _Closed:
      error, self._error = self._error, None
    if error is not None:
      raise error
    raise StopIteration

  def __exit__(self, *_) -> None:
    self._end(drop=True)


class Behind(_Worker):
  """Handles items in a thread of its own, in their order, some behind.

  Leaving the block waits until all are handled; leaving it by an exception drops those that wait.

  Args:
    handle: what is called with the arguments of each `put`.
    count: how many may wait.
  """

  def __init__(self, handle: Callable, count: int):
    super().__init__(count)
    self._handle = handle

  def _work(self):
    while True:
      self._handle(*self._line.take())

  def put(self, *item) -> None:
    """Raises what `handle` raised for an earlier item."""
    with contextlib.suppress(_Closed):
      self._line.put(item)
      return
    raise self._error or ValueError('the block was left')

  def __exit__(self, kind, error, trace) -> None:
    self._end(drop=kind is not None)
    if kind is None and self._error is not None:
      raise self._error

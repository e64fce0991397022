"""Threads beside the caller's: order, bounds, and nothing left running, however it ends."""

import signal
import threading
import time

import pytest

from vidregen_jax.media.prefetch import Ahead, Behind


def counted(count, made, closed):
  """Numbers, of which it is noted when each was made and when no more were wanted."""
  try:
    for i in range(count):
      made.append(i)
      yield i
  finally:
    closed.append(threading.current_thread())


def settled(seen):
  """What a list is when it has stopped growing."""
  before = None
  while before != len(seen):
    before = len(seen)
    time.sleep(0.05)
  return list(seen)


def test_items_come_in_order_and_few_ahead():
  made, closed = [], []
  with Ahead(counted(50, made, closed), 3) as items:
    assert settled(made) == [0, 1, 2, 3]  # three wait, and one has no room
    assert [next(items) for _ in range(10)] == list(range(10))
    assert len(settled(made)) == 14
    assert list(items) == list(range(10, 50))
    assert next(items, None) is None
  assert closed[0] is not threading.current_thread()


def test_leaving_early_closes_the_generator_and_ends_the_thread():
  made, closed, before = [], [], threading.active_count()
  with Ahead(counted(10**9, made, closed), 2) as items:
    next(items)
  assert closed and threading.active_count() == before


def test_what_is_put_is_handled_in_order_before_the_block_ends():
  handled, gate = [], threading.Event()

  def handle(item, twice):
    gate.wait()
    handled.append((item, twice))
  with Behind(handle, 3) as behind:
    for i in range(3):
      behind.put(i, 2 * i)
    assert not handled  # nobody waited for them
    gate.set()
    for i in range(3, 20):
      behind.put(i, 2 * i)
  assert handled == [(i, 2 * i) for i in range(20)]


def test_giving_waits_where_there_is_no_room():
  gate, given = threading.Event(), []
  with Behind(lambda item: gate.wait(), 2) as behind:
    def give():
      for i in range(9):
        behind.put(i)
        given.append(i)
    giver = threading.Thread(target=give)
    giver.start()
    assert len(settled(given)) == 3  # two wait, one is being handled
    gate.set()
    giver.join()


class Broken(Exception):
  pass


def test_what_goes_wrong_in_a_thread_is_raised_where_it_is_waited_for():
  def breaks():
    yield 1
    raise Broken
  with Ahead(breaks(), 4) as items:
    assert next(items) == 1
    with pytest.raises(Broken):
      next(items)

  def fail(item):
    raise Broken
  with pytest.raises(Broken), Behind(fail, 4) as behind:
    while True:
      behind.put(0)
  with pytest.raises(Broken), Behind(fail, 4) as behind:
    behind.put(0)  # the last one, whose failure shows when the block ends


def test_an_exception_drops_what_waits():
  handled, gate, before = [], threading.Event(), threading.active_count()

  def handle(item):
    gate.wait()
    handled.append(item)
  with pytest.raises(Broken), Behind(handle, 5) as behind:
    for i in range(5):
      behind.put(i)
    threading.Timer(0.05, gate.set).start()
    raise Broken
  assert handled in ([], [0]) and threading.active_count() <= before + 1


@pytest.mark.parametrize('waiting', ['for an item', 'for room', 'for the end'])
def test_ctrl_c_ends_every_wait_and_the_thread(waiting):
  before, started = set(threading.enumerate()), time.monotonic()

  def slow():
    while time.monotonic() < started + 20 and not interrupted:
      time.sleep(0.02)
      yield from ()
  interrupted = []

  def interrupt():
    time.sleep(0.1)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
    time.sleep(0.1)
    interrupted.append(True)
  killer = threading.Thread(target=interrupt)
  killer.start()
  with pytest.raises(KeyboardInterrupt):
    if waiting == 'for an item':
      with Ahead(slow(), 2) as items:
        next(items)
    else:
      with Behind(lambda item: list(slow()), 2) as behind:
        for i in range(9 if waiting == 'for room' else 2):
          behind.put(i)
  killer.join()
  assert not set(threading.enumerate()) - before
  assert time.monotonic() < started + 10

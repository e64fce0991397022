"""It ends a process whose step takes too long, and nothing else."""

import threading
import time
import types

import pytest
import runs

from vidregen_jax.distributed import watchdog


@pytest.fixture
def ends(monkeypatch):
  """What the watchdog ended a process with."""
  statuses = []
  monkeypatch.setattr(watchdog.os, '_exit', statuses.append)
  return statuses


def step(ready=True):
  return types.SimpleNamespace(is_ready=lambda: ready)


def watching(tmp_path, seconds=0.4):
  return watchdog.Watchdog(seconds, tmp_path)


def test_a_step_that_does_not_end_is_named(tmp_path, ends, capsys):
  with watching(tmp_path) as watch:
    for at in (7, 8, 9):
      watch.begin(at)
      watch.given(at, {'loss': step(ready=at < 8)})
    runs.wait_for(lambda: ends)
  assert ends[0] == watchdog.STATUS
  assert 'step 8 has not ended in ' in capsys.readouterr().err
  assert 'test_watchdog.py' in next(tmp_path.iterdir()).read_text()


def test_a_host_that_waits_for_data_is_as_lost(tmp_path, ends, capsys):
  with watching(tmp_path) as watch:
    watch.begin(7)
    watch.given(7, step())
    watch.begin(8)
    runs.wait_for(lambda: ends)
  assert ends and 'step 8 has not ended' in capsys.readouterr().err


def test_its_thread_ends_with_what_it_watches(tmp_path, ends):
  before = threading.active_count()
  with watching(tmp_path, seconds=60):
    assert threading.active_count() == before + 1
  assert threading.active_count() == before and not ends


@pytest.mark.parametrize('pause', ['compiling', 'paused', 'before the first', 'off'])
def test_what_may_take_long_may(pause, tmp_path, ends):
  with watching(tmp_path, 0 if pause == 'off' else 0.4) as watch:
    if pause != 'before the first':
      watch.begin(1, compiles=pause == 'compiling')
    if pause == 'paused':
      with watch.paused():
        time.sleep(0.6)
    else:
      time.sleep(0.6)
    watch.given(1, step())
  assert not ends and not list(tmp_path.iterdir())

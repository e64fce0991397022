"""Signals end a program in good order: once, and never in the middle of what must be whole."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from runs import ROOT

from vidregen_jax import cli, errors, interrupts, terminal

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize('number', SIGNALS)
def test_each_is_heard_and_its_handler_is_put_back(number):
  before = [signal.getsignal(each) for each in SIGNALS]
  with pytest.raises(interrupts.Ended) as error, interrupts.heard():
    os.kill(os.getpid(), number)
    time.sleep(5)
  assert error.value.status == 128 + number and error.value.name == number.name
  assert [signal.getsignal(each) for each in SIGNALS] == before


@pytest.mark.parametrize('number', SIGNALS)
def test_what_is_ignored_stays_ignored(number):
  before = signal.signal(number, signal.SIG_IGN)
  try:
    with interrupts.heard(), interrupts.held():
      os.kill(os.getpid(), number)
  finally:
    signal.signal(number, before)


def test_the_next_do_not_break_off_what_cleans_up():
  cleaned = []
  with pytest.raises(interrupts.Ended), interrupts.heard():
    try:
      os.kill(os.getpid(), signal.SIGTERM)
      time.sleep(5)
    finally:
      try:
        for number in SIGNALS:
          os.kill(os.getpid(), number)
          time.sleep(.01)
        raise OSError('something in between')
      except OSError:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(.01)
      cleaned.append(True)
  assert cleaned


def test_one_that_python_drops_is_repeated():
  class Dropping:
    def __del__(self):
      os.kill(os.getpid(), signal.SIGTERM)
      time.sleep(.01)

  threads, alive = threading.active_count(), []
  with pytest.raises(interrupts.Ended), interrupts.heard():
    Dropping()
    alive.append(True)
    time.sleep(5)
  assert alive and threading.active_count() == threads


@pytest.mark.parametrize('outer', [interrupts.heard, interrupts.held])
def test_they_wait_for_the_end_of_what_must_be_whole(outer):
  done = []
  with pytest.raises(interrupts.Ended) as error, outer():
    with interrupts.held():
      with interrupts.held():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(.01)
        done.append('inner')
      os.kill(os.getpid(), signal.SIGINT)
      done.append('outer')
    done.append('after')
    time.sleep(.01)
  assert error.value.name == 'SIGTERM'
  assert done == (['inner', 'outer'] if outer is interrupts.heard else ['inner', 'outer', 'after'])


def test_in_other_threads_nothing_is_held_or_changed():
  before, seen = signal.getsignal(signal.SIGTERM), []

  def work():
    with interrupts.heard(), interrupts.held():
      seen.append(signal.getsignal(signal.SIGTERM))
  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert seen == [before]


FORKS = '''
import os, signal, time
from vidregen_jax import interrupts
read, write = os.pipe()
with interrupts.heard():
  child = os.fork()
  if not child:
    os.write(write, b'here')  # signals from before this Python forgets, as the parent's
    time.sleep(30)
    os._exit(0)
  os.read(read, 4)
  os.kill(child, signal.SIGTERM)
  _, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM, status
'''


def test_a_fork_ends_as_it_would_without():
  subprocess.run([sys.executable, '-c', FORKS], cwd=ROOT, check=True, timeout=60)


@pytest.mark.parametrize(('raised', 'status', 'told'), [
  (lambda: os.kill(os.getpid(), signal.SIGTERM), 143, '\nended by SIGTERM: nothing was written\n'),
  (lambda: os.kill(os.getpid(), signal.SIGHUP), 129, '\nended by SIGHUP: nothing was written\n'),
  (lambda: os.kill(os.getpid(), signal.SIGINT), 130, '\ninterrupted: nothing was written\n'),
  (lambda: [0] * 10**15, 2, 'error: the system has no memory for this'),
  (lambda: fail(RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes')), 2,
   'error: the system has no memory'),
  (lambda: fail(RuntimeError("can't start new thread")), 2, 'error: the system has no memory'),
  (lambda: fail(OSError(12, 'Cannot allocate memory')), 2, 'error: the system has no memory'),
])
def test_what_ends_a_program_is_its_status_and_a_line(raised, status, told, capsys):
  def work():
    raised()
    time.sleep(1)
  assert cli.guarded(work, 'nothing was written') == status
  err = capsys.readouterr().err
  assert err.startswith(told) and err.strip().count('\n') == 0


@pytest.mark.parametrize('error', [errors.UserError('a mistake'), KeyboardInterrupt()])
def test_what_comes_while_the_end_is_told_changes_nothing(error, monkeypatch, capsys):
  tell = terminal.tell

  def asked(*given, **named):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(.01)
    tell(*given, **named)
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(.01)
  monkeypatch.setattr(terminal, 'tell', asked)
  status = cli.guarded(lambda: fail(error), 'nothing was written')
  assert status == (2 if isinstance(error, errors.UserError) else 130)
  assert capsys.readouterr().err.strip().count('\n') == 0


def fail(error):
  raise error


def test_a_fault_of_the_program_is_not_told_as_a_mistake():
  for error in (RuntimeError('wrong'), OSError(5, 'Input/output error')):
    with pytest.raises(type(error)):
      cli.guarded(lambda error=error: fail(error), '')


def test_a_limit_in_which_nothing_can_run_is_told(monkeypatch, capsys):
  monkeypatch.setattr(cli.resource, 'getrlimit', lambda which: (1_500_000_000, -1))
  assert cli.guarded(cli.check_room, '') == 2
  assert 'may have 1.5 GB of address space, and needs 3 GB' in capsys.readouterr().err
  monkeypatch.setattr(cli.resource, 'getrlimit', lambda which: (-1, -1))
  assert cli.guarded(cli.check_room, '') == 0

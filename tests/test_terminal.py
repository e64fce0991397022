"""Nothing from a file steers a terminal, and nothing that a stream refuses stops a program."""

import os
import subprocess
import sys
import time

import pytest
from runs import ROOT

from vidregen_jax import terminal


@pytest.mark.parametrize(('text', 'shown'), [
  ('Zoë and 李', 'Zoë and 李'),
  ('red \x1b[31m', 'red \\x1b[31m'),
  ('two\nlines\r', 'two\\nlines\\r'),
  ('right \u202e to left', 'right \\u202e to left'),
  ('caf\udce9.mp4', 'caf\\xe9.mp4'),  # a name that is not UTF-8
  ('\ud800', '\\ud800'),
])
def test_what_is_not_printable_is_escaped(text, shown):
  assert terminal.printable(text) == shown
  terminal.printable(text).encode()


SPEAKS = '''
import contextlib, os, sys
from vidregen_jax import terminal
terminal.begin()
out = open('out', 'w')
terminal.say('Zo\\u00eb \\udce9 ' + 'x' * 100_000)
with terminal.Progress(1000, 'frame', 'work') as bar:
  for _ in range(1000):
    bar.update()
    terminal.say('line')
terminal.error('a mistake')
print('Zo\\u00eb, of a library')
with contextlib.suppress(OSError):
  os.write(2, b'of a library in C')
out.write('the end')
out.close()
sys.exit(7)
'''


def speak(folder, before='', after='', shell=True, **env):
  """Runs SPEAKS in a folder; returns what `bash` gives."""
  command = f'{before} {sys.executable} -c "$0" {after}; echo "status $?" >&3'
  environment = {name: value for name, value in os.environ.items() if name != 'PYTHONIOENCODING'}
  return subprocess.run(
    ['bash', '-c', f'exec 3> status; {command}', SPEAKS], cwd=folder, check=False,
    capture_output=True, timeout=60, env=environment | {'PYTHONPATH': str(ROOT)} | env)


@pytest.mark.parametrize('after', [
  '', '> /dev/full', '2> /dev/full', '> /dev/full 2>&1', '>&-', '2>&-', '<&- >&- 2>&-',
  '> >(head -n 1)', '2> >(head -n 1)', '> >(true) 2>&1', '> >(exec >&-; sleep 1)'])
def test_streams_that_refuse_change_neither_the_work_nor_its_status(after, tmp_path):
  ended = speak(tmp_path, after=after)
  assert (tmp_path / 'status').read_text() == 'status 7\n', ended.stderr
  # A closed stream's number is not given to a file, into which others would then write.
  assert (tmp_path / 'out').read_text() == 'the end'
  assert b'Traceback' not in ended.stderr and b'Exception' not in ended.stderr


@pytest.mark.parametrize(('env', 'shown'), [
  ({'LC_ALL': 'C.UTF-8'}, 'Zoë \\xe9 x'), ({'PYTHONIOENCODING': 'ascii'}, 'Zo\\xeb \\xe9 x'),
  ({'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}, 'Zo\\xeb \\xe9 x')])
def test_what_a_stream_cannot_say_is_escaped(env, shown, tmp_path):
  ended = speak(tmp_path, **env)
  assert (tmp_path / 'status').read_text() == 'status 7\n', ended.stderr
  assert ended.stdout.decode().startswith(shown)


def test_a_pipe_that_takes_nothing_now_is_waited_for(tmp_path):
  program = ('import os; from vidregen_jax import terminal; terminal.begin(); '
             'os.set_blocking(1, False); terminal.say("x" * 300_000)')
  with subprocess.Popen([sys.executable, '-c', program], cwd=ROOT, stdout=subprocess.PIPE) as run:
    time.sleep(1)
    assert run.stdout.read() == b'x' * 300_000 + b'\n'


def test_an_error_of_any_length_is_one_line_of_some(capsys):
  terminal.error('--seed ' + '1' * 10**6 + '\n: is too long')
  line = capsys.readouterr().err
  assert line.startswith('error: --seed 111') and line.endswith(': is too long\n')
  assert len(line) < 3000 and line.count('\n') == 1


class Clock:
  def __init__(self):
    self.now = 0.0

  def monotonic(self):
    return self.now


@pytest.mark.parametrize(('seconds', 'lines'), [(0.001, 1), (0.1, 10), (20, 100)])
def test_in_a_log_progress_is_a_few_lines(seconds, lines, capsys, monkeypatch):
  clock = Clock()
  monkeypatch.setattr(terminal.time, 'monotonic', clock.monotonic)
  with terminal.Progress(1000, 'frame', 'regenerate') as bar:
    for _ in range(1000):
      clock.now += seconds
      bar.update()
  said = capsys.readouterr().err.splitlines()
  assert 0.6 * lines <= len(said) <= lines
  assert said[-1] == f'regenerate: 1000 of 1000 frames in {1000 * seconds:.0f} s'


def test_at_a_terminal_it_is_a_bar(capsys, monkeypatch):
  monkeypatch.setattr(terminal, 'live', lambda: True)
  assert list(terminal.progress('abc', 'clip', 'codec')) == ['a', 'b', 'c']
  assert '\rcodec: 100%' in capsys.readouterr().err


TELLS = '''
import os
from vidregen_jax import terminal
terminal.begin()
with terminal.without('INFO: known'):
  os.write(2, b'INFO: known, of a library\\n' b'ERROR: not known\\n' b'half a line')
os.write(2, b' and its end\\n')
'''


def test_a_line_that_is_known_is_left_out_and_no_other():
  done = subprocess.run([sys.executable, '-c', TELLS], cwd=ROOT, capture_output=True, check=True)
  assert done.stderr == b'ERROR: not known\nhalf a line and its end\n'


def test_where_there_is_no_stderr_nothing_is_left_out():
  program = 'from vidregen_jax import terminal\nwith terminal.without("x"):\n  print("done")'
  done = subprocess.run(['bash', '-c', '"$0" -c "$1" 2>&-', sys.executable, program], cwd=ROOT,
                        capture_output=True, check=True)
  assert done.stdout == b'done\n'


def test_looking_for_a_face_says_nothing():
  done = subprocess.run([sys.executable, '-c', 'from vidregen_jax.faces import landmarks as l; '
                         'l._Network("face_landmark.tflite")'], cwd=ROOT, capture_output=True,
                        check=True)
  assert done.stderr == b''

"""Too little memory is told before anything is loaded that would end without a word."""

import resource
import subprocess
import sys

import pytest

from vidregen_jax import editing_flags, errors, memory


def limited(monkeypatch, limit):
  monkeypatch.setattr(resource, 'getrlimit', lambda kind: (limit, limit))


def test_a_low_limit_of_address_space_is_one_line(monkeypatch, capsys):
  limited(monkeypatch, 1_500_000_000)
  with pytest.raises(errors.UserError, match='1.5 GB of address space is set'):
    memory.check()
  assert editing_flags.carry_out(lambda argv: pytest.fail('it went on'), []) == 2
  assert capsys.readouterr().err.count('\n') == 1


@pytest.mark.parametrize('limit', [resource.RLIM_INFINITY, 2**40])
def test_a_high_limit_is_none(monkeypatch, limit):
  limited(monkeypatch, limit)
  memory.check()


def test_memory_that_python_cannot_get_is_one_line(monkeypatch, capsys):
  limited(monkeypatch, resource.RLIM_INFINITY)

  def read(argv):
    raise MemoryError

  assert editing_flags.carry_out(read, []) == 2
  told = capsys.readouterr().err
  assert 'not enough memory' in told and told.count('\n') == 1


def test_the_real_limit_is_asked_for():
  code = ('import resource; resource.setrlimit(resource.RLIMIT_AS, (2 * 10**9,) * 2)\n'
          'from vidregen_jax import errors, memory\n'
          'try: memory.check()\n'
          'except errors.UserError as error: print(error)')
  made = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert made.stdout.startswith('a limit of 2.0 GB')

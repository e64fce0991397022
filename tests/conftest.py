"""Fixtures and settings of all tests. No test may use the network or an accelerator."""

import collections
import os
import pathlib
import signal
import tempfile

import pytest
from absl import flags

ROOT = pathlib.Path(__file__).resolve().parents[1]

# JAX reads these at its first import, and programs that tests start inherit them. Most of the time
# goes into compiling what then runs for moments: XLA optimises it little, but in modules with
# `pytestmark = pytest.mark.optimized`.
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['JAX_DISABLE_MOST_OPTIMIZATIONS'] = 'true'

# A shell starts background jobs with SIGINT ignored, and nohup with SIGHUP; tests send both.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Grain reads its own absl flags, which no test parses.
flags.FLAGS.mark_as_parsed()


@pytest.fixture(scope='session')
def pack_folder():
  """The folder of the bundled dataset: rendered clips and their ground truth."""
  return ROOT / 'data' / 'talkers' / 'pack'


@pytest.fixture(scope='session')
def whisper_folder():
  """The folder of the Whisper encoder that is part of the repository."""
  return ROOT / 'checkpoints' / 'whisper-base'


@pytest.fixture(scope='session')
def tiny_checkpoint(tmp_path_factory, whisper_folder):
  """The folder of a small system with random weights."""
  import tiny_system  # after the environment is set
  return tiny_system.write(tmp_path_factory.mktemp('system'), whisper_folder)


@pytest.fixture(scope='session')
def tiny_model(tiny_checkpoint):
  """The same, loaded."""
  import vidregen_jax
  return vidregen_jax.load(tiny_checkpoint)


@pytest.fixture(scope='session', autouse=True)
def settings_folder(tmp_path_factory):
  """A settings folder of the tests' own: nothing is signed with the user's certificate."""
  folder = tmp_path_factory.mktemp('settings')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('XDG_CONFIG_HOME', str(folder))
    # What they start shares what it compiles, but with nobody else.
    patch.setenv('XDG_CACHE_HOME', str(folder / 'cache'))
    yield folder


def pytest_sessionstart(session):
  """What was compiled once is kept on disk, for as long as these tests run.

  Not for longer; programs that tests start have a cache of their own.
  """
  import jax  # after the environment is set

  folder = tempfile.TemporaryDirectory(prefix='vidregen_jax_compiled_')
  session.config.add_cleanup(folder.cleanup)
  jax.config.update('jax_compilation_cache_dir', folder.name)
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)


@pytest.fixture(scope='module', autouse=True)
def compilation(request):
  """How much XLA optimises in a module, after which memory is free of what it compiled."""
  import jax

  optimized = request.node.get_closest_marker('optimized') is not None
  with pytest.MonkeyPatch.context() as patch:
    jax.config.update('jax_disable_most_optimizations', not optimized)
    patch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', str(not optimized).lower())
    yield
  jax.clear_caches()


@pytest.fixture(scope='module', autouse=True)
def fitting(request):
  """Fitting to the person takes most of a short edit: edits that do not ask for it go without.

  In modules with `pytestmark = pytest.mark.fitted` they do as they do by default.
  """
  from vidregen_jax.editing import face_fit  # after the environment is set

  with pytest.MonkeyPatch.context() as patch:
    if request.node.get_closest_marker('fitted') is None:
      patch.setattr(face_fit, 'SMALL', 0)
    yield


def pytest_terminal_summary(terminalreporter):
  """Says in words what was not tested: a letter among dots is not seen."""
  reasons = collections.Counter(report.longrepr[2].removeprefix('Skipped: ')
                                for report in terminalreporter.getreports('skipped'))
  for reason, count in reasons.items():
    terminalreporter.write_line(f'NOT TESTED ({count}): {reason}', yellow=True)

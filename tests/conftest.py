"""What all tests share. No test may touch the network or an accelerator."""

import functools
import os
import pathlib
import signal

import pytest
from absl import flags

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Read by JAX at its first import, which comes later, in the test modules. There is no persistent
# compilation cache: on a CPU its loader warns of a foreign machine at every hit.
os.environ['JAX_PLATFORMS'] = 'cpu'

# A shell's background jobs ignore Ctrl-C; tests that press it need it heard.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Programs have flags of the same names; each runs alone, but here several are imported.
for _kind in ('string', 'integer', 'float', 'list', 'bool'):
  _define = getattr(flags, f'DEFINE_{_kind}')
  setattr(flags, f'DEFINE_{_kind}', functools.partial(_define, allow_override=True))

# Modules define absl flags on import and read them in functions; no test parses a command line.
flags.FLAGS.mark_as_parsed()


@pytest.fixture(scope='session')
def pack_folder():
  """The folder of the embedded dataset: rendered clips and their truth."""
  return ROOT / 'data' / 'talkers' / 'pack'


@pytest.fixture(scope='session')
def whisper_folder():
  """The folder of the Whisper encoder that the repository carries."""
  return ROOT / 'checkpoints' / 'whisper-base'


@pytest.fixture(scope='session', autouse=True)
def settings_folder(tmp_path_factory):
  """What tests sign with is no user's."""
  folder = tmp_path_factory.mktemp('settings')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('XDG_CONFIG_HOME', str(folder))
    yield folder

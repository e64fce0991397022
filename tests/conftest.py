"""What all tests share. No test may touch the network or an accelerator."""

import os
import pathlib

os.environ['JAX_PLATFORMS'] = 'cpu'

import jax
import pytest
from absl import flags

ROOT = pathlib.Path(__file__).resolve().parents[1]

# The suite compiles the same small programs on every run; they take most of its time.
jax.config.update('jax_compilation_cache_dir', str(ROOT / '.pytest_cache' / 'jax'))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)

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

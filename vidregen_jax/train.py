"""Train a stage of the model, and resume it.

  python -m vidregen_jax.train --config=configs/codec.py:tiny --workdir=out/codec
"""

import contextlib
import errno
import pathlib

import jax
from absl import flags
from ml_collections import config_flags

from vidregen_jax import cli
from vidregen_jax.datasets import consent_record, input_pipeline
from vidregen_jax.distributed import multihost
from vidregen_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Config file and size, such as configs/codec.py:tiny.', lock_config=True
)
_WORKDIR = flags.DEFINE_string(
  'workdir', None, 'Folder of the run; a run that is there already is resumed.'
)
_MULTIHOST = flags.DEFINE_bool(
  'multihost', False, 'This is one of several hosts that run the same command on a pod.'
)
_COORDINATOR = flags.DEFINE_string(
  'coordinator', None, 'HOST:PORT of host 0, where JAX does not find the hosts by itself; then '
  '--num_processes and --process_id are needed too.'
)
_NUM_PROCESSES = flags.DEFINE_integer('num_processes', None, 'How many hosts there are.')
_PROCESS_ID = flags.DEFINE_integer('process_id', None, 'Which host this is, from 0.')
_WATCHDOG_SECONDS = flags.DEFINE_float(
  'watchdog_seconds', 900, 'End a run of which a step takes longer, with status 70; a step that '
  'compiles may take six times as long. 0 waits for ever.'
)
_PROFILE = flags.DEFINE_bool(
  'profile', False, 'Trace a few steps after the first, for xprof, to WORKDIR/profile.'
)


def run():
  """Dispatch on config.stage.

  Raises:
    UserError: a mistake in the flags or the config, with the way out.
  """
  if _CONFIG.value is None or _WORKDIR.value is None:
    raise UserError(
      'give both --config and --workdir: --config=configs/codec.py:tiny --workdir=out/codec'
    )
  config = _CONFIG.value
  try:
    stage = config.stage
  except OSError as error:  # config_flags raises it only when the config is first used
    raise UserError(str(error)) from None
  # Explicit, not guessed: a pod that fails to connect would train N models into one workdir.
  if not _MULTIHOST.value and (_COORDINATOR.value or _NUM_PROCESSES.value or _PROCESS_ID.value):
    raise UserError('--coordinator, --num_processes and --process_id are of a run on several '
                    'hosts: give --multihost too')
  if _MULTIHOST.value:
    multihost.join(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
  with multihost.ending_together(), _room():
    for folder in consent_record.beginnings(config):
      consent_record.check(folder, 'train it again without them')
    _train(config, stage)
    export = pathlib.Path(_WORKDIR.value) / 'export'
    if export.is_dir() and jax.process_index() == 0:
      own = input_pipeline.consent(config.dataset, config.dataset_help)
      if people := consent_record.learned_from(config, own):
        consent_record.write(export, people)


@contextlib.contextmanager
def _room():
  """Reports a full disk in one line.

  Raises:
    UserError: there was no room for something that was written.
  """
  try:
    yield
  except OSError as error:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
      raise
    raise UserError(
      f'writing to {_WORKDIR.value}: {error.strerror}: make room there; the last whole checkpoint '
      'stays, and the same command goes on from it') from error


def _train(config, stage):
  if config.needs_accelerator and jax.default_backend() == 'cpu':
    raise UserError(
      f'size {config.size} needs an accelerator and JAX sees none here: '
      f'on a CPU use --config=configs/{stage}.py:tiny'
    )
  if jax.default_backend() != 'cpu':
    # A run that is resumed need not compile again.
    jax.config.update('jax_compilation_cache_dir', str(pathlib.Path(_WORKDIR.value) / 'compiled'))
  if stage == 'codec':
    from vidregen_jax.training import train_codec

    train_codec.train(config, _WORKDIR.value, _WATCHDOG_SECONDS.value, _PROFILE.value)
  elif stage in ('generator', 'student'):
    from vidregen_jax.training import train_generator

    train_generator.train(config, _WORKDIR.value, _WATCHDOG_SECONDS.value, _PROFILE.value)
  elif stage == 'pixels':
    from vidregen_jax.training import train_pixels

    train_pixels.train(config, _WORKDIR.value, _WATCHDOG_SECONDS.value, _PROFILE.value)
  elif stage == 'lips':
    from vidregen_jax.training import train_lips

    train_lips.train(config, _WORKDIR.value, _WATCHDOG_SECONDS.value, _PROFILE.value)
  elif stage == 'sync':
    from vidregen_jax.training import train_sync

    train_sync.train(config, _WORKDIR.value, _WATCHDOG_SECONDS.value, _PROFILE.value)
  else:
    raise UserError(f"config.stage is {stage!r}: it is 'codec', 'generator', 'student', 'pixels', "
                    "'lips' or 'sync'")


if __name__ == '__main__':
  cli.run(run, 'the same command goes on from the last checkpoint')

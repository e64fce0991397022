"""Train a stage of the model, and resume it.

  python -m vidregen_jax.train --config=configs/codec.py:tiny --workdir=out/codec
"""

import pathlib

import jax
from absl import flags
from ml_collections import config_flags

from vidregen_jax import commands
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
  except OSError as error:  # config_flags keeps it until the config is first looked at
    raise UserError(str(error)) from None
  # Explicit, not guessed: a pod that fails to connect would train N models into one workdir.
  if _MULTIHOST.value:
    jax.distributed.initialize()
  if config.needs_accelerator and jax.default_backend() == 'cpu':
    raise UserError(
      f'size {config.size} needs an accelerator and JAX sees none here: '
      f'on a CPU use --config=configs/{stage}.py:tiny'
    )
  if jax.default_backend() != 'cpu':
    # A run that is resumed need not compile again.
    jax.config.update('jax_compilation_cache_dir', str(pathlib.Path(_WORKDIR.value) / 'compiled'))
  if stage == 'codec':
    from vidregen_jax import train_codec

    train_codec.train(config, _WORKDIR.value, _PROFILE.value)
  elif stage in ('generator', 'student'):
    from vidregen_jax import train_generator

    train_generator.train(config, _WORKDIR.value, _PROFILE.value)
  else:
    raise UserError(f"config.stage is {stage!r}: it is 'codec', 'generator' or 'student'")


if __name__ == '__main__':
  commands.run(run, 'the same command goes on from the last checkpoint')

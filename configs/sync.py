"""The scorer of lip sync: mouths and sounds become vectors that are near where they fit.

  python -m data.talkers.talkers --size 96 --data_dir out
  python -m vidregen_jax.train --config=configs/sync.py:talkers --workdir=out/sync

size      data                                 hardware         time, right offsets in validation
tiny      the bundled talkers, 64 px           2 CPU cores      not measured
talkers   the bundled talkers, 96 px           2 CPU cores      9 minutes of processor time: 1.00 of
                                                                clips, .99 of single seconds
large     your own consented footage, 256 px   8 accelerators   not measured
"""

from ml_collections import config_dict

from configs import deltas

_BUNDLED = 'build it with `python -m data.talkers.talkers --size {size} --data_dir out`'

# What both small sizes change.
_SMALL = {
  'num_workers': 0,
  'max_bad_records': 0,
  'batch_size': 24,
  'num_frames': 32,
  'needs_accelerator': False,
  'num_steps': 600,
  'learning_rate': 2e-3,
  'warmup_steps': 30,
  'ema': 0.99,
  'log_every': 20,
  'eval_every': 100,
  'checkpoint_every': 50,
  'eval_clips': 16,
}

# What each size changes of the base.
SIZES = {
  'large': {},
  'talkers': _SMALL | {
    'dataset': 'out/talkers/96',
    'dataset_help': _BUNDLED.format(size=96),
    'model.size': 48,
    'model.stem': 3,
    'model.widths': (32, 64, 128),
    'model.audio_width': 96,
    'model.embedding': 192,
  },
  'tiny': _SMALL | {
    'dataset': 'out/talkers/64',
    'dataset_help': _BUNDLED.format(size=64),
    'num_steps': 300,
    'model.size': 32,
    'model.stem': 2,
    'model.widths': (16, 32, 64),
    'model.audio_width': 64,
    'model.embedding': 96,
  },
}


def get_config(size='large'):
  """A training.

  Args:
    size: 'tiny', 'talkers' or 'large'.

  Returns:
    ConfigDict of plain values.

  Raises:
    ValueError: there is no such size.
  """
  if size not in SIZES:
    raise ValueError(f"there is no size {size!r}: choose 'tiny', 'talkers' or 'large'")
  config = _base(size)
  deltas.apply(config, SIZES[size])
  return config


def _base(size):
  """The config of size large, under the name of another."""
  config = config_dict.ConfigDict()
  config.stage = 'sync'
  config.size = size
  config.seed = 0

  # Data. Windows of num_frames at 25 a second, of which the ends are context alone.
  config.dataset = 'out/talking_faces/256'
  config.dataset_help = (
    'it is made from your own consented footage; with the bundled clips alone use '
    '--config=configs/sync.py:talkers')
  config.num_workers = 8
  config.max_bad_records = 100
  config.batch_size = 256
  config.num_frames = 48
  config.p_flip = 0.5
  config.p_noise = 0.5  # of noise added to a window's sound, at noise_db below its level
  config.noise_db = (5.0, 40.0)
  config.jitter = 0.03  # deviation of a mouth's place, in sides of its picture; of its size, too

  # Devices. Those that fsdp and tensor leave over share the batch.
  config.needs_accelerator = True
  config.fsdp = 1
  config.tensor = 1
  config.accumulate = 1  # parts of a batch, each contrasted within itself

  # Optimizer.
  config.num_steps = 100_000
  config.learning_rate = 5e-4
  config.warmup_steps = 2_000
  config.clip_norm = 1.0
  config.weight_decay = 0.05
  config.adam_b1 = 0.9
  config.adam_b2 = 0.99
  config.ema = 0.9995

  # Intervals in steps, and how many clips are measured.
  config.log_every = 100
  config.eval_every = 2_000
  config.checkpoint_every = 2_000
  config.eval_clips = 64

  # The fields of vidregen_jax.models.sync.SyncConfig.
  config.model = config_dict.ConfigDict()
  config.model.size = 128
  config.model.stem = 4
  config.model.widths = (64, 128, 256, 512)
  config.model.audio_width = 256
  config.model.embedding = 512
  config.model.blocks = 2
  return config

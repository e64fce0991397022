"""Stage 5, the lips: hears how far apart they are and how wide, for the editor to shape mouths by.

  python -m data.talkers.make_speech --head head.npz --out out/speech
  python -m vidregen_jax.train --config=configs/lips.py:talkers --workdir=out/lips

`system` is the folder that it is added to: workdir/export is that system with the listener in it.
`dataset` is of make_speech, whose talkers are not rendered, or the latents of footage or talkers
(`encode_latents`), or several by weight, such as 'out/speech:3,out/latents/96'. They have to be
heard as the system listens.

size      data                              hardware         time, agreement with validation clips
tiny      latents of the talkers, 64 px     2 CPU cores      not measured
talkers   2400 clips of make_speech         2 CPU cores      17 minutes to make and hear the clips,
                                                             13 to train what hears gaps, as much
                                                             for widths: .983 and .956
large     latents of your own footage       8 accelerators   not measured
"""

from ml_collections import config_dict

from configs import deltas

_SMALL = {
  'num_workers': 0,
  'max_bad_records': 0,
  'needs_accelerator': False,
  'batch_size': 32,
  'num_steps': 3000,
  'warmup_steps': 100,
  'learning_rate': 1e-3,
  'ema': 0.99,
  'log_every': 20,
  'eval_every': 200,
  'checkpoint_every': 100,
  'eval_clips': 32,
  'model.width': 96,
  'model.hidden': 384,
}

# What each size changes of the base.
SIZES = {
  'large': {},
  'talkers': _SMALL | {'system': 'out/pixels/export', 'dataset': 'out/speech'},
  'tiny': _SMALL | {'system': 'out/student/export', 'dataset': 'out/latents/64', 'num_steps': 200,
                    'warmup_steps': 20},
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
  config.stage = 'lips'
  config.size = size
  config.seed = 0
  config.system = 'out/student/export'

  # Data. Windows of num_frames latent frames, at any frame rate.
  config.dataset = 'out/latents/256'
  config.dataset_help = 'make it with `python -m data.talkers.make_speech`, or give latents'
  config.num_workers = 8
  config.max_bad_records = 100
  config.batch_size = 256
  config.num_frames = 8

  # What is disturbed: channels that are left out, and noise that is added to states.
  config.dropout = 0.2
  config.noise = 0.2

  # Devices. Those that fsdp and tensor leave over share the batch.
  config.needs_accelerator = True
  config.fsdp = 1
  config.tensor = 1
  config.accumulate = 1

  # Optimizer.
  config.num_steps = 20_000
  config.learning_rate = 5e-4
  config.warmup_steps = 500
  config.clip_norm = 1.0
  config.weight_decay = 0.02
  config.adam_b1 = 0.9
  config.adam_b2 = 0.99
  config.ema = 0.999

  # Intervals in steps, and how many clips are measured.
  config.log_every = 100
  config.eval_every = 1_000
  config.checkpoint_every = 1_000
  config.eval_clips = 256

  # Fields of vidregen_jax.models.lip_listener.ListenerConfig; the others are the system's.
  config.model = config_dict.ConfigDict()
  config.model.width = 192
  config.model.hidden = 768
  return config

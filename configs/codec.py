"""Stage 1, the codec: frames to latents and back.

  python -m data.talkers.talkers --size 64 --data_dir out
  python -m vidregen_jax.train --config=configs/codec.py:tiny --workdir=out/codec

size      data                                 hardware           time, validation PSNR
tiny      the bundled talkers, 64 px           2 CPU cores        2 minutes, 31.7 dB (mouth 30.5)
talkers   the bundled talkers, 96 px           2 CPU cores        14 minutes, 32.9 dB (mouth 31.6)
256       your own consented footage, 256 px   8 accelerators     not measured
512       your own consented footage, 512 px   a pod, `--multihost`   not measured
"""

from ml_collections import config_dict

_BUNDLED = 'build it with `python -m data.talkers.talkers --size {size} --data_dir out`'
_FOOTAGE = (
  'it is made from your own consented footage; with the bundled clips alone use '
  '--config=configs/codec.py:tiny'
)


def get_config(size='512'):
  """Args: size: 'tiny', 'talkers', '256' or '512'. Returns: ConfigDict of plain values."""
  config = config_dict.ConfigDict()
  config.stage = 'codec'
  config.size = size
  config.seed = 0

  # Data. num_frames is a multiple of 4; the probabilities are per window.
  config.dataset = f'out/talking_faces/{size}'
  config.dataset_help = _FOOTAGE
  config.num_workers = 8
  config.batch_size = 256
  config.num_frames = 16
  config.p_flip = 0.5
  config.p_masked = 0.15
  config.p_still = 0.15

  # Where it runs. Devices that fsdp and tensor leave over share the batch.
  config.needs_accelerator = True
  config.fsdp = 1
  config.tensor = 1

  # Loss. kl_weight is reached after kl_warmup_steps; mouth pixels weigh 1 + mouth_weight.
  config.mouth_weight = 4.0
  config.kl_weight = 1e-6
  config.kl_warmup_steps = 10_000

  # Optimizer.
  config.num_steps = 400_000
  config.learning_rate = 2e-4
  config.warmup_steps = 5_000
  config.clip_norm = 1.0
  config.weight_decay = 0.01
  config.adam_b1 = 0.9
  config.adam_b2 = 0.99
  config.ema = 0.9999

  # What is done every so many steps, and how much of it.
  config.log_every = 100
  config.eval_every = 5_000
  config.checkpoint_every = 2_000
  config.eval_clips = 32
  config.stats_batches = 100
  config.map_groups = 2_000  # groups of 4 frames that an aligned codec's cell maps start from

  # The fields of vidregen_jax.models.codec.CodecConfig.
  config.model = config_dict.ConfigDict()
  config.model.size = 512
  config.model.widths = (128, 256, 512, 768)
  config.model.encoder_depths = (3, 4, 4, 4)
  config.model.decoder_depths = (4, 5, 5, 4)
  config.model.time_kernels = (1, 1, 3, 3)
  config.model.latent_channels = 64
  config.model.aligned = False
  config.model.norm = 'rms'
  config.model.conv = 'native'
  config.model.dtype = 'bfloat16'

  if size == '512':
    return config

  config.model.widths = (128, 256, 512)
  config.model.encoder_depths = (3, 4, 4)
  config.model.decoder_depths = (4, 5, 5)
  config.model.time_kernels = (1, 1, 3)
  config.model.latent_channels = 48
  if size == '256':
    config.model.size = 256
    return config

  config.num_workers = 0
  config.needs_accelerator = False
  config.model.conv = 'sum2d'
  config.model.dtype = 'float32'
  config.model.aligned = True
  config.map_groups = 1_200
  config.num_frames = 8
  config.warmup_steps = 20
  config.kl_warmup_steps = 100
  config.log_every = 20
  config.eval_clips = 16
  config.stats_batches = 20

  # The cell maps do most of the work from the start; the network is small and corrects them.
  config.model.widths = (32, 64, 128)
  config.model.encoder_depths = (1, 1, 2)
  config.model.decoder_depths = (1, 2, 2)
  config.batch_size = 6
  config.ema = 0.99

  if size == 'talkers':
    config.model.size = 96
    config.dataset = 'out/talkers/96'
    config.dataset_help = _BUNDLED.format(size=96)
    config.num_steps = 240
    config.learning_rate = 8e-4
    config.eval_every = 120
    config.checkpoint_every = 60
    return config

  if size == 'tiny':
    config.model.size = 64
    config.dataset = 'out/talkers/64'
    config.dataset_help = _BUNDLED.format(size=64)
    config.num_steps = 120
    config.learning_rate = 1e-3
    config.eval_every = 120
    config.checkpoint_every = 60
    return config

  raise ValueError(f"there is no size {size!r}: choose 'tiny', 'talkers', '256' or '512'")

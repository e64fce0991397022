"""Stage 1, the codec: frames to latents and back.

  python -m data.talkers.talkers --size 64 --data_dir out
  python -m vidregen_jax.train --config=configs/codec.py:tiny --workdir=out/codec

size      data                                 hardware           time, validation PSNR
tiny      the bundled talkers, 64 px           2 CPU cores        2 minutes, 31.7 dB (mouth 30.5)
talkers   the bundled talkers, 96 px           2 CPU cores        14 minutes, 32.9 dB (mouth 31.6)
256       your own consented footage, 256 px   8 accelerators     not measured
512       your own consented footage, 512 px   a pod, `--multihost`   not measured

`256` and `512` can also be trained in three stages, each cheaper than all at once (DC-AE, arXiv
2410.10733; VidTok, arXiv 2412.13061): all parts at half the side, then at the full side, then the
decoder alone with the discriminators.

  python -m vidregen_jax.train --config=configs/codec.py:512-low --workdir=out/codec-low
  python -m vidregen_jax.train --config=configs/codec.py:512-high --workdir=out/codec-high \
    --config.start_from=out/codec-low/export
  python -m vidregen_jax.train --config=configs/codec.py:512-decoder --workdir=out/codec \
    --config.start_from=out/codec-high/export
"""

from ml_collections import config_dict

from configs import deltas, pods

_BUNDLED = 'build it with `python -m data.talkers.talkers --size {size} --data_dir out`'
_FOOTAGE = (
  'it is made from your own consented footage (docs/train-on-your-footage.md); with the bundled '
  'clips alone use --config=configs/codec.py:tiny'
)

# What both small sizes change.
_SMALL = {
  'num_workers': 0,
  'p_rate': 0.0,  # rendered clips vary in rate and light by themselves
  'p_look': 0.0,
  'max_bad_records': 0,
  'batch_size': 6,
  'num_frames': 8,
  'needs_accelerator': False,
  # A few minutes on a CPU are too short to gain from VGG16, a teacher or discriminators.
  'perceptual': '',
  'perceptual_weight': 0.0,
  'perceptual_frames': 1,
  'kl_warmup_steps': 100,
  'teacher': '',
  'align_weight': 0.0,
  'align_frames': 1,
  'gan_weight': 0.0,
  'gan_start': 60,
  'gan_widths': (32, 64, 128),
  'gan_mouth_size': 32,
  'warmup_steps': 20,
  'ema': 0.99,
  'log_every': 20,
  'eval_every': 120,
  'checkpoint_every': 60,
  'eval_clips': 16,
  'stats_batches': 20,
  'map_groups': 1_200,
  # The cell maps do most of the work from the start; the network is small and corrects them.
  'model.aligned': True,
  'model.latent_stages': 0,
  'model.widths': (32, 64, 128),
  'model.encoder_depths': (1, 1, 2),
  'model.decoder_depths': (1, 2, 2),
  'model.time_kernels': (1, 1, 3),
  'model.latent_channels': 48,
  'model.remat': False,
}

# What each size changes of the base.
SIZES = {
  '512': {},
  '256': {
    'dataset': 'out/talking_faces/256',
    'model.size': 256,
    'model.widths': (64, 192, 512),
    'model.encoder_depths': (1, 1, 4),
    'model.decoder_depths': (2, 2, 4),
    'model.time_kernels': (1, 1, 3),
    'model.latent_channels': 48,
  },
  'talkers': _SMALL | {
    'dataset': 'out/talkers/96',
    'dataset_help': _BUNDLED.format(size=96),
    'num_steps': 240,
    'learning_rate': 8e-4,
    'model.size': 96,
  },
  'tiny': _SMALL | {
    'dataset': 'out/talkers/64',
    'dataset_help': _BUNDLED.format(size=64),
    'num_steps': 120,
    'learning_rate': 1e-3,
    'model.size': 64,
  },
}

# What each stage of `256` and `512` changes; `low` also halves the side of the crop.
STAGES = {
  'low': {'gan_weight': 0.0},
  'high': {'num_steps': 100_000, 'learning_rate': 5e-5, 'gan_weight': 0.0},
  'decoder': {
    'num_steps': 100_000,
    'learning_rate': 5e-5,
    'parts': ('decoder',),
    'kl_weight': 0.0,
    'align_weight': 0.0,
    'gan_start': 0,
  },
}


def get_config(size='512'):
  """A training.

  Args:
    size: 'tiny', 'talkers', '256' or '512'; the last two also with '-low', '-high' or '-decoder',
      and 512 with a pod of configs/pods.py, as in '512-v5e-256'.

  Returns:
    ConfigDict of plain values.

  Raises:
    ValueError: there is no such size, stage or pod.
  """
  size, dash, stage = size.partition('-')
  if size not in SIZES:
    raise ValueError(f"there is no size {size!r}: choose 'tiny', 'talkers', '256' or '512'")
  config = _base(size)
  deltas.apply(config, SIZES[size])
  if not dash:
    return config
  if '-' in stage:
    return pods.lay_out(config, stage)
  if size not in ('256', '512') or stage not in STAGES:
    raise ValueError(f"there is no stage {stage!r} of size {size!r}: '256' and '512' have 'low', "
                     "'high' and 'decoder'")
  deltas.apply(config, STAGES[stage])
  if stage == 'low':
    config.model.size //= 2
    config.dataset = f'out/talking_faces/{config.model.size}'
  return config


def _base(size):
  """The config of size 512, under the name of another."""
  config = config_dict.ConfigDict()
  config.stage = 'codec'
  config.size = size
  config.seed = 0

  # Data: a folder, or several by weight, such as 'out/a:3,out/b:1'. num_frames is a multiple of 4;
  # the probabilities are per window.
  config.dataset = 'out/talking_faces/512'
  config.dataset_help = _FOOTAGE
  config.num_workers = 8
  config.max_bad_records = 100  # unreadable or unusable clips that are tolerated
  config.batch_size = 256
  config.num_frames = 16
  config.p_flip = 0.5
  config.p_masked = 0.15
  config.p_still = 0.15
  config.p_rate = 0.3  # at a random lower frame rate
  config.p_look = 0.5  # with other light, colour, compression and place of the crop

  # Devices. Those that fsdp and tensor leave over share the batch.
  config.needs_accelerator = True
  config.fsdp = 1
  config.tensor = 1
  config.accumulate = 1  # parts of a batch, computed one after the other

  # What is trained: 'encoder', 'decoder' or both; starting from an exported codec, '' for none.
  config.parts = ('encoder', 'decoder')
  config.start_from = ''

  # Loss: an L1 of weight 1 and LPIPS; the mouth weighs 1 + mouth_weight in both. VGG16 with the
  # LPIPS heads is named by folder or hub id; perceptual_frames consecutive frames of each window
  # are compared, 0 for all.
  config.mouth_weight = 4.0
  config.perceptual = 'checkpoints/vgg16-lpips'
  config.perceptual_weight = 0.5
  config.perceptual_frames = 0
  config.perceptual_crop = 0  # pixels a side: LPIPS of the mouth's box alone, at this size
  config.perceptual_dtype = 'auto'  # of VGG16: float32 or bfloat16; auto: as the codec's
  # The latents' KL; its weight is reached after kl_warmup_steps.
  config.kl_weight = 1e-6
  config.kl_warmup_steps = 10_000
  # Alignment of the latents with a teacher: folder or hub id of a DINOv2, '' for VGG16.
  config.teacher = 'facebook/dinov2-base'
  config.align_weight = 0.1
  config.align_frames = 0
  config.cosine_margin = 0.5
  config.distance_margin = 0.25
  # Discriminators of the crop and of the mouth, cut out at gan_mouth_size pixels.
  config.gan_weight = 0.05
  config.gan_start = 50_000
  config.gan_learning_rate = 1e-4
  config.gan_widths = (64, 128, 256, 512)
  config.gan_mouth_size = 128
  config.gan_dtype = 'float32'  # as perceptual_dtype
  config.penalty_weight = 1.0

  # Optimizer.
  config.num_steps = 400_000
  config.learning_rate = 2e-4
  config.warmup_steps = 5_000
  config.clip_norm = 1.0
  config.weight_decay = 0.01
  config.adam_b1 = 0.9
  config.adam_b2 = 0.99
  config.ema = 0.9999

  # Intervals in steps, and how much is measured.
  config.log_every = 100
  config.eval_every = 5_000
  config.checkpoint_every = 2_000
  config.eval_clips = 32
  config.stats_batches = 100
  config.map_groups = 2_000  # groups of 4 frames that an aligned codec's cell maps start from

  # The fields of vidregen_jax.models.codec.CodecConfig.
  config.model = config_dict.ConfigDict()
  config.model.size = 512
  config.model.widths = (64, 192, 384, 768)
  config.model.encoder_depths = (2, 2, 2, 4)
  config.model.decoder_depths = (2, 2, 2, 4)
  config.model.time_kernels = (1, 1, 1, 3)
  config.model.latent_channels = 64
  config.model.latent_stages = 1
  config.model.aligned = False
  config.model.levels = 0
  config.model.shortcut = True
  config.model.norm = 'rms'
  config.model.conv = 'auto'
  config.model.dtype = 'auto'
  config.model.remat = True
  config.model.loop_from = 0  # 2 compiles faster, and is slower in every step
  return config

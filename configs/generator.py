"""Stage 2, the generator: audio and surroundings to lower-face latents.

  python -m vidregen_jax.encode_latents --codec=out/codec/export --dataset=out/talkers/64 \
    --audio_encoder=checkpoints/whisper-base --layers=1,3,6 --window_seconds=6 --out=out/latents/64
  python -m vidregen_jax.train --config=configs/generator.py:tiny --workdir=out/generator

size      data                         hardware               time, and what to expect
tiny      the bundled talkers, 64 px   2 CPU cores            9 minutes; see docs/results.md
talkers   the bundled talkers, 96 px   2 CPU cores            30 minutes; see docs/results.md
base      your own footage, 256 px     8 accelerators         not measured
large     your own footage, 256 px     a pod, `--multihost`   not measured
xl        your own footage, 512 px     a pod, `--multihost`   not measured

`python -m bench.sizes` prints parameters, tokens and work of each.
"""

from ml_collections import config_dict

from configs import deltas, pods

_HELP = (
  'encode it with `python -m vidregen_jax.encode_latents --codec={codec} --dataset=DATASET '
  '--out={out}`'
)
_SMALLER = '; with the bundled clips alone use --config=configs/generator.py:tiny'

# What both small sizes change.
_SMALL = {
  'num_workers': 0,
  'max_bad_records': 0,
  'batch_size': 4,
  'num_frames': 8,
  'copies': 4,
  'reference_distance': 4,
  'region_grow': 0,
  'stats_clips': 64,
  'needs_accelerator': False,
  'shift': 1.0,
  'log_every': 20,
  'checkpoint_every': 200,
  'eval_clips': 16,
  'model.layers': 4,
  'model.window': 8,
  'model.references': 2,
  'model.audio_hidden': 64,
  'model.aligned': True,
  'model.unroll': True,
  'model.dtype': 'float32',
  'model.remat': 'none',
  'sampler.steps': 8,
  'sampler.shift': 1.0,
  'sampler.guidance_appearance': 1.0,
  'sampler.guidance_audio': 1.75,  # lips open as wide as the truth's; see bench/README.md
  'sampler.noise': 0.0,  # a small model's samples differ more than mouths do
}

# What each size changes of the base.
SIZES = {
  'large': {},
  'xl': {
    'codec': 'out/codec_512/export',
    'codec_config': 'configs/codec.py:512',
    'dataset': 'out/latents/512',
    'model.width': 1152,
    'model.heads': 9,
    'model.layers': 28,
  },
  'base': {'model.width': 768, 'model.heads': 6, 'model.layers': 12},
  'talkers': _SMALL | {
    'codec': 'out/codec_talkers/export',
    'codec_config': 'configs/codec.py:talkers',
    'dataset': 'out/latents/96',
    'num_steps': 800,
    'learning_rate': 1.5e-3,
    'warmup_steps': 100,
    'ema': 0.995,
    'eval_every': 400,
    'model.width': 192,
    'model.heads': 3,
  },
  'tiny': _SMALL | {
    'codec': 'out/codec/export',
    'codec_config': 'configs/codec.py:tiny',
    'dataset': 'out/latents/64',
    'num_steps': 600,
    'learning_rate': 2e-3,
    'warmup_steps': 50,
    'ema': 0.99,
    'eval_every': 600,
    'model.width': 128,
    'model.heads': 2,
  },
}


def get_config(size='large'):
  """A training.

  Args:
    size: 'tiny', 'talkers', 'base', 'large' or 'xl'; with a pod of configs/pods.py behind it, as in
      'large-v5e-256', laid out for that.

  Returns:
    ConfigDict of plain values.

  Raises:
    ValueError: there is no such size or pod.
  """
  size, dash, pod = size.partition('-')
  if size not in SIZES:
    raise ValueError(f"there is no size {size!r}: choose 'tiny', 'talkers', 'base', "
                     "'large' or 'xl'")
  config = _base(size)
  deltas.apply(config, SIZES[size])
  config.dataset_help = _HELP.format(codec=config.codec, out=config.dataset)
  if config.needs_accelerator:
    config.dataset_help += _SMALLER
  return pods.lay_out(config, pod) if dash else config


def _base(size):
  """The config of size large, under the name of another."""
  config = config_dict.ConfigDict()
  config.stage = 'generator'
  config.size = size
  config.seed = 0

  # Data: latents, and the codec that made them. num_frames counts latent frames.
  config.codec = 'out/codec_256/export'
  config.codec_config = 'configs/codec.py:256'  # what it was trained with: `plan` has no export
  config.dataset = 'out/latents/256'
  config.dataset_help = ''  # how to get the dataset, told where it is absent
  config.num_workers = 8
  config.max_bad_records = 100  # unreadable or unusable clips that are tolerated
  config.batch_size = 512
  config.num_frames = 12
  config.teacher = ''  # for students, see configs/student.py
  config.teacher_config = ''  # what it was trained with
  config.copies = 1  # noise draws that share one pass over a clip's conditioning
  config.reference_distance = 16  # video frames
  config.region_grow = 1  # cells around the mask that are generated too
  config.stats_clips = 1_000
  config.expectation_draws = 4  # windows of each clip to fit an aligned model's linear prior to
  config.expectation_ridge = 0.1

  # Devices. Those that fsdp and tensor leave over share the batch.
  config.needs_accelerator = True
  config.fsdp = 1
  config.tensor = 1
  config.accumulate = 1  # parts of a batch, computed one after the other
  config.attention = 'auto'  # in training; auto: splash on a TPU, else xla; never cudnn

  # Flow matching. A cell in the mouth weighs 1 + mouth_weight.
  config.shift = 1.5
  config.mouth_weight = 4.0
  config.history_noise = 0.2  # largest noise level on the past

  # Probabilities of dropping a stream, independent of each other; drop_each_reference comes on top
  # of drop_reference, and drop_all drops audio and appearance together.
  config.drop_history = 0.5
  config.drop_reference = 0.3
  config.drop_each_reference = 0.3
  config.drop_anchor = 0.5
  config.drop_audio = 0.1
  config.drop_all = 0.05

  # Augmentation of each clip's audio channels, so that voices outside the training set work.
  config.voice_shift = 0.3
  config.voice_stretch = 0.2
  config.voice_drop = 0.1

  # Optimizer.
  config.num_steps = 200_000
  config.learning_rate = 2e-4
  config.warmup_steps = 5_000
  config.clip_norm = 1.0
  config.weight_decay = 0.01
  config.adam_b1 = 0.9
  config.adam_b2 = 0.98
  config.ema = 0.9999

  # Intervals in steps, and how much is measured.
  config.log_every = 100
  config.eval_every = 5_000
  config.checkpoint_every = 2_000
  config.eval_clips = 8

  # The fields of vidregen_jax.models.generator.GeneratorConfig that the latents do not determine.
  config.model = config_dict.ConfigDict()
  config.model.width = 1024
  config.model.heads = 8
  config.model.layers = 24
  config.model.mlp = 2
  config.model.window = 12
  config.model.look_ahead = 1
  config.model.references = 4
  config.model.sinks = 4
  config.model.sink_logit = True
  config.model.audio_hidden = 128
  config.model.audio_modulates = True
  config.model.aligned = False
  config.model.unroll = False
  config.model.dtype = 'bfloat16'
  config.model.mlp_dtype = 'same'  # int8: half the time of the MLPs' products; needs qwix
  config.model.remat = 'kernels'

  # The fields of vidregen_jax.models.flow_matching.SamplerConfig that `regenerate` starts from.
  config.sampler = config_dict.ConfigDict()
  config.sampler.steps = 20
  config.sampler.solver = 'euler'
  config.sampler.shift = 1.5
  config.sampler.guidance_appearance = 1.5
  config.sampler.guidance_audio = 3.0
  config.sampler.guidance_start = 0.0
  config.sampler.guidance_stop = 1.0
  config.sampler.noise = 1.0
  return config

"""Stage 2, the generator: audio and surroundings to lower-face latents.

  python -m vidregen_jax.encode_latents --codec=out/codec/export --dataset=out/talkers/64 \
    --audio_encoder=checkpoints/whisper-base --layers=1,3,6 --window_seconds=6 --out=out/latents/64
  python -m vidregen_jax.train --config=configs/generator.py:tiny --workdir=out/generator

size      data                         hardware               time, and what to expect
tiny      the bundled talkers, 64 px   2 CPU cores            9 minutes; see Results in README.md
talkers   the bundled talkers, 96 px   2 CPU cores            30 minutes; see Results in README.md
base      your own footage, 256 px     8 accelerators         not measured
large     your own footage, 256 px     a pod, `--multihost`   not measured
xl        your own footage, 512 px     a pod, `--multihost`   not measured

`python -m bench.sizes` prints parameters, tokens and work of each.
"""

from ml_collections import config_dict

from configs import pods

_HELP = (
  'encode it with `python -m vidregen_jax.encode_latents --codec={codec} --dataset=DATASET '
  '--out={out}`'
)
_SMALL = '; with the bundled clips alone use --config=configs/generator.py:tiny'


def get_config(size='large'):
  """A training.

  Args:
    size: 'tiny', 'talkers', 'base', 'large' or 'xl'; with a pod of configs/pods.py behind it, as in
      'large-v5e-256', laid out for that.

  Returns:
    ConfigDict of plain values.
  """
  size, dash, pod = size.partition('-')
  config = _whole(size)
  return pods.lay_out(config, pod) if dash else config


def _whole(size):
  config = config_dict.ConfigDict()
  config.stage = 'generator'
  config.size = size
  config.seed = 0

  # Data: latents, and the codec that made them. num_frames counts latent frames.
  config.codec = 'out/codec_256/export'
  config.codec_config = 'configs/codec.py:256'  # what it was trained with: `plan` has no export
  config.dataset = 'out/latents/256'
  config.dataset_help = _HELP.format(codec=config.codec, out=config.dataset) + _SMALL
  config.num_workers = 8
  config.max_bad_records = 100  # clips that cannot be read or used are passed over
  config.batch_size = 512
  config.num_frames = 12
  config.teacher = ''  # of a student, see configs/student.py
  config.teacher_config = ''  # what it was trained with
  config.copies = 1  # noise draws that share one pass over a clip's conditioning
  config.reference_distance = 16  # video frames
  config.region_grow = 1  # cells around the mask that are made anew too
  config.stats_clips = 1_000
  config.expectation_draws = 4  # windows of each clip that an aligned model's linear guess is from
  config.expectation_ridge = 0.1

  # Where it runs. Devices that fsdp and tensor leave over share the batch.
  config.needs_accelerator = True
  config.fsdp = 1
  config.tensor = 1
  config.accumulate = 1  # parts of a batch that are taken one after the other
  config.attention = 'auto'  # in training: splash on a TPU, else xla; cudnn must be asked for

  # Flow matching. A cell in the mouth weighs 1 + mouth_weight.
  config.shift = 1.5
  config.mouth_weight = 4.0
  config.history_noise = 0.2  # largest noise level on the past

  # Streams are dropped independently, each_reference on top of reference; all is audio and
  # appearance together.
  config.drop_history = 0.5
  config.drop_reference = 0.3
  config.drop_each_reference = 0.3
  config.drop_anchor = 0.5
  config.drop_audio = 0.1
  config.drop_all = 0.05

  # Voices: what is done to each clip's audio channels, so that unheard voices are understood.
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

  # What is done every so many steps, and how much of it.
  config.log_every = 100
  config.eval_every = 5_000
  config.checkpoint_every = 2_000
  config.eval_clips = 8

  # The fields of vidregen_jax.models.generator.GeneratorConfig that the latents do not fix.
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

  if size == 'large':
    return config

  if size == 'xl':
    config.codec = 'out/codec_512/export'
    config.codec_config = 'configs/codec.py:512'
    config.dataset = 'out/latents/512'
    config.dataset_help = _HELP.format(codec=config.codec, out=config.dataset) + _SMALL
    config.model.width = 1152
    config.model.heads = 9
    config.model.layers = 28
    return config

  if size == 'base':
    config.model.width = 768
    config.model.heads = 6
    config.model.layers = 12
    return config

  config.num_workers = 0
  config.max_bad_records = 0
  config.needs_accelerator = False
  config.model.dtype = 'float32'
  config.model.remat = 'none'
  config.model.aligned = True
  config.model.unroll = True
  config.model.references = 2
  config.reference_distance = 4
  config.region_grow = 0
  config.num_frames = 8
  config.model.window = 8
  config.model.audio_hidden = 64
  config.copies = 4
  config.batch_size = 8
  config.ema = 0.995
  config.warmup_steps = 100
  config.log_every = 20
  config.eval_clips = 16
  config.stats_clips = 64
  config.sampler.steps = 8
  config.sampler.noise = 0.0  # a small model's samples differ more than mouths do
  config.sampler.guidance_appearance = 1.0
  config.sampler.guidance_audio = 1.75  # lips open as wide as the truth's; see bench/README.md
  config.sampler.shift = 1.0
  config.shift = 1.0

  if size == 'talkers':
    config.codec = 'out/codec_talkers/export'
    config.codec_config = 'configs/codec.py:talkers'
    config.dataset = 'out/latents/96'
    config.dataset_help = _HELP.format(codec=config.codec, out=config.dataset)
    config.model.width = 192
    config.model.heads = 3
    config.model.layers = 4
    config.batch_size = 4
    config.num_steps = 800
    config.learning_rate = 1.5e-3
    config.eval_every = 400
    config.checkpoint_every = 200
    return config

  if size == 'tiny':
    config.codec = 'out/codec/export'
    config.codec_config = 'configs/codec.py:tiny'
    config.dataset = 'out/latents/64'
    config.dataset_help = _HELP.format(codec=config.codec, out=config.dataset)
    config.model.width = 128
    config.model.heads = 2
    config.model.layers = 4
    config.batch_size = 4
    config.num_steps = 600
    config.learning_rate = 2e-3
    config.warmup_steps = 50
    config.ema = 0.99
    config.eval_every = 600
    config.checkpoint_every = 200
    return config

  raise ValueError(f"there is no size {size!r}: choose 'tiny', 'talkers', 'base', "
                   "'large' or 'xl'")

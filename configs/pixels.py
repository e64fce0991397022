"""Stage 4, the frames: tunes student and decoder by what their pictures look like.

  python -m vidregen_jax.train --config=configs/pixels.py:talkers --workdir=out/pixels \
    --config.perceptual=VGG16_FOLDER
  python -m vidregen_jax.regenerate IN.mp4 ... --checkpoint=out/pixels/export

The sizes are those of configs/student.py, whose fields say what the student is trained to bear.
`system` is the folder that is tuned, with codec, generator and student; `dataset` its codec's
latents of `crops`. The rate is constant and the average is what is exported: the run may be ended
at any step, by --config.num_steps=STEP of the newest checkpoint.
"""

from ml_collections import config_dict

from configs import deltas, student

# What differs between this stage and a student's, besides the fields that `_base` adds.
_CHANGES = {
  'stage': 'pixels',
  'batch_size': 64,
  'num_steps': 20_000,
  'learning_rate': 5e-5,
  'warmup_steps': 500,
  'weight_decay': 0.0,
  'sampler.steps': 1,
}
_SMALL = {
  'batch_size': 2,
  'num_steps': 1500,
  'learning_rate': 3e-4,
  'warmup_steps': 20,
  'ema': 0.99,
  'eval_every': 150,
  'checkpoint_every': 25,
  'log_every': 20,
  'gan_widths': (32, 64, 128),
  'gan_mouth_size': 48,
  'gan_start': 0,
  'gan_learning_rate': 2e-4,
}
_SIZES = {
  'talkers': {'system': 'out/student/export', 'crops': 'out/talkers/96'},
  # A few minutes on a CPU are too short to gain from VGG16.
  'tiny': {'system': 'out/student/export', 'crops': 'out/talkers/64', 'num_steps': 200,
           'perceptual': '', 'perceptual_weight': 0.0},
}
_CROPS = 'build it with `python -m data.talkers.talkers --size {size} --data_dir out`'
# Fields of a student's config that mean nothing here: they are read from the system.
_OF_A_SYSTEM = ('codec', 'codec_config', 'teacher', 'teacher_config', 'copies', 'region_grow',
                'stats_clips', 'expectation_ridge', 'shift', 'model', 'attention')


def get_config(size='large'):
  """Args: size: as in configs/generator.py, without a pod. Returns: ConfigDict of plain values."""
  config = student.get_config(size)
  for name in _OF_A_SYSTEM:
    del config[name]
  _add(config)
  deltas.apply(config, _CHANGES | (_SMALL if size in _SIZES else {}) | _SIZES.get(size, {}))
  if size in _SIZES:
    config.crops_help = _CROPS.format(size=config.crops.rpartition('/')[2])
  return config


def _add(config: config_dict.ConfigDict):
  """The fields that a student's config does not have."""
  config.system = 'out/student/export'
  config.crops = 'out/talking_faces/256'
  config.crops_help = 'name the dataset that the latents were encoded from'
  config.parts = ('student', 'decoder')  # and 'prior'

  # Losses. An L1 of weight 1, in which the mouth weighs 1 + pixel_mouth_weight; LPIPS by VGG16
  # with its heads (folder or hub id) of so many frames a window; a critic of the mouth; and the
  # error in latents, without which the student stops listening. gan_mouth_size is also the side
  # of what LPIPS sees. The critic's pull is given the length of the others' and this weight; all
  # of it goes one way, where theirs varies from frame to frame: with 0.3 the decoder broke in 30
  # steps.
  config.pixel_mouth_weight = 4.0
  config.perceptual = 'checkpoints/vgg16-lpips'
  config.perceptual_weight = 1.0
  config.perceptual_frames = 3
  config.latent_weight = 0.02
  config.gan_weight = 0.015
  config.gan_start = 500
  config.gan_learning_rate = 1e-4
  config.gan_widths = (64, 128, 256)
  config.gan_mouth_size = 96
  config.penalty_weight = 0.5

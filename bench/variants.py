"""Variants of the codec after equally many steps, to see what each choice is worth.

  python -m bench.variants --perceptual=VGG16_FOLDER --steps=400

Trains the tiny codec with every loss, then with one thing changed at a time, and measures each on
the test split. Results go to out/variants/variants.json after each, and what is there is not done
again. Processor minutes are those of both training and compiling, all cores together; on a busy
machine they grow, which is why steps are what is equal.
"""

import functools
import pathlib
import time

from absl import flags

from bench import ablation
from configs import codec as codec_config
from vidregen_jax import cli
from vidregen_jax.datasets import input_pipeline
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import codec_quality
from vidregen_jax.exports import model_folder
from vidregen_jax.models import perceptual
from vidregen_jax.training import train_codec

_PERCEPTUAL = flags.DEFINE_string('perceptual', None, 'Folder or hub id of VGG16 with LPIPS heads.')
_DATASET = flags.DEFINE_string('dataset', 'out/talkers/64', 'Folder of the crops.')
_OUT = flags.DEFINE_string('out', 'out/variants', 'Folder for the trainings and the table.')
_STEPS = flags.DEFINE_integer('steps', 400, 'Steps a variant.', lower_bound=2)
_CLIPS = flags.DEFINE_integer('clips', 16, 'Test clips to measure.', lower_bound=1)
_ONLY = flags.DEFINE_list('only', None, 'Variants to run; default all.')

ALONE = {'model.aligned': False}
VARIANTS = {
  'all': {},
  'group norm': {'model.norm': 'group'},
  'discrete': {'model.levels': 8, 'kl_weight': 0.0},
  'no alignment': {'align_weight': 0.0},
  'no mouth weight': {'mouth_weight': 0.0},
  'no discriminators': {'gan_weight': 0.0},
  'L1 alone': {'align_weight': 0.0, 'gan_weight': 0.0, 'perceptual_weight': 0.0},
  'network alone': ALONE,
  'network alone no shortcut': ALONE | {'model.shortcut': False},
}
_FIGURES = ('psnr', 'psnr_mouth', 'ssim', 'lpips', 'lpips_mouth', 'flicker', 'leak')


def make_config(changes):
  """The tiny codec with every loss, and these fields changed."""
  config = codec_config.get_config('tiny')
  config.dataset = _DATASET.value
  config.perceptual = _PERCEPTUAL.value
  config.perceptual_weight = 0.5
  config.align_weight = 0.1
  config.gan_weight = 0.05
  config.checkpoint_every = 50
  config.num_steps = config.eval_every = _STEPS.value
  config.gan_start = _STEPS.value // 2
  config.update_from_flattened_dict(changes)
  return config


def run_variant(name, folder):
  """Trains a variant, or goes on with it, and measures it.

  Returns:
    Dict of figures.
  """
  config = make_config(VARIANTS[name])
  workdir = folder / name.replace(' ', '_')
  resumed = workdir.exists()
  begin = time.process_time()
  train_codec.train(config.lock(), workdir)
  minutes = None if resumed else round((time.process_time() - begin) / 60, 1)
  export = model_folder.load_export(workdir / 'export', 'codec')
  clips = input_pipeline.talker_clips(_DATASET.value, 'test', export.config['size'])
  clips = [clips[i] for i in range(min(_CLIPS.value, len(clips)))]
  scores, _ = codec_quality.measure(export, clips, perceptual.load(_PERCEPTUAL.value))
  scores['leak'] = scores['leak']['latents']
  return {'steps': _STEPS.value, 'cpu_minutes': minutes} | {
    figure: scores[figure] for figure in _FIGURES}


def run():
  """Does what the flags say.

  Raises:
    UserError: no VGG16, no dataset, or a variant that is not known.
  """
  if _PERCEPTUAL.value is None:
    raise UserError('--perceptual is missing: give a folder or hub id of VGG16 with LPIPS heads')
  folder = pathlib.Path(_OUT.value)
  ablation.run(VARIANTS, _ONLY.value, folder / 'variants.json',
               functools.partial(run_variant, folder=folder))


if __name__ == '__main__':
  cli.run(run, 'the same command goes on with the variant it was at')

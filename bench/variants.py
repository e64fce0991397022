"""Variants of the codec after equally many steps, to see what each choice is worth.

  python -m bench.variants --perceptual=VGG16_FOLDER --steps=400

Trains the tiny codec with every loss, then with one thing changed at a time, and measures each on
the test split. Results are written to out/variants/variants.json after each variant, and variants
that are there are not repeated. Processor minutes include training and compilation on all cores; on
a busy machine they grow, which is why the number of steps is fixed instead.
"""

import functools
import pathlib
import sys
import time

from bench import ablation
from configs import codec as codec_config
from vidregen_jax import cli
from vidregen_jax.datasets import input_pipeline
from vidregen_jax.evaluation import codec_quality
from vidregen_jax.exports import model_folder
from vidregen_jax.models import perceptual
from vidregen_jax.training import train_codec

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


def make_config(flags, changes):
  """The tiny codec with every loss, and these fields changed."""
  config = codec_config.get_config('tiny')
  config.dataset = flags.dataset
  config.perceptual = flags.perceptual
  config.perceptual_weight = 0.5
  config.align_weight = 0.1
  config.gan_weight = 0.05
  config.checkpoint_every = 50
  config.num_steps = config.eval_every = flags.steps
  config.gan_start = flags.steps // 2
  config.update_from_flattened_dict(changes)
  return config


def run_variant(name, flags, folder):
  """Trains a variant, or goes on with it, and measures it.

  Returns:
    Dict of figures.
  """
  config = make_config(flags, VARIANTS[name])
  workdir = folder / name.replace(' ', '_')
  resumed = workdir.exists()
  begin = time.process_time()
  train_codec.train(config.lock(), workdir)
  minutes = None if resumed else round((time.process_time() - begin) / 60, 1)
  export = model_folder.load_export(workdir / 'export', 'codec')
  clips = input_pipeline.talker_clips(flags.dataset, 'test', export.config['size'])
  clips = [clips[i] for i in range(min(flags.clips, len(clips)))]
  scores, _ = codec_quality.measure(export, clips, perceptual.load(flags.perceptual))
  scores['leak'] = scores['leak']['latents']
  return {'steps': flags.steps, 'cpu_minutes': minutes} | {
    figure: scores[figure] for figure in _FIGURES}


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.variants', description=__doc__)
  flags.add_argument('--perceptual', required=True,
                     help='folder or hub id of VGG16 with LPIPS heads')
  flags.add_argument('--dataset', default='out/talkers/64',
                     help='folder of the crops (default %(default)s)')
  flags.add_argument('--out', default='out/variants',
                     help='folder for the trainings and the table (default %(default)s)')
  flags.add_argument('--steps', type=cli.whole(2), default=400,
                     help='steps per variant (default %(default)s)')
  flags.add_argument('--clips', type=cli.whole(1), default=16,
                     help='test clips to measure (default %(default)s)')
  flags.add_argument('--only', type=cli.several(str), help='variants to run; default all')
  return flags


def run(flags):
  """Does what the flags say.

  Raises:
    UserError: no VGG16, no dataset, or a variant that is not known.
  """
  folder = pathlib.Path(flags.out)
  ablation.run(VARIANTS, flags.only, folder / 'variants.json',
               functools.partial(run_variant, flags=flags, folder=folder))


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'the same command goes on with the variant it was at'))

"""Variants of the codec at an equal budget of processor time, to see what each choice is worth.

  python -m bench.variants --perceptual=VGG16_FOLDER --minutes=15

Trains the tiny codec with every loss, then with one thing changed at a time, and measures each on
the test split. Processor minutes are those of both cores together, of training steps alone: a
variant that does less a step makes more steps. Results go to out/variants/variants.json after each,
and what is there is not done again.
"""

import json
import pathlib
import time

import jax
import numpy as np
from absl import flags

from configs import codec as codec_config
from vidregen_jax import (
  codec_objective,
  codec_quality,
  commands,
  input_pipeline,
  report,
  train_codec,
  weights,
)
from vidregen_jax.errors import UserError
from vidregen_jax.models import perceptual

_PERCEPTUAL = flags.DEFINE_string('perceptual', None, 'Folder or hub id of VGG16 with LPIPS heads.')
_DATASET = flags.DEFINE_string('dataset', 'out/talkers/64', 'Folder of the crops.')
_OUT = flags.DEFINE_string('out', 'out/variants', 'Folder for the trainings and the table.')
_MINUTES = flags.DEFINE_float('minutes', 15.0, 'Processor minutes of training a variant.')
_CLIPS = flags.DEFINE_integer('clips', 16, 'Test clips to measure.')
_ONLY = flags.DEFINE_list('only', None, 'Variants to run; default all.')

_TIMED = 4  # steps that are timed, after one that is not

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
  'network alone, no shortcut': ALONE | {'model.shortcut': False},
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
  config.update_from_flattened_dict(changes)
  return config


def seconds_a_step(config):
  """Processor seconds of a step's gradients, before and after the discriminators start."""
  model = train_codec.model_config(config)
  objective, frozen = train_codec.make_objective(config, model)
  params = codec_objective.init(objective, jax.random.key(0))
  batches = input_pipeline.codec_batches(
    config, 'train', 0, (0, 1, config.batch_size), jax.device_put)
  batch = next(batches)
  batches.close()
  step = jax.jit(codec_objective.gradients, static_argnums=(0, 6))
  found = []
  for adversarial in (False, objective.discriminators is not None):
    for i in range(1 + _TIMED):
      if i == 1:
        begin = time.process_time()
      jax.block_until_ready(step(objective, params, frozen, batch, jax.random.key(1), i,
                                 adversarial))
    found.append((time.process_time() - begin) / _TIMED)
  return found


def run_variant(name, folder):
  """Trains a variant, or goes on with it, and measures it.

  Returns:
    Dict of figures.
  """
  config = make_config(VARIANTS[name])
  workdir = folder / name.replace(',', '').replace(' ', '_')
  budget = workdir / 'budget.json'
  if not budget.exists():
    seconds = seconds_a_step(config)
    workdir.mkdir(parents=True, exist_ok=True)
    report.write_json(budget, {'minutes': _MINUTES.value, 'cpu_seconds_a_step': seconds,
                               'steps': int(60 * _MINUTES.value / np.mean(seconds))})
  planned = json.loads(budget.read_text())
  config.num_steps = config.eval_every = planned['steps']
  config.gan_start = planned['steps'] // 2
  train_codec.train(config.lock(), workdir)
  export = weights.load_export(workdir / 'export', 'codec')
  clips = input_pipeline.talker_clips(_DATASET.value, 'test', export.config['size'])
  clips = [clips[i] for i in range(min(_CLIPS.value, len(clips)))]
  scores, _ = codec_quality.measure(export, clips, perceptual.load(_PERCEPTUAL.value))
  scores['leak'] = scores['leak']['latents']
  return {'steps': planned['steps']} | {figure: scores[figure] for figure in _FIGURES}


def run():
  """Does what the flags say.

  Raises:
    UserError: no VGG16, no dataset, or a variant that is not known.
  """
  if _PERCEPTUAL.value is None:
    raise UserError('--perceptual is missing: give a folder or hub id of VGG16 with LPIPS heads')
  names = _ONLY.value or list(VARIANTS)
  if unknown := set(names) - set(VARIANTS):
    raise UserError(f'there is no variant {unknown.pop()!r}: choose from {", ".join(VARIANTS)}')
  folder = pathlib.Path(_OUT.value)
  path = folder / 'variants.json'
  table = json.loads(path.read_text()) if path.exists() else {}
  for name in names:
    if name not in table:
      table[name] = run_variant(name, folder)
      report.write_json(path, table)
  print(f'| variant | steps | {" | ".join(_FIGURES)} |\n|---|{"---|" * (len(_FIGURES) + 1)}')
  for name, row in table.items():
    print(f'| {name} | {" | ".join(f"{row[x]:.4g}" for x in ("steps", *_FIGURES))} |')


if __name__ == '__main__':
  commands.run(run, 'the same command goes on with the variant it was at')

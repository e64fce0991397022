"""Copy collapse: does a generator without dropout stop following the sound?

  python -m bench.collapse --codec=out/codec/export --dataset=out/latents/64 --steps=300

Trains the tiny generator again and again with one thing changed at a time, all for equally many
steps and on the same windows, and measures how well lips follow another clip's sound in windows of
the validation split. `short` windows have 4 latent frames, `long` ones 12; near references are
taken from any frame but the window's own; `wide` is the size `talkers`; with `tokens alone` audio
does not modulate its frame; a `uniform loss` does not weight the mouth. Results are written to
out/collapse/collapse.json after each variant, and variants that are there are not repeated.
"""

import functools
import json
import pathlib
import sys

from bench import ablation
from configs import generator as generator_config
from vidregen_jax import cli
from vidregen_jax.training import train_generator

_NONE = {'drop_history': 0.0, 'drop_reference': 0.0, 'drop_each_reference': 0.0}
_LONG = {'num_frames': 12, 'model.window': 12, 'batch_size': 3}  # as long as the shortest clip
_SHORT = {'num_frames': 4, 'model.window': 4, 'batch_size': 8}
_NEAR = {'reference_distance': 0}
_CLEAN = {'history_noise': 0.0}
_WIDE = {'model.width': 192, 'model.heads': 3}
_UNIFORM = {'mouth_weight': 0.0}
_TOKENS = {'model.audio_modulates': False}
VARIANTS = {
  'as configured': {},
  'no dropout': _NONE,
  'half the dropout': {'drop_history': 0.25, 'drop_reference': 0.15, 'drop_each_reference': 0.15},
  'history dropout alone': {'drop_reference': 0.0, 'drop_each_reference': 0.0},
  'reference dropout alone': {'drop_history': 0.0},
  'no dropout + clean history': _NONE | _CLEAN,
  'no dropout + clean history + near references': _NONE | _CLEAN | _NEAR,
  'no dropout + clean history + near references + long': _NONE | _CLEAN | _NEAR | _LONG,
  'clean history + near references + long': _CLEAN | _NEAR | _LONG,
  'no dropout + clean history + near references + short': _NONE | _CLEAN | _NEAR | _SHORT,
  'no dropout + long': _NONE | _LONG,
  'long': _LONG,
  'no dropout + clean history + near references + long + wide': (
    _NONE | _CLEAN | _NEAR | _LONG | _WIDE),
  'clean history + near references + long + wide': _CLEAN | _NEAR | _LONG | _WIDE,
  'no dropout + clean history + near references + uniform loss': (
    _NONE | _CLEAN | _NEAR | _UNIFORM),
  'clean history + near references + uniform loss': _CLEAN | _NEAR | _UNIFORM,
  'tokens alone': _TOKENS,
  'no dropout + tokens alone': _NONE | _TOKENS,
  'tokens alone + uniform loss': _TOKENS | _UNIFORM,
  'no dropout + tokens alone + uniform loss': _NONE | _TOKENS | _UNIFORM,
  'no dropout + clean history + near references + tokens alone + uniform loss': (
    _NONE | _CLEAN | _NEAR | _TOKENS | _UNIFORM),
}
_FIGURES = ('new_audio', 'new_audio_old_truth', 'own_audio', 'truths', 'attention_audio',
            'attention_history', 'attention_reference')


def make_config(flags, changes):
  """The tiny generator with these fields changed."""
  config = generator_config.get_config('tiny')
  config.codec, config.dataset = flags.codec, flags.dataset
  config.num_steps = config.eval_every = flags.steps
  config.checkpoint_every = 100
  config.update_from_flattened_dict(changes)
  return config


def run_variant(name, flags, folder):
  """Trains a variant, or goes on with it; returns its last figures."""
  workdir = folder / name.replace(' + ', '-').replace(' ', '_')
  train_generator.train(make_config(flags, VARIANTS[name]).lock(), workdir)
  lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
  seen = [line for line in lines if 'validation/new_audio' in line][-1]
  trained = [line for line in lines if 'train/loss' in line][-1]
  return {'steps': seen['step'], 'loss': trained['train/loss']} | {
    figure: seen[f'validation/{figure}'] for figure in _FIGURES}


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.collapse', description=__doc__)
  flags.add_argument('--codec', default='out/codec/export',
                     help='folder of the exported codec (default %(default)s)')
  flags.add_argument('--dataset', default='out/latents/64',
                     help='folder of its latents (default %(default)s)')
  flags.add_argument('--out', default='out/collapse',
                     help='folder for the trainings and the table (default %(default)s)')
  flags.add_argument('--steps', type=cli.whole(2), default=300,
                     help='steps per variant (default %(default)s)')
  flags.add_argument('--only', type=cli.several(str), help='variants to run; default all')
  return flags


def run(flags):
  """Does what the flags say.

  Raises:
    UserError: a variant that is not known, or something that training refuses.
  """
  folder = pathlib.Path(flags.out)
  ablation.run(VARIANTS, flags.only, folder / 'collapse.json',
               functools.partial(run_variant, flags=flags, folder=folder))


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'the same command goes on with the variant it was at'))

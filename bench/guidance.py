"""The two guidance scales: how well lips follow, and how well likeness is kept.

  python -m bench.guidance --checkpoint=out/generator/export --dataset=out/latents/64

Windows from the middle of the test split's clips are generated with their own and with another
clip's sound. Lips are read from latents; likeness compares lower faces with the true ones, decoded
from true latents. `encode_latents --splits=train,test` makes the dataset: the lip reader is fitted
to the training split. Each row of the table is one setting.
"""

import dataclasses
import pathlib
import sys

import numpy as np
import tqdm

from bench import rehearsals
from vidregen_jax import cli, files
from vidregen_jax.evaluation import identity_metrics, lip_gap_probe
from vidregen_jax.media import image_grid

_SHOWN = 4  # clips on the sheet
COLUMNS = ('new', 'old', 'opening', 'own', 'psnr_own', 'identity', 'delta_e', 'sharpness')


def measure(rehearse, own, new):
  """Figures of frames made with own and with new sound; see COLUMNS."""
  agree, gaps = lip_gap_probe.median_correlation, rehearse.gaps
  lips = rehearse.lips(new)
  face = identity_metrics.lower_face(own.shape[2])
  return {
    'new': agree(lips, gaps['new']),
    'old': agree(lips, gaps['own']),
    'opening': float(np.median(lips.std(1) / gaps['new'].std(1))),
    'own': agree(rehearse.lips(own), gaps['own']),
    'psnr_own': float(np.median(identity_metrics.psnr(own, rehearse.truth, face))),
    'identity': identity_metrics.nearest_identity(new, rehearse.truth),
    'delta_e': float(np.median(identity_metrics.colour_difference(new, rehearse.truth))),
    'sharpness': float(np.median(identity_metrics.sharpness(new, face)
                                 / identity_metrics.sharpness(rehearse.truth, face))),
  }


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.guidance', description=__doc__)
  rehearsals.add_flags(flags)
  flags.add_argument('--appearance', type=cli.several(float), default=[1, 1.5, 2],
                     help='scales of appearance guidance (default 1,1.5,2)')
  flags.add_argument('--audio', type=cli.several(float), default=[1, 1.5, 2.5, 4],
                     help='scales of audio guidance (default 1,1.5,2.5,4)')
  flags.add_argument('--steps', type=cli.several(cli.whole(1)),
                     help="flow steps; default the checkpoint's")
  flags.add_argument('--noise', type=cli.several(float),
                     help="sizes of the first noise; default the checkpoint's")
  flags.add_argument('--frames', type=cli.whole(2), default=8,
                     help='latent frames per window (default %(default)s)')
  flags.add_argument('--sheet', help='PNG: truth, and the first clips in every setting')
  flags.add_argument('--json', help='file for all figures')
  return flags


def run(flags):
  """Prints the table.

  Raises:
    UserError: something is missing.
  """
  opened = rehearsals.open_test(flags, flags.frames)
  rehearse, params, base = opened.rehearse(), opened.params, opened.sampler
  settings = [
    dataclasses.replace(base, guidance_appearance=appearance, guidance_audio=audio,
                        steps=steps, noise=noise)
    for steps in flags.steps or [base.steps] for noise in flags.noise or [base.noise]
    for appearance in flags.appearance for audio in flags.audio]
  rows = [{'setting': 'the true films', **measure(rehearse, rehearse.truth, rehearse.truth)}]
  pictures = [rehearse.truth]
  for sampler in tqdm.tqdm(settings, unit='setting'):
    own, new = (rehearse.make(sampler, params, sound) for sound in ('own', 'new'))
    name = (f'appearance {sampler.guidance_appearance:g}, audio {sampler.guidance_audio:g}, '
            f'{sampler.steps} steps, noise {sampler.noise:g}')
    rows.append({'setting': name, **measure(rehearse, own, new)})
    pictures.append(new)
  print(f'| setting | {" | ".join(COLUMNS)} |\n|---|{"---|" * len(COLUMNS)}')
  for row in rows:
    print(f'| {row["setting"]} | {" | ".join(f"{row[name]:.3f}" for name in COLUMNS)} |')
  if flags.sheet:
    at = np.linspace(0, rehearse.truth.shape[1] - 1, 8).astype(int)
    image_grid.write(pathlib.Path(flags.sheet), image_grid.join(
      [[frames[clip, i] for i in at] for clip in range(_SHOWN) for frames in pictures]))
  if flags.json:
    files.write_json(pathlib.Path(flags.json), rows)


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

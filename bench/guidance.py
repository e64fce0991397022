"""The two guidance scales against each other: how well lips follow, and how like the person is.

  python -m bench.guidance --checkpoint=out/generator/export --dataset=out/latents/64

Windows from the middle of the test split's clips are made with their own and with another clip's
sound. Lips are read from latents; likeness is that of lower faces to the true ones, decoded from
true latents. `encode_latents --splits=train,test` makes the dataset: the lip reader is fitted to
the training split. Each row of the table is one setting; more than one --steps adds rows.
"""

import dataclasses
import pathlib

import numpy as np
import tqdm
from absl import flags

from bench import rehearsals
from vidregen_jax import cli, files
from vidregen_jax.evaluation import identity_metrics, lip_gap_probe
from vidregen_jax.media import image_grid

_APPEARANCE = flags.DEFINE_list('appearance', ['1', '1.5', '2'], 'Scales of appearance guidance.')
_AUDIO = flags.DEFINE_list('audio', ['1', '1.5', '2.5', '4'], 'Scales of audio guidance.')
_STEPS = flags.DEFINE_list('steps', None, "Flow steps; default the checkpoint's.")
_NOISE = flags.DEFINE_list('noise', None, "Sizes of the first noise; default the checkpoint's.")
_FRAMES = flags.DEFINE_integer('frames', 8, 'Latent frames of a window.', lower_bound=2)
_SHEET = flags.DEFINE_string('sheet', None, 'PNG: truth, and the first clips in every setting.')
_JSON = flags.DEFINE_string('json', None, 'File for all figures.')

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


def run():
  """Prints the table.

  Raises:
    UserError: something is missing.
  """
  opened = rehearsals.open_test(_FRAMES.value)
  rehearse, params, base = opened.rehearse(), opened.params, opened.sampler
  settings = [
    dataclasses.replace(base, guidance_appearance=float(appearance), guidance_audio=float(audio),
                        steps=int(steps), noise=float(noise))
    for steps in _STEPS.value or [base.steps] for noise in _NOISE.value or [base.noise]
    for appearance in _APPEARANCE.value for audio in _AUDIO.value]
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
  if _SHEET.value:
    at = np.linspace(0, rehearse.truth.shape[1] - 1, 8).astype(int)
    image_grid.write(pathlib.Path(_SHEET.value), image_grid.join(
      [[frames[clip, i] for i in at] for clip in range(_SHOWN) for frames in pictures]))
  if _JSON.value:
    files.write_json(pathlib.Path(_JSON.value), rows)


if __name__ == '__main__':
  cli.run(run, 'nothing was written')

"""Measure an exported system on rendered clips whose truth is known.

  python -m vidregen_jax.evaluate listening --checkpoint=out/generator/export
  python -m vidregen_jax.evaluate codec --checkpoint=out/codec/export --dataset=out/talkers/64

`listening`: does the mouth follow new sound (`evaluation.lip_sync`). `codec`: how near are
reconstructions, and their mouths (`evaluation.codec_quality`).
"""

import json
import os
import pathlib
import tempfile

from absl import flags

from vidregen_jax import cli, files, terminal
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import codec_quality, lip_sync
from vidregen_jax.exports import model_loader, pipeline
from vidregen_jax.models import i3d, perceptual

_CHECKPOINT = flags.DEFINE_string('checkpoint', None, "Folder of a training's export.")
_PACK = flags.DEFINE_string('pack', 'data/talkers/pack', 'Folder of rendered clips.')
_DATASET = flags.DEFINE_string('dataset', None, 'Folder of the dataset of crops (codec only).')
_OUT = flags.DEFINE_string(
  'out', None, 'Folder for a sheet of pictures, a video and the figures (codec only).')
_PERCEPTUAL = flags.DEFINE_string(
  'perceptual', None, 'Folder of VGG16 with LPIPS heads (codec only); default: no LPIPS.')
_I3D = flags.DEFINE_string(
  'i3d', None, 'Folder of an I3D (codec only); default: no Frechet video distance.')
_SPLIT = flags.DEFINE_string('split', 'test', 'Which part of it.')
_CLIPS = flags.DEFINE_integer('clips', 0, 'How many clips at most; 0 for all.', lower_bound=0)
_SEED = flags.DEFINE_integer('seed', 0, 'Of the noise.')
_STEPS = flags.DEFINE_integer('steps', None, "Flow steps; default the checkpoint's.")
_APPEARANCE = flags.DEFINE_float('guidance_appearance', None, "Default the checkpoint's.")
_AUDIO = flags.DEFINE_float('guidance_audio', None, "Default the checkpoint's.")
_NOISE = flags.DEFINE_float('noise', None, "Default the checkpoint's.")
_SOUNDS = flags.DEFINE_list(
  'sounds', ['new'], f'What is heard, of {", ".join(lip_sync.SOUNDS)} (listening only).')
_STUDENT = flags.DEFINE_bool('student', False, "Sample with the checkpoint's student.")
_JSON = flags.DEFINE_string('json', None, 'File for all figures.')


def evaluate_listening():
  """Edits rendered clips with each other's sound; prints and returns how the mouths follow."""
  pairs = lip_sync.pair(lip_sync.read_clips(_PACK.value, _SPLIT.value))
  pairs = pairs[:_CLIPS.value or len(pairs)]
  overrides = tuple((name, flag.value) for name, flag in (
    ('steps', _STEPS), ('guidance_appearance', _APPEARANCE), ('guidance_audio', _AUDIO),
    ('noise', _NOISE))
    if flag.value is not None)
  machine = pipeline.load(_CHECKPOINT.value, _STUDENT.value)
  with tempfile.TemporaryDirectory() as folder:
    rows = lip_sync.listening(machine, pairs, _SEED.value, overrides, folder, _SOUNDS.value)
  for row in rows:
    if row['sound'] == 'silence':
      terminal.say(f'{row["clip"]} in silence: open in {row["open"]:.2f} of its frames')
      continue
    figures = '  '.join(f'{name} {row["whole"][name]:6.3f}/{row["middle"][name]:6.3f}'
                        for name in ('new', 'old', 'truths'))
    terminal.say(f'{row["clip"]} with the sound of {row["audio"]}: {figures}')
  terminal.say('correlation of lip gaps, whole/middle; medians:')
  return {'clips': len(pairs), 'medians': lip_sync.medians(rows), 'rows': rows}


def evaluate_codec():
  """Reconstructs the clips of a dataset; returns how near they are, and shows some."""
  from vidregen_jax.datasets import input_pipeline

  if _DATASET.value is None:
    raise UserError('--dataset is missing: build one with `python -m data.talkers.talkers`')
  if _OUT.value:
    codec_quality.check_folder(_OUT.value)
  for flag in (_PERCEPTUAL, _I3D):
    # What is measured here stays here: no name is looked for on a hub.
    if flag.value and not os.path.isdir(flag.value):
      raise UserError(f'--{flag.name} {flag.value}: no such folder; copy the model into one')
  export = model_loader.load_codec(_CHECKPOINT.value).export
  clips = input_pipeline.talker_clips(_DATASET.value, _SPLIT.value, export.config['size'])
  vgg16, network = (load(flag.value) if flag.value else None for load, flag in (
    (perceptual.load, _PERCEPTUAL), (i3d.load, _I3D)))
  scores, shown = codec_quality.measure(export, clips[:_CLIPS.value or len(clips)], vgg16, network)
  if _OUT.value:
    codec_quality.write(_OUT.value, scores, shown)
  return scores


def run(what):
  """Does what the flags say.

  Raises:
    UserError: a mistake in the flags, or nothing to measure.
  """
  if _CHECKPOINT.value is None:
    raise UserError('--checkpoint is missing: give the export folder of a training')
  if _JSON.value and os.path.lexists(_JSON.value):
    files.check_readable(_JSON.value, '--json')  # before the work, not after it
  result = {'codec': evaluate_codec, 'listening': evaluate_listening}[what]()
  if _JSON.value:
    files.write_json(pathlib.Path(_JSON.value), result)
  terminal.say_text(json.dumps({k: v for k, v in result.items() if k != 'rows'}, indent=2))


if __name__ == '__main__':
  cli.run(run, 'nothing was written', words=('listening', 'codec'))

"""Pack a trained system to give away: half the size, one folder, a card that says what it is.

  python -m vidregen_jax.export --checkpoint=out/student/export --card=CARD.md --licence=LICENSE \
    --out=DIR
  python -m vidregen_jax.export --verify=DIR

DIR holds the averaged weights (EMA) of codec, generator and student, the audio encoder, what
latents and sound are normalised with, card and licences, and a manifest with the sha256 of every
file. It runs on one device, whatever the training ran on. Numbers are kept as float16 and computed
with as float32. `--audio_encoder=../whisper-base` names an encoder that lies elsewhere, as seen
from DIR, instead of one more copy of it. `--stablehlo` adds what runs without this package.
"""

import os
import pathlib
import shutil

import numpy as np
from absl import flags

from vidregen_jax import cli, files, outputs, terminal
from vidregen_jax.errors import UserError
from vidregen_jax.exports import checksums, model_folder, pipeline, stablehlo
from vidregen_jax.inference import sampling

_CHECKPOINT = flags.DEFINE_string('checkpoint', None, "Folder of a training's export.")
_OUT = flags.DEFINE_string('out', None, 'Folder to write.')
_CARD = flags.DEFINE_string(
  'card', None, 'Markdown file that becomes its README.md: what it is, on which data it was '
  'trained, and who consented.')
_LICENCE = flags.DEFINE_string(
  'licence', None, 'File that becomes its LICENSE: under what the weights may be used.')
_AUDIO_ENCODER = flags.DEFINE_string(
  'audio_encoder', None, 'Where its audio encoder is, seen from --out; default: a copy in it.')
_STABLEHLO = flags.DEFINE_bool('stablehlo', False, 'Also write functions that need JAX alone.')
_VERIFY = flags.DEFINE_string(
  'verify', None, 'Folder to compare with its manifest; writes nothing.')

_OURS = {'README.md', 'LICENSE', 'config.json', 'generator.safetensors', 'codec', 'student',
         pipeline.AUDIO_ENCODER, checksums.NAME, stablehlo.FOLDER, stablehlo.SCRIPT}
_MOST_PAPER = 16_000_000  # bytes
_LARGEST = float(np.finfo(np.float16).max)


def repack(source, folder, card, licence, audio_encoder=None, with_stablehlo=False):
  """Writes a system in half precision; whole or not at all, over what was there.

  Args:
    source: folder of an exported system.
    folder: where to.
    card: path of its README.md, which speaks of data and consent.
    licence: path of its LICENSE.
    audio_encoder: folder of the encoder as seen from `folder`, or None for a copy.
    with_stablehlo: whether to add `stablehlo`.

  Raises:
    UserError: something is missing or does not fit into half precision, or `folder` holds more
      than an earlier pack.
  """
  source, folder = pathlib.Path(source), pathlib.Path(folder)
  if os.path.exists(folder) and (
      not folder.is_dir() or {path.name for path in folder.iterdir()} - _OURS):
    raise UserError(f'--out {folder} holds other things, which would be lost: name a new folder')
  pipeline.load(source)  # what does not run is not given away
  _check_papers(card, licence)
  if audio_encoder and not os.path.isdir((folder / audio_encoder).resolve()):
    raise UserError(f'there is no folder {folder / audio_encoder}: --audio_encoder is seen from '
                    '--out')
  if with_stablehlo:
    stablehlo.check()
  made, packed = _half(source, 'generator'), _half(source / 'codec', 'codec')
  encoder = pipeline.find_encoder(source, made.config)
  if not [*encoder.glob('LICENSE*'), *encoder.glob('README*')]:
    raise UserError(f'{encoder} has neither LICENSE nor README: put there under what the audio '
                    'encoder may be passed on')
  taught = _half(source / 'student', 'student') if (source / 'student').is_dir() else None
  with outputs.whole_folder(folder) as part:
    digest = model_folder.export(part / 'codec', 'codec', packed.config, packed.params,
                                 **packed.arrays)
    where = audio_encoder or pipeline.AUDIO_ENCODER
    if not audio_encoder:
      pipeline.copy_encoder(encoder, part / where)
    config = made.config | {'codec': digest} | pipeline.listening_to(part, where)
    digest = model_folder.fill(part, 'generator', config, made.params, **made.arrays)
    if taught:
      model_folder.export(part / 'student', 'student', taught.config | {'teacher': digest},
                          taught.params)
    shutil.copyfile(card, part / 'README.md')
    shutil.copyfile(licence, part / 'LICENSE')
    if with_stablehlo:
      samplers = [sampling.SamplerConfig(**export.config['sampler'])
                  for export in (made, taught) if export]
      stablehlo.write(part, pipeline.load(part), *samplers)
    checksums.write(part, *([where] if audio_encoder else []))


def _check_papers(card, licence):
  for flag, path, wanted in (
    ('--card', card, 'say there what the model is, what it was trained on, who consented, and how '
     'it was measured'),
    ('--licence', licence, 'say there under what the weights may be used')):
    try:
      data = files.read_bytes(path, flag, _MOST_PAPER)
    except UserError as error:
      raise UserError(f'{error}: {wanted}') from error
    if flag == '--card':
      text = data.decode(errors='replace').lower()
  for word in ('data', 'consent'):
    if word not in text:
      raise UserError(f'--card {card} does not say a word of {word}: say what the model was '
                      'trained on, and that whoever is seen and heard there agreed, or is nobody')


def _half(folder, kind):
  """An export whose floats are float16."""
  made = model_folder.load_export(folder, kind)

  def half(tree):
    flat = model_folder.flatten(tree)
    if any(np.abs(x).max(initial=0) > _LARGEST for x in flat.values()):
      raise UserError(f'the {kind} in {folder} has numbers beyond {_LARGEST:g}, which half '
                      "precision cannot hold: keep the training's own export")
    return model_folder.unflatten({name: x.astype(np.float16) if x.dtype == np.float32 else x
                                   for name, x in flat.items()})

  return model_folder.Export(kind, made.config, half(made.params), half(made.arrays), made.digest)


def run():
  """Does what the flags say.

  Raises:
    UserError: see `repack` and `checksums.check`.
  """
  if _VERIFY.value:
    count = checksums.check(_VERIFY.value)
    terminal.say(f'all {count} files of {_VERIFY.value} are as they were packed')
    return
  if not (_CHECKPOINT.value and _OUT.value and _CARD.value and _LICENCE.value):
    raise UserError('give --checkpoint, --card, --licence and --out; or --verify alone')
  try:
    repack(_CHECKPOINT.value, _OUT.value, _CARD.value, _LICENCE.value, _AUDIO_ENCODER.value,
           _STABLEHLO.value)
  except OSError as error:
    raise UserError(f'--out {_OUT.value}: cannot be written ({error.strerror}): give another place'
                    ) from error
  size = sum(path.stat().st_size for path in pathlib.Path(_OUT.value).rglob('*') if path.is_file())
  terminal.say(f'wrote {_OUT.value}, {size / 1e6:.1f} MB')


if __name__ == '__main__':
  cli.run(run, 'nothing was written')

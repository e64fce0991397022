"""Packs a trained system for distribution: half precision, one folder, a card and licences."""

import os
import pathlib
import shutil

import numpy as np

from vidregen_jax import files, outputs
from vidregen_jax.errors import UserError
from vidregen_jax.exports import checksums, model_folder, model_loader, pipeline, stablehlo
from vidregen_jax.models import flow_matching

CONSENT = 'consent.json'  # whose clips the weights have learned from
_OF_SCORER = {'README.md', 'LICENSE', 'config.json', 'sync.safetensors', CONSENT, checksums.NAME}
_OURS = {'README.md', 'LICENSE', 'config.json', 'generator.safetensors', 'codec', 'student',
         pipeline.LIPS, pipeline.AUDIO_ENCODER, CONSENT, checksums.NAME, stablehlo.FOLDER,
         stablehlo.SCRIPT}
_MOST_PAPER = 16_000_000  # bytes of a card or a licence
_LARGEST = float(np.finfo(np.float16).max)


def repack(source, folder, card, licence, audio_encoder=None, with_stablehlo=False,
           people='', consent=None):
  """Writes a system in half precision, whole or not at all; it replaces an older pack.

  Args:
    source: folder of an exported system.
    folder: where to.
    card: path of the text for its README.md, which must cover data and consent.
    licence: path of the text for its LICENSE.
    audio_encoder: folder of the encoder relative to `folder`, or None to copy it.
    with_stablehlo: whether to add `stablehlo`.
    people: Markdown that is added to its README.md: whose clips it has learned from.
    consent: JSON value of its consent.json, which says the same; None where there is nobody.

  Raises:
    UserError: something is missing or out of the range of half precision, or `folder` holds files
      that are not of an earlier pack.
  """
  source, folder = pathlib.Path(source), pathlib.Path(folder)
  _check_free(folder, _OURS)
  pipeline.load(source)  # refuses a system that would not run
  _check_papers(card, licence)
  if audio_encoder and not os.path.isdir((folder / audio_encoder).resolve()):
    raise UserError(f'there is no folder {folder / audio_encoder}: --audio_encoder is seen from '
                    '--out')
  if with_stablehlo:
    stablehlo.check()
  generator, codec = _half(source, 'generator'), _half(source / 'codec', 'codec')
  encoder = pipeline.find_encoder(source, generator.config)
  if not [*encoder.glob('LICENSE*'), *encoder.glob('README*')]:
    raise UserError(f'{encoder} has neither LICENSE nor README: put there under what the audio '
                    'encoder may be passed on')
  student, lips = (_half(source / kind, kind) if (source / kind).is_dir() else None
                   for kind in ('student', pipeline.LIPS))
  with outputs.whole_folder(folder) as part:
    digest = model_folder.export(part / 'codec', 'codec', codec.config, codec.params,
                                 **codec.arrays)
    where = audio_encoder or pipeline.AUDIO_ENCODER
    if not audio_encoder:
      pipeline.copy_encoder(encoder, part / where)
    config = generator.config | {'codec': digest} | pipeline.listening_to(part, where)
    digest = model_folder.fill(part, 'generator', config, generator.params, **generator.arrays)
    if student:
      model_folder.export(part / 'student', 'student', student.config | {'teacher': digest},
                          student.params)
    if lips:
      model_folder.export(part / pipeline.LIPS, pipeline.LIPS, lips.config | {'generator': digest},
                          lips.params)
    _write_papers(part, card, licence, people, consent)
    if with_stablehlo:
      samplers = [flow_matching.SamplerConfig(**export.config['sampler'])
                  for export in (generator, student) if export]
      stablehlo.write(part, pipeline.load(part, teacher=True), *samplers)
    checksums.write(part, *([where] if audio_encoder else []))


def is_scorer(source) -> bool:
  """Whether a folder holds a scorer of lip sync rather than a system that makes faces."""
  return os.path.exists(pathlib.Path(source) / 'sync.safetensors')


def repack_scorer(source, folder, card, licence, people='', consent=None):
  """Writes a scorer of lip sync in half precision; arguments and errors as in `repack`."""
  source, folder = pathlib.Path(source), pathlib.Path(folder)
  _check_free(folder, _OF_SCORER)
  model_loader.load_sync(source)  # refuses one that would not run
  _check_papers(card, licence)
  scorer = _half(source, 'sync')
  with outputs.whole_folder(folder) as part:
    model_folder.fill(part, 'sync', scorer.config, scorer.params, **scorer.arrays)
    _write_papers(part, card, licence, people, consent)
    checksums.write(part)


def _write_papers(part, card, licence, people, consent):
  text = pathlib.Path(card).read_bytes()
  (part / 'README.md').write_bytes(text + (f'\n{people}'.encode() if people else b''))
  if consent is not None:
    files.write_json(part / CONSENT, consent)
  shutil.copyfile(licence, part / 'LICENSE')


def _check_free(folder, ours):
  """Refuses a folder with files that are not of an earlier pack."""
  if os.path.exists(folder) and (
      not folder.is_dir() or {path.name for path in folder.iterdir()} - ours):
    raise UserError(f'--out {folder} holds other things, which would be lost: name a new folder')


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
  """An export with its floats converted to float16."""
  export = model_folder.load_export(folder, kind)

  def half(tree):
    flat = model_folder.flatten(tree)
    if any(np.abs(x).max(initial=0) > _LARGEST for x in flat.values()):
      raise UserError(f'the {kind} in {folder} has numbers beyond {_LARGEST:g}, which half '
                      "precision cannot hold: keep the training's own export")
    return model_folder.unflatten({name: x.astype(np.float16) if x.dtype == np.float32 else x
                                   for name, x in flat.items()})

  return model_folder.Export(kind, export.config, half(export.params), half(export.arrays),
                             export.digest)

"""An exported system: one folder with codec, generator and audio encoder, all that editing needs.

  config.json, generator.safetensors    the generator, with its sampler and what it listens to
  codec/                                as the codec's own training exported it
  audio_encoder/                        the Whisper encoder, with its licence; config.json may name
                                        another folder, relative to this one, and then holds the
                                        digests of its files
  student/                              if there is one: a generator for few steps and one branch
  lips/                                 if there is one: hears how far apart lips are
"""

import dataclasses
import os
import pathlib
import shutil

import jax
import numpy as np

from vidregen_jax import files, outputs
from vidregen_jax.errors import UserError
from vidregen_jax.exports import checksums, model_folder, model_loader
from vidregen_jax.inference import sampling
from vidregen_jax.models import (
  attention,
  audio_timeline,
  flow_matching,
  linear_prior,
  lip_listener,
  lip_readout,
  pretrained,
  whisper,
)

AUDIO_ENCODER, LIPS = 'audio_encoder', 'lips'
# What may lie beside a generator, and its config's field with the digest of that.
_BESIDE = {'student': 'teacher', LIPS: 'generator'}
_AUDIO_FILES = (*pretrained.FILES, 'LICENSE*', 'README*')


@dataclasses.dataclass(frozen=True)
class System:
  """The contents of a folder, ready to run.

  Attributes:
    models: shapes of codec and generator.
    params: their parameters and the latents' statistics.
    sampler: the settings that the generator was exported with.
    hear: function from sound of any length, mono 16 kHz, float32 [1, n] or anything sliced like it,
      to standardised Whisper states [n / 320, layers, channels]; yields them in order, some at a
      time.
    listen: the same of samples [n] that are heard as one window and without more silence, as a
      stream's last seconds are. Each length is a program of its own.
    digests: sha256 of the weights, by part.
    lips: reads how far apart the lips of a generated face are; None in a folder that was exported
      before there was one.
    listener: hears it in the states of `listen`; None in a folder without lips.
  """

  models: sampling.Models
  params: sampling.Params
  sampler: flow_matching.SamplerConfig
  hear: callable
  listen: callable
  digests: dict
  lips: lip_readout.Readout | None = None
  listener: lip_listener.Listener | None = None


def export(folder, codec_folder, audio_encoder, config, params, guess, lips, **arrays):
  """Writes a system's folder, whole or not at all; it replaces an older one.

  Args:
    folder: where to.
    codec_folder: the exported codec.
    audio_encoder: folder or hub id of the Whisper encoder.
    config: plain dict with 'model', 'sampler', 'listening' and 'codec' (its digest).
    params: the generator's.
    guess: linear_prior.Expectation.
    lips: lip_readout.Readout.
    **arrays: audio_mean and audio_std [layers, channels].
  """
  arrays |= {f'expected_{name}': value for name, value in vars(guess).items()}
  arrays |= {f'lip_{name}': value for name, value in vars(lips).items()}
  with outputs.whole_folder(folder) as part:
    model_folder.copy(pathlib.Path(codec_folder), part / 'codec', 'codec')
    copy_encoder(whisper.locate(audio_encoder), part / AUDIO_ENCODER)
    config = config | {'attention_layout': attention.LAYOUT} | listening_to(part, AUDIO_ENCODER)
    model_folder.fill(part, 'generator', config, params, **arrays)


def copy_encoder(source, target):
  """Copies an audio encoder's files and its licence into a new folder."""
  target.mkdir()
  for pattern in _AUDIO_FILES:
    for path in source.glob(pattern):
      files.check_readable(path)
      shutil.copyfile(path, target / path.name)


def listening_to(folder, where) -> dict:
  """The fields of a generator's config that describe its audio encoder.

  Args:
    folder: of the system.
    where: the encoder's folder, relative to it.
  """
  digests = {path.name: files.digest(path) for path in _audio_files(pathlib.Path(folder) / where)}
  return {'audio_encoder': where, 'audio_encoder_files': digests}


def _audio_files(folder):
  """The files that an encoder is loaded from."""
  return sorted(path for pattern in pretrained.FILES for path in folder.glob(pattern))


def export_student(folder, teacher_folder, config, params):
  """Writes a teacher's system with a student in it, whole or not at all; it replaces an older one.

  Args:
    folder: where to.
    teacher_folder: the teacher's system.
    config: plain dict with 'sampler'.
    params: the student's.
  """
  with outputs.whole_folder(folder) as part:
    digest = _copy(pathlib.Path(teacher_folder), part, (LIPS,))
    model_folder.export(part / 'student', 'student', config | {'teacher': digest}, params)


def export_lips(folder, source, listener):
  """Writes a system with a listener in it, whole or not at all; it replaces an older one.

  Args:
    folder: where to.
    source: folder of the system.
    listener: lip_listener.Listener.
  """
  with outputs.whole_folder(folder) as part:
    digest = _copy(pathlib.Path(source), part, ('student',))
    config = {'model': dataclasses.asdict(listener.config), 'generator': digest}
    model_folder.export(part / LIPS, LIPS, config, listener.params)


def _copy(source, part, kept):
  """Copies a system's codec, encoder and generator, and of _BESIDE what is `kept`; the digest."""
  generator = model_loader.load_generator(source).export
  model_folder.copy(source / 'codec', part / 'codec', 'codec')
  copy_encoder(find_encoder(source, generator.config), part / AUDIO_ENCODER)
  digest = model_folder.fill(part, 'generator',
                             generator.config | listening_to(part, AUDIO_ENCODER),
                             generator.params, **generator.arrays)
  for kind in kept:
    _keep(kind, source, part, digest)
  return digest


def _keep(kind, source, part, digest):
  """Writes what a system has beside its generator, if it has it, for one of another digest."""
  if (source / kind).is_dir():
    found = model_folder.load_export(source / kind, kind)
    model_folder.export(part / kind, kind, found.config | {_BESIDE[kind]: digest}, found.params)


def export_tuned(folder, source, codec_params, guess, sampler, params, card='', lips=None):
  """Writes a system of which codec, prior and student were tuned, whole or not at all.

  Args:
    folder: where to; an older one is replaced.
    source: folder of the system that was tuned, with a student in it.
    codec_params: of the codec, which keeps the statistics of its latents.
    guess: linear_prior.Expectation.
    sampler: flow_matching.SamplerConfig of the student.
    params: the student's.
    card: text of a README.md beside it, '' for none.
    lips: lip_readout.Readout, for a source that has none.
  """
  source = pathlib.Path(source)
  teacher, found = model_loader.load_generator(source).export, model_loader.load_codec(
    source / 'codec').export
  arrays = teacher.arrays | {f'expected_{name}': np.asarray(value)
                             for name, value in vars(guess).items()}
  if lips and readout(arrays) is None:
    arrays |= {f'lip_{name}': value for name, value in vars(lips).items()}
  with outputs.whole_folder(folder) as part:
    of_codec = model_folder.export(part / 'codec', 'codec', found.config, codec_params,
                                   **found.arrays)
    copy_encoder(find_encoder(source, teacher.config), part / AUDIO_ENCODER)
    of_generator = model_folder.fill(
      part, 'generator', teacher.config | {'codec': of_codec} | listening_to(part, AUDIO_ENCODER),
      teacher.params, **arrays)
    model_folder.export(part / 'student', 'student',
                        {'sampler': dataclasses.asdict(sampler), 'teacher': of_generator}, params)
    _keep(LIPS, pathlib.Path(source), part, of_generator)
    if card:
      (part / 'README.md').write_text(card)


def expected(arrays):
  """The linear_prior.Expectation in a generator's arrays."""
  fields = [field.name for field in dataclasses.fields(linear_prior.Expectation)]
  return linear_prior.Expectation(**{name: arrays[f'expected_{name}'] for name in fields})


def readout(arrays) -> lip_readout.Readout | None:
  """The readout in a generator's arrays, if there is one."""
  if 'lip_kernel' not in arrays:
    return None
  return lip_readout.Readout(arrays['lip_kernel'], arrays['lip_bias'])


def statistics(export: model_folder.Export):
  """A generator's data statistics: (linear_prior.Expectation, audio mean, audio std)."""
  return expected(export.arrays), export.arrays['audio_mean'], export.arrays['audio_std']


def load(folder, teacher: bool = False) -> System:
  """Reads an exported system: its student, which is much faster, or its generator.

  Args:
    folder: where it is.
    teacher: whether to sample with the generator even if there is a student in the folder.

  Raises:
    UserError: something is missing, damaged or does not fit together.
  """
  folder = pathlib.Path(folder)
  student = not teacher and os.path.isdir(folder / 'student')
  found = load_parts(folder, student)
  packed, exported = found['codec'], found['generator'].export
  sampled = found['student' if student else 'generator']
  models = sampling.Models(packed.model, sampled.model)
  audio_config, audio_params = load_encoder(folder, exported.config, models.generator)
  listening = exported.config['listening']
  guess, audio_mean, audio_std = statistics(exported)
  audio_params = jax.device_put(audio_params)  # once, not for each window

  def states_of(samples, window_seconds, margin_seconds):
    for states in whisper.stream(audio_config, audio_params, samples, window_seconds,
                                 margin_seconds, listening['audio_layers']):
      yield np.asarray(whisper.standardize(states, audio_mean, audio_std))

  def hear(samples):
    return states_of(samples, listening['window_seconds'], listening['margin_seconds'])

  def listen(samples):
    seconds = -(-len(samples) // audio_timeline.SAMPLES_PER_STATE) / audio_timeline.RATE
    return np.concatenate(list(states_of(samples[None], seconds, 0)))

  codec, maker, lips = packed.export, sampled.export, found.get(LIPS)
  params = sampling.Params(codec.params, maker.params, guess, codec.arrays['latent_mean'],
                           codec.arrays['latent_std'])
  made_of = (codec, maker, lips.export) if lips else (codec, maker)
  return System(models, jax.device_put(params), sampled.sampler, hear, listen,
                {part.kind: part.digest for part in made_of}, readout(exported.arrays),
                lips and lip_listener.Listener(lips.model, jax.device_put(lips.export.params)))


def load_parts(folder, student: bool = True) -> dict:
  """Reads the models of an exported system, all but its audio encoder.

  Args:
    folder, student: as in `load`.

  Returns:
    {'codec': model_loader.Codec, 'generator': model_loader.Generator}, and if they are there
    'student', another, and 'lips': model_loader.Lips.

  Raises:
    UserError: as in `load`.
  """
  folder = pathlib.Path(folder)
  teacher, packed = model_loader.load_generator(folder), model_loader.load_codec(folder / 'codec')
  exported = teacher.export
  if exported.config['codec'] != packed.export.digest:
    raise UserError(f'{folder}: the codec in it is not the one that its generator was trained '
                    'with: export the generator again')
  for name in ('cells', 'latent_channels'):
    if getattr(packed.model, name) != getattr(teacher.model, name):
      raise UserError(f'{folder}/config.json: config.model.{name} is '
                      f'{getattr(teacher.model, name)}, but the codec in {folder}/codec has '
                      f'{getattr(packed.model, name)}: export the generator again')
  found = {'generator': teacher, 'codec': packed}
  if student:
    found['student'] = _load_student(folder, teacher)
  if os.path.isdir(folder / LIPS):
    found[LIPS] = model_loader.load_lips(folder / LIPS, teacher)
    if found[LIPS].export.config['generator'] != exported.digest:
      raise UserError(f'{folder}: the lips in it were trained beside another generator: train them '
                      'again')
  where = {'generator': '.'}
  checksums.check_known(folder, {
    os.path.normpath(f'{where.get(kind, kind)}/{name}'): digest for kind, part in found.items()
    for name, digest in ((f'{kind}.safetensors', part.export.digest),
                         ('config.json', part.export.config_digest))})
  return found


def find_encoder(folder, config) -> pathlib.Path:
  """The folder of a system's audio encoder: in the system's folder, or pinned by its digests.

  Args:
    folder: of the system.
    config: its generator's.

  Raises:
    UserError: there is none, it is elsewhere and not pinned by digests, or its digests differ.
  """
  folder, where, pins = pathlib.Path(folder), config['audio_encoder'], config.get(
    'audio_encoder_files')
  found, about = folder / where, f'{folder}/config.json: config.audio_encoder'
  if os.path.isabs(where) or not os.path.isdir(found):
    raise UserError(f'{about} is {where!r}, and there is no such folder as seen from {folder}: get '
                    'the whole folder again; nothing is looked for elsewhere')
  paths = _audio_files(found)
  if pins is None:
    home = folder.resolve()
    for path in (found, *paths):
      if not path.resolve().is_relative_to(home):
        raise UserError(f'{about} is {where!r}, but {path} lies outside of {folder}, and no '
                        'audio_encoder_files say which it is: export the system again')
    return found
  if missing := sorted(set(pins) - {path.name for path in paths}):
    raise UserError(f'{found / missing[0]} is missing: get the whole folder again')
  for path in paths:
    files.check_readable(path)
    if pins.get(path.name) != files.digest(path):
      raise UserError(f'{path} is not the file that the system was exported with: get the whole '
                      'folder again')
  return found


def load_encoder(folder, config, model):
  """The Whisper encoder that a generator listens to: (WhisperConfig, params)."""
  found, listening = find_encoder(folder, config), config['listening']
  checksums.check_known(folder, {
    os.path.normpath(f'{config["audio_encoder"]}/{name}'): digest
    for name, digest in config.get('audio_encoder_files', {}).items()})
  audio_config, params = whisper.read(found)
  if audio_config.width != model.audio_channels:
    raise UserError(f'{folder}: the audio encoder in it gives {audio_config.width} channels, but '
                    f'config.model.audio_channels is {model.audio_channels}')
  try:
    whisper.check_listening(audio_config, listening['audio_layers'], listening['window_seconds'],
                            listening['margin_seconds'])
  except ValueError as error:
    raise UserError(f'{folder}/config.json: config.listening: {error}') from error
  return audio_config, params


def _load_student(folder, teacher):
  student = model_loader.load_student(folder / 'student', teacher)
  if student.export.config['teacher'] != teacher.export.digest:
    raise UserError(f'{folder}: the student in it learned from another generator: train it again')
  return student

"""An exported system: one folder with codec, generator and audio encoder, all that editing needs.

  config.json, generator.safetensors    the generator, with its sampler and what it listens to
  codec/                                as the codec's own training exported it
  audio_encoder/                        the Whisper encoder, with its licence; config.json may name
                                        another folder, as seen from this one
  student/                              where there is one: a generator of few steps and one branch
"""

import dataclasses
import functools
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax import expectation, manifest, sample, weights
from vidregen_jax.errors import UserError
from vidregen_jax.models import codec, generator, pretrained, whisper

_CLIP_FEATURES = 6.0  # standard deviations; a few Whisper channels spike to hundreds
AUDIO_ENCODER = 'audio_encoder'
_AUDIO_FILES = (*pretrained.FILES, 'LICENSE*', 'README*')


def standardize(audio, mean, std):
  """Whisper states [..., layers, channels] to about unit scale; spikes are clipped."""
  return jnp.clip((audio - mean) / std, -_CLIP_FEATURES, _CLIP_FEATURES)


@dataclasses.dataclass(frozen=True)
class System:
  """What a folder holds, ready to run.

  Attributes:
    models: shapes of codec and generator.
    params: their parameters and the latents' statistics.
    sampler: the settings that the generator was exported with.
    listen: function from samples float32 [n], mono 16 kHz, to standardised Whisper states
      [n / 320, layers, channels].
    hear: the same for sound of any length, [1, n] or what is sliced like it; yields the states in
      order, some at a time.
    digests: sha256 of the weights, by part.
  """

  models: sample.Models
  params: sample.Params
  sampler: sample.SamplerConfig
  listen: callable
  hear: callable
  digests: dict


def export(folder, codec_folder, audio_encoder, config, params, guess, **arrays):
  """Writes a system's folder; it appears whole or not at all, in place of what was there.

  Args:
    folder: where to.
    codec_folder: the exported codec.
    audio_encoder: folder or hub id of the Whisper encoder.
    config: plain dict with 'model', 'sampler', 'listening' and 'codec' (its digest).
    params: the generator's.
    guess: expectation.Expectation.
    **arrays: audio_mean and audio_std [layers, channels].
  """
  arrays |= {f'expected_{name}': value for name, value in vars(guess).items()}
  config = config | {'audio_encoder': AUDIO_ENCODER}
  with weights.whole_folder(folder) as part:
    weights.export(part, 'generator', config, params, **arrays)
    shutil.copytree(codec_folder, part / 'codec')
    (part / AUDIO_ENCODER).mkdir()
    source = whisper.locate(audio_encoder)
    for pattern in _AUDIO_FILES:
      for path in source.glob(pattern):
        shutil.copyfile(path, part / AUDIO_ENCODER / path.name)


def export_student(folder, teacher_folder, config, params):
  """Writes a teacher's system with a student in it; whole or not at all, over what was there.

  Args:
    folder: where to.
    teacher_folder: the teacher's system.
    config: plain dict with 'sampler'.
    params: the student's.
  """
  teacher_folder = pathlib.Path(teacher_folder)
  teacher = weights.load_export(teacher_folder, 'generator')
  with weights.whole_folder(folder) as part:
    shutil.copytree(teacher_folder / 'codec', part / 'codec')
    shutil.copytree(teacher_folder / teacher.config['audio_encoder'], part / AUDIO_ENCODER)
    digest = weights.fill(part, 'generator', teacher.config | {'audio_encoder': AUDIO_ENCODER},
                          teacher.params, **teacher.arrays)
    weights.export(part / 'student', 'student', config | {'teacher': digest}, params)


def expected(arrays):
  """The expectation.Expectation among a generator's further arrays."""
  fields = [field.name for field in dataclasses.fields(expectation.Expectation)]
  return expectation.Expectation(**{name: arrays[f'expected_{name}'] for name in fields})


def statistics(export: weights.Export):
  """What a generator's export knows of data: (expectation.Expectation, audio mean, audio std)."""
  return expected(export.arrays), export.arrays['audio_mean'], export.arrays['audio_std']


def load(folder, student: bool = False) -> System:
  """Reads an exported system.

  Args:
    folder: where it is.
    student: whether to sample with the student in it.

  Raises:
    UserError: something is missing, damaged or does not fit together.
  """
  folder = pathlib.Path(folder)
  made = weights.load_export(folder, 'generator')
  packed = weights.load_export(folder / 'codec', 'codec')
  if made.config['codec'] != packed.digest:
    raise UserError(f'{folder}: the codec in it is not the one that its generator was trained '
                    'with: export the generator again')
  models = sample.Models(codec.CodecConfig(**packed.config),
                         generator.GeneratorConfig(**made.config['model']))
  sampling = _load_student(folder, made) if student else made
  manifest.check_known(folder, {
    'generator.safetensors': made.digest, 'codec/codec.safetensors': packed.digest}
    | ({'student/student.safetensors': sampling.digest} if student else {}))
  for export, init in ((packed, functools.partial(codec.init, models.codec)),
                       (sampling, functools.partial(generator.init, models.generator))):
    weights.check_shapes(export.params, jax.eval_shape(init, jax.random.key(0)),
                         f'the {export.kind} in {folder}', f'export the {export.kind} again')
  audio_config, audio_params = whisper.load(folder / made.config['audio_encoder'])
  listening = made.config['listening']
  guess, audio_mean, audio_std = statistics(made)

  def hear(samples):
    for states in whisper.stream(
      audio_config, audio_params, samples, window_seconds=listening['window_seconds'],
      margin_seconds=listening['margin_seconds'], layers=listening['audio_layers']):
      yield np.asarray(standardize(states, audio_mean, audio_std))

  def listen(samples):
    return np.concatenate(list(hear(samples[None])))

  params = sample.Params(packed.params, sampling.params, guess, packed.arrays['latent_mean'],
                         packed.arrays['latent_std'])
  return System(models, jax.device_put(params), sample.SamplerConfig(**sampling.config['sampler']),
                listen, hear, {'codec': packed.digest, sampling.kind: sampling.digest})


def _load_student(folder, teacher):
  if not (folder / 'student').is_dir():
    raise UserError(f'{folder} has no student in it: train one with '
                    f'--config=configs/student.py --config.teacher={folder}, or sample without')
  student = weights.load_export(folder / 'student', 'student')
  if student.config['teacher'] != teacher.digest:
    raise UserError(f'{folder}: the student in it learned from another generator: train it again')
  return student

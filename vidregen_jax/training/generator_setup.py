"""Builds what a generator's or a student's config describes: model, teacher and objective."""

import dataclasses

from vidregen_jax.errors import UserError
from vidregen_jax.exports import model_loader
from vidregen_jax.models import flow_matching, generator
from vidregen_jax.training import generator_objective


def model_config(config, info, region):
  """The generator that a training config describes, for latents of a dataset.

  Args:
    config: fields of `config.model`.
    info: `input_pipeline.latent_info`.
    region: flat cells of the lower face.
  """
  return generator.GeneratorConfig(
    cells=info['latent_shape'][0],
    latent_channels=info['latent_shape'][2],
    region=region,
    audio_layers=len(info['audio_layers']),
    audio_channels=info['audio_width'],
    **config.model,
  )


def load_teacher(config, model, codec_digest):
  """The exported generator that a student learns from.

  Raises:
    UserError: it is not the model of the config, or was trained with another codec.
  """
  teacher = model_loader.load_generator(config.teacher).export
  if teacher.config['codec'] != codec_digest:
    raise UserError(f'the teacher in {config.teacher} works on the latents of another codec than '
                    f'{config.codec}: name the codec in its export')
  teacher_model = generator.GeneratorConfig(**teacher.config['model'])
  how_it_runs = ('unroll', 'dtype', 'mlp_dtype', 'remat')
  for name, value in dataclasses.asdict(model).items():
    if name not in how_it_runs and getattr(teacher_model, name) != value:
      raise UserError(f"the student's {name} is {value} and the teacher's, in {config.teacher}, is "
                      f'{getattr(teacher_model, name)}: they must be the same model')
  return teacher


def objective(config, model, teacher=None) -> generator_objective.Objective:
  """The objective that a training config describes; `teacher` is the teacher's SamplerConfig."""
  return generator_objective.Objective(
    model=model, sampler=flow_matching.SamplerConfig(**config.sampler), teacher=teacher,
    copies=config.copies, shift=config.shift, mouth_weight=config.mouth_weight,
    history_noise=config.history_noise, drop_history=config.drop_history,
    drop_reference=config.drop_reference, drop_each_reference=config.drop_each_reference,
    drop_anchor=config.drop_anchor, drop_audio=config.drop_audio, drop_all=config.drop_all,
    voice_shift=config.voice_shift, voice_stretch=config.voice_stretch,
    voice_drop=config.voice_drop)

"""Builds what a config of frames describes: the system that is tuned, objective and networks."""

import dataclasses

import numpy as np

from vidregen_jax.errors import UserError
from vidregen_jax.exports import model_folder, pipeline
from vidregen_jax.inference import sampling
from vidregen_jax.models import discriminators, flow_matching, linear_prior, perceptual
from vidregen_jax.training import generator_objective, pixel_objective

# Fields of generator_objective.Objective that a config has by the same name.
_BORNE = ('mouth_weight', 'history_noise', 'drop_history', 'drop_reference', 'drop_each_reference',
          'drop_anchor', 'drop_audio', 'drop_all', 'voice_shift', 'voice_stretch', 'voice_drop')


@dataclasses.dataclass(frozen=True)
class Source:
  """A system that is tuned.

  Attributes:
    models: shapes of codec and generator.
    codec, generator, student: what was exported of each.
    guess: the linear prior.
    audio_mean, audio_std: [layers, channels] of Whisper states.
  """

  models: sampling.Models
  codec: model_folder.Export
  generator: model_folder.Export
  student: model_folder.Export
  guess: linear_prior.Expectation
  audio_mean: np.ndarray
  audio_std: np.ndarray

  @property
  def params(self) -> dict:
    """The parameters of `pixel_objective.PARTS`."""
    params = {'student': self.student.params, 'decoder': self.codec.params['decoder']}
    if self.models.generator.aligned:
      params['prior'] = {'kernel': self.guess.kernel, 'bias': self.guess.bias}
    return params

  @property
  def sampler(self) -> flow_matching.SamplerConfig:
    """The student's."""
    return flow_matching.SamplerConfig(**self.student.config['sampler'])

  def tuned(self, params):
    """(codec parameters, linear prior) with tuned ones in place of the system's own."""
    return (self.codec.params | {'decoder': params['decoder']},
            dataclasses.replace(self.guess, **params.get('prior', {})))


def load(folder) -> Source:
  """Reads a system with a student in it.

  Raises:
    UserError: something is missing, damaged or does not fit together.
  """
  found = pipeline.load_parts(folder)
  return Source(
    sampling.Models(found['codec'].model, found['generator'].model),
    *(found[kind].export for kind in ('codec', 'generator', 'student')),
    *pipeline.statistics(found['generator'].export))


def objective(config, models) -> pixel_objective.Objective:
  """The objective that a training config describes, for a system's models."""
  return pixel_objective.Objective(
    student=generator_objective.Objective(
      model=models.generator, sampler=flow_matching.SamplerConfig(**config.sampler), teacher=None,
      copies=1, shift=config.sampler.shift, **{name: config[name] for name in _BORNE}),
    codec=models.codec,
    critic=discriminators.DiscriminatorConfig(tuple(config.gan_widths), config.gan_mouth_size),
    mouth_weight=config.pixel_mouth_weight,
    perceptual_weight=config.perceptual_weight,
    perceptual_frames=config.perceptual_frames,
    latent_weight=config.latent_weight,
    gan_weight=config.gan_weight,
    penalty_weight=config.penalty_weight,
    parts=tuple(config.parts),
  )


def frozen(config, source: Source) -> pixel_objective.Frozen:
  """What the losses need besides what is trained.

  Raises:
    UserError: LPIPS is wanted, and its network is not there.
  """
  vgg16 = {}
  if config.perceptual_weight:
    if not config.perceptual:
      raise UserError('config.perceptual_weight needs VGG16: give its folder or hub id, '
                      '--config.perceptual=FOLDER, or go without, --config.perceptual_weight=0')
    vgg16 = perceptual.load(config.perceptual)
  return frozen_of(source, vgg16)


def frozen_of(source: Source, vgg16: dict) -> pixel_objective.Frozen:
  """The same with VGG16 at hand; it is empty without LPIPS."""
  arrays = source.codec.arrays
  return pixel_objective.Frozen(
    generator_objective.Frozen(source.guess, source.audio_mean, source.audio_std, {}),
    source.codec.params['encoder'], arrays['latent_mean'], arrays['latent_std'], vgg16)

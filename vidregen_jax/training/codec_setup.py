"""Builds what a codec's config describes: the model, its losses, and what it starts from."""

import functools

import jax

from vidregen_jax.errors import UserError
from vidregen_jax.exports import model_folder
from vidregen_jax.models import codec, discriminators, perceptual, pixels, pretrained, teacher
from vidregen_jax.training import codec_objective, pretrained_reference


def model_config(config):
  """The codec that a training config describes."""
  fields = {k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in config.model.items()}
  return codec.CodecConfig(**fields)


def check_counts(config, model):
  """Raises:
    UserError: a number in the config is out of range.
  """
  for name in ('batch_size', 'log_every', 'eval_every', 'checkpoint_every', 'eval_clips',
               'stats_batches'):
    if config[name] < 1:
      raise UserError(f'config.{name} is {config[name]}: give 1 or more')
  if config.num_frames < 1 or config.num_frames % codec.TIME_FACTOR:
    raise UserError(f'config.num_frames is {config.num_frames}: give a multiple of '
                    f'{codec.TIME_FACTOR}, the frames of a latent frame')
  channels = model.latent_channels
  if model.aligned and not config.start_from and config.map_groups <= channels:
    raise UserError(f'config.map_groups is {config.map_groups}: cell maps of {channels} channels '
                    'need more than that')


def load_teacher(source, cells):
  """`teacher.load`, and a check that a DINOv2 is one that this package can compute.

  Raises:
    UserError: there is none, it is incomplete, or it is not such a model.
  """
  folder = pretrained.locate(source, 'teacher (DINOv2 or VGG16)', 'facebook/dinov2-base')
  found, params = teacher.load(folder, cells)
  if found.network is not None:
    pretrained_reference.check_dinov2(folder, found.network)
  return found, params


def make_objective(config, model, vgg16=perceptual.load, taught_by=load_teacher):
  """The objective that a training config describes, and the frozen networks that it needs.

  Args:
    config: of a training; model: its CodecConfig.
    vgg16, taught_by: functions that load the networks, or `shapes` of the same modules.

  Returns:
    (codec_objective.Objective, dict of parameters).

  Raises:
    UserError: a mistake in the config, or weights that are not there.
  """
  frozen, network = {}, None
  if (config.perceptual_weight or config.align_weight and not config.teacher) and (
      not config.perceptual):
    raise UserError(
      'config.perceptual_weight and config.align_weight need VGG16: give its folder or hub id, '
      '--config.perceptual=FOLDER, or go without, --config.perceptual_weight=0 '
      '--config.align_weight=0'
    )
  if config.perceptual_weight:
    frozen['vgg16'] = vgg16(config.perceptual)
  if config.align_weight:
    network, frozen['teacher'] = taught_by(config.teacher or config.perceptual, model.cells)
  dtypes = {name: model.activations.name if config[name] == 'auto' else config[name]
            for name in ('perceptual_dtype', 'gan_dtype')}
  objective = codec_objective.Objective(
    model=model,
    discriminators=discriminators.DiscriminatorConfig(
      tuple(config.gan_widths), config.gan_mouth_size, dtypes['gan_dtype'],
    ) if config.gan_weight else None,
    teacher=network,
    parts=tuple(config.parts),
    mouth_weight=config.mouth_weight,
    perceptual_weight=config.perceptual_weight,
    perceptual_frames=config.perceptual_frames,
    perceptual_crop=config.perceptual_crop,
    perceptual_dtype=dtypes['perceptual_dtype'],
    kl_weight=config.kl_weight,
    kl_warmup_steps=config.kl_warmup_steps,
    align_weight=config.align_weight,
    align_frames=config.align_frames,
    cosine_margin=config.cosine_margin,
    distance_margin=config.distance_margin,
    gan_weight=config.gan_weight,
    penalty_weight=config.penalty_weight,
  )
  return objective, frozen


def principal_maps(model, groups):
  """An aligned codec's cell maps, {'encoder': {'maps': ...}, ...}.

  Args:
    model: its CodecConfig.
    groups: training crops, uint8 [N, 4, S, S, 3].
  """
  maps = codec.principal_maps(model, pixels.to_float(groups))
  return {part: {'maps': tree} for part, tree in maps.items()}


def load_start(folder, model):
  """The parameters of an exported codec; of another crop size too, unless it is aligned.

  Raises:
    UserError: no codec there, or one of another shape.
  """
  export = model_folder.load_export(folder, 'codec')
  model_folder.check_shapes(
    export.params, jax.eval_shape(functools.partial(codec.init, model), jax.random.key(0)),
    f'the codec in {folder}', 'choose another config.start_from, or the config it was trained with'
  )
  return export.params

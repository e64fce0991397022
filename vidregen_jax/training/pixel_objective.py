"""The losses of a student and its decoder by what their frames look like, and their gradients.

A student that learns from latents alone gives the mean of what may be said, and the decoder was
never shown such means: lips and teeth blur. Here the student's latents are decoded, and both are
changed until the frames look like the true ones: by an L1, by LPIPS of the mouth, and by a small
critic of the mouth that learns what true ones look like. Half of the decoder's inputs are the
codec's own latents, so that it does not forget them; and an error in latents keeps the student
listening, which a critic of pictures cannot judge.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax.errors import UserError
from vidregen_jax.models import (
  codec,
  discriminators,
  generator,
  linear_prior,
  perceptual,
  pixels,
)
from vidregen_jax.training import generator_objective, losses

# What can be trained, and the terms that can become non-finite, in the order in which one spoils
# the next.
PARTS = ('student', 'prior', 'decoder')
TERMS = ('latents', 'l1', 'perceptual', 'gan', 'critic', 'penalty')
_KL_WEIGHT = 1e-6  # of a codec that is tuned, as in configs/codec.py


@dataclasses.dataclass(frozen=True)
class Objective:
  """The models and how much each loss weighs; a weight of 0 leaves the loss out.

  Attributes:
    student: the student, its sampler, and what it is trained to bear.
    codec: the codec whose decoder shows its latents.
    critic: the shape of the mouth's discriminator; its mouth_size is also the side of what LPIPS
      sees.
    mouth_weight: pixels in the mouth's box weigh 1 + this in the L1, whose own weight is 1.
    perceptual_weight: of LPIPS; perceptual_frames: of each window it looks at so many, drawn anew
      each step.
    latent_weight: of the squared error of the sampled residual.
    gan_weight: of the critic's verdict, after its gradient is given the length of the others'.
    penalty_weight: of the critic's gradient penalty.
    parts: which of `PARTS` are trained.
    remembers: whether the decoder is also shown the codec's own latents of the same windows.
  """

  student: generator_objective.Objective
  codec: codec.CodecConfig
  critic: discriminators.DiscriminatorConfig
  mouth_weight: float
  perceptual_weight: float
  perceptual_frames: int
  latent_weight: float
  gan_weight: float
  penalty_weight: float
  parts: tuple[str, ...]
  remembers: bool = True

  def __post_init__(self):
    if not self.parts or set(self.parts) - set(PARTS):
      raise UserError(f'the parts to train are {self.parts}: some of {PARTS}')
    if self.student.sampler.guided:
      raise UserError('a student is not guided: give config.sampler.guidance_appearance and '
                      'guidance_audio 1')
    for name in ('mouth_weight', 'perceptual_weight', 'latent_weight', 'gan_weight',
                 'penalty_weight'):
      if getattr(self, name) < 0:
        raise UserError(f'config.{name} is {getattr(self, name)}: it cannot be negative')
    if self.perceptual_weight and self.perceptual_frames < 1:
      raise UserError(f'config.perceptual_frames is {self.perceptual_frames}: give 1 or more')


@functools.partial(jax.tree_util.register_dataclass, meta_fields=[],
                   data_fields=['statistics', 'encoder', 'latent_mean', 'latent_std', 'vgg16'])
@dataclasses.dataclass(frozen=True)
class Frozen:
  """Arguments of the losses that training does not change.

  Attributes:
    statistics: of latents and sound; of its `guess` the scale alone, where there is a prior in the
      parameters.
    encoder: the codec's, which is not trained: latents are read from a dataset.
    latent_mean, latent_std: [C], of the codec's latents.
    vgg16: of `perceptual.load`; empty without LPIPS.
  """

  statistics: generator_objective.Frozen
  encoder: dict
  latent_mean: jax.Array
  latent_std: jax.Array
  vgg16: dict


def init(objective: Objective, key) -> dict:
  """Parameters of PARTS and of the critic, at random: shapes, which a system's are put into.

  Without a linear prior ('prior') there are none of it.
  """
  keys = jax.random.split(key, 3)
  model = objective.student.model
  params = {
    'student': generator.init(model, keys[0]),
    'decoder': codec.init(objective.codec, keys[1])['decoder'],
    'critic': discriminators.critic(objective.critic).init(keys[2]),
  }
  if model.aligned:
    prior = linear_prior.shapes(model.region, model.cells, model.latent_channels)
    params['prior'] = {name: jnp.zeros(getattr(prior, name).shape) for name in ('kernel', 'bias')}
  return params


def axes(objective: Objective) -> dict:
  """Names of the axes of the kernels of `init`, by path; see `layers.Definition.axes`."""
  named = {('student', *path): names for path, names in generator.axes(
    objective.student.model).items()}
  judge = discriminators.critic(objective.critic).axes()
  return (named | {path: names for path, names in codec.axes(objective.codec).items()
                   if path[0] == 'decoder'}
          | {('critic', *path): names for path, names in judge.items()})


def gradients(objective: Objective, params: dict, frozen: Frozen, batch: dict, key,
              adversarial: bool):
  """One step's gradients.

  Args:
    objective: what to train on.
    params: of `init`.
    frozen: the arguments that are not trained.
    batch: windows of `paired_clips.cut`, stacked.
    key: of all draws.
    adversarial: whether the critic takes part yet.

  Returns:
    A tree like params, and a dict of scalars by name: those of TERMS that take part, the weight
    found by balancing, and the loss that the trained parts minimise.
  """
  sample_key, frames_key = jax.random.split(key)
  trained = {name: params[name] for name in PARTS if name in params}
  (frames, distance), back = jax.vjp(
    lambda trained: shown(objective, trained, frozen, batch, sample_key), trained)
  true, boxes = pixels.to_float(batch['frames']), batch['frame_boxes']
  if objective.remembers:
    true, boxes = (jnp.concatenate([x, x]) for x in (true, boxes))
  squares = pixels.mouth_squares(boxes)

  pixel_loss = functools.partial(_pixel_loss, objective, frozen.vgg16, true, boxes, squares,
                                 frames_key)
  (loss, terms), at_pixels = jax.value_and_grad(pixel_loss, has_aux=True)(frames)
  grads = {'critic': jax.tree.map(jnp.zeros_like, params['critic'])}
  if adversarial:
    fooled = lambda x: losses.fooled(_verdicts(objective, params['critic'], x, squares))
    terms['gan'], against = jax.value_and_grad(fooled)(frames)
    terms['gan_balance'] = losses.balance(at_pixels, against)
    weight = objective.gan_weight * terms['gan_balance']
    loss += weight * terms['gan']
    at_pixels += weight * against
    judged = functools.partial(_critic, objective, true=true, made=frames, squares=squares)
    (_, more), grads['critic'] = jax.value_and_grad(judged, has_aux=True)(params['critic'])
    terms |= more
  of_parts, = back((at_pixels, jnp.float32(objective.latent_weight)))
  grads |= {name: grad if name in objective.parts else jax.tree.map(jnp.zeros_like, grad)
            for name, grad in of_parts.items()}
  return grads, terms | {'latents': distance, 'loss': loss + objective.latent_weight * distance}


def shown(objective: Objective, trained: dict, frozen: Frozen, batch: dict, key):
  """Windows as the decoder shows them, of the student's latents and then of those it remembers.

  Args:
    objective, frozen, batch: as in `gradients`.
    trained: parameters of PARTS.
    key: of the student's draws.

  Returns:
    (frames [B or 2B, 4T, S, S, 3], mean squared error of the student's residuals).
  """
  student, guess = objective.student, frozen.statistics.guess
  if 'prior' in trained:
    guess = dataclasses.replace(guess, **trained['prior'])
  statistics = dataclasses.replace(frozen.statistics, guess=guess)
  made, clean = generator_objective.sampled(student, trained['student'], statistics, batch, key)
  weights = losses.mouth_cell_weights(batch['mouth_box'], student.model.cells,
                                      student.model.region, student.mouth_weight)
  distance = losses.velocity(made, clean, weights).mean()

  target, context, references = (
    batch[name].astype(jnp.float32) for name in ('target', 'context', 'references'))
  reference = linear_prior.mean_reference(references, batch['reference_valid'])
  face = guess.restore(made, context, reference)
  latents = target.at[:, :, np.asarray(student.model.region)].set(face)
  if objective.remembers:
    latents = jnp.concatenate([latents, target])
  latents = latents * frozen.latent_std + frozen.latent_mean
  cells, count = objective.codec.cells, len(latents)
  frames, _ = codec.decode(objective.codec,
                           {'encoder': frozen.encoder, 'decoder': trained['decoder']},
                           latents.reshape(count, -1, cells, cells, latents.shape[-1]),
                           codec.init_decoder_cache(objective.codec, count))
  return frames, distance


def codec_gradients(objective: Objective, params: dict, vgg16: dict, batch: dict, key):
  """A step's gradients of a codec that is tuned by the same pixel losses, and a small KL.

  Args:
    objective: its codec, and the weights of L1 and LPIPS.
    params: {'encoder': ..., 'decoder': ...}.
    vgg16: of `perceptual.load`; empty without LPIPS.
    batch: examples of `input_pipeline.random_window`, stacked.
    key: of all draws.

  Returns:
    A tree like params, and a dict of scalars by name, with the loss.
  """
  draw_key, frames_key = jax.random.split(key)
  true = pixels.to_float(batch['frames'])
  squares = pixels.mouth_squares(batch['mouth_box'])
  # A hidden mouth is plain grey: its box is emptied, so that nothing is weighted.
  boxes = batch['mouth_box'] * ~batch['masked'][:, None, None]

  def loss(params):
    model, count = objective.codec, len(true)
    (mean, logvar), _ = codec.encode(model, params, true, codec.init_encoder_cache(model, count))
    frames, _ = codec.decode(model, params, codec.draw(model, mean, logvar, draw_key),
                             codec.init_decoder_cache(model, count))
    total, terms = _pixel_loss(objective, vgg16, true, boxes, squares, frames_key, frames)
    terms['kl'] = losses.kl(mean, logvar)
    total += _KL_WEIGHT * terms['kl']
    return total, terms | {'loss': total}

  grads, terms = jax.grad(loss, has_aux=True)(params)
  return grads, terms


def _pixel_loss(objective, vgg16, true, boxes, squares, key, frames):
  loss = losses.reconstruction(frames, true, boxes, objective.mouth_weight)
  terms = {'l1': loss}
  if objective.perceptual_weight:
    total = frames.shape[1]
    some = jax.random.choice(key, total, (min(objective.perceptual_frames, total),), replace=False)
    size = objective.critic.mouth_size
    seen = [discriminators.mouths(x[:, some], squares[:, some], size) for x in (frames, true)]
    terms['perceptual'] = perceptual.lpips(vgg16, *seen).mean()
    loss += objective.perceptual_weight * terms['perceptual']
  return loss, terms


def _verdicts(objective, params, frames, squares):
  _, seen = discriminators.views(objective.critic, frames, squares)
  return discriminators.critic(objective.critic).bind(params)(seen)


def _critic(objective, params, true, made, squares):
  """The critic's loss, and its terms; the second half of `true` repeats it if it is remembered."""
  once = slice(len(true) // 2 if objective.remembers else None)
  real = _verdicts(objective, params, true[once], squares[once])
  fake = _verdicts(objective, params, made, squares)
  _, seen = discriminators.views(objective.critic, true[once], squares[once])
  penalty = losses.gradient_penalty(discriminators.critic(objective.critic).bind(params), seen)
  hinge = losses.hinge(real, fake)
  terms = {'critic': hinge, 'penalty': penalty,
           'verdict_real': real.mean(), 'verdict_made': fake.mean()}
  return hinge + objective.penalty_weight * penalty, terms

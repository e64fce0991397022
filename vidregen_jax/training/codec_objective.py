"""The codec's losses and their gradients, in one pass.

Encoder and decoder are each run forward once and backward once. The losses are added at two places,
and balanced there by the norms of their gradients: the adversarial loss against the other pixel
losses at the decoder's output, the alignment with a teacher against the decoder's own gradient at
the latents. VQGAN (arXiv 2012.09841) and VA-VAE (arXiv 2501.01423) balance them at the weights of
the layer just before; here no further backward pass is needed.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax import lax

from vidregen_jax.errors import UserError
from vidregen_jax.models import codec, discriminators, layers, perceptual, pixels, teacher
from vidregen_jax.training import losses

# The terms that can become non-finite, in the order in which one spoils the next.
TERMS = ('l1', 'perceptual', 'kl', 'cosine', 'pairwise', 'gan', 'discriminators', 'penalty')


@dataclasses.dataclass(frozen=True)
class Objective:
  """The models and how much each loss weighs; a weight of 0 leaves the loss out.

  Attributes:
    model: the codec.
    discriminators: their shape, or None.
    teacher: what latents are aligned to, or None.
    mouth_weight: pixels and places of the mouth weigh 1 + this.
    perceptual_weight: of LPIPS, beside an L1 of weight 1.
    perceptual_frames: consecutive frames of each window that LPIPS looks at, drawn anew each step;
      0 for all.
    perceptual_crop: side in pixels at which LPIPS looks at the mouth's box alone; 0 for the whole
      crop, in which the mouth weighs more.
    perceptual_dtype: of VGG16's activations in LPIPS.
    kl_weight, kl_warmup_steps: of the KL, and the steps over which its weight grows from 0.
    align_weight: of both terms of the alignment, after balancing.
    align_frames: as perceptual_frames, in latent frames.
    cosine_margin, distance_margin: of these two terms, see `losses.alignment`.
    gan_weight: of the adversarial loss, after balancing.
    penalty_weight: of the discriminators' gradient penalty.
    parts: which parts are trained, 'encoder' and 'decoder' or one of them.
  """
  model: codec.CodecConfig
  discriminators: discriminators.DiscriminatorConfig | None
  teacher: teacher.Teacher | None
  mouth_weight: float
  perceptual_weight: float
  perceptual_frames: int
  perceptual_crop: int
  perceptual_dtype: str
  kl_weight: float
  kl_warmup_steps: int
  align_weight: float
  align_frames: int
  cosine_margin: float
  distance_margin: float
  gan_weight: float
  penalty_weight: float
  parts: tuple[str, ...]

  def __post_init__(self):
    if not self.parts or set(self.parts) - {'encoder', 'decoder'}:
      raise UserError(f"the parts to train are {self.parts}: 'encoder', 'decoder' or both")
    for name in ('mouth_weight', 'perceptual_weight', 'kl_weight', 'align_weight', 'gan_weight',
                 'penalty_weight', 'perceptual_frames', 'perceptual_crop', 'align_frames',
                 'kl_warmup_steps'):
      if getattr(self, name) < 0:
        raise UserError(f'config.{name} is {getattr(self, name)}: it cannot be negative')
    smallest = 2 ** (len(perceptual.WIDTHS) - 1)  # halved between VGG16's taps
    by_vgg16 = self.teacher is not None and self.teacher.network is None
    if (self.perceptual_weight or by_vgg16) and self.model.size < smallest:
      raise UserError(f'VGG16 needs crops of at least {smallest} pixels, not {self.model.size}: '
                      'use --config.perceptual_weight=0 --config.align_weight=0')
    if 0 < self.perceptual_crop < smallest:
      raise UserError(f'config.perceptual_crop is {self.perceptual_crop}: VGG16 needs at least '
                      f'{smallest} pixels; 0 is the whole crop')
    if self.perceptual_dtype not in ('float32', 'bfloat16'):
      raise UserError(f'config.perceptual_dtype is {self.perceptual_dtype!r}: it is auto, float32 '
                      'or bfloat16')


def init(objective: Objective, key) -> dict:
  """Parameters of all that is trained: 'encoder', 'decoder', and 'align' and 'discriminators'."""
  keys = jax.random.split(key, 3)
  params = codec.init(objective.model, keys[0])
  if objective.teacher is not None:
    params['align'] = _head(objective).init(keys[1])
  if objective.discriminators is not None:
    params['discriminators'] = discriminators.init(objective.discriminators, keys[2])
  return params


def axes(objective: Objective) -> dict:
  """Names of the axes of the kernels of `init`, by path; see `layers.Definition.axes`."""
  named = codec.axes(objective.model)
  if objective.teacher is not None:
    named |= {('align', *path): names for path, names in _head(objective).axes().items()}
  if objective.discriminators is not None:
    judges = discriminators.axes(objective.discriminators)
    named |= {('discriminators', *path): names for path, names in judges.items()}
  return named


@functools.cache
def _head(objective):
  """A 1x1 convolution without bias from latents to the teacher's channels."""
  channels, width = objective.model.latent_channels, objective.teacher.width
  return layers.Definition(lambda draws: layers.Linear(channels, width, draws, bias=False))


def gradients(objective: Objective, params, frozen, batch, key, step, adversarial: bool):
  """One step's gradients.

  Args:
    objective: what to train on.
    params: of `init`.
    frozen: {'vgg16': of perceptual.load, 'teacher': of teacher.load}, as far as they are used.
    batch: of input_pipeline.codec_batches.
    key: draws latents and frames.
    step: int32 [], for the KL's annealing.
    adversarial: whether the discriminators take part yet.

  Returns:
    A tree like params, and a dict of scalars by name: those of TERMS that take part, the weights
    found by balancing, and the loss that codec and head minimise.
  """
  model = objective.model
  frames = pixels.to_float(batch['frames'])
  # A hidden mouth is plain grey: its box is emptied, so that nothing is weighted.
  boxes = batch['mouth_box'] * ~batch['masked'][:, None, None]
  draw_key, frames_key, align_key = jax.random.split(key, 3)
  grads = jax.tree.map(jnp.zeros_like, params)

  # Forward.
  own = {part: params[part] for part in ('encoder', 'decoder')}
  encode = lambda encoder: _encode(model, own | {'encoder': encoder}, frames)
  decode = lambda decoder, mean, logvar: _decode(
    model, own | {'decoder': decoder}, codec.draw(model, mean, logvar, draw_key))
  if 'encoder' in objective.parts:
    (mean, logvar), encoder_back = jax.vjp(encode, params['encoder'])
  else:
    mean, logvar = encode(params['encoder'])
  output, decoder_back = jax.vjp(decode, params['decoder'], mean, logvar)

  # At the pixels.
  pixel_loss = functools.partial(_pixel_loss, objective, frozen, frames, boxes, frames_key)
  (loss, terms), at_pixels = jax.value_and_grad(pixel_loss, has_aux=True)(output)
  if adversarial:
    verdicts = functools.partial(_verdicts, objective, params['discriminators'], batch)
    terms['gan'], against = jax.value_and_grad(lambda x: _fooled(*verdicts(x)))(output)
    terms['gan_balance'] = losses.balance(at_pixels, against)
    weight = objective.gan_weight * terms['gan_balance']
    loss += weight * terms['gan']
    at_pixels += weight * against
    judged = lambda judges: _discriminators(objective, judges, batch, frames, output)
    (_, more), grads['discriminators'] = jax.value_and_grad(judged, has_aux=True)(
      params['discriminators'])
    terms |= more
  grads['decoder'], *at_latents = decoder_back(at_pixels)

  # At the latents.
  warmth = jnp.minimum(1.0, step / max(objective.kl_warmup_steps, 1))
  terms['kl'], at_kl = jax.value_and_grad(lambda stats: losses.kl(*stats))((mean, logvar))
  loss += objective.kl_weight * warmth * terms['kl']
  at_mean, at_logvar = (
    of_pixels + objective.kl_weight * warmth * of_kl
    for of_pixels, of_kl in zip(at_latents, at_kl, strict=True))
  if objective.teacher is not None:
    target = _teacher(objective, frozen['teacher'], frames, align_key)
    aligned = functools.partial(_alignment, objective, target, align_key)
    (total, more), (grads['align'], pull) = jax.value_and_grad(
      aligned, argnums=(0, 1), has_aux=True)(params['align'], mean)
    terms |= more
    terms['align_balance'] = losses.balance(at_latents[0], pull)
    weight = objective.align_weight * terms['align_balance']
    loss += weight * total
    at_mean += weight * pull
    grads['align'] = jax.tree.map(lambda x: weight * x, grads['align'])
  if 'encoder' in objective.parts:
    grads['encoder'], = encoder_back((at_mean, at_logvar))
  if 'decoder' not in objective.parts:
    grads['decoder'] = jax.tree.map(jnp.zeros_like, grads['decoder'])
  return grads, terms | {'loss': loss}


def _encode(model, params, frames):
  return codec.encode(model, params, frames, codec.init_encoder_cache(model, frames.shape[0]))[0]


def _decode(model, params, latents):
  return codec.decode(model, params, latents,
                      codec.init_decoder_cache(model, latents.shape[0]))[0]


def _some(x, count, key):
  """`count` consecutive entries of the second axis from a random start; all of them if 0."""
  total = x.shape[1]
  if not count or count >= total:
    return x
  start = jax.random.randint(key, (), 0, total - count + 1)
  return lax.dynamic_slice_in_dim(x, start, count, axis=1)


def _flat(x):
  return x.reshape(-1, *x.shape[2:])


def _pixel_loss(objective, frozen, frames, boxes, key, output):
  loss = losses.reconstruction(output, frames, boxes, objective.mouth_weight)
  terms = {'l1': loss}
  if objective.perceptual_weight:
    *pictures, boxes = (
      _flat(_some(x, objective.perceptual_frames, key)) for x in (output, frames, boxes))
    side = objective.perceptual_crop
    if side:
      pictures = [discriminators.cut(x, boxes, side) for x in pictures]
    distances = perceptual.lpips_map(frozen['vgg16'], *pictures, objective.perceptual_dtype)
    if side:
      terms['perceptual'] = losses.mean_distance(distances, (boxes[:, 2] > boxes[:, 0]) * 1.0)
    else:
      terms['perceptual'] = losses.perceptual_distance(
        distances, boxes, objective.model.size, objective.mouth_weight)
    loss += objective.perceptual_weight * terms['perceptual']
  return loss, terms


# ------------------------------------------------------------------------------------------------
# Discriminators
# ------------------------------------------------------------------------------------------------


def _verdicts(objective, params, batch, frames):
  """Verdicts on crops and mouths, and which mouths can be seen."""
  views = discriminators.views(objective.discriminators, frames, batch['mouth_box'])
  groups = frames.shape[1] // codec.TIME_FACTOR
  visible = jnp.repeat(~batch['masked'], groups).astype(jnp.float32)
  return *discriminators.judge(objective.discriminators, params, *views), visible


def _fooled(whole, mouth, visible):
  return losses.fooled(whole) + losses.fooled(mouth, visible)


def _discriminators(objective, params, batch, frames, output):
  """The loss of both discriminators; a hidden mouth counts in the penalty, not in the hinge."""
  config = objective.discriminators
  real = _verdicts(objective, params, batch, frames)
  fake = _verdicts(objective, params, batch, output)
  hinge = losses.hinge(real[0], fake[0]) + losses.hinge(real[1], fake[1], real[2])
  whole, mouth = discriminators.views(config, frames, batch['mouth_box'])
  penalty = losses.gradient_penalty(
    lambda x: discriminators.judge(config, params, x, mouth)[0], whole)
  penalty += losses.gradient_penalty(
    lambda x: discriminators.judge(config, params, whole, x)[1], mouth)
  terms = {'discriminators': hinge, 'penalty': penalty,
           'verdict_real': jnp.mean(real[0]), 'verdict_made': jnp.mean(fake[0])}
  return hinge + objective.penalty_weight * penalty, terms


# ------------------------------------------------------------------------------------------------
# Alignment
# ------------------------------------------------------------------------------------------------


def _teacher(objective, params, frames, key):
  """The teacher's features of latent frames, the mean of their 4 frames': [N, H, W, E]."""
  batch, length, *shape = frames.shape
  groups = frames.reshape(batch, length // codec.TIME_FACTOR, codec.TIME_FACTOR, *shape)
  some = _some(groups, objective.align_frames, key)
  found = teacher.features(objective.teacher, params, some.reshape(-1, *shape))
  return found.reshape(-1, codec.TIME_FACTOR, *found.shape[1:]).mean(1)


def _alignment(objective, target, key, head, mean):
  some = _flat(_some(mean, objective.align_frames, key))
  projected = _head(objective).bind(head)(some)
  cosine, pairwise = losses.alignment(
    projected, target, objective.cosine_margin, objective.distance_margin)
  return cosine + pairwise, {'cosine': cosine, 'pairwise': pairwise}

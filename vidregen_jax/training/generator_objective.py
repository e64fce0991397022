"""The generator's training losses: velocities of noisy lower faces, true ones or a teacher's.

A generator learns from clips: noise is added to copies of the true lower face, and each copy has
some streams hidden. A student learns from a trained generator: it learns to reach, in a few steps
of one branch and on a straight path, what its teacher generates in many guided steps (rectified
flow, arXiv 2209.03003, on the teacher's pairs).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax.errors import UserError
from vidregen_jax.models import (
  flow_matching,
  generator,
  linear_prior,
  streams,
  teacher_forcing,
  token_layout,
  whisper,
)
from vidregen_jax.training import losses

TIMES = 4  # intervals of flow time whose losses are logged separately
_DRAWS = 6  # independent kinds of random numbers in a loss


@functools.partial(jax.tree_util.register_dataclass, meta_fields=[],
                   data_fields=['guess', 'audio_mean', 'audio_std', 'teacher'])
@dataclasses.dataclass(frozen=True)
class Frozen:
  """Arguments of the loss that training does not change.

  Attributes:
    guess: the linear prediction of the lower face.
    audio_mean, audio_std: [layers, channels] of Whisper states.
    teacher: parameters of the generator that a student learns from; else empty.
  """

  guess: linear_prior.Expectation
  audio_mean: jax.Array
  audio_std: jax.Array
  teacher: dict


@dataclasses.dataclass(frozen=True)
class Objective:
  """The model and how it is trained; static, hashable.

  Attributes:
    model: the generator.
    sampler: of the model itself; a student learns at the flow times of its steps.
    teacher: how the teacher samples, or None to learn from clips.
    copies: number K of noise draws that share one pass over a clip's conditioning.
    shift: of the flow times that are drawn.
    mouth_weight: the loss of a cell in the mouth has weight 1 + this.
    history_noise: largest standard deviation of noise on the history.
    drop_history, drop_reference, drop_each_reference, drop_anchor, drop_audio, drop_all:
      probabilities that a stream is hidden from a copy, drawn independently: each_reference of
      each still, in addition to reference of all; all of audio and appearance together.
    voice_shift, voice_stretch: standard deviations, and voice_drop: a probability, see
      `other_voice`.
  """

  model: generator.GeneratorConfig
  sampler: flow_matching.SamplerConfig
  teacher: flow_matching.SamplerConfig | None
  copies: int
  shift: float
  mouth_weight: float
  history_noise: float
  drop_history: float
  drop_reference: float
  drop_each_reference: float
  drop_anchor: float
  drop_audio: float
  drop_all: float
  voice_shift: float
  voice_stretch: float
  voice_drop: float

  def __post_init__(self):
    if not 0 <= self.voice_drop < 1:
      raise UserError(f'config.voice_drop {self.voice_drop} is not a share of channels: give 0 to '
                      'less than 1')
    for name in ('history', 'reference', 'each_reference', 'anchor', 'audio', 'all'):
      value = getattr(self, f'drop_{name}')
      if not 0 <= value <= 1:
        raise UserError(f'config.drop_{name} {value} is not a probability: give 0 to 1')
    if self.teacher and self.teacher.noise != self.sampler.noise:
      raise UserError(f'config.sampler.noise {self.sampler.noise} is not the teacher\'s '
                      f'{self.teacher.noise}: a student starts from the same noise')


def loss(objective: Objective, params: dict, frozen: Frozen, batch: dict, key):
  """The loss of a batch.

  Args:
    objective: the model and its settings.
    params: the generator's.
    frozen: the arguments that are not trained.
    batch: windows (`windows.cut`), stacked.
    key: of all draws.

  Returns:
    (scalar, sums of `losses.by_flow_time`).
  """
  keys = jax.random.split(key, _DRAWS)
  clip, clean = _clip(objective, frozen, batch, keys)
  keep = draw_keep(objective, keys[2], (len(clean), objective.copies))
  if objective.teacher is None:
    noisy, target, t = _noised(objective, clean, keys)
  else:
    noisy, target, t = _taught(objective, frozen, clip, clean.shape, keep, keys)
  velocity = teacher_forcing.clip_velocity(objective.model, params, clip, noisy, t, keep)
  mouth = losses.mouth_cell_weights(batch['mouth_box'], objective.model.cells,
                                    objective.model.region, objective.mouth_weight)
  errors = losses.velocity(velocity, target, mouth[:, None])
  return errors.mean(), losses.by_flow_time(errors, t, TIMES)


@functools.partial(jax.jit, static_argnums=0)
def attention(objective: Objective, params: dict, frozen: Frozen, batch: dict):
  """The share of noisy tokens' attention that each stream gets when none is hidden.

  Returns:
    [7], a mean over layers, in the order of `streams.STREAMS`.
  """
  keys = jax.random.split(jax.random.key(0), _DRAWS)
  clip, clean = _clip(objective, frozen, batch, keys)
  noisy, _, t = _noised(objective, clean, keys)
  keep = token_layout.keep_all(objective.model, (len(clean), objective.copies))
  return teacher_forcing.clip_velocity(objective.model, params, clip, noisy, t, keep,
                                 shares=True)[1].mean(0)


def _clip(objective, frozen, batch, keys):
  """A batch as the generator sees it: (Clip, residuals [B, T, M, C] of the true lower faces)."""
  conditions = streams.of_windows(batch)
  fixed, frames, ahead = conditions.fixed, conditions.frames, conditions.ahead
  guess, region = frozen.guess, np.asarray(objective.model.region)
  reference = linear_prior.mean_reference(fixed.references, fixed.reference_valid)
  clean = guess.residual(frames.target[:, :, region], frames.context, reference)
  # In sampling the past is generated and slightly wrong: so noise of a random level is added.
  level = objective.history_noise * jax.random.uniform(keys[0], (len(clean), 1, 1, 1))
  audio = whisper.standardize(ahead.audio, frozen.audio_mean, frozen.audio_std)
  ahead = dataclasses.replace(ahead, audio=other_voice(objective, audio, keys[5]))
  clip = teacher_forcing.Clip(
    conditions=dataclasses.replace(conditions, ahead=ahead),
    anchor=guess.residual(fixed.anchor, fixed.anchor_context, reference),
    history=clean + level * jax.random.normal(keys[1], clean.shape),
  )
  return clip, clean


def sampled(objective: Objective, params: dict, frozen: Frozen, batch: dict, key):
  """Lower faces sampled as the sampler would, but with the true past, and differentiable.

  Args:
    objective: its sampler is not guided; of its copies there is one.
    params, frozen, batch, key: as in `loss`.

  Returns:
    (sampled residuals, true residuals), both [B, T, M, C].
  """
  keys = jax.random.split(key, _DRAWS)
  clip, clean = _clip(objective, frozen, batch, keys)
  keep = draw_keep(objective, keys[2], (len(clean), 1))
  velocity = teacher_forcing.conditioned(objective.model, params, clip, keep)
  sampler, (count, frames) = objective.sampler, clean.shape[:2]
  noise = sampler.noise * jax.random.normal(keys[4], (count, 1, *clean.shape[1:]))
  made = flow_matching.integrate(
    lambda x, t: velocity(x, jnp.full((count, 1, frames), t)), noise, sampler.steps, sampler.shift,
    sampler.solver)
  return made[:, 0], clean


def _noised(objective, clean, keys):
  """Adds noise to true faces: noisy and target [B, K, T, M, C], flow times [B, K, T]."""
  shape = (len(clean), objective.copies)
  t = flow_matching.draw_time(keys[3], (*shape, clean.shape[1]), objective.shift)
  noise = jax.random.normal(keys[4], (*shape, *clean.shape[1:]))
  return flow_matching.interpolate(clean[:, None], noise,
                                   t), flow_matching.velocity_target(clean[:, None], noise), t


def _taught(objective, frozen, clip, shape, keep, keys):
  """Points on straight paths from noise to what the teacher generates; returns as `_noised`.

  Flow times are those of the student's steps. Guidance is the teacher's, with the streams that each
  copy sees.
  """
  batch, frames = shape[:2]
  copies, student, teacher = objective.copies, objective.sampler, objective.teacher
  noise = teacher.noise * jax.random.normal(keys[4], (batch, copies, *shape[1:]))
  branches = [keep]
  if teacher.guided:
    silent = dataclasses.replace(keep, audio=jnp.zeros_like(keep.audio))
    branches = [jax.tree.map(jnp.zeros_like, keep), silent, keep]
  all_of_them = jax.tree.map(lambda *parts: jnp.concatenate(parts, 1), *branches)
  velocity = teacher_forcing.conditioned(objective.model, frozen.teacher, clip, all_of_them)

  def guided(x, t):
    v = velocity(jnp.concatenate([x] * len(branches), 1),
                 jnp.full((batch, len(branches) * copies, frames), t))
    return flow_matching.guide(teacher, jnp.split(v, len(branches), 1), t)

  faces = jax.lax.stop_gradient(
    flow_matching.integrate(guided, noise, teacher.steps, teacher.shift, teacher.solver))
  grid = flow_matching.times(student.steps, student.shift)[:-1]
  t = grid[jax.random.randint(keys[3], (batch, copies, frames), 0, student.steps)]
  return flow_matching.interpolate(faces, noise, t), flow_matching.velocity_target(faces, noise), t


def draw_keep(objective: Objective, key, shape) -> token_layout.Keep:
  """Draws which streams each copy sees, for copies of shape (B, K)."""
  # One draw for all: a CPU takes long to compile a random generator.
  rates = [objective.drop_all, objective.drop_reference, objective.drop_anchor,
           objective.drop_audio, objective.drop_history]
  rates += objective.model.references * [objective.drop_each_reference]
  survives = jax.random.uniform(key, (*shape, len(rates))) >= jnp.array(rates)
  some, references, anchor, audio, history = jnp.moveaxis(survives[..., :5], -1, 0)
  return token_layout.Keep(
    reference=survives[..., 5:] & (references & some)[..., None],
    anchor=anchor & some, audio=audio & some, history=history & some,
  )


def other_voice(objective: Objective, audio, key):
  """Augments standardised audio features as if another voice had spoken.

  A voice changes Whisper's states by nearly constant amounts over a clip. So each channel of a clip
  is shifted, scaled, and sometimes zeroed, alike at all times.

  Args:
    objective: with voice_shift, voice_stretch and voice_drop.
    audio: [B, T, 16, layers, channels].
    key: random key.
  """
  shift, stretch, survives = jax.random.normal(key, (3, len(audio), 1, 1, *audio.shape[3:]))
  threshold = jax.scipy.stats.norm.ppf(objective.voice_drop)
  moved = audio * (1 + objective.voice_stretch * stretch) + objective.voice_shift * shift
  return jnp.where(survives > threshold, moved, 0.0)

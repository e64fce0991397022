"""One training step of any stage: gradients, optimizer, moving average and measurements.

The training loops run it; `plan` compiles it for machines that are not at hand.
"""

import functools

import jax
import jax.numpy as jnp

from vidregen_jax.distributed import sharding
from vidregen_jax.training import (
  codec_objective,
  generator_objective,
  lips_objective,
  pixel_objective,
  sync_objective,
  train_state,
)


def of_codec(objective, config, shardings):
  """The step of stage 1.

  Args:
    objective: codec_objective.Objective.
    config: with seed, ema, accumulate and the fields of the optimizer.
    shardings: the state's, TrainState of NamedSharding.

  Returns:
    Jitted function from (TrainState, frozen networks, batch, whether discriminators take part) to
    the next TrainState and a dict of scalars; the given state is donated.
  """
  def gradients(params, frozen, batch, key, step, adversarial):
    return codec_objective.gradients(objective, params, frozen, batch, key, step, adversarial)

  return _make(gradients, train_state.make_codec_optimizer(config), config, shardings, 'crops',
               static_argnums=3)


def of_generator(objective, config, shardings):
  """The step of stages 2 and 3.

  Args:
    objective: generator_objective.Objective.
    config, shardings: as in `of_codec`.

  Returns:
    Jitted function from (TrainState, generator_objective.Frozen, batch) to the next TrainState and
    a dict of scalars, with 'times': sums of `losses.by_flow_time`; the state is donated.
  """
  loss = functools.partial(generator_objective.loss, objective)

  def gradients(params, frozen, batch, key, step):
    (value, times), grads = jax.value_and_grad(loss, has_aux=True)(params, frozen, batch, key)
    return grads, {'loss': value, 'times': times}

  return _make(gradients, train_state.make_optimizer(config), config, shardings, 'batch')


def of_sync(model, config, shardings):
  """The step of the sync scorer.

  Args:
    model: sync.SyncConfig.
    config, shardings: as in `of_codec`.

  Returns:
    Jitted function from (TrainState, None, batch) to the next TrainState and a dict of scalars;
    the given state is donated.
  """
  def gradients(params, frozen, batch, key, step):
    del frozen, key, step  # nothing is drawn
    return sync_objective.gradients(model, params, batch)

  return _make(gradients, train_state.make_optimizer(config), config, shardings, 'batch')


def of_lips(model, config, shardings):
  """The step of stage 5.

  Args:
    model: lip_listener.ListenerConfig.
    config, shardings: as in `of_codec`.

  Returns:
    Jitted function from (TrainState, lips_objective.Frozen, batch) to the next TrainState and a
    dict of scalars; the given state is donated.
  """
  def gradients(params, frozen, batch, key, step):
    del step
    return lips_objective.gradients(model, config.dropout, config.noise, params, frozen, batch, key)

  return _make(gradients, train_state.make_optimizer(config), config, shardings, 'batch')


def of_pixels(objective, config, shardings):
  """The step that tunes a student and its decoder by their frames.

  Args:
    objective: pixel_objective.Objective.
    config, shardings: as in `of_codec`.

  Returns:
    Jitted function from (TrainState, pixel_objective.Frozen, batch, whether the critic takes part)
    to the next TrainState and a dict of scalars; the given state is donated.
  """
  def gradients(params, frozen, batch, key, step, adversarial):
    return pixel_objective.gradients(objective, params, frozen, batch, key, adversarial)

  return _make(gradients, train_state.make_pixel_optimizer(config), config, shardings, 'batch',
               train_state.constant_rate, static_argnums=3)


def of_tuned_codec(objective, config, shardings):
  """The step that tunes a codec by the pixel losses of `of_pixels`.

  Args:
    objective: pixel_objective.Objective.
    config, shardings: as in `of_codec`.

  Returns:
    Jitted function from (TrainState, parameters of VGG16, batch) to the next TrainState and a dict
    of scalars; the given state is donated.
  """
  def gradients(params, vgg16, batch, key, step):
    return pixel_objective.codec_gradients(objective, params, vgg16, batch, key)

  return _make(gradients, train_state.make_optimizer(config, train_state.constant_rate), config,
               shardings, 'crops', train_state.constant_rate)


def _make(gradients, optimizer, config, shardings, axis, rate=train_state.learning_rate, **jit):
  schedule = rate(config)

  @functools.partial(jax.jit, donate_argnums=0, out_shardings=(shardings, None), **jit)
  def train_step(state, frozen, batch, *options):
    key = jax.random.fold_in(jax.random.key(config.seed), state.step)
    grads, measured = accumulated(
      lambda part, key: gradients(state.params, frozen, part, key, state.step, *options),
      batch, key, config.accumulate, axis)
    lr = schedule(state.step)
    state, updates = train_state.apply_gradients(state, grads, optimizer, config.ema)
    return state, measured | {'lr': lr} | train_state.norms(state.params, grads, updates)

  return train_step


def accumulated(gradients, batch, key, parts, axis='batch'):
  """Gradients and measurements of a batch, computed part after part to save memory.

  Args:
    gradients: function of (batch, key) to two trees.
    batch: tree of arrays [B, ...].
    key: random key of the batch; each part gets its own, derived from it.
    parts: how many; B is a multiple.
    axis: of sharding.RULES, what the batch is split over.

  Returns:
    The means of both trees over the parts.
  """
  if parts == 1:
    return gradients(batch, key)
  # Part i takes the examples i, i + parts, i + 2 parts, ...: so every device splits up its own
  # examples, and none is sent to another device.
  split = jax.tree.map(
    lambda x: jnp.moveaxis(x.reshape(-1, parts, *x.shape[1:]), 1, 0), batch)
  split = jax.tree.map(
    lambda x: sharding.constrain(x, None, axis, *(None,) * (x.ndim - 2)), split)

  def add(total, part):
    found = gradients(*part)
    return jax.tree.map(jnp.add, total, found), None

  keys = jax.random.split(key, parts)
  zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(
    gradients, *jax.tree.map(lambda x: x[0], (split, keys))))
  total, _ = jax.lax.scan(add, zeros, (split, keys))
  return jax.tree.map(lambda x: x / parts, total)

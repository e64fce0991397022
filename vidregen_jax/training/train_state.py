"""The training state as a value, and the pure functions that create and advance it.

It holds no random state: every key is fold_in(key(seed), step).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax

from vidregen_jax.distributed import sharding


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=('step', 'params', 'opt_state', 'ema'),
  meta_fields=(),
)
@dataclasses.dataclass(frozen=True)
class TrainState:
  """All that a training run needs to resume, apart from the position in its data.

  Attributes:
    step: int32 [], updates made so far.
    params: tree of float32 arrays.
    opt_state: the optimizer's state.
    ema: like params, their exponential moving average: what is evaluated and exported.
  """

  step: jax.Array
  params: dict
  opt_state: tuple
  ema: dict


def learning_rate(config):
  """The schedule: linear warm-up to config.learning_rate, then a cosine down to a hundredth."""
  return optax.warmup_cosine_decay_schedule(
    init_value=0.0,
    peak_value=config.learning_rate,
    warmup_steps=config.warmup_steps,
    decay_steps=max(config.num_steps, config.warmup_steps + 1),
    end_value=config.learning_rate / 100,
  )


def constant_rate(config):
  """The schedule of a run that may end at any step: linear warm-up, then config.learning_rate."""
  return optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps)


def make_optimizer(config, schedule=learning_rate):
  """AdamW after clipping by global norm; matrices and kernels decay, biases and gains do not.

  Args:
    config: of a training.
    schedule: function from it to the learning rate by step.
  """
  return optax.chain(
    optax.clip_by_global_norm(config.clip_norm),
    optax.adamw(
      schedule(config),
      b1=config.adam_b1,
      b2=config.adam_b2,
      weight_decay=config.weight_decay,
      mask=lambda params: jax.tree.map(lambda x: x.ndim > 1, params),
    ),
  )


def make_codec_optimizer(config):
  """AdamW for the parts that are trained and the head, Adam for the discriminators.

  The discriminators' rate is constant and their first moment short (b1 0.5, b2 0.9, as VA-VAE).
  """
  kinds = {
    'trained': make_optimizer(config),
    'discriminators': _against(config),
    'frozen': optax.set_to_zero(),
  }

  def kind(part):
    if part == 'discriminators':
      return part
    return 'trained' if part == 'align' or part in config.parts else 'frozen'

  return optax.partition(kinds, lambda params: {part: kind(part) for part in params})


def make_pixel_optimizer(config):
  """AdamW at a constant rate for the parts that are trained, Adam for the critic."""
  kinds = {
    'trained': make_optimizer(config, constant_rate),
    'critic': _against(config),
    'frozen': optax.set_to_zero(),
  }
  kind = lambda part: part if part == 'critic' else (
    'trained' if part in config.parts else 'frozen')
  return optax.partition(kinds, lambda params: {part: kind(part) for part in params})


def _against(config):
  return optax.adam(config.gan_learning_rate, b1=0.5, b2=0.9)


def _first(init_params, optimizer, key):
  # A parameter of a weak type, as of `jnp.full`, is of a strong one after a step: it is made so
  # here, or the second step would be compiled anew.
  params = jax.tree.map(lambda x: jax.lax.convert_element_type(x, x.dtype), init_params(key))
  # A copy: the step donates its state, and one buffer cannot be given away twice.
  ema = jax.tree.map(jnp.copy, params)
  return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), ema)


def abstract(init_params, optimizer, mesh, axes):
  """The state as shapes, types and shardings, not allocated: what a checkpoint is read into.

  Args:
    init_params: function of a key, returns the parameters.
    optimizer: of `make_optimizer` or `make_codec_optimizer`.
    mesh: of `sharding.make_mesh`.
    axes: names of the parameters' axes, see `sharding.place`.
  """
  shapes = jax.eval_shape(
    functools.partial(_first, init_params, optimizer), jax.eval_shape(jax.random.key, 0)
  )
  return jax.tree.map(
    lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
    shapes,
    sharding.place(shapes, mesh, axes),
  )


def shardings(abstract):
  """The shardings alone of what `abstract` gives."""
  return jax.tree.map(lambda x: x.sharding, abstract)


def create(init_params, optimizer, abstract, seed):
  """A fresh state as `abstract` describes it, each array created on its own devices."""
  return creator(init_params, optimizer, abstract)(jax.random.key(seed))


def creator(init_params, optimizer, abstract):
  """The jitted function of a key that `create` runs."""
  first = functools.partial(_first, init_params, optimizer)
  return jax.jit(first, out_shardings=shardings(abstract))


def with_parts(train_state, new):
  """The state with some parameters replaced, in their average too.

  Args:
    train_state: TrainState.
    new: nested dict of arrays, a part of the parameters' tree.
  """
  def place(old, new):
    if not isinstance(old, dict):
      return jax.device_put(new, old.sharding)
    return old | {name: place(old[name], value) for name, value in new.items()}

  return dataclasses.replace(
    train_state, params=place(train_state.params, new), ema=place(train_state.ema, new))


@jax.named_scope('optimizer')
def apply_gradients(state, grads, optimizer, ema_decay):
  """Advance the state by one step.

  The average warms up: its decay is min(ema_decay, (1 + step) / (10 + step)), so that the random
  initialisation is soon forgotten (as tf.train.ExponentialMovingAverage with num_updates).

  Returns:
    The new TrainState and the updates that were added to the parameters.
  """
  updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
  # Written so that the average of a parameter that never changes does not change by a single bit.
  ema = jax.tree.map(lambda old, new: old + (1.0 - decay) * (new - old), state.ema, params)
  return TrainState(state.step + 1, params, opt_state, ema), updates


def norms(params, grads, updates):
  """Global norms of parameters, gradients and updates, scalars by name."""
  trees = {'l2_params': params, 'l2_grads': grads, 'l2_updates': updates}
  return {name: optax.tree.norm(tree) for name, tree in trees.items()}


def describe(kind, state, mesh):
  """One line about a model and where it trains."""
  size = sum(x.size for x in jax.tree.leaves(state.params))
  device = mesh.devices.flat[0].device_kind
  layout = ' x '.join(f'{name} {count}' for name, count in mesh.shape.items())
  return f'{kind}: {size / 1e6:.2f}M parameters on {mesh.size} {device} ({layout})'

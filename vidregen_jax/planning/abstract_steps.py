"""The programs of a config with shapes in place of arrays, to plan without machines or data.

They are the programs that training and sampling compile: the same functions, of the same config.
"""

import dataclasses
import functools
import math
import runpy
from collections.abc import Callable

import jax
import jax.numpy as jnp

from vidregen_jax.datasets import windows
from vidregen_jax.distributed import sharding
from vidregen_jax.errors import UserError
from vidregen_jax.faces import crop_mask
from vidregen_jax.inference import sampling
from vidregen_jax.models import (
  codec,
  flow_matching,
  generator,
  kernels,
  layers,
  linear_prior,
  perceptual,
  streams,
  teacher,
  teacher_forcing,
  token_layout,
)
from vidregen_jax.planning import flops
from vidregen_jax.training import (
  attention_backend,
  codec_objective,
  codec_setup,
  generator_objective,
  generator_setup,
  train_state,
  train_step,
)

_CHUNK = 4  # latent frames per step of a codec's planned stream


@dataclasses.dataclass(frozen=True)
class Work:
  """Operations of a step on all devices.

  Attributes:
    needed: those that the model requires: without recomputation, kernels' padding, and products
      that only move numbers.
    done: all that are executed.
    kernels: those of `done` that kernels execute.
    kernels_scheduled: those that the matrix units could do in the cycles that kernels take, by the
      bundles that a v5e's compiler schedules for them (`kernels.cycles`).
  """

  needed: float
  done: float
  kernels: float = 0.0
  kernels_scheduled: float = 0.0


@dataclasses.dataclass(frozen=True)
class Program:
  """A step, and its arguments as shapes.

  Attributes:
    step: jitted function; arguments: its shapes with shardings, and its static arguments.
    mesh: of all devices that it runs on.
    held: {kind: tree} of the arguments, by their purpose.
    examples: clips, or videos, in a step's batch.
    seconds: of each video that a step generates; None in training.
    work: function that returns the `Work` of a step.
    kept: function that returns the bytes that one example's forward pass keeps for its backward
      pass (of a codec, in encoder and decoder alone); None if not training.
    create: jitted function from a key to the state before the first step; None if not training.
  """

  step: Callable
  arguments: tuple
  mesh: jax.sharding.Mesh
  held: dict
  examples: int
  seconds: float | None
  work: Callable
  kept: Callable | None = None
  create: Callable | None = None


def load_config(name: str):
  """Loads the config of a file and a size, such as 'configs/codec.py:256'.

  Raises:
    UserError: there is none.
  """
  path, _, size = name.partition(':')
  try:
    return runpy.run_path(path)['get_config'](*([size] if size else []))
  except (OSError, KeyError, ValueError) as error:
    raise UserError(f'no config {name!r} ({error}): run from the folder that holds configs/, or '
                    'name another') from error


def of_training(config, mesh, backend, audio=(3, 512)) -> Program:
  """The train step of a config, of any stage.

  Args:
    config: of configs/.
    mesh: of `sharding.make_mesh`.
    backend: 'cpu', 'gpu' or 'tpu', of the mesh's devices: it decides what 'auto' means.
    audio: number of layers and channels of the Whisper states that a generator is trained with.

  Raises:
    UserError: as in training, and for a teacher of unknown shape.
  """
  if config.stage == 'codec':
    return _of_codec(config, mesh, backend)
  if config.stage == 'pixels':
    raise UserError('the step that tunes by frames is not planned: it takes a system that exists; '
                    'plan the codec and the student, which it runs one after the other')
  if config.stage not in ('generator', 'student'):
    raise UserError(f'the step of stage {config.stage!r} is not planned: it is small beside those '
                    'of codec and generator, and fits wherever they do')
  return _of_generator(config, mesh, backend, audio)


def _of_generator(config, mesh, backend, audio):
  model, packed = generator_models(config, audio)
  attention = attention_backend.named(config.attention, model, config.tensor, backend)
  model = dataclasses.replace(model, attention=attention)
  taught_by = None
  if config.teacher:
    taught_by = flow_matching.SamplerConfig(**load_config(config.teacher_config).sampler)
  objective = generator_setup.objective(config, model, taught_by)
  example = windows.shapes(model, config.num_frames)
  axes, init = generator.axes(model), functools.partial(generator.init, model)
  statistics = jax.ShapeDtypeStruct(audio, jnp.float32)
  guess = linear_prior.none(model.region)
  if model.aligned:
    guess = linear_prior.shapes(model.region, model.cells, model.latent_channels)
  frozen = generator_objective.Frozen(
    guess, statistics, statistics,
    jax.eval_shape(init, jax.random.key(0)) if config.teacher else {})
  optimizer = train_state.make_optimizer(config)
  abstract = train_state.abstract(init, optimizer, mesh, axes)
  sharding.check_batch(config.batch_size, mesh, config.accumulate)
  batch = _stacked(example, config.batch_size, mesh, 'batch')
  step = train_step.of_generator(objective, config, train_state.shardings(abstract))
  placed = jax.tree.map(_placed, frozen, sharding.place(frozen, mesh, axes))

  def loss(attention, remat):
    return functools.partial(generator_objective.loss, dataclasses.replace(
      objective, model=dataclasses.replace(
        model, attention=attention, unroll=False, remat=remat)))

  def traced(attention, remat):  # the gradients of one clip
    gradients = jax.value_and_grad(loss(attention, remat), has_aux=True)
    params = jax.eval_shape(init, jax.random.key(0))
    return jax.make_jaxpr(gradients)(params, frozen, _stacked(example, 1), jax.random.key(0))

  def kept():
    forward = loss('splash' if attention == 'splash' else 'xla', model.remat)
    given = frozen, _stacked(example, 1), jax.random.key(0)
    return _residuals(lambda params, *given: forward(params, *given)[0],
                      jax.eval_shape(init, jax.random.key(0)), *given)

  def work():
    rules = _rules(model, config.num_frames)
    needed = flops.count(traced('splash', 'none'), kernels.splash_flops(rules, True),
                         without=(layers.moved.__name__,))
    # The kernel for GPUs is not splash: like XLA it computes all pairs.
    does = traced('splash' if attention == 'splash' else 'xla', model.remat)
    done = flops.count(does, kernels.splash_flops(rules, False))
    in_kernels = done - flops.count(does)
    scheduled = 0.0
    if in_kernels:
      heads = model.layers * model.heads
      scheduled = sum(
        kernels.cycles(rule, model.head) * heads * (config.copies if rule is rules[-1] else 1)
        for rule in rules) * kernels.OPERATIONS
    return Work(*(config.batch_size * n for n in (needed, done, in_kernels, scheduled)))

  held = _held(abstract) | {'frozen': placed, 'batch': batch}
  return Program(step, (abstract, placed, batch), mesh, held, config.batch_size, None, work, kept,
                 train_state.creator(init, optimizer, abstract))


def _of_codec(config, mesh, backend):
  model = codec_model(config, backend)
  codec_setup.check_counts(config, model)
  objective, frozen = codec_setup.make_objective(
    config, model, perceptual.shapes, teacher.shapes)
  init = functools.partial(codec_objective.init, objective)
  optimizer = train_state.make_codec_optimizer(config)
  abstract = train_state.abstract(init, optimizer, mesh, codec_objective.axes(objective))
  example = windows.codec_shapes(config.num_frames, model.size)
  sharding.check_batch(config.batch_size, mesh, config.accumulate, 'crops')
  batch = _stacked(example, config.batch_size, mesh, 'crops')
  adversarial = objective.discriminators is not None
  step = train_step.of_codec(objective, config, train_state.shardings(abstract))
  placed = jax.tree.map(lambda x: _placed(x, sharding.replicated(mesh)), frozen)

  def counted(remat):
    counting = dataclasses.replace(objective, model=dataclasses.replace(model, remat=remat))
    gradients = functools.partial(codec_objective.gradients, counting, adversarial=adversarial)
    params = jax.eval_shape(init, jax.random.key(0))
    jaxpr = jax.make_jaxpr(gradients)(params, frozen, _stacked(example, 1), jax.random.key(0),
                                      jnp.int32(0))
    return config.batch_size * flops.count(jaxpr)

  def work():
    return Work(counted(False), counted(model.remat))

  def kept():
    unrolled = dataclasses.replace(model, loop_from=0)  # a loop keeps its stacked weights too

    def coded(params, frames, key):
      mean, logvar = codec.encode(unrolled, params, frames,
                                  codec.init_encoder_cache(unrolled, 1))[0]
      return codec.decode(unrolled, params, codec.draw(unrolled, mean, logvar, key),
                          codec.init_decoder_cache(unrolled, 1))[0]

    params = jax.eval_shape(functools.partial(codec.init, unrolled), jax.random.key(0))
    frames = _f32(1, config.num_frames, model.size, model.size, 3)
    return _residuals(coded, params, frames, jax.random.key(0))

  held = _held(abstract) | {'frozen': placed, 'batch': batch}
  return Program(step, (abstract, placed, batch, adversarial), mesh, held, config.batch_size, None,
                 work, kept, train_state.creator(init, optimizer, abstract))


def of_sampling(config, mesh, backend, audio=(3, 512)) -> Program:
  """One step of the sampler, which generates one latent frame of one video on one device.

  Args:
    config: of configs/generator.py or student.py; the others as in `of_training`.
  """
  model, packed = generator_models(config, audio)
  model = dataclasses.replace(model, mlp_dtype='same')
  models = sampling.Models(codec_model(load_config(config.codec_config), backend), model)
  channels = model.latent_channels
  guess = linear_prior.none(model.region)
  if model.aligned:
    guess = linear_prior.shapes(model.region, model.cells, channels)
  key = jax.random.key(0)
  params = sampling.Params(
    jax.eval_shape(functools.partial(codec.init, models.codec), key),
    jax.eval_shape(functools.partial(generator.init, model), key), guess, _f32(channels),
    _f32(channels))
  start, inputs = streams.sampler_shapes(model, 1)
  first = jax.eval_shape(functools.partial(sampling.init_state, models), params, key, start)
  sampler = flow_matching.SamplerConfig(**config.sampler)
  step = functools.partial(sampling.sample_step, models, sampler)
  return _on_one(step, mesh, {'parameters': params, 'state': first, 'inputs': inputs}, 1,
                 codec.TIME_FACTOR / 25)


def of_codec_stream(config, mesh, backend) -> Program:
  """Encoding and decoding the next latent frames of one video, on one device.

  Args:
    config: of configs/codec.py; the others as in `of_training`.
  """
  model = codec_model(config, backend)
  params = jax.eval_shape(functools.partial(codec.init, model), jax.random.key(0))
  caches = {part: jax.eval_shape(functools.partial(init, model, 1)) for part, init in (
    ('encoder', codec.init_encoder_cache), ('decoder', codec.init_decoder_cache))}
  frames = _f32(1, codec.TIME_FACTOR * _CHUNK, model.size, model.size, 3)

  def step(params, caches, frames):
    (mean, _), encoder = codec.encode(model, params, frames, caches['encoder'])
    decoded, decoder = codec.decode(model, params, mean, caches['decoder'])
    return {'encoder': encoder, 'decoder': decoder}, decoded

  return _on_one(step, mesh, {'parameters': params, 'state': caches, 'inputs': frames}, 1,
                 codec.TIME_FACTOR * _CHUNK / 25)


def generator_models(config, audio):
  """The GeneratorConfig of a training config, and the CodecConfig of its codec."""
  packed = codec_setup.model_config(load_config(config.codec_config))
  layers, width = audio
  info = {'latent_shape': (packed.cells, packed.cells, packed.latent_channels),
          'audio_layers': range(layers), 'audio_width': width}
  region = crop_mask.region(packed.size, packed.cells, config.region_grow)
  return generator_setup.model_config(config, info, region), packed


def codec_model(config, backend):
  """The CodecConfig of a training config, resolved for a backend."""
  return codec_setup.model_config(config).on(backend)


def bytes_on_a_device(tree) -> int:
  """Bytes that one device holds of a tree of shapes with shardings."""
  return sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize
             for x in jax.tree.leaves(tree) if hasattr(x, 'sharding'))


def _on_one(step, mesh, held, examples, seconds):
  """The program of a step on the first device alone; its second argument is donated."""
  one = sharding.make_mesh(devices=mesh.devices.ravel()[:1].tolist())
  held = {kind: jax.tree.map(lambda x: _placed(x, sharding.replicated(one)), tree)
          for kind, tree in held.items()}

  def work():
    done = flops.count(jax.make_jaxpr(step)(*held.values()))
    return Work(done, done)

  return Program(jax.jit(step, donate_argnums=1), tuple(held.values()), one, held, examples,
                 seconds, work)


def _residuals(function, params, *given) -> int:
  """Bytes that a function keeps for the gradients of its first argument, beside that argument."""
  kept = jax.eval_shape(lambda params, *given: jax.vjp(
    lambda params: function(params, *given), params)[1], params, *given)
  # The parameters are among what is kept, but are held in any case.
  return max(0, _bytes(kept) - _bytes(params))


def _bytes(tree):
  return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _held(abstract):
  """The parts of a training state, by kind."""
  return {'parameters': abstract.params, 'average': abstract.ema, 'moments': abstract.opt_state}


def _rules(model, frames):
  """What a kernel is asked for in a pass over a clip: NumPy bool [Q, L] of each of its calls."""
  among, noisy = teacher_forcing.rules(model, frames)
  return [*generator.kernel_rules(token_layout.clip_tokens(model, frames), among),
          kernels.of_tokens(noisy, len(model.region), own=True)]


def _stacked(example, count, mesh=None, axis='batch'):
  """A batch of `count` examples, sharded over a mesh or not."""
  where = mesh and sharding.batch(mesh, axis)
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((count, *x.shape), x.dtype, sharding=where), example)


def _placed(x, where):
  return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)


def _f32(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)

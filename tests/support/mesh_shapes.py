"""One training step of either stage on every layout of 8 devices; run as a separate program.

  XLA_FLAGS=--xla_force_host_platform_device_count=8 PYTHONPATH=.:tests \
    python tests/support/mesh_shapes.py generator [DATAxFSDPxTENSOR ...]

Prints, as JSON, how far the loss and the gradients of each layout are from those of one device, and
the shape of the shard of every array of the state.
"""

import functools
import json
import sys

import jax
import numpy as np
from ml_collections import ConfigDict

from vidregen_jax.distributed import sharding
from vidregen_jax.models import codec, discriminators, generator, linear_prior
from vidregen_jax.training import codec_objective, generator_objective, train_state, train_step

LAYOUTS = [(data, fsdp, 8 // data // fsdp)
           for data in (1, 2, 4, 8) for fsdp in (1, 2, 4, 8) if data * fsdp <= 8]
BATCH = 8
SETTINGS = ConfigDict(dict(
  seed=0, ema=0.9, accumulate=1, learning_rate=1e-3, warmup_steps=0, num_steps=10, clip_norm=1.0,
  weight_decay=0.01, adam_b1=0.9, adam_b2=0.99, gan_learning_rate=1e-3,
  parts=('encoder', 'decoder')))
GENERATOR = generator.GeneratorConfig(
  cells=2, latent_channels=6, region=(2, 3), width=32, heads=4, layers=2, mlp=2, window=3,
  look_ahead=1, references=2, sinks=2, sink_logit=True, audio_layers=2, audio_channels=12,
  audio_hidden=8, remat='full')
CODEC = codec.CodecConfig(16, (8, 16), (0, 1), (0, 1), (1, 3), 8, remat=True)


def of_generator():
  """What a step of stage 2 is made of.

  Returns:
    (maker of the step, optimizer, maker of the parameters, their axes, frozen arrays, batch,
    further arguments of the step).
  """
  frames, cells, channels = 4, GENERATOR.cells**2, GENERATOR.latent_channels
  heard = frames + GENERATOR.look_ahead
  rng = np.random.default_rng(0)
  normal = lambda *shape: rng.standard_normal((BATCH, *shape)).astype(np.float32)
  batch = {
    'target': normal(frames, cells, channels), 'context': normal(frames, cells, channels),
    'audio': normal(heard, 16, 2, 12), 'audio_valid': normal(heard) > -1,
    'durations': np.full((BATCH, heard), 0.04, np.float32),
    'references': normal(2, cells, channels), 'reference_valid': normal(2) > -1,
    'anchor': normal(2, channels), 'anchor_context': normal(cells, channels),
    'anchor_valid': normal() > 0, 'anchor_time': np.full(BATCH, frames + 1, np.float32),
    'mouth_box': np.tile(np.float32([0.3, 0.6, 0.7, 0.9]), (BATCH, frames, 1)),
  }
  objective = generator_objective.Objective(
    model=GENERATOR, sampler=None, teacher=None, copies=2, shift=1.0,
    mouth_weight=4.0, history_noise=0.2, drop_history=0.5, drop_reference=0.3,
    drop_each_reference=0.3, drop_anchor=0.5, drop_audio=0.1, drop_all=0.05, voice_shift=0.3,
    voice_stretch=0.2, voice_drop=0.1)
  frozen = generator_objective.Frozen(
    linear_prior.none(GENERATOR.region), np.zeros((2, 12), np.float32),
    np.ones((2, 12), np.float32), {})
  return (functools.partial(train_step.of_generator, objective),
          train_state.make_optimizer(SETTINGS),
          functools.partial(generator.init, GENERATOR), generator.axes(GENERATOR), frozen, batch,
          ())


def of_codec():
  """The same for stage 1, with discriminators."""
  rng = np.random.default_rng(0)
  batch = {'frames': rng.integers(0, 256, (BATCH, 8, 16, 16, 3)).astype(np.uint8),
           'mouth_box': np.tile(np.float32([0.3, 0.6, 0.7, 0.9]), (BATCH, 8, 1)),
           'masked': np.arange(BATCH) == 1}
  objective = codec_objective.Objective(
    model=CODEC, discriminators=discriminators.DiscriminatorConfig((8,), 8), teacher=None,
    mouth_weight=4.0, perceptual_weight=0.0, perceptual_frames=0,
    perceptual_crop=0, perceptual_dtype='float32', kl_weight=1e-2, kl_warmup_steps=6,
    align_weight=0.0, align_frames=0, cosine_margin=0.1, distance_margin=0.05,
    gan_weight=0.2, penalty_weight=0.7, parts=('encoder', 'decoder'))
  return (functools.partial(train_step.of_codec, objective),
          train_state.make_codec_optimizer(SETTINGS),
          functools.partial(codec_objective.init, objective), codec_objective.axes(objective), {},
          batch, (True,))


STAGES = {'generator': of_generator, 'codec': of_codec}


def one_step(stage, mesh, accumulate=1):
  """(state after one step, measured values)."""
  make, optimizer, init, axes, frozen, batch, options = STAGES[stage]()
  abstract = train_state.abstract(init, optimizer, mesh, axes)
  settings = ConfigDict(SETTINGS.to_dict() | {'accumulate': accumulate})
  advance = make(settings, train_state.shardings(abstract))
  first = train_state.create(init, optimizer, abstract, seed=0)
  # The first moments of the optimizer then are the gradients themselves, but for a factor.
  frozen = jax.device_put(frozen, sharding.place(frozen, mesh, axes))
  with jax.set_mesh(mesh):
    axis = 'crops' if stage == 'codec' else 'batch'
    return advance(first, frozen, sharding.put_batch(batch, mesh, axis), *options)


def gradients(train_state):
  """The optimizer's first moments as one vector, proportional to the first step's gradients."""
  moments = [x for path, x in jax.tree_util.tree_flatten_with_path(train_state.opt_state)[0]
             if any(getattr(entry, 'name', None) == 'mu' for entry in path)]
  return np.concatenate([np.ravel(x) for x in moments])


def main(stage, layouts):
  alone, measured = jax.device_get(one_step(stage, sharding.make_mesh(devices=jax.devices()[:1])))
  expected, told = gradients(alone), {}
  for data, fsdp, tensor in layouts:
    mesh = sharding.make_mesh(fsdp, tensor)
    assert dict(mesh.shape) == {'data': data, 'fsdp': fsdp, 'tensor': tensor}
    placed, found = one_step(stage, mesh)
    off = np.linalg.norm(gradients(jax.device_get(placed)) - expected) / np.linalg.norm(expected)
    told[f'{data}x{fsdp}x{tensor}'] = {
      'loss': abs(float(found['loss']) / float(measured['loss']) - 1), 'gradients': float(off),
      'placed': {jax.tree_util.keystr(path, simple=True, separator='/'):
                 [list(x.shape), list(x.sharding.shard_shape(x.shape))]
                 for path, x in jax.tree_util.tree_flatten_with_path(placed)[0]}}
  print(json.dumps(told))


if __name__ == '__main__':
  main(sys.argv[1], [tuple(map(int, x.split('x'))) for x in sys.argv[2:]] or LAYOUTS)

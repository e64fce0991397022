"""Parameters and work of every size of codec and generator, from shapes: no weights are made.

  python -m bench.sizes

FLOPs are XLA's own count of the lowered program (a multiply-add is two), in steady streaming.
"""

import dataclasses
import functools
import math
import sys

import jax
import jax.numpy as jnp

from configs import codec as codec_config
from configs import generator as generator_config
from vidregen_jax import cli
from vidregen_jax.inference import sampling
from vidregen_jax.models import codec, flow_matching, generator, linear_prior, streams
from vidregen_jax.planning import abstract_steps
from vidregen_jax.training import codec_setup

SIZES = ('tiny', 'talkers', '256', '512')
GENERATORS = ('tiny', 'talkers', 'base', 'large', 'xl')
_LATENT_FRAMES = 4
_AUDIO = (3, 512)  # layers and channels that the configs keep of Whisper base
_LATENTS_A_SECOND = 25 / codec.TIME_FACTOR


def describe(model):
  """Figures of a CodecConfig.

  Returns:
    Dict of: parameters of encoder and decoder; FLOPs of either for one video frame; latent numbers
    and pixel values per latent frame.
  """
  params = jax.eval_shape(functools.partial(codec.init, model), jax.random.key(0))
  side = model.size
  frames = jax.ShapeDtypeStruct((1, codec.TIME_FACTOR * _LATENT_FRAMES, side, side, 3), jnp.float32)
  shape = (1, _LATENT_FRAMES, model.cells, model.cells, model.latent_channels)
  latents = jax.ShapeDtypeStruct(shape, jnp.float32)
  caches = [jax.eval_shape(functools.partial(init, model, 1))
            for init in (codec.init_encoder_cache, codec.init_decoder_cache)]

  def flops(step, x, cache):
    lowered = jax.jit(functools.partial(step, model)).lower(params, x, cache)
    return lowered.cost_analysis()['flops'] / frames.shape[1]

  return {
    'encoder_parameters': count(params['encoder']),
    'decoder_parameters': count(params['decoder']),
    'encoder_flops': flops(codec.encode, frames, caches[0]),
    'decoder_flops': flops(codec.decode, latents, caches[1]),
    'latent_values': math.prod(shape[2:]),
    'pixel_values': codec.TIME_FACTOR * side**2 * 3,
  }


def generator_model(size):
  """The GeneratorConfig of a size, and its codec's."""
  return abstract_steps.generator_models(generator_config.get_config(size), _AUDIO)


def describe_generator(model, packed, sampler):
  """Figures of a generator in a stream.

  Args:
    model: GeneratorConfig.
    packed: its codec's CodecConfig.
    sampler: SamplerConfig.

  Returns:
    Dict of: parameters; conditioning and noisy tokens of a latent frame; FLOPs of a latent frame's
    conditioning with the codec's decoder, and of one flow step with all of its branches.
  """
  def work(layers):
    shape = dataclasses.replace(model, layers=layers, unroll=True)
    models = sampling.Models(packed, shape)
    f32 = lambda *axes: jax.ShapeDtypeStruct(axes, jnp.float32)
    channels = packed.latent_channels
    params = sampling.Params(
      jax.eval_shape(functools.partial(codec.init, packed), jax.random.key(0)),
      jax.eval_shape(functools.partial(generator.init, shape), jax.random.key(0)),
      linear_prior.none(model.region), f32(channels), f32(channels))
    start, inputs = streams.sampler_shapes(shape, 1)
    state = jax.eval_shape(functools.partial(sampling.init_state, models), params,
                           jax.random.key(0), start)
    # The loop over flow steps is counted once, so the difference is one step.
    steps = (sampling.warm.lower(models, params, state, inputs),
             jax.jit(sampling.sample_step, static_argnums=(0, 1)).lower(
               models, sampler, params, state, inputs))
    warm, full = (lowered.cost_analysis()['flops'] for lowered in steps)
    return jnp.array([warm, full - warm])

  # All layers cost the same: two small models say what any depth takes.
  one, two = work(1), work(2)
  conditioning, step = one + (model.layers - 1) * (two - one)
  params = jax.eval_shape(functools.partial(generator.init, model), jax.random.key(0))
  region = len(model.region)
  return {'parameters': count(params), 'noisy_tokens': region,
          'conditioning_tokens': packed.cells**2 + streams.AUDIO_TOKENS + region,
          'conditioning_flops': float(conditioning), 'step_flops': float(step)}


def count(tree):
  """Numbers in a tree of shapes."""
  return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


def run(_):
  """Prints both tables."""
  print('| size | pixels | latents | fewer values | parameters, millions (enc + dec) '
        '| GFLOP a frame (enc + dec) |\n|---|---|---|---|---|---|')
  for size in SIZES:
    model = codec_setup.model_config(codec_config.get_config(size))
    found = describe(model)
    print(f'| {size} | {model.size} x {model.size} | {model.cells} x {model.cells} x '
          f'{model.latent_channels} | {found["pixel_values"] / found["latent_values"]:.0f}x '
          f'| {found["encoder_parameters"] / 1e6:.1f} + {found["decoder_parameters"] / 1e6:.1f} '
          f'| {found["encoder_flops"] / 1e9:.2f} + {found["decoder_flops"] / 1e9:.2f} |')
  print('\n| generator | layers x width | parameters, millions | tokens a latent frame '
        '(conditioning + noisy) | GFLOP a latent frame: conditioning and decoder, a flow step of '
        'all branches | TFLOP a second of video |\n|---|---|---|---|---|---|')
  for size in GENERATORS:
    model, packed = generator_model(size)
    sampler = flow_matching.SamplerConfig(**generator_config.get_config(size).sampler)
    found = describe_generator(model, packed, sampler)
    second = _LATENTS_A_SECOND * (found['conditioning_flops'] + sampler.steps * found['step_flops'])
    print(f'| {size} | {model.layers} x {model.width} | {found["parameters"] / 1e6:.1f} '
          f'| {found["conditioning_tokens"]} + {found["noisy_tokens"]} '
          f'| {found["conditioning_flops"] / 1e9:.1f}, {found["step_flops"] / 1e9:.2f} '
          f'| {second / 1e12:.3f} ({sampler.steps} steps) |')


if __name__ == '__main__':
  parser = cli.Parser(prog='python -m bench.sizes', description=__doc__)
  sys.exit(cli.command(parser, run, 'nothing was written'))

"""Parameters and work of every size of the codec, from shapes alone: no weights are made.

  python -m bench.sizes

FLOPs are XLA's own count of the lowered program (a multiply-add is two), in steady streaming.
"""

import functools
import math

import jax
import jax.numpy as jnp

from configs import codec as codec_config
from vidregen_jax import commands, train_codec
from vidregen_jax.models import codec

SIZES = ('tiny', 'talkers', '256', '512')
_LATENT_FRAMES = 4


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


def count(tree):
  """Numbers in a tree of shapes."""
  return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


def run():
  """Prints the table."""
  print('| size | pixels | latents | fewer values | parameters, millions (enc + dec) '
        '| GFLOP a frame (enc + dec) |\n|---|---|---|---|---|---|')
  for size in SIZES:
    model = train_codec.model_config(codec_config.get_config(size))
    found = describe(model)
    print(f'| {size} | {model.size} x {model.size} | {model.cells} x {model.cells} x '
          f'{model.latent_channels} | {found["pixel_values"] / found["latent_values"]:.0f}x '
          f'| {found["encoder_parameters"] / 1e6:.1f} + {found["decoder_parameters"] / 1e6:.1f} '
          f'| {found["encoder_flops"] / 1e9:.2f} + {found["decoder_flops"] / 1e9:.2f} |')


if __name__ == '__main__':
  commands.run(run, 'nothing was written')

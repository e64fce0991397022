"""What the codec's gradients lose where VGG16 and the discriminators compute in bfloat16.

  python -m bench.rounding --perceptual=VGG16_FOLDER --codec=out/codec/export

Takes the gradients of a trained codec with LPIPS and discriminators, these in float32 and in
bfloat16; the codec itself is in float32 in both. Printed are the cosine between the two and their
distance, a share of the first's length, for each part, and beside it the same between two batches:
what the next step differs by anyway.
"""

import contextlib
import dataclasses
import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from configs import codec as codec_config
from vidregen_jax import cli
from vidregen_jax.datasets import input_pipeline
from vidregen_jax.training import codec_objective, codec_setup

PARTS = ('encoder', 'decoder', 'discriminators')


def apart(a, b):
  """Cosine between two trees, and their distance as a share of the first's length."""
  a, b = ravel_pytree(a)[0], ravel_pytree(b)[0]
  length = jnp.linalg.norm(a)
  return float(jnp.vdot(a, b) / length / jnp.linalg.norm(b)), float(
    jnp.linalg.norm(a - b) / length)


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.rounding', description=__doc__)
  flags.add_argument('--perceptual', required=True,
                     help='folder or hub id of VGG16 with LPIPS heads')
  flags.add_argument('--codec', default='out/codec/export',
                     help='export of the tiny codec (default %(default)s)')
  flags.add_argument('--dataset', default='out/talkers/64',
                     help='folder of the crops (default %(default)s)')
  return flags


def run(flags):
  """Prints the table.

  Raises:
    UserError: no VGG16, no dataset, or no codec.
  """
  config = codec_config.get_config('tiny')
  config.update(dataset=flags.dataset, perceptual=flags.perceptual, perceptual_weight=0.5,
                gan_weight=0.05, start_from=flags.codec)
  model = codec_setup.model_config(config)
  exact, frozen = codec_setup.make_objective(config, model)
  judges = dataclasses.replace(exact.discriminators, dtype='bfloat16')
  rough = dataclasses.replace(exact, perceptual_dtype='bfloat16', discriminators=judges)
  params = codec_objective.init(exact, jax.random.key(0)) | codec_setup.load_start(
    flags.codec, model)
  gradients = jax.jit(functools.partial(
    codec_objective.gradients, key=jax.random.key(0), step=jnp.int32(0), adversarial=True),
    static_argnums=0)
  rows = np.arange(config.batch_size)
  with contextlib.closing(input_pipeline.codec_batches(
      config, 'train', 0, rows, jax.device_put)) as batches:
    batch, other = next(batches), next(batches)
  first, rounded, next_ = (gradients(objective, params, frozen, each)[0] for objective, each in (
    (exact, batch), (rough, batch), (exact, other)))
  print('| gradients of | cosine, bfloat16 | distance | cosine, next batch | distance |\n'
        '|---|---|---|---|---|')
  for part in PARTS:
    figures = (*apart(first[part], rounded[part]), *apart(first[part], next_[part]))
    print(f'| {part} | {" | ".join(f"{x:.4f}" for x in figures)} |')


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

"""Encode a dataset once for generator training: latents of every clip, and its audio features.

  python -m vidregen_jax.encode_latents --codec=out/codec/export --dataset=out/talkers/64 \
    --audio_encoder=checkpoints/whisper-base --out=out/latents/64

What a record holds is told in `datasets/latent_dataset.py`. A run that was stopped goes on with the
shard it was at; dataset_info.json is written last.

Several machines that share the output folder encode one dataset together: the same command on each,
with --hosts=N and its own --host, 0 to N - 1. Shards do not depend on N, so what a host left undone
is done by its command again, or by any other number of hosts. Whoever ends last writes
dataset_info.json.
"""

import functools
import sys

import jax
import jax.numpy as jnp

from vidregen_jax import cli
from vidregen_jax.datasets import latent_dataset
from vidregen_jax.errors import UserError
from vidregen_jax.exports import model_loader
from vidregen_jax.inference import streaming_codec
from vidregen_jax.models import whisper
from vidregen_jax.training import pretrained_reference


def chosen_layers(names, count):
  """The Whisper states to keep: numbers from the flag, or all.

  Args:
    names: tuple of str, or None.
    count: the encoder's layers; it has one state more.

  Raises:
    UserError: one of them is no such state.
  """
  if names is None:
    return tuple(range(count + 1))
  for name in names:
    if not name.isdecimal() or int(name) > count:
      raise UserError(f'--layers has {name!r}: the encoder has states 0 to {count}')
  return tuple(map(int, names))


def make_parser() -> cli.Parser:
  """The program's flags."""
  parser = cli.Parser(prog='python -m vidregen_jax.encode_latents', description=__doc__,
                      allow_abbrev=False)
  parser.add_argument('--codec', required=True, metavar='DIR', help='the exported codec')
  parser.add_argument('--dataset', required=True, metavar='DIR', help='the dataset of clips')
  parser.add_argument('--out', required=True, metavar='DIR', help='where the latents go')
  parser.add_argument('--audio_encoder', default='checkpoints/whisper-base', metavar='WHISPER',
                      help='folder or hub id of a Whisper model (default %(default)s)')
  parser.add_argument('--layers', type=cli.several(str), metavar='N,N,...',
                      help='Whisper states to keep, 0 the first; default: all')
  parser.add_argument('--window_seconds', type=float, default=10.0, metavar='SECONDS',
                      help='length of the audio windows (default %(default)g)')
  parser.add_argument('--margin_seconds', type=float, default=1.0, metavar='SECONDS',
                      help='what is thrown away at their inner ends (default %(default)g)')
  parser.add_argument('--splits', type=cli.several(str), default=('train', 'validation', 'test'),
                      metavar='NAME,...', help='which to encode (default: train,validation,test)')
  parser.add_argument('--flip', action='store_true', default=True,
                      help='also write the mirror image of every clip (default)')
  parser.add_argument('--noflip', dest='flip', action='store_false', help='do not')
  parser.add_argument('--looks', type=cli.whole(0), default=0, metavar='N',
                      help='also write N versions of each training clip with another frame rate, '
                           'light, colour, compression and place of the crop (default: none)')
  parser.add_argument('--hosts', type=int, default=1, metavar='N',
                      help='how many machines share the work and the folder (default %(default)d)')
  parser.add_argument('--host', type=int, default=0, metavar='I',
                      help='which of them this is, 0 to N - 1 (default %(default)d)')
  return parser


def encode(given) -> None:
  """Does what the flags of `make_parser` say.

  Raises:
    UserError: a mistake in the flags, the codec, the dataset or the audio encoder.
  """
  if given.host not in range(given.hosts):
    raise UserError(f'--host={given.host} is not one of --hosts={given.hosts} hosts: they are '
                    'numbered from 0')
  found = model_loader.load_codec(given.codec)
  folder = whisper.locate(given.audio_encoder)
  audio_config, audio_params = whisper.read(folder)
  pretrained_reference.check_whisper(folder, audio_config)
  audio_params = jax.tree.map(jnp.asarray, audio_params)
  layers = chosen_layers(given.layers, audio_config.layers)
  listen = functools.partial(
    whisper.features,
    audio_config,
    audio_params,
    window_seconds=given.window_seconds,
    margin_seconds=given.margin_seconds,
    layers=layers,
  )
  inputs = {
    'codec': found.export.digest,
    # Hosts of two kinds would round the latents differently.
    'dtype': str(found.model.activations),
    'audio_encoder': given.audio_encoder,
    'audio_layers': list(layers),
    'audio_width': audio_config.width,
    'window_seconds': given.window_seconds,
    'margin_seconds': given.margin_seconds,
    'flip': given.flip,
  } | ({'looks': given.looks} if given.looks else {})
  latent_dataset.write_dataset(
    given.out, given.dataset, streaming_codec.Encoder.of(found.export), listen, given.flip, inputs,
    given.splits, given.host, given.hosts, given.looks)


if __name__ == '__main__':
  sys.exit(cli.command(make_parser(), encode, 'the same command goes on with the shard it was at'))

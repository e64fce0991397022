"""Measure an exported system on rendered clips whose truth is known.

  python -m vidregen_jax.evaluate listening --checkpoint=out/generator/export
  python -m vidregen_jax.evaluate codec --checkpoint=out/codec/export --dataset=out/talkers/64

`listening` measures whether the mouth follows new sound (`evaluation.lip_sync`), `codec` how close
reconstructions are to their source, as a whole and in the mouth (`evaluation.codec_quality`).
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile

from vidregen_jax import cli, files, terminal
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import codec_quality, lip_sync
from vidregen_jax.exports import model_loader, pipeline
from vidregen_jax.models import i3d, perceptual


def make_parser() -> cli.Parser:
  """The program's flags."""
  parser = cli.Parser(prog='python -m vidregen_jax.evaluate', description=__doc__,
                      allow_abbrev=False)
  parser.add_argument('what', choices=('listening', 'codec'), help='what is measured')
  parser.add_argument('--checkpoint', required=True, metavar='DIR', help="a training's export")
  parser.add_argument('--split', default='test', help='which clips (default %(default)s)')
  parser.add_argument('--clips', type=_count, default=0, metavar='N',
                      help='how many of them at most (default 0: all)')
  parser.add_argument('--json', metavar='FILE', help='file for all figures')
  listening = parser.add_argument_group('listening')
  listening.add_argument('--pack', default='data/talkers/pack', metavar='DIR',
                         help='rendered clips (default %(default)s)')
  listening.add_argument('--sounds', type=cli.several(str), default=('new',), metavar='SOUND,...',
                         help=f'what is heard, of {", ".join(lip_sync.SOUNDS)} (default new)')
  listening.add_argument('--teacher', action='store_true',
                         help='sample with the generator, also where the checkpoint has a student')
  listening.add_argument('--fit_face', action='store_true',
                         help="fit the model to each clip's own frames first, as regenerate does "
                              'with small crops; default: the model as it is')
  listening.add_argument('--seed', type=int, default=0, help='of the noise (default %(default)d)')
  listening.add_argument('--steps', type=int, help="flow steps; default: the checkpoint's")
  listening.add_argument('--guidance_appearance', type=float, help="default: the checkpoint's")
  listening.add_argument('--guidance_audio', type=float, help="default: the checkpoint's")
  listening.add_argument('--noise', type=float, help="default: the checkpoint's")
  codec = parser.add_argument_group('codec')
  codec.add_argument('--dataset', metavar='DIR', help='the dataset of crops')
  codec.add_argument('--out', metavar='DIR',
                     help='folder for a sheet of pictures, a video and the figures')
  codec.add_argument('--perceptual', metavar='DIR',
                     help='VGG16 with LPIPS heads; default: no LPIPS')
  codec.add_argument('--i3d', metavar='DIR', help='an I3D; default: no Frechet video distance')
  return parser


def _count(text):
  if not text.isdecimal():
    raise argparse.ArgumentTypeError(f'{text!r} is no number of clips')
  return int(text)


def evaluate_listening(given):
  """Edits rendered clips with each other's sound; prints and returns how the mouths follow."""
  pairs = lip_sync.pair(lip_sync.read_clips(given.pack, given.split))
  pairs = pairs[:given.clips or len(pairs)]
  overrides = tuple((name, value) for name in ('steps', 'guidance_appearance', 'guidance_audio',
                                               'noise')
                    if (value := getattr(given, name)) is not None)
  system = pipeline.load(given.checkpoint, given.teacher)
  with tempfile.TemporaryDirectory() as folder:
    rows = lip_sync.listening(system, pairs, given.seed, overrides, folder, given.sounds,
                              given.fit_face)
  for row in rows:
    if row['sound'] == 'silence':
      terminal.say(f'{row["clip"]} in silence: open in {row["open"]:.2f} of its frames')
      continue
    figures = '  '.join(f'{name} {row["whole"][name]:6.3f}/{row["middle"][name]:6.3f}'
                        for name in ('new', 'old', 'truths'))
    terminal.say(f'{row["clip"]} with the sound of {row["audio"]}: {figures}')
  terminal.say('correlation of lip gaps, whole/middle; medians:')
  return {'clips': len(pairs), 'medians': lip_sync.medians(rows), 'rows': rows}


def evaluate_codec(given):
  """Reconstructs the clips of a dataset; returns how near they are, and shows some."""
  from vidregen_jax.datasets import input_pipeline

  if given.dataset is None:
    raise UserError('--dataset is missing: build one with `python -m data.talkers.talkers`')
  if given.out:
    codec_quality.check_folder(given.out)
  for flag in ('perceptual', 'i3d'):
    # What is measured here stays here: no name is looked for on a hub.
    source = getattr(given, flag)
    if source and not os.path.isdir(source):
      raise UserError(f'--{flag} {source}: no such folder; copy the model into one')
  export = model_loader.load_codec(given.checkpoint).export
  clips = input_pipeline.talker_clips(given.dataset, given.split, export.config['size'])
  vgg16, network = (load(source) if source else None for load, source in (
    (perceptual.load, given.perceptual), (i3d.load, given.i3d)))
  scores, examples = codec_quality.measure(export, clips[:given.clips or len(clips)], vgg16,
                                           network)
  if given.out:
    codec_quality.write(given.out, scores, examples)
  return scores


def evaluate(given) -> None:
  """Does what the flags of `make_parser` say.

  Raises:
    UserError: a mistake in the flags, or nothing to measure.
  """
  if given.json and os.path.lexists(given.json):
    files.check_readable(given.json, '--json')  # before the work, not after it
  result = {'codec': evaluate_codec, 'listening': evaluate_listening}[given.what](given)
  if given.json:
    files.write_json(pathlib.Path(given.json), result)
  terminal.say_text(json.dumps({k: v for k, v in result.items() if k != 'rows'}, indent=2))


if __name__ == '__main__':
  sys.exit(cli.command(make_parser(), evaluate, 'nothing was written'))

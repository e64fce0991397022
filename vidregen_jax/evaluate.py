"""Measure an exported system on rendered clips whose truth is known, or lip sync in any video.

  python -m vidregen_jax.evaluate listening --checkpoint=out/generator/export
  python -m vidregen_jax.evaluate codec --checkpoint=out/codec/export --dataset=out/talkers/64
  python -m vidregen_jax.evaluate sync --scorer=checkpoints/sync --video=VIDEO

`listening` measures whether the mouth follows new sound (`evaluation.lip_sync`), `codec` how close
reconstructions are to their source, as a whole and in the mouth (`evaluation.codec_quality`),
`sync` how well the mouth in a video fits its sound (`evaluation.sync_score`); without a video, how
often the scorer itself is right (`evaluation.sync_trials`).
"""

import argparse
import dataclasses
import json
import math
import os
import pathlib
import sys
import tempfile

from vidregen_jax import cli, files, terminal
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import (
  codec_quality,
  lip_sync,
  sync_score,
  sync_scorer,
  sync_trials,
)
from vidregen_jax.exports import model_loader, pipeline
from vidregen_jax.faces import tracks
from vidregen_jax.media.timeline import spans
from vidregen_jax.models import i3d, perceptual, syncnet


def make_parser() -> cli.Parser:
  """The program's flags."""
  parser = cli.Parser(prog='python -m vidregen_jax.evaluate', description=__doc__,
                      allow_abbrev=False)
  parser.add_argument('what', choices=('listening', 'codec', 'sync'), help='what is measured')
  parser.add_argument('--checkpoint', metavar='DIR',
                      help="a training's export, for listening and codec")
  parser.add_argument('--split', default='test', help='which clips (default %(default)s)')
  parser.add_argument('--clips', type=_count, default=0, metavar='N',
                      help='how many of them at most (default 0: all)')
  parser.add_argument('--json', metavar='FILE', help='file for all figures')
  parser.add_argument('--pack', default='data/talkers/pack', metavar='DIR',
                      help='rendered clips, for listening and sync (default %(default)s)')
  parser.add_argument('--scorer', metavar='DIR',
                      help='a scorer of lip sync, for listening and sync')
  parser.add_argument('--syncnet', metavar='DIR',
                      help='the weights of SyncNet, for LSE-C and LSE-D, likewise')
  parser.add_argument('--perceptual', metavar='DIR',
                      help='VGG16 with LPIPS heads, for codec and for sounds own and codec; '
                           'default: no LPIPS')
  parser.add_argument('--seed', type=int, default=0,
                      help='of the noise in listening, of the moves in sync (default %(default)d)')
  listening = parser.add_argument_group('listening')
  listening.add_argument('--sounds', type=cli.several(str), default=('new',), metavar='SOUND,...',
                         help=f'what is heard, of {", ".join(lip_sync.SOUNDS)} (default new)')
  listening.add_argument('--teacher', action='store_true',
                         help='sample with the generator, also where the checkpoint has a student')
  listening.add_argument('--fit_face', action='store_true',
                         help="fit the model to each clip's own frames first, as regenerate does "
                              'with small crops; default: the model as it is')
  listening.add_argument('--steps', type=int, help="flow steps; default: the checkpoint's")
  listening.add_argument('--guidance_appearance', type=float, help="default: the checkpoint's")
  listening.add_argument('--guidance_audio', type=float, help="default: the checkpoint's")
  listening.add_argument('--noise', type=float, help="default: the checkpoint's")
  codec = parser.add_argument_group('codec')
  codec.add_argument('--dataset', metavar='DIR', help='the dataset of crops')
  codec.add_argument('--out', metavar='DIR',
                     help='folder for a sheet of pictures, a video and the figures')
  codec.add_argument('--i3d', metavar='DIR', help='an I3D; default: no Frechet video distance')
  sync = parser.add_argument_group('sync')
  sync.add_argument('--video', action='append', metavar='FILE',
                    help='to score; may be repeated (default: the rendered clips of the pack)')
  sync.add_argument('--audio', metavar='FILE', help="heard instead of the video's own sound")
  sync.add_argument('--span', action='append', default=[], metavar='START-END',
                    help='seconds of the video to score on their own; may be repeated')
  return parser


def _count(text):
  if not text.isdecimal():
    raise argparse.ArgumentTypeError(f'{text!r} is no number of clips')
  return int(text)


def evaluate_listening(given):
  """Edits rendered clips with each other's sound; prints and returns how the mouths follow."""
  judges = _judges(given)
  pairs = lip_sync.pair(lip_sync.read_clips(given.pack, given.split))
  pairs = pairs[:given.clips or len(pairs)]
  overrides = tuple((name, value) for name in ('steps', 'guidance_appearance', 'guidance_audio',
                                               'noise')
                    if (value := getattr(given, name)) is not None)
  vgg16 = _perceptual(given)
  system = pipeline.load(_checkpoint(given), given.teacher)
  with tempfile.TemporaryDirectory() as folder:
    rows = lip_sync.listening(system, pairs, given.seed, overrides, folder, given.sounds,
                              given.fit_face, judges, vgg16)
  for row in rows:
    if row['sound'] == 'silence':
      terminal.say(f'{row["clip"]} in silence: open in {row["open"]:.2f} of its frames')
      continue
    figures = '  '.join(f'{name} {row["whole"][name]:6.3f}/{row["middle"][name]:6.3f}'
                        for name in ('new', 'old', 'truths'))
    terminal.say(f'{row["clip"]} with the sound of {row["audio"]}: {figures}'
                 f'  width {row["width"]["new"]:6.3f}')
    for name, of in row.get('sync', {}).items():
      terminal.say(f'  {name}: ' + '; '.join(f'{what} {_told(score)}' for what, score in
                                             of.items()))
  terminal.say('correlation of lip gaps, whole/middle; medians:')
  return {'clips': len(pairs), 'medians': lip_sync.medians(rows), 'rows': rows}


def evaluate_codec(given):
  """Reconstructs the clips of a dataset; returns how near they are, and shows some."""
  from vidregen_jax.datasets import input_pipeline

  if given.dataset is None:
    raise UserError('--dataset is missing: build one with `python -m data.talkers.talkers`')
  if given.out:
    codec_quality.check_folder(given.out)
  vgg16, network = _perceptual(given), _local('i3d', given.i3d, i3d.load)
  export = model_loader.load_codec(_checkpoint(given)).export
  clips = input_pipeline.talker_clips(given.dataset, given.split, export.config['size'])
  scores, examples = codec_quality.measure(export, clips[:given.clips or len(clips)], vgg16,
                                           network)
  if given.out:
    codec_quality.write(given.out, scores, examples)
  return scores


def _checkpoint(given):
  if given.checkpoint is None:
    raise UserError(f'--checkpoint is missing: {given.what} measures an export of a training')
  return given.checkpoint


def _perceptual(given):
  return _local('perceptual', given.perceptual, perceptual.load)


def _local(flag, source, load):
  """A model in a folder; None if none is named.

  What is measured here stays here: no name is looked for on a hub.
  """
  if source and not os.path.isdir(source):
    raise UserError(f'--{flag} {source}: no such folder; copy the model into one')
  return load(source) if source else None


def _judges(given) -> dict:
  """The scorers of lip sync that were named, by name."""
  judges = {}
  if given.scorer:
    judges['scorer'] = sync_scorer.load(given.scorer)
  if given.syncnet:
    if not os.path.isdir(given.syncnet):
      raise UserError(f'--syncnet {given.syncnet}: no such folder; convert the weights into one '
                      'by python -m bench.convert_syncnet')
    judges['syncnet'] = sync_scorer.SyncNet(syncnet.load(given.syncnet))
  return judges


def _told(score):
  """A score as `evaluate` prints it."""
  if not score['frames']:
    return 'nothing is known'
  return (f'confidence {score["confidence"]:.2f}, distance {score["distance"]:.2f}, '
          f'offset {score["offset"]:+d}, fit {score["fit"]:.1f}')


def _plain(x):
  """A value of JSON, which has no nan: that is None there."""
  if isinstance(x, dict):
    return {name: _plain(value) for name, value in x.items()}
  if isinstance(x, list):
    return [_plain(value) for value in x]
  return None if isinstance(x, float) and math.isnan(x) else x


def evaluate_sync(given):
  """Scores videos, or tries the scorers on rendered clips; returns the figures."""
  parts = [spans.parse(text) for text in given.span]
  judges = _judges(given)
  if not judges:
    raise UserError('--scorer is missing: name one, such as --scorer=checkpoints/sync')
  if not given.video:
    clips = [clip.path for clip in lip_sync.read_clips(given.pack, given.split)]
    clips = clips[:max(given.clips, 2) if given.clips else len(clips)]
    rows = {name: sync_trials.run(judge, clips, given.seed) for name, judge in judges.items()}
    return {name: sync_trials.summary(rows[name], judge.limit)
            for name, judge in judges.items()} | {'rows': rows}
  for path in given.video if not given.audio else [*given.video, given.audio]:
    files.check_readable(path)
  scored = []
  for path in terminal.progress(given.video, 'video', 'scoring'):
    track = tracks.track_file(path)
    for name, judge in judges.items():
      found = sync_scorer.of_video(judge, path, given.audio, track)
      score = dataclasses.asdict(found.score())
      row = {'video': path, 'judge': name, **score, 'spans': [
        {'start': start, 'stop': stop, **dataclasses.asdict(found.score(start, stop))}
        for start, stop in parts]}
      if not score['frames']:
        raise UserError(f'{path}: no face is seen long enough to be scored')
      if judge.limit is not None:
        row['in_sync'] = score['fit'] > judge.limit
      row |= {'times': found.times.round(3).tolist(),
              'margin_by_frame': sync_score.by_frame(found.values).round(4).tolist()}
      scored.append(row)
  for row in scored:
    verdict = {True: ', in sync', False: ', not in sync', None: ''}[row.get('in_sync')]
    terminal.say(f'{row["video"]} by {row["judge"]}: {_told(row)}{verdict}')
    for span in row['spans']:
      terminal.say(f'  {span["start"]:.2f}-{span["stop"]:.2f} s: {_told(span)}')
  scored = _plain(scored)
  shown = [{name: x for name, x in row.items() if name not in ('times', 'margin_by_frame')}
           for row in scored]
  return {'videos': shown, 'rows': scored}


def evaluate(given) -> None:
  """Does what the flags of `make_parser` say.

  Raises:
    UserError: a mistake in the flags, or nothing to measure.
  """
  if given.json and os.path.lexists(given.json):
    files.check_readable(given.json, '--json')  # before the work, not after it
  result = {'codec': evaluate_codec, 'listening': evaluate_listening,
            'sync': evaluate_sync}[given.what](given)
  if given.json:
    files.write_json(pathlib.Path(given.json), result)
  terminal.say_text(json.dumps({k: v for k, v in result.items() if k != 'rows'}, indent=2))


if __name__ == '__main__':
  sys.exit(cli.command(make_parser(), evaluate, 'nothing was written'))

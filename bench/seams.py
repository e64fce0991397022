"""Both edges of a span in written videos: the jump of the lower face, against real footage.

  python -m bench.seams --checkpoint=checkpoints/talkers

Test clips are edited between 40 and 65 % of their length with another clip's sound, once for each
length of the cross-fade. The jump is the mean absolute change of the lower face's pixels, in the
canonical crop, between the two frames at an edge; for comparison, the same in the source.
"""

import functools
import pathlib
import sys
import tempfile

import numpy as np
import tqdm

from vidregen_jax import cli, files
from vidregen_jax.editing import editor, preparation
from vidregen_jax.evaluation import identity_metrics, lip_sync
from vidregen_jax.exports import pipeline
from vidregen_jax.faces import landmarks, tracks
from vidregen_jax.media import video
from vidregen_jax.provenance import consent

_SPAN = 0.40, 0.65
_SIZE = 96


def jumps(path, track, at):
  """The jump from each frame of `at` to the next, all lower faces cut by the source's track."""
  where = identity_metrics.lower_face(_SIZE)
  crops = np.stack([landmarks.crop(frame.image, track.affine[frame.index], _SIZE)
                    for frame in video.frames(path)])
  return identity_metrics.jumps(crops[None], where)[0][at]


def measure(machine, clip, other, fades, folder):
  """Jumps by row of the table: at the left and at the right edge; of real footage, all."""
  track = tracks.track_file(clip.path)
  span = tuple(share * clip.seconds for share in _SPAN)
  within = np.flatnonzero((track.times >= span[0]) & (track.times < span[1]))
  edges = [within[0] - 1, within[-1]]
  jump = functools.partial(jumps, track=track)
  rows = {'source, everywhere': jump(clip.path, at=slice(None)),
          'source, at the edges': jump(clip.path, at=edges)}
  for fade in fades:
    out = folder / f'{clip.path.stem}_{fade}.mp4'
    editor.regenerate(
      preparation.Edit(str(clip.path), consent.of('rendered people'), str(out), str(other.path),
                      (span,), fade=fade), machine)
    rows[f'edited, fade {fade:g} s'] = jump(out, at=edges)
  return rows


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.seams', description=__doc__)
  flags.add_argument('--checkpoint', default='checkpoints/talkers',
                     help='an exported system (default %(default)s)')
  flags.add_argument('--pack', default='data/talkers/pack',
                     help='folder of the rendered talkers (default %(default)s)')
  flags.add_argument('--clips', type=cli.whole(2), default=16,
                     help='how many clips at most (default %(default)s)')
  flags.add_argument('--fades', type=cli.several(cli.number(0)), default=[0., .1, .2, .4],
                     help='seconds of cross-fades to compare (default 0,0.1,0.2,0.4)')
  flags.add_argument('--teacher', action='store_true',
                     help='sample with the generator, also where the checkpoint has a student')
  flags.add_argument('--json', help='file for all figures')
  return flags


def run(flags):
  """Prints the table.

  Raises:
    UserError: something is missing.
  """
  clips = [clip for clip in lip_sync.read_clips(flags.pack, 'test') if clip.seconds > 2]
  machine = pipeline.load(flags.checkpoint, flags.teacher)
  rows = {}
  with tempfile.TemporaryDirectory() as folder:
    pairs = [(a, b) for a, b in lip_sync.pair(clips) if b.seconds > _SPAN[1] * a.seconds]
    for clip, other in tqdm.tqdm(pairs[:flags.clips], unit='clip'):
      measured = measure(machine, clip, other, flags.fades, pathlib.Path(folder))
      for name, found in measured.items():
        rows.setdefault(name, []).append(found)
  print('| lower face, from frame to frame | left edge | right edge | 95th percentile of both |')
  print('|---|---|---|---|')
  for name, found in rows.items():
    all_of = np.concatenate(found)
    by_edge = np.median(found, axis=0) if 'everywhere' not in name else [np.median(all_of)] * 2
    print(f'| {name} | {by_edge[0]:.2f} | {by_edge[1]:.2f} | {np.percentile(all_of, 95):.2f} |')
  if flags.json:
    files.write_json(pathlib.Path(flags.json),
                      {name: [x.tolist() for x in found] for name, found in rows.items()})


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

"""Detection of objects in front of a face: clean frames, and frames with an object drawn in.

  python -m bench.occluders --clips=8
  python -m bench.occluders --videos=FILE,FILE

As in an edit, the middle of each clip is examined, and the rest shows how the face varies. The
objects are a black microphone, a cup and a `hand`: fingers of the person's own median colour, which
are hardest to detect. A false matte on a clean frame would keep the old mouth.
"""

import pathlib
import sys

import cv2
import numpy as np
import tqdm

from vidregen_jax import cli
from vidregen_jax.compositing import occlusion
from vidregen_jax.faces import landmarks, tracks
from vidregen_jax.media import video

_SIZE = 96
_WITHIN = 0.3, 0.7
_KNOWN = 10


def draw(crop, thing):
  """A crop with a thing before the mouth, and where it is, bool [S, S]."""
  where = np.zeros((_SIZE, _SIZE), np.uint8)
  if thing == 'cup':
    colour = (60, 90, 140)
    cv2.rectangle(where, (30, 54), (66, _SIZE), 1, -1)
  elif thing == 'microphone':
    colour = (40, 40, 42)
    cv2.circle(where, (50, 66), 12, 1, -1)
    cv2.rectangle(where, (45, 70), (55, _SIZE), 1, -1)
  else:
    colour = np.median(crop[40:56, 14:30].reshape(-1, 3), axis=0)
    for x in range(30, 66, 9):
      cv2.line(where, (x, 56), (x, _SIZE), 1, 7)
  return np.where(where[..., None] > 0, np.uint8(colour), crop), where > 0


def count(path, stride):
  """By what is before the face: whether a matte is seen (clean), or the share of a thing kept."""
  track = tracks.track_file(path)
  crops = [landmarks.crop(frame.image, track.affine[frame.index], _SIZE)
           for frame in video.frames(path) if track.valid[frame.index]]
  start, stop = (round(share * len(crops)) for share in _WITHIN)
  rest = crops[:start] + crops[stop:]
  references = np.stack(rest)[np.linspace(0, len(rest) - 1, _KNOWN).astype(int)]
  occluders = occlusion.Occluders(references)
  inside = crops[start:stop:stride]
  seen = {'clean': [occluders(crop).any() for crop in inside]}
  for thing in ('microphone', 'cup', 'hand'):
    seen[thing] = []
    for crop in inside:
      occluders.restart()
      drawn, where = draw(crop, thing)
      where &= np.arange(_SIZE)[:, None] < .9 * _SIZE  # below the chin nothing is pasted
      seen[thing].append((occluders(drawn)[where] == 1).mean())
  return seen


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.occluders', description=__doc__)
  flags.add_argument('--pack', default='data/talkers/pack',
                     help='folder of the rendered talkers (default %(default)s)')
  flags.add_argument('--clips', type=cli.whole(1), default=8,
                     help='how many clips at most (default %(default)s)')
  flags.add_argument('--videos', type=cli.several(str), default=[],
                     help='videos to use instead')
  flags.add_argument('--stride', type=cli.whole(1), default=3,
                     help='only every n-th frame is examined (default %(default)s)')
  return flags


def run(flags):
  """Prints the table."""
  paths = flags.videos or sorted((pathlib.Path(flags.pack) / 'test').glob('*.mp4'))
  rows = {}
  for path in tqdm.tqdm(paths if flags.videos else paths[:flags.clips], unit='clip'):
    for name, found in count(path, flags.stride).items():
      rows.setdefault(name, []).extend(found)
  print('| before the face | frames | seen in | share of it that is kept |')
  print('|---|---|---|---|')
  for name, found in rows.items():
    seen = np.asarray(found, float)
    kept = '' if name == 'clean' else f'{seen.mean():.2f}'
    print(f'| {name} | {len(seen)} | {(seen > 0).sum()} | {kept} |')


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

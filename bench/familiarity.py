"""Does the model know when it is out of depth? Faces as they are, and the same ones drawn on.

  python -m bench.familiarity --clips=10
  python -m bench.familiarity --videos=FILE,FILE

For each person, `editing.familiarity` measures frames that are spread over a video, as they are and
with something drawn on each of them, which no model of rendered faces has learned. The table has
the codec's error, the distance of latents from the training's, and what is left of the confidence
(least, median and most of the people), and how many people are warned of.
"""

import pathlib
import sys

import cv2
import numpy as np
import tqdm

from vidregen_jax import cli
from vidregen_jax.editing import familiarity
from vidregen_jax.exports import pipeline
from vidregen_jax.faces import landmarks, tracks
from vidregen_jax.inference import streaming_codec
from vidregen_jax.media import video

_FIRST = 60  # frames of a video that are read


def drawings(size):
  """By name, functions from a crop uint8 [S, S, 3] to one that is drawn on."""
  y, x = (np.mgrid[:size, :size] + .5) / size
  purple, red, yellow, white, black = (
    np.uint8(colour) for colour in ((140, 30, 160), (190, 40, 40), (230, 220, 60), (240, 240, 240),
                                    (40, 40, 42)))
  over = lambda crop, where, colour: np.where(where[..., None], colour, crop)
  squares = ((x * 12).astype(int) + (y * 12).astype(int)) % 2 == 0
  outside_lips = ~((np.abs(x - .5) < .15) & (np.abs(y - .72) < .06))
  noise = np.random.default_rng(0).normal(0, 40, (size, size, 3))
  return {
    'nothing': lambda crop: crop,
    'purple moustache': lambda crop: over(
      crop, (np.abs(x - .5) < .2) & (np.abs(y - .6) < .045), purple),
    'green paint': lambda crop: over(crop, (x - .5)**2 / .16 + (y - .55)**2 / .2 < 1,
                                     (crop * (.35, 1, .35)).astype(np.uint8)),
    'white mouth': lambda crop: over(
      crop, (np.abs(x - .5) < .25) & (np.abs(y - .72) < .14) & outside_lips, white),
    'blue mask': lambda crop: over(crop, (y > .52) & (np.abs(x - .5) < .36),
                                   np.uint8((90, 150, 200))),
    'checked scarf': lambda crop: over(over(crop, (y > .55) & squares, red),
                                       (y > .55) & ~squares, yellow),
    'stripes': lambda crop: over(crop, (y > .4) & ((y * 16).astype(int) % 2 == 0), white),
    'microphone': lambda crop: over(crop, ((x - .52)**2 + (y - .7)**2 < .02) | (
      (np.abs(x - .52) < .05) & (y > .7)), black),
    'noise': lambda crop: np.clip(crop + noise, 0, 255).astype(np.uint8),
    'few colours': lambda crop: crop // 85 * 85,
    'a seventh of the light': lambda crop: (crop * .15).astype(np.uint8),
    'upside down': lambda crop: crop[::-1],
    'blur': lambda crop: cv2.GaussianBlur(crop, (0, 0), size / 20),
  }


def crops_of(path, size):
  """Crops uint8 [N, S, S, 3] of the largest face in a video's beginning."""
  track = tracks.track_file(path, 0, _FIRST)
  seen = np.flatnonzero(track.valid)
  chosen = set(seen[np.linspace(0, len(seen) - 1, familiarity.FRAMES).astype(int)].tolist())
  return np.stack([landmarks.crop(frame.image, track.affine[frame.index], size)
                   for frame in video.frames(path, 0, _FIRST) if frame.index in chosen])


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.familiarity', description=__doc__)
  flags.add_argument('--checkpoint', default='checkpoints/talkers', metavar='DIR')
  flags.add_argument('--pack', default='data/talkers/pack',
                     help='folder of the rendered talkers (default %(default)s)')
  flags.add_argument('--clips', type=cli.whole(1), default=10,
                     help='how many test clips at most (default %(default)s)')
  flags.add_argument('--videos', type=cli.several(str), default=[],
                     help='videos to use instead')
  return flags


def run(flags):
  """Prints the table."""
  system = pipeline.load(flags.checkpoint)
  parts = (system.models.codec, system.params.codec, system.params.latent_mean,
           system.params.latent_std)
  encoder, decoder = streaming_codec.Encoder(*parts), streaming_codec.Decoder(*parts)
  paths = flags.videos or sorted((pathlib.Path(flags.pack) / 'test').glob('*.mp4'))[:flags.clips]
  drawn, rows = drawings(system.models.codec.size), {}
  for path in tqdm.tqdm(paths, unit='video'):
    crops = crops_of(path, system.models.codec.size)
    for name, draw in drawn.items():
      rows.setdefault(name, []).append(
        familiarity.measure(np.stack([draw(crop) for crop in crops]), encoder, decoder, False))
  print('| drawn | error | distance | confidence left | warned of |')
  print('|---|---|---|---|---|')
  spread = lambda values: ' '.join(f'{value:.2f}' for value in np.quantile(values, (0, .5, 1)))
  for name, found in rows.items():
    print(f'| {name} | {spread([each.error for each in found])} '
          f'| {spread([each.distance for each in found])} '
          f'| {spread([each.share for each in found])} '
          f'| {sum(bool(each.doubt) for each in found)} of {len(found)} |')


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

"""Shot boundaries found by `faces.shot_boundaries` and by PySceneDetect's detectors, against truth.

  python -m bench.shot_boundaries
  python -m bench.shot_boundaries --videos=FILE,FILE

Sequences with known boundaries are made of clips without any: hard cuts between clips, jumps within
a clip with and without another framing, cross-fades, fades through black; and sequences without a
boundary: the clips as they are, flashes, a shaking camera, pans, and an arm that passes before the
lens. A boundary is found within 2 frames of a cut or anywhere in a fade; what is found elsewhere is
wrong. `with faces` is what the editor takes for shots: `faces.tracks` drops a boundary at which
somebody looks the same and has hardly moved. Processor time is that of the detector alone, or of
following the faces too. PySceneDetect is compared with where it is installed (`pip install
scenedetect opencv-python-headless`), with its own settings and its own downscaling.
"""

import collections
import itertools
import pathlib
import sys
import time

import cv2
import numpy as np
import tqdm

from vidregen_jax import cli, files
from vidregen_jax.errors import UserError
from vidregen_jax.faces import shot_boundaries, tracks
from vidregen_jax.media import video

try:
  import scenedetect
  from scenedetect import detectors
except ModuleNotFoundError:
  scenedetect = None

_RATE = 25
_LONGEST = 90  # frames of a clip that are used
_WIDTH = 480  # pixels of the pictures
_SLACK = 2  # frames
_FADES = 8, 12, 24  # frames
_DETECTOR_WIDTH = 256  # to which PySceneDetect makes pictures smaller


# ------------------------------------------------------------------------------------------------
# Sequences: (images uint8 [H, W, 3], [(first, last) frame between which a boundary is right])
# ------------------------------------------------------------------------------------------------


def read(path):
  """The first frames of a clip, uint8 [F, H, W, 3]."""
  info = video.probe(path)
  size = _WIDTH, round(_WIDTH * info.height / info.width)
  return np.stack([frame.small(*size) for frame in video.frames(path, 0, _LONGEST)])


def joined(shots):
  """Shots one after the other, with a hard cut between each two."""
  starts = np.cumsum([len(shot) for shot in shots])[:-1].tolist()
  return list(itertools.chain(*shots)), [(start, start) for start in starts]


def faded(one, other, count, through=None):
  """A shot that turns into another over `count` frames, or into a picture and then the other."""
  def mixed(a, b):
    share = (np.arange(count) + .5) / count
    return [cv2.addWeighted(x, 1 - s, y, s, 0) for x, y, s in zip(a, b, share, strict=True)]
  if through is None:
    over = mixed(one[-count:], other[:count])
  else:
    over = mixed(one[-count:], [through] * count) + mixed([through] * count, other[:count])
  start = len(one) - count
  return [*one[:start], *over, *other[count:]], [(start, start + len(over))]


def framed(shot, zoom):
  """A shot seen closer."""
  height, width = shot[0].shape[:2]
  turn = cv2.getRotationMatrix2D((width / 2, height / 2), 0, zoom)
  return [cv2.warpAffine(image, turn, (width, height)) for image in shot]


def moved(shot, places):
  """A shot seen closer by half, from places in pixels from the middle, one a frame."""
  height, width = shot[0].shape[:2]
  images = []
  for image, (x, y) in zip(shot, places, strict=True):
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 0, 1.5)
    turn[:, 2] += x, y
    images.append(cv2.warpAffine(image, turn, (width, height)))
  return images


def flashed(shot, at, count):
  """A shot with some frames much brighter."""
  images = list(shot)
  for i in range(at, at + count):
    images[i] = cv2.add(images[i], np.full_like(images[i], 110))
  return images


def crossed(shot, at, count):
  """A shot before which an arm passes: a slanted bar of a third of the picture's width."""
  images = list(shot)
  height, width = shot[0].shape[:2]
  for i in range(count):
    x = int(-.4 * width + 1.8 * width * (i + .5) / count)
    corners = np.array([(x, 0), (x + width // 3, 0), (x + width // 5, height),
                        (x - width // 8, height)])
    images[at + i] = cv2.fillConvexPoly(images[at + i].copy(), corners, (172, 128, 108))
  return images


def sequences(clips, rng):
  """Yields (kind, images, boundaries)."""
  pairs = list(zip(clips, [*clips[1:], clips[0]], strict=True))
  same = collections.defaultdict(list)  # what is cut together is of one size
  for clip in clips:
    same[clip.shape[1:]].append(clip)
  for group in same.values():
    for _ in range(len(group) if len(group) > 1 else 0):
      shots, last = [], None
      while len(shots) < 6:
        number = int(rng.integers(len(group)))
        if number == last:
          continue
        length = int(rng.integers(8, 40))
        start = int(rng.integers(max(len(group[number]) - length, 1)))
        shots, last = [*shots, group[number][start:start + length]], number
      yield 'hard cuts', *joined(shots)
  for one, other in pairs:
    half = len(one) // 2
    yield 'as it is', list(one), []
    yield 'jump in a scene', *joined([one[:half - 12], one[half + 12:]])
    yield 'jump, other framing', *joined([one[:half], framed(one[half:], 1.3)])
    if one.shape[1:] == other.shape[1:]:
      for count in _FADES:
        yield 'cross-fade', *faded(one, other, count)
      yield 'fade through black', *faded(one, other, 12, np.zeros_like(one[0]))
    for count in (1, 2, 4):
      yield 'flash', flashed(one, half, count), []
    reach = .03 * _WIDTH
    yield 'shaking camera', moved(one, rng.uniform(-reach, reach, (len(one), 2))), []
    jerk = np.zeros((len(one), 2))
    jerk[half:] = .06 * _WIDTH, .02 * _WIDTH
    yield 'jerk of the camera', moved(one, jerk), []
    pan = np.clip((np.arange(len(one)) - half) / 6, -1, 1)[:, None] * (.16 * _WIDTH, 0)
    yield 'fast pan', moved(one, pan), []
    yield 'arm before the lens', crossed(one, half, 8), []


# ------------------------------------------------------------------------------------------------
# Detectors: functions of images that give the first frames of shots, but for frame 0
# ------------------------------------------------------------------------------------------------


def ours(images):
  watch = shot_boundaries.Watch()
  for image in images:
    watch(image)
  return (np.flatnonzero(np.diff(watch.shots())) + 1).tolist()


def with_faces(images):
  return (np.flatnonzero(np.diff(tracks.follow(images, keep_landmarks=False).shot)) + 1).tolist()


def theirs(make):
  """The same of detectors of PySceneDetect, as its SceneManager runs them."""
  def found(images):
    running, starts = make(), set()
    height, width = images[0].shape[:2]
    size = _DETECTOR_WIDTH, max(round(height * _DETECTOR_WIDTH / width), 1)
    for number, image in enumerate(images):
      small = cv2.cvtColor(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR),
                           cv2.COLOR_RGB2BGR)
      at = scenedetect.FrameTimecode(number, float(_RATE))
      for detector in running:
        starts |= {start.frame_num for start in detector.process_frame(at, small)}
    for detector in running:
      starts |= {start.frame_num for start in detector.post_process(at)}
    return sorted(starts - {0})
  return found


def subjects():
  """{name: detector}."""
  rows = {'ours': ours, 'with faces': with_faces}
  if scenedetect is not None:
    rows |= {
      'content': theirs(lambda: [detectors.ContentDetector()]),
      'adaptive': theirs(lambda: [detectors.AdaptiveDetector()]),
      'adaptive, shots of 5 frames': theirs(lambda: [detectors.AdaptiveDetector(min_scene_len=5)]),
      'adaptive and threshold': theirs(
        lambda: [detectors.AdaptiveDetector(), detectors.ThresholdDetector()]),
      'histogram': theirs(lambda: [detectors.HistogramDetector()]),
      'hash': theirs(lambda: [detectors.HashDetector()]),
    }
  return rows


def score(starts, boundaries):
  """(boundaries that were found, starts that are none)."""
  near = np.array([[first - _SLACK <= start <= last + _SLACK for start in starts]
                   for first, last in boundaries]).reshape(len(boundaries), len(starts))
  return int(near.any(axis=1).sum()), int((~near.any(axis=0)).sum())


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.shot_boundaries', description=__doc__)
  flags.add_argument('--pack', default='data/talkers/pack',
                     help='folder of the rendered talkers (default %(default)s)')
  flags.add_argument('--clips', type=cli.whole(2), default=8,
                     help='how many clips at most (default %(default)s)')
  flags.add_argument('--videos', type=cli.several(str), default=[],
                     help='videos of one take each to use instead')
  flags.add_argument('--json', help='file for all figures')
  return flags


def run(flags):
  """Prints the tables.

  Raises:
    UserError: there are no clips.
  """
  paths = flags.videos or sorted((pathlib.Path(flags.pack) / 'test').glob('*.mp4'))[:flags.clips]
  if not paths:
    raise UserError(f'{flags.pack}: no clips; give --videos')
  clips = [read(path) for path in paths]
  kinds, counts = {}, collections.defaultdict(lambda: np.zeros(2, int))
  seconds, frames = collections.Counter(), 0
  for kind, images, boundaries in tqdm.tqdm(sequences(clips, np.random.default_rng(0)),
                                            unit='sequence'):
    kinds.setdefault(kind, np.zeros(2, int))
    kinds[kind] += 1, len(boundaries)
    frames += len(images)
    for name, detect in subjects().items():
      began = time.process_time()
      starts = detect(images)
      seconds[name] += time.process_time() - began
      counts[name, kind] += score(starts, boundaries)
  names = list(subjects())
  print(f'found / found where there is none; {frames} frames')
  print(f'| | sequences | boundaries | {" | ".join(names)} |\n{"|---" * (len(names) + 3)}|')
  for kind, (count, boundaries) in kinds.items():
    cells = ' | '.join('{} / {}'.format(*counts[name, kind]) for name in names)
    print(f'| {kind} | {count} | {boundaries} | {cells} |')
  figures = {}
  for name in names:
    right, wrong = sum(counts[name, kind] for kind in kinds)
    boundaries = sum(each[1] for each in kinds.values())
    figures[name] = {'precision': right / max(right + wrong, 1), 'recall': right / boundaries,
                     'cpu_seconds_a_minute': seconds[name] / frames * 60 * _RATE}
  for figure in ('precision', 'recall', 'cpu_seconds_a_minute'):
    cells = ' | '.join(f'{figures[name][figure]:.3f}' for name in names)
    print(f'| {figure} | | | {cells} |')
  if flags.json:
    files.write_json(pathlib.Path(flags.json), figures)


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

"""Renders a clip of a talker, frame by frame: `render_clip`. Also the truth of the mouth.

  python -m data.talkers.clip --head HEAD.npz --benchmark        frames per second
  python -m data.talkers.clip --head HEAD.npz --sheet out.png    sixteen people, sixteen mouths
"""

import argparse
import collections
import concurrent.futures
import sys
import threading
import time

import cv2
import numpy as np

from data.talkers import appearance, mesh, motion, render
from vidregen_jax import errors

_FACE_UNITS = 17.5  # chin to hairline of the mean head
_SEAL = 0.03  # units that resting lips overlap, so that no slit of teeth shows


def render_clip(head, identity, scene, face_curves, times, size, seed, threads=2):
  """Renders one talking clip lazily, holding only a few frames.

  Speech is given; blinks, gaze, expressions and head motion are added from `seed`.

  Args:
    head: mesh.Head. identity: appearance.Identity. scene: appearance.Scene.
    face_curves: float [F, len(mesh.CHANNELS)], the speech curves, mostly within [0, 1].
    times: [F] seconds of the frames, increasing, any spacing.
    size: S, pixels a side. seed: of everything added here.
    threads: frames rendered side by side; the pictures do not depend on it.

  Yields:
    (uint8 [S, S, 3] RGB, float32 [68, 2] landmark pixels; an integer is a pixel's centre).

  Raises:
    ValueError: shapes that disagree.
  """
  times = np.asarray(times, np.float64)
  curves = np.asarray(face_curves, np.float32)
  if curves.shape != (len(times), len(mesh.CHANNELS)):
    raise ValueError(
      f'face_curves {curves.shape} must be [{len(times)} times, {len(mesh.CHANNELS)} channels]'
    )
  return _render(head, identity, scene, curves, times, size, seed, threads)


def _render(head, identity, scene, curves, times, size, seed, threads):
  figure = appearance.figure(head, identity)
  acting = motion.perform(seed, times)
  rng = np.random.default_rng([seed, 23])
  side = size * render.SUPERSAMPLING
  weights = act(curves, acting.face)
  weights[:, mesh.CHANNELS.index('mouthClose')] += seal(head, figure.rest)
  lens = _lens(scene, side)
  background = scene.backdrop(side)
  lights = np.array(
    [scene.light, scene.key, scene.fill, scene.ambient], np.float32
  )  # fmt: skip
  exposure = 1 + motion.drift(rng, times, scene.exposure_drift, 0.1, 0.6)
  curve = render.film_curve()
  grain = np.random.default_rng([seed, 29]).standard_normal((size + 61, size + 67, 3))
  # Sensors correlate neighbouring pixels a little (demosaicing).
  grain = cv2.GaussianBlur(grain.astype(np.float32), (0, 0), 0.45)
  grain /= grain.std()
  corners = rng.integers(0, [61, 67], (len(times), 2))
  sway = 0.25
  own = threading.local()

  def draw(n):
    if not hasattr(own, 'canvas'):
      own.canvas = render.Canvas(figure, size)
      own.picture = np.empty((size, size, 3), np.float32)
    canvas, picture = own.canvas, own.picture
    turn = motion.rotation(acting.yaw[n], acting.pitch[n], acting.roll[n])
    pose = turn, acting.shift[n], (sway * acting.shift[n]).astype(np.float32)
    image = canvas.draw(head, weights[n], pose, lens, lights, background)
    render.resolve(image, np.full(3, exposure[n], np.float32), curve, picture)
    if scene.blur > 0:
      picture = cv2.GaussianBlur(picture, (0, 0), scene.blur * size / 256 + 0.05)
    out = np.empty((size, size, 3), np.uint8)
    top, left = corners[n]
    render.add_noise(picture, grain, top, left, np.float32(scene.noise), out)
    points = canvas.screen[head.landmarks, :2] / render.SUPERSAMPLING - 0.5
    return out, points.astype(np.float32)

  with concurrent.futures.ThreadPoolExecutor(max(threads, 1)) as pool:
    queue = collections.deque()
    for n in range(len(times)):
      queue.append(pool.submit(draw, n))
      if len(queue) > 2 * threads:
        yield queue.popleft().result()
    while queue:
      yield queue.popleft().result()


def act(curves, extra):
  """Speech [F, C] plus performance [F, C]; a smile gives way to rounded and to closing lips."""
  at = mesh.CHANNELS.index
  extra = extra.copy()
  rounding = curves[:, at('mouthPucker')] + curves[:, at('mouthFunnel')]
  pressing = curves[:, at('mouthRollLower')] + curves[:, at('mouthRollUpper')]
  room = np.clip(1 - 1.2 * rounding - 0.5 * pressing, 0.1, 1)
  for side in 'LR':
    extra[:, at(f'mouthSmile_{side}')] *= room
  both = curves + extra
  # Looking down takes the upper lid along.
  for side in 'LR':
    down = both[:, at(f'eyeLookDown_{side}')]
    blink = both[:, at(f'eyeBlink_{side}')]
    both[:, at(f'eyeBlink_{side}')] = np.clip(blink + 0.35 * down * (1 - blink), 0, 1)
  return both


def seal(head, rest):
  """mouthClose that makes lips just meet in a rest shape [V, 3]: ICT's neutral lips stand ajar."""
  upper, lower = head.landmarks[[62, 66]]
  ajar = rest[upper, 1] - rest[lower, 1] + _SEAL
  closing = head.channel_landmarks[mesh.CHANNELS.index('mouthClose')]
  return max(ajar / (closing[66, 1] - closing[62, 1]), 0.0)


def _lens(scene, side):
  """(camera distance, focal length in supersampled pixels, aimed height, aimed side)."""
  depth = scene.distance - 9.0  # the face's front
  focal = scene.face_height * side / _FACE_UNITS * depth
  view = side / focal * scene.distance
  aim_y = 0.6 - 0.05 * view + scene.centre[1] * view
  return tuple(np.float32(v) for v in (scene.distance, focal, aim_y, scene.centre[0] * view))


def lip_gap(points68):
  """Inner-lip opening [...] in outer-eye distances from points [..., 68, 2]; 0 when they meet.

  Points 62 and 66 (0-based) are compared along the face's own vertical, so that lips pressed into
  each other count as closed, not as open.
  """
  points = np.asarray(points68, np.float32)
  across = points[..., 45, :] - points[..., 36, :]
  distance = np.linalg.norm(across, axis=-1)
  down = np.stack([-across[..., 1], across[..., 0]], -1) / distance[..., None]
  opening = ((points[..., 66, :] - points[..., 62, :]) * down).sum(-1)
  return np.maximum(opening, 0) / distance


def mouth_width(points68):
  """Distance of the mouth's corners [...] in outer-eye distances from points [..., 68, 2]."""
  points = np.asarray(points68, np.float32)
  wide = np.linalg.norm(points[..., 54, :] - points[..., 48, :], axis=-1)
  return wide / np.linalg.norm(points[..., 45, :] - points[..., 36, :], axis=-1)


MOUTHS = {
  'rest': {},
  'm b p': dict(jawOpen=0.08, mouthClose=0.08, mouthPress_L=0.3, mouthPress_R=0.3),
  'a': dict(jawOpen=0.6, mouthLowerDown_L=0.3, mouthLowerDown_R=0.3),
  'e': dict(jawOpen=0.25, mouthStretch_L=0.4, mouthStretch_R=0.4, mouthUpperUp_L=0.25,
            mouthUpperUp_R=0.25, mouthLowerDown_L=0.3, mouthLowerDown_R=0.3),
  'i': dict(jawOpen=0.12, mouthSmile_L=0.45, mouthSmile_R=0.45, mouthUpperUp_L=0.3,
            mouthUpperUp_R=0.3, mouthLowerDown_L=0.4, mouthLowerDown_R=0.4),
  'o': dict(jawOpen=0.35, mouthFunnel=0.6, mouthPucker=0.3),
  'u': dict(jawOpen=0.1, mouthPucker=0.9, mouthFunnel=0.25),
  'f v': dict(jawOpen=0.1, mouthRollLower=0.5, mouthShrugLower=0.35, mouthUpperUp_L=0.35,
              mouthUpperUp_R=0.35),
  's': dict(jawOpen=0.06, mouthStretch_L=0.3, mouthStretch_R=0.3, mouthUpperUp_L=0.35,
            mouthUpperUp_R=0.35, mouthLowerDown_L=0.5, mouthLowerDown_R=0.5),
  'l': dict(jawOpen=0.35, tongueUp=1.0, mouthLowerDown_L=0.3, mouthLowerDown_R=0.3),
  'th': dict(jawOpen=0.25, tongueOut=0.8, mouthLowerDown_L=0.3, mouthLowerDown_R=0.3),
  'wide': dict(jawOpen=0.9),
}  # fmt: skip


def channels(**values):
  """float32 [C] of mesh.CHANNELS from names: channels(jawOpen=.5)."""
  curve = np.zeros(len(mesh.CHANNELS), np.float32)
  for name, value in values.items():
    curve[mesh.CHANNELS.index(name)] = value
  return curve


def chatter(times, seed=0):
  """Made-up speech curves [F, C]: syllables without a sound, for tests and timing."""
  times = np.asarray(times, np.float64)
  rng = np.random.default_rng([seed, 31])
  shapes = np.stack([channels(**mouth) for mouth in MOUTHS.values()])
  knots = np.arange(0, times.max() + 0.5, 0.16)
  order = rng.integers(1, len(shapes) - 1, len(knots))
  order[::4] = 1
  place = np.clip(times / 0.16, 0, len(knots) - 1.001)
  step = place.astype(int)
  blend = (0.5 - 0.5 * np.cos(np.pi * (place - step)))[:, None]
  return (shapes[order[step]] * (1 - blend) + shapes[order[step + 1]] * blend).astype(np.float32)


def _benchmark(head, threads):
  for size in (128, 256):
    times = np.arange(100) / 25
    curves = chatter(times)
    for warm in (True, False):
      count = 8 if warm else len(times)
      start = time.perf_counter()
      first = None
      for _ in render_clip(
        head, appearance.Identity.draw(5), appearance.Scene.draw(5), curves[:count],
        times[:count], size, 5, threads,
      ):  # fmt: skip
        if first is None:
          first, busy = time.perf_counter(), time.process_time()
      end, busy = time.perf_counter(), time.process_time() - busy
    print(
      f'{size} px, {threads} threads: {(count - 1) / (end - first):.1f} frames/s, '
      f'{1000 * busy / (count - 1):.1f} ms of processor time a frame; '
      f'set-up {first - start:.2f} s a clip'
    )


def _sheet(head, seed, size=256):
  people = []
  for k in range(16):
    person = appearance.Identity.draw(seed + k)
    mouth = list(MOUTHS.values())[k % len(MOUTHS)]
    frames = render_clip(
      head, person, appearance.Scene.draw(seed + k), channels(**mouth)[None], [1.0], size, seed + k
    )
    people.append(next(iter(frames))[0])
  rows = [np.concatenate(people[k : k + 4], 1) for k in range(0, 16, 4)]
  return np.concatenate(rows)


def main():
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--head', help='head model .npz; default: $VIDREGEN_HEAD')
  parser.add_argument('--benchmark', action='store_true', help='print frames per second')
  parser.add_argument('--sheet', help='write a contact sheet PNG')
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--threads', type=int, default=2)
  args = parser.parse_args()
  try:
    head = mesh.load(args.head)
    if args.benchmark:
      _benchmark(head, args.threads)
    if args.sheet:
      cv2.imwrite(args.sheet, _sheet(head, args.seed)[..., ::-1])
  except errors.UserError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)


if __name__ == '__main__':
  main()

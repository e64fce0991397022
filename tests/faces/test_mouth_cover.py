"""A mask is no mouth, though it is worn in every frame; a beard, glasses or bad light are none."""

import cv2
import numpy as np
import pytest

from vidregen_jax.faces import face_track, landmarks, tracks
from vidregen_jax.media import video

# Mesh points along the jaw from ear to ear, and over cheeks and nose back again.
JAW = [93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323]
OVER = [345, 280, 195, 50, 116]
LIPS = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185]


@pytest.fixture(scope='module')
def clips(pack_folder):
  """The first frames of some people, and the points of their faces."""
  paths = sorted((pack_folder / 'test').glob('*.mp4'))[1:32:6]
  images = [[frame.draft for frame in video.frames(path, 0, 12)] for path in paths]
  return [(each, tracks.track(each).landmarks) for each in images]


def region(image, points, soft):
  """Where a polygon is, float32 [H, W, 1]."""
  where = np.zeros(image.shape[:2], np.float32)
  cv2.fillPoly(where, [np.rint(points * 8).astype(int)], 1, shift=3)
  return cv2.GaussianBlur(where, (0, 0), soft)[..., None]


def masked(image, points, colour):
  """A face with a mask of cloth, lit from one side, with folds."""
  where = region(image, points[JAW + OVER], .7)
  x = np.linspace(.8, 1.1, image.shape[1])[None, :, None]
  cloth = np.random.default_rng(0).normal(0, 3, image.shape) + np.array(colour) * x
  for share in (.3, .6):
    y = int(points[195, 1] * (1 - share) + points[152, 1] * share)
    cv2.line(cloth, (0, y), (image.shape[1], y), tuple(.8 * value for value in colour), 1)
  return np.uint8(np.clip(np.rint(image * (1 - where) + cloth * where), 0, 255))


def bearded(image, points, colour):
  """A face with hair around its lips."""
  where = region(image, points[JAW[2:-2] + [426, 2, 206]], 1.5) * (1 - region(image, points[LIPS],
                                                                              .8))
  hair = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, image.shape[:2]), (0, 0), .7,
                          sigmaY=2)
  hair = np.array(colour) * (1 + hair[..., None])
  return np.uint8(np.clip(np.rint(image * (1 - where) + hair * where), 0, 255))


def shaded(image, points):
  """A face in sunglasses."""
  out = image.copy()
  for group in (landmarks.LEFT_EYE, landmarks.RIGHT_EYE):
    centre, radius = points[list(group)].mean(0), np.ptp(points[[33, 263], 0]) / 4
    cv2.circle(out, np.rint(centre).astype(int).tolist(), round(radius), (12, 12, 14), -1)
  return out


def painted(image, points):
  """A face in warm light, with red lips."""
  where = .8 * region(image, points[LIPS], .7)
  red = image * (1 - where) + np.array((175, 15, 45)) * where
  return np.uint8(np.clip(red * (1.25, 1, .7), 0, 255))


def covered(images):
  """Of frames with a face, the share that a mask hides."""
  track = tracks.track(images, keep_landmarks=False)
  return (track.cover > 1)[track.valid].mean()


def of_all(clips, change):
  return [covered([change(image, at) for image, at in zip(*clip, strict=True)]) for clip in clips]


@pytest.mark.parametrize('colour', [
  (150, 195, 220), (210, 208, 204), (26, 26, 30), (150, 200, 180), (205, 140, 150),
  (200, 172, 140)])
def test_a_mask_is_seen(clips, colour):
  # A fold before the mouth can look like lips for some frames.
  assert np.mean(of_all(clips, lambda image, at: masked(image, at, colour))) > .9


def test_a_scarf_of_foreign_colours_is_seen(clips):
  def scarf(image, at):
    where, cloth = region(image, at[JAW + OVER], .7), np.zeros(image.shape)
    cloth[...] = (20, 60, 210)
    cloth[np.indices(image.shape[:2]).sum(0) // 8 % 2 > 0] = (30, 200, 60)
    return np.uint8(np.rint(image * (1 - where) + cloth * where))
  assert np.mean(of_all(clips, scarf)) > .9


def test_a_mask_is_seen_in_black_and_white_and_in_the_dark(clips):
  def dark(image, at):
    grey = cv2.cvtColor(masked(image, at, (150, 195, 220)), cv2.COLOR_RGB2GRAY) // 3
    return np.repeat(grey[..., None], 3, -1)
  assert np.mean(of_all(clips, dark)) > .9


@pytest.mark.parametrize('change', [
  lambda image, at: image,
  lambda image, at: np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, -1),
  lambda image, at: image // 4,
  lambda image, at: np.uint8(128 + (image.astype(int) - 128) * .4),
  lambda image, at: cv2.GaussianBlur(image, (0, 0), 3),
  lambda image, at: cv2.imdecode(cv2.imencode('.jpg', image, [1, 10])[1], 1),
  lambda image, at: bearded(image, at, (26, 22, 20)),
  lambda image, at: bearded(image, at, (150, 148, 144)),
  lambda image, at: bearded(image, at, (110, 60, 30)),
  shaded, painted,
], ids=['as it is', 'grey', 'dark', 'pale', 'blurred', 'compressed', 'black beard', 'grey beard',
        'red beard', 'sunglasses', 'lipstick'])
def test_a_mouth_is_never_taken_for_a_mask(clips, change):
  assert of_all(clips, change) == [0] * len(clips)


def test_frames_without_the_mask_are_worked_on(pack_folder):
  path = max((pack_folder / 'test').glob('*.mp4'), key=lambda path: video.probe(path).frame_count)
  images = [frame.draft for frame in video.frames(path, 0, 90)]
  points = tracks.track(images).landmarks
  half = [masked(image, at, (150, 195, 220)) if i < 45 else image
          for i, (image, at) in enumerate(zip(images, points, strict=True))]
  track = tracks.track(half, keep_landmarks=False)
  left = face_track.uncovered(track)
  assert np.isfinite(track.affine).all() and track.valid.all()
  hidden = left.reason == face_track.COVERED
  assert hidden[:42].all() and not hidden[48:].any()  # it is looked for in every fourth frame
  np.testing.assert_array_equal(left.valid, ~hidden)
  np.testing.assert_array_equal(np.isfinite(left.affine).all((1, 2)), left.valid)
  assert not left.confidence[hidden].any() and left.confidence[~hidden].all()


def test_what_passes_before_a_mouth_is_not_worn(pack_folder):
  path = max((pack_folder / 'test').glob('*.mp4'), key=lambda path: video.probe(path).frame_count)
  images = [frame.draft for frame in video.frames(path, 0, 80)]
  points = tracks.track(images).landmarks
  def before_the_lips(image, at):
    lips = at[LIPS]
    where = region(image, lips.mean(0) + 2.6 * (lips - lips.mean(0)), .7)
    return np.uint8(np.rint(image * (1 - where) + 90 * where))
  passing = [before_the_lips(image, at) if 30 <= i < 46 else image
             for i, (image, at) in enumerate(zip(images, points, strict=True))]
  assert covered(passing) == 0
  assert covered(passing[30:46]) > .5

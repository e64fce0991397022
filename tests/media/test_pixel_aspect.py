"""Where pixels are not square, a face is worked on as it is shown."""

from fractions import Fraction

import cv2
import numpy as np
import pytest

from vidregen_jax import errors
from vidregen_jax.compositing import paste
from vidregen_jax.faces import landmarks, reidentify, tracks
from vidregen_jax.media import pixel_aspect, video, video_writer

SHAPES = [Fraction(2), Fraction(1, 2), Fraction(4, 3), Fraction(16, 15), Fraction(8, 9),
          Fraction(16, 11)]
MATRICES = {0: None, 90: (0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30),
            180: (-(1 << 16), 0, 0, 0, -(1 << 16), 0, 0, 0, 1 << 30),
            270: (0, -(1 << 16), 0, 1 << 16, 0, 0, 0, 0, 1 << 30)}


@pytest.fixture(scope='module')
def talker(pack_folder):
  """The first frames of a clip, uint8 [256, 256, 3]."""
  return [frame.image for frame in video.frames(sorted((pack_folder / 'test').glob('*.mp4'))[5],
                                                0, 6)]


def squeezed(images, shape, turns=0):
  """Pictures as they are stored, so that with such pixels and turns they are shown as given."""
  # Of the two sides that which is stored smaller; even, as 4:2:0 wants it.
  height, width = (2 * round(256 / by / 2) for by in (max(1 / shape, 1), max(shape, 1)))
  return [cv2.resize(np.ascontiguousarray(np.rot90(image, turns)), (width, height),
                     interpolation=cv2.INTER_AREA) for image in images]


def write(path, stored, shape, rotation=0):
  height, width = stored[0].shape[:2]
  info = video.VideoInfo(str(path), width, height, 25, Fraction(1, 12800), rotation=rotation,
                         display_matrix=MATRICES[rotation], sample_aspect_ratio=shape)
  with video_writer.Writer(path, info, crf=4) as writer:
    for i, image in enumerate(stored):
      writer.write(image, i * 512)
  return video.probe(path)


@pytest.mark.parametrize(('shape', 'rotation'), [
  *((shape, 0) for shape in SHAPES), *((Fraction(2), rotation) for rotation in (90, 180, 270))])
def test_the_crop_is_that_of_the_picture_as_it_is_shown(talker, shape, rotation, tmp_path):
  turns = rotation // 90
  stored = squeezed(talker, shape, turns)
  info = write(tmp_path / 'a.mp4', stored, shape, rotation)
  assert (info.sample_aspect_ratio, info.rotation) == (shape, rotation)
  plain, track = tracks.track(talker), tracks.track_file(info.path)
  seen = tracks.follow_parts(info, [(0, 6)])
  piece, = seen.pieces
  np.testing.assert_array_equal(piece.track.affine, track.affine)
  assert track.valid.all() and (track.confidence > .8).all()
  for i, frame in enumerate(video.frames(info.path)):
    one, other = (landmarks.crop(image, affine, 64).astype(int) for image, affine in (
      (frame.image, track.affine[i]), (talker[i], plain.affine[i])))
    assert np.abs(one - other).mean() < 5
  # By the sides, not by the crop: a stored pixel is so much wider than it is high.
  across, down = np.hypot(track.affine[:, :, 0], track.affine[:, :, 1]).mean(0)
  assert down / across == pytest.approx(float(shape), rel=.03)
  np.testing.assert_allclose(track.mouth_box, plain.mouth_box, atol=.03)
  np.testing.assert_allclose(
    reidentify.displayed_box(piece.box, seen.size, seen.turns),
    tracks.follow(talker).pieces[0].box / 256, atol=.03)


def test_a_stretched_face_without_such_a_tag_stays_as_it_is(talker, tmp_path):
  info = write(tmp_path / 'a.mp4', squeezed(talker, Fraction(4, 3)), None)
  track = tracks.track_file(info.path)
  across, down = np.hypot(track.affine[:, :, 0], track.affine[:, :, 1]).mean(0)
  assert across == pytest.approx(down)
  shape = pixel_aspect.Squares.of(info)
  image = np.zeros((4, 4, 3), np.uint8)
  assert shape.picture(image) is image and shape.affines(track.affine) is track.affine


def test_landmarks_are_stored_pixels(talker, tmp_path):
  info = write(tmp_path / 'a.mp4', squeezed(talker, Fraction(2)), Fraction(2))
  track = tracks.track_file(info.path, keep_landmarks=True)
  plain = tracks.track(talker).landmarks
  # A pixel's middle stays where it is: x + .5 halves.
  np.testing.assert_allclose(2 * (track.landmarks[..., 0] + .5) - .5, plain[..., 0], atol=3)
  np.testing.assert_allclose(track.landmarks[..., 1], plain[..., 1], atol=3)


def test_what_is_pasted_is_as_round_as_it_is_shown():
  size, side = 64, 120.
  shape = pixel_aspect.Squares((100, 200), (200, 200))
  affine = shape.affines(np.array([(side, 0, 40), (0, side, 40)]))
  old = np.full((size, size, 3), 90, np.uint8)
  new = cv2.circle(old.copy(), (32, 32), 12, (200, 200, 200), -1)
  image = np.full((200, 100, 3), 90, np.uint8)
  pasted = paste.paste(image, new, affine, np.ones((size, size), np.float32), old)
  rows, columns = np.nonzero(pasted[..., 0] > 145)
  # 25 pixels of the crop are 47 of its 120 as shown: so high, and half as wide as stored.
  assert np.ptp(rows) + 1 == pytest.approx(25 / 64 * 120, abs=2)
  assert np.ptp(columns) + 1 == pytest.approx(25 / 64 * 60, abs=2)
  assert ((rows.mean() + .5) / 200, (columns.mean() + .5) / 100) == pytest.approx((.5, .5), abs=.01)


def test_a_pixels_middle_stays_where_it_is():
  shape = pixel_aspect.Squares((100, 200), (200, 200))
  # The first two shown pixels are the first stored one.
  np.testing.assert_allclose(shape.to_stored(np.array([(.5, 7.), (2.5, 0.)])), [(0, 7), (1, 0)])
  there = shape.affines(np.array([(10., -3, .5), (3, 10, 7)]))
  np.testing.assert_allclose(there, [(5, -1.5, 0), (3, 10, 7)])


def test_a_coarse_crop_is_averaged_across_and_down_apart():
  stripes = np.zeros((40, 320, 3), np.uint8)
  stripes[:, ::2] = 200  # gone in the mean of eight columns
  stripes[10:20] //= 2  # and seen, row by row
  affine = np.array([(8., 0, 3.5), (0, 1, 0)])
  for exact in (False, True):
    seen = landmarks.warp(stripes, affine, 40, exact)
    np.testing.assert_allclose(seen[:9, 2:-2], 100, atol=1)
    np.testing.assert_allclose(seen[12:18, 2:-2], 50, atol=1)


def test_what_no_picture_is_shown_in_is_refused(tmp_path):
  info = video.VideoInfo('a.mp4', 16384, 16384, 25, Fraction(1, 25),
                         sample_aspect_ratio=Fraction(65535, 2))
  with pytest.raises(errors.UserError, match='3.277e.04 times as wide as high'):
    pixel_aspect.Squares.of(info)
  near = video.VideoInfo('a.mp4', 1440, 1080, 25, Fraction(1, 25),
                         sample_aspect_ratio=Fraction(1001, 1000))
  assert pixel_aspect.Squares.of(near).shown == (1440, 1080)

"""Several faces are followed at once, wherever and however they lie, and never over a cut."""

from fractions import Fraction

import numpy as np
import pytest

from vidregen_jax.faces import detect_and_track, face_track, landmarks, reidentify, tracks
from vidregen_jax.media import video, video_writer


@pytest.fixture(scope='module')
def talkers(pack_folder):
  """The first frames of some clips, one person each: lists of uint8 [256, 256, 3]."""
  clips = sorted((pack_folder / 'test').glob('*.mp4'))
  return [[frame.draft for frame in video.frames(clips[at], 0, 40)] for at in (0, 3, 5)]


def beside(*clips):
  return [np.concatenate(images, 1) for images in zip(*clips, strict=True)]


def follow(images, **options):
  return tracks.follow(images, keep_landmarks=False, **options)


def test_two_faces_keep_their_numbers_and_places(talkers):
  faces = follow(beside(*talkers[:2]))
  left, right = reidentify.tell_apart(faces)
  assert (left.number, right.number) == (1, 2)
  for person, alone, shift in ((left, talkers[0], 0), (right, talkers[1], 256)):
    piece, = person.pieces
    assert (piece.start, piece.stop) == (0, 40) and piece.track.valid.all()
    expected = tracks.track(alone).affine + np.array([(0, 0, shift), (0, 0, 0)])
    assert np.abs(piece.track.affine - expected).max() < 4  # the mesh depends a little on its start


def test_who_leaves_is_gone_and_who_comes_is_found(talkers):
  one, other, images = talkers[0], talkers[1], []
  nobody = np.broadcast_to(np.linspace(60, 90, 256).astype(np.uint8)[:, None], (256, 256, 3))
  for i in range(40):
    images.append(np.concatenate([one[i], other[i] if i < 15 else nobody], 1))
  left, right = reidentify.tell_apart(follow(images))
  assert left.pieces[0].stop == 40 and right.pieces[0].stop == 15
  faces = follow(images[::-1])
  left, right = reidentify.tell_apart(faces)
  assert left.pieces[0].start == 0 and right.pieces[0].start <= 25 + detect_and_track._EVERY
  assert np.unique(faces.shot).tolist() == [0]  # half of the picture changed, and somebody stayed


def test_a_cut_parts_what_is_followed(talkers):
  faces = follow(talkers[0][:14] + talkers[1][:12] + talkers[0][14:24])
  assert (np.flatnonzero(np.diff(faces.shot)) + 1).tolist() == [14, 26]
  assert [(piece.start, piece.stop) for piece in faces.pieces] == [(0, 14), (14, 26), (26, 36)]
  first, second = reidentify.tell_apart(faces)  # and the first is known again
  assert [piece.start for piece in first.pieces] == [0, 26] and len(second.pieces) == 1


@pytest.mark.parametrize('told', [True, False])
@pytest.mark.parametrize('turns', [1, 2, 3])
def test_a_face_on_its_side_is_found_and_set_upright(talkers, turns, told):
  upright = talkers[0][:6]
  stored = [np.ascontiguousarray(np.rot90(image, turns)) for image in upright]
  track = tracks.track(stored, turns=turns if told else 0)
  assert track.valid.all()
  for image, plain, affine, expected in zip(
      stored, upright, track.affine, tracks.track(upright).affine, strict=True):
    one, other = landmarks.crop(image, affine, 64), landmarks.crop(plain, expected, 64)
    assert np.abs(one.astype(int) - other).mean() < 6


class Doubtful(landmarks.Finder):
  """Finds one face, and is as sure of each quarter turn as it is told: of the whole, and nearer."""

  def __init__(self, whole, near):
    super().__init__()
    self.whole, self.near = whole, near

  def search(self, image, view, turns=0):
    is_whole = view == (0, 0, *image.shape[1::-1])
    at = np.array([image.shape[1] / 2, image.shape[0] / 2])
    return [landmarks.Region(at, 60., 0., (self.whole if is_whole else self.near)[turns])]


@pytest.mark.parametrize(('whole', 'near', 'told', 'turns'), [
  ((.75, .6, .88, .7), (.92, .6, .85, .8), 0, 0),  # a small face, upside down from afar
  ((.80, .6, .90, .7), (.80, .7, .90, .8), 0, 0),  # a dark mask is hair from near, too
  ((.70, .8, .90, .8), (.70, .8, .90, .8), 0, 2),  # it is upside down
  ((.80, .6, .60, .9), (.80, .6, .60, .9), 0, 3),  # it lies on its side
  ((.90, .6, .80, .7), (.90, .6, .80, .7), 2, 2), ((.81, .8, .5, .5), (.81, .8, .5, .5), 1, 1)])
def test_a_face_is_upright_as_told_unless_it_is_surely_not(whole, near, told, turns):
  follower = detect_and_track.Follower(told)
  follower.finder = Doubtful(whole, near)
  follower(np.zeros((400, 300, 3), np.uint8))
  assert follower._turns == turns


def test_strips_and_specks_show_nobody():
  rng = np.random.default_rng(0)
  for width, height in ((4096, 16), (16, 4096), (2, 2), (1, 1), (8192, 2)):
    images = [rng.integers(0, 255, (height, width, 3), np.uint8)] * 2
    assert not follow(images).pieces


def test_a_turned_file_says_how_its_picture_is_shown(talkers, tmp_path):
  stored = [np.ascontiguousarray(np.rot90(image)) for image in beside(*talkers[:2])[:8]]
  path = tmp_path / 'phone.mp4'
  info = video.VideoInfo(str(path), 256, 512, 25, Fraction(1, 12800), rotation=90,
                         display_matrix=(0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30))
  with video_writer.Writer(path, info) as writer:
    for i, image in enumerate(stored):
      writer.write(image, i * 512)
  assert video.probe(path).rotation == 90
  faces = tracks.follow_parts(video.probe(path), [(0, 8)])
  left, right = reidentify.tell_apart(faces)
  assert left.boxes(faces.size, faces.turns)[:, 2].max() < .5
  assert right.boxes(faces.size, faces.turns)[:, 0].min() > .5


def test_a_mirrored_face_is_a_face(talkers):
  mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in talkers[0][:6]]
  track = tracks.track(mirrored)
  assert track.valid.all() and track.affine[0, 0, 0] > 0


def test_small_faces_and_lips_outside_the_picture_are_left_alone(talkers):
  import cv2
  small = [cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA) for image in talkers[0][:6]]
  small = [np.pad(image, ((60, 60), (60, 60), (0, 0)), mode='edge') for image in small]
  assert (tracks.track(small).reason == face_track.TOO_SMALL).all()
  plain = tracks.track(talkers[0][:6])
  lips = int((plain.affine[0] @ (*plain.mouth_box[0].reshape(2, 2).mean(0), 1))[1])
  cut_off = tracks.track([np.ascontiguousarray(image[:lips - 4]) for image in talkers[0][:6]])
  assert (cut_off.reason == face_track.OUT_OF_FRAME).all() and not cut_off.valid.any()
  assert (cut_off.confidence == 0).all() and (plain.confidence > .8).all()


def test_an_empty_picture_is_never_filled_in(talkers):
  images = list(talkers[0][:20])
  images[9:11] = [np.zeros_like(images[0])] * 2
  track = tracks.track(images)
  assert np.flatnonzero(~track.valid).tolist() == [9, 10]
  assert (track.reason[9:11] == face_track.NO_FACE).all()


def test_a_blurred_frame_has_less_confidence(talkers):
  import cv2
  images = list(talkers[0][:12])
  images[6] = cv2.GaussianBlur(images[6], (0, 0), 4)
  confidence = tracks.track(images).confidence
  assert confidence[6] < .6 < .8 < np.delete(confidence, 6).min()

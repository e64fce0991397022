"""What hides a face is told from the face, and a clean face never is."""

import cv2
import numpy as np
import pytest

from vidregen_jax.compositing import occlusion
from vidregen_jax.faces import landmarks, tracks
from vidregen_jax.media import video

SIZE = 96


@pytest.fixture(scope='module')
def crops_of():
  """Crops uint8 [F, S, S, 3] of a clip."""
  def read(path, stride=1):
    track = tracks.track_file(path)
    return np.stack([landmarks.crop(frame.image, track.affine[frame.index], SIZE)
                     for frame in video.frames(path)
                     if track.valid[frame.index] and frame.index % stride == 0])
  return read


@pytest.fixture(scope='module')
def clip(crops_of, pack_folder):
  return crops_of(sorted((pack_folder / 'test').glob('*.mp4'))[0])


def cup(crop, top=50, colour=(60, 90, 140)):
  """A cup before the mouth: the crop, and where the cup is, bool [S, S]."""
  where = np.zeros((SIZE, SIZE), bool)
  where[top:, 30:66] = True
  return np.where(where[..., None], np.uint8(colour), crop), where


def test_a_clean_face_has_no_matte(crops_of, pack_folder):
  # The span is the middle of the clip, what is known of the person the rest: as in an edit.
  for path in sorted((pack_folder / 'test').glob('*.mp4'))[::4]:
    crops = crops_of(path, stride=3)
    start, stop = (round(share * len(crops)) for share in (.35, .65))
    rest = np.concatenate([crops[:start], crops[stop:]])
    occluders = occlusion.Occluders(rest[::max(len(rest) // 10, 1)])
    for crop in crops[start:stop]:
      assert not occluders(crop).any(), path.name


@pytest.mark.parametrize('colour', [(60, 90, 140), (30, 30, 30), (225, 225, 220)])
def test_a_cup_is_seen_whole_and_little_else(clip, colour):
  occluders = occlusion.Occluders(clip[:40:4])
  hidden, where = cup(clip[-1], colour=colour)
  matte = occluders(hidden)
  inside = where.copy()
  inside[88:] = False  # below the chin it is not looked for
  assert (matte[inside] == 1).mean() > .97
  # In coarse pixels, two of the crop each: two for its blurred edge, one to be sure, two for the
  # ramp, and a half as the matte is enlarged.
  near = cv2.dilate(where.astype(np.uint8), np.ones((23, 23)))
  assert (matte[near == 0] > 0).mean() < .01  # a stray pixel beside it may be taken along


def test_a_matte_goes_with_what_it_was_of_and_is_forgotten_at_a_restart(clip):
  occluders = occlusion.Occluders(clip[:40:4])
  first = occluders(cup(clip[-2])[0])
  after = occluders(clip[-1])
  assert 0 < after.max() < first.max() == 1
  for _ in range(4):
    after = occluders(clip[-1])
  assert not after.any()
  occluders(cup(clip[-2])[0])
  occluders.restart()
  assert not occluders(clip[-1]).any()


def test_it_says_nothing_of_light_or_people_it_does_not_know(clip, crops_of, pack_folder):
  occluders = occlusion.Occluders(clip[:3])
  assert not occluders(cup(clip[-1])[0]).any()  # three crops tell nothing
  occluders = occlusion.Occluders(clip[:40:4])
  darker = np.uint8(clip[-1] * .7)
  assert not occluders(darker).any()  # the same face in less light
  strange, _ = cup(clip[-1])
  strange[:48] = 255 * (np.indices((48, SIZE)).sum(0) // 8 % 2)[..., None]  # another head
  assert not occluders(strange).any()


def test_how_much_of_the_mouth_is_hidden():
  matte = np.zeros((SIZE, SIZE), np.float32)
  matte[48:] = 1
  assert occlusion.hides(matte, np.array([.25, .25, .75, .75])) == .5
  assert occlusion.hides(matte, np.array([1.25, 1.25, 1.75, 1.75])) == 0

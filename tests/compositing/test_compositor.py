"""Made faces go into frames, and what is seen before a face keeps its pixels."""

import dataclasses

import cv2
import numpy as np
import pytest

from vidregen_jax.compositing import compositor
from vidregen_jax.editing import regenerator
from vidregen_jax.faces import landmarks, tracks
from vidregen_jax.media import video

SIZE = 96


@pytest.fixture(scope='module')
def take(pack_folder):
  """A clip's frames, its track and its crops."""
  path = sorted((pack_folder / 'test').glob('*.mp4'))[0]
  frames, track = list(video.frames(path)), tracks.track_file(path)
  return frames, track, [landmarks.crop(f.image, track.affine[f.index], SIZE) for f in frames]


def other_mouth(crop):
  """A crop with a mouth that is wide open."""
  face = crop.copy()
  cv2.ellipse(face, (48, 68), (10, 8), 0, 0, 360, (60, 15, 20), -1)
  return face


def seen(track, index, image):
  """A frame that shows this image, as pasting is given it."""
  affine = track.affine[index]
  return regenerator.Shot(Numbered(index), image=image, affine=affine,
                          crop=landmarks.crop(image, affine, SIZE))


@dataclasses.dataclass
class Numbered:
  """As much of a video.Frame as pasting looks at."""

  index: int


def behind_a_cup(frame, track, top):
  """A frame with a cup from a height in the crop downwards, and where the cup is, bool [H, W]."""
  affine = track.affine[frame.index]
  corners = np.array([(.3, top), (.7, top), (.7, 1.2), (.3, 1.2)])
  at = corners @ affine[:, :2].T + affine[:, 2]
  where = np.zeros(frame.image.shape[:2], np.uint8)
  cv2.fillPoly(where, [np.rint(at).astype(int)], 1)
  image = np.where(where[..., None] > 0, np.uint8((60, 90, 140)), frame.image)
  return seen(track, frame.index, image), where > 0


def paster_of(take, clear=slice(0, 40, 4), seed=0):
  _, track, crops = take
  return compositor.Paster(SIZE, track, seed, {int(track.person[0]): np.stack(crops)[clear]})


def unlimited(take):
  """A paster that looks for no occluders, and holds no colours."""
  return paster_of(take, clear=slice(0, 0))


def test_a_thing_before_the_chin_keeps_its_pixels_to_the_bit(take):
  frames, track, crops = take
  paster = paster_of(take)
  for index in (45, 46, 47):
    shot, cup = behind_a_cup(frames[index], track, .78)
    # The made face knows of no cup, and is of another colour.
    pasted = paster(shot, np.minimum(other_mouth(crops[index]), 215) + np.uint8(40))
    assert (pasted != shot.image).any()
    # Its outermost pixel is mixed with the face by the crop.
    inner = cv2.erode(cup.astype(np.uint8), np.ones((3, 3))) > 0
    np.testing.assert_array_equal(pasted[inner], shot.image[inner])
  (start, stop, share), = paster.hidden
  assert (start, stop) == (45, 48) and 0 < share < .5
  assert paster.left == []


def test_a_frame_whose_mouth_is_hidden_is_left_and_said(take):
  frames, track, crops = take
  paster = paster_of(take)
  assert paster(seen(track, 44, frames[44].image), other_mouth(crops[44])) is not None
  for index in (45, 46):
    shot, _ = behind_a_cup(frames[index], track, .5)
    assert paster(shot, other_mouth(shot.crop)) is None
  assert paster.left == [[45, 47]]
  off = unlimited(take)
  assert off(shot, other_mouth(shot.crop)) is not None
  assert off.hidden == off.left == []


def test_a_clean_face_is_pasted_whole_and_nothing_is_said(take):
  frames, track, crops = take
  paster = paster_of(take)
  for index in range(44, 50):
    shot = seen(track, index, frames[index].image)
    assert (paster(shot, other_mouth(crops[index])) != shot.image).any()
  assert paster.hidden == paster.left == []


@pytest.mark.parametrize('tint', [(0, 0, 0), (14, 0, -20)])
def test_black_and_white_gets_no_colour(take, tint):
  frames, track, crops = take
  rng, paster = np.random.default_rng(0), unlimited(take)
  for index in (44, 45):
    grey = cv2.cvtColor(frames[index].image, cv2.COLOR_RGB2GRAY) * .8
    grey = grey[..., None] + rng.normal(0, 4, grey.shape)[..., None] + 24  # grain without colour
    image = np.uint8(np.clip(np.rint(grey) + np.int32(tint), 0, 255))
    pasted = paster(seen(track, index, image), other_mouth(crops[index])).astype(int)
    changed = (pasted != image).any(-1)
    assert changed.sum() > 500
    # All three are made lighter or darker alike, but for what is as light or dark as can be.
    possible = ((pasted > 0) & (pasted < 255)).all(-1)
    assert (changed & possible).sum() > 500
    assert np.ptp(pasted - image, axis=-1)[possible].max() == 0


def test_between_black_and_white_and_colour_frames_do_not_take_turns(take):
  frames, track, crops = take
  paster = unlimited(take)
  coloured = []
  for index, share in enumerate((0, .06, 0, .06, 1, .06), start=44):
    image = frames[index].image
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    image = np.uint8(np.rint(grey + share * (image.astype(float) - grey)))
    pasted = paster(seen(track, index, image), other_mouth(crops[index])).astype(int)
    coloured.append(int(np.ptp(pasted - image, axis=-1).max()) > 0)
  assert coloured == [False, False, False, False, True, True]


def test_the_same_seed_makes_the_same_frames(take):
  frames, track, crops = take
  rng = np.random.default_rng(0)
  grainy = [seen(track, index, np.uint8(np.clip(
    frames[index].image + rng.normal(0, 5, frames[index].image.shape), 0, 255)))
    for index in (44, 45)]

  def made(seed):
    paster = paster_of(take, seed=seed)
    return [paster(shot, other_mouth(crops[shot.frame.index])) for shot in grainy]

  one, same, other = made(1), made(1), made(2)
  np.testing.assert_array_equal(one, same)
  assert (one[0] != other[0]).any()

"""A pasted crop shows where it should and nowhere else."""

import functools

import cv2
import numpy as np
import pytest

from vidregen_jax.compositing import film_grain, paste
from vidregen_jax.faces import crop_mask, landmarks


def scene(height: int = 360, width: int = 300) -> np.ndarray:
  """A picture with coarse colour and fine texture, as skin has."""
  rng = np.random.default_rng(0)
  coarse = cv2.GaussianBlur(rng.normal(0, 1, (height, width, 3)), (0, 0), 25)
  fine = cv2.GaussianBlur(rng.normal(0, 1, (height, width, 1)), (0, 0), 1)[..., None]
  image = 120 + 30 * coarse / coarse.std() + 8 * fine / fine.std()
  return np.uint8(np.clip(image, 0, 255))


def tilted(side: float = 220, degrees: float = 12, x: float = 40, y: float = 80) -> np.ndarray:
  angle = np.radians(degrees)
  turn = side * np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
  return np.c_[turn, (x, y)].astype(np.float32)


@pytest.mark.parametrize('size', [16, 64, 100, 256])
def test_soft_mask_lies_inside_the_hard_one(size):
  hard, soft = crop_mask.lower_face_mask(size), crop_mask.lower_face_mask(size, soft=True)
  assert set(np.unique(hard)) == {0, 1}
  assert hard.dtype == soft.dtype == np.float32
  assert (soft <= hard).all()
  assert soft.max() == 1
  np.testing.assert_array_equal(hard, hard[:, ::-1])
  rows = np.flatnonzero(hard.any(1)) / size
  assert rows[0] >= .35
  assert not hard[:, 0].any()
  # Rounded at the bottom: the last rows are narrower than the middle ones.
  assert hard[np.flatnonzero(hard.any(1))[-1]].sum() < .8 * hard[int(.6 * size)].sum()


def outline(chin: float = .9, half: float = .34) -> np.ndarray:
  """A face's outline from ear to ear, [P, 2] crop fractions: half an ellipse."""
  angle = np.linspace(np.pi, 0, 23)
  return np.stack([.5 + half * np.cos(angle), .35 + (chin - .35) * np.sin(angle)], -1)


MOUTH = np.array((.36, .62, .64, .78))


def test_what_is_pasted_holds_the_mouth_and_ends_within_the_face():
  size = 96
  mask = crop_mask.paste_mask(size, outline(), MOUTH)
  assert mask.dtype == np.float32 and (mask <= crop_mask.lower_face_mask(size)).all()
  y, x = (np.mgrid[:size, :size] + .5) / size
  inside = ((x - .5) / .14) ** 2 + ((y - .7) / .08) ** 2 < 1  # lips have no corners
  assert mask[inside].min() > .9
  # Nose, cheeks, chin and all that is beside the face stay the source's.
  for height, across in ((.5, .5), (.6, .2), (.7, .8), (.89, .5), (.97, .5)):
    assert mask[int(height * size), int(across * size)] == 0


def test_a_turned_heads_outline_cuts_the_mask_and_the_other_side_stays():
  ahead = crop_mask.paste_mask(96, outline(), MOUTH)
  turned = outline()
  turned[:, 0] = np.minimum(turned[:, 0], .62)
  cut = crop_mask.paste_mask(96, turned, MOUTH)
  assert not cut[:, round(.62 * 96):].any()
  np.testing.assert_array_equal(cut[:, :48], ahead[:, :48])


def test_a_face_that_leaves_the_crop_is_pasted_up_to_its_edge():
  low = MOUTH + (0, .16, 0, .16)
  mask = crop_mask.paste_mask(96, outline(chin=1.3), low)
  assert mask[80, 48] > .9 and not mask[95].any()


def test_a_saturated_background_beside_the_face_changes_no_skin():
  size = 96
  mask = crop_mask.lower_face_mask(size, soft=True)  # as of a face that is wider than this one
  old = np.full((size, size, 3), (180, 140, 120), np.uint8)
  old[:, 68:] = (0, 200, 30)
  new = np.full((size, size, 3), (180, 140, 120), np.uint8)
  matched = paste.match_rim(new, old, mask)
  np.testing.assert_array_equal(matched[:, :60], new[:, :60])


def test_what_the_rim_corrects_is_bounded():
  size = 96
  mask = crop_mask.lower_face_mask(size, soft=True)
  old = np.full((size, size, 3), (180, 140, 120), np.uint8)
  new = old // 4
  assert np.abs(paste.match_rim(new, old, mask).astype(int) - new).max() <= 24


def test_colours_meet_at_the_rim_and_the_mouth_keeps_its_own():
  size = 96
  mask = crop_mask.lower_face_mask(size, soft=True)
  old = np.full((size, size, 3), (150, 110, 90), np.uint8)
  new = old + np.uint8((12, 0, 8))  # redder all over
  new[60:70, 36:60] = (90, 20, 30)  # and another mouth
  matched = paste.match_rim(new, old, mask).astype(int)
  rim = (mask > .1) & (mask < .5)
  rim[int(.7 * size):] = False
  assert np.abs(matched - old)[rim].mean() < .35 * np.abs(new.astype(int) - old)[rim].mean()
  assert np.abs(matched - new)[62:68, 40:56].max() <= 3
  # Spread smoothly: what is taken off changes by less than a few levels from pixel to pixel, as far
  # as is pasted.
  taken = np.where((mask > 0)[..., None], matched - new, np.nan)
  assert max(np.nanmax(np.abs(np.diff(taken, axis=axis))) for axis in (0, 1)) <= 2
  np.testing.assert_array_equal(paste.match_rim(old, old, mask), old)


FACE = crop_mask.skin_mask(64, outline(), MOUTH)


def test_brows_hair_and_lips_are_not_skin():
  skin = crop_mask.skin_mask(96, outline(), MOUTH)
  for height, across in ((.3, .4), (.41, .5), (.7, .5), (.6, .05), (.97, .5)):
    assert not skin[int(height * 96), int(across * 96)]
  assert skin[50, 30] and skin[50, 66] and skin[81, 48]


def test_smooth_skin_gives_smooth_mouths_whatever_brows_and_beards_beside_it_do():
  rng = np.random.default_rng(0)
  image = np.full((300, 300, 3), 120, np.uint8)
  affine, size = tilted(degrees=0, side=250, x=20, y=20), 64
  image[:120] = rng.integers(0, 256, (120, 300, 1))  # brows and hair, down to the eyes
  image[:, :50] = image[:, 250:] = rng.integers(0, 256, (300, 50, 1))
  image[140:170, 80:190] = rng.integers(60, 180, (30, 110, 1))  # a moustache
  crop = np.full((size, size, 3), 170, np.uint8)
  made = paste.paste(image, crop, affine, crop_mask.paste_mask(size, outline(), MOUTH),
                     grained=functools.partial(film_grain.Grain(0), 0), skin=FACE)
  assert made[195:205, 125:165].std() < .5


@pytest.mark.parametrize('strength', [0., 4.])
def test_a_new_mouth_has_the_grain_of_what_is_around_it(strength):
  rng = np.random.default_rng(0)
  clean = np.full((300, 300, 3), 120, np.float32)
  noise = cv2.GaussianBlur(rng.normal(0, 1, (300, 300, 1)), (0, 0), .7)[..., None]
  image = np.uint8(np.rint(clean + strength * noise / noise.std()))
  affine, size = tilted(degrees=0, side=250, x=20, y=20), 64
  mask = crop_mask.paste_mask(size, outline(), MOUTH)
  crop = np.full((size, size, 3), 170, np.uint8)
  plain = paste.paste(image, crop, affine, mask)
  made = paste.paste(image, crop, affine, mask, grained=functools.partial(film_grain.Grain(0), 0),
                     skin=FACE)
  middle = slice(185, 210), slice(125, 165)
  # Rounding to whole levels is a noise of .3 by itself; calm tiles are a few percent below all.
  assert plain[middle].std() < .5
  assert made[middle].std() == pytest.approx(strength, rel=.2, abs=.3)
  np.testing.assert_allclose(made[middle].mean(), 170, atol=1)
  outside = (plain == image).all(-1)
  assert outside.sum() > 2e4
  far = np.ones_like(outside)
  far[90:, 20:280] = False
  np.testing.assert_array_equal(made[far], image[far])


@pytest.mark.parametrize('size', [32, 64, 256])
def test_an_unchanged_crop_changes_nothing(size):
  image, affine = scene(), tilted()
  same = paste.paste(image, landmarks.crop(image, affine, size), affine,
                     crop_mask.lower_face_mask(size, soft=True))
  np.testing.assert_array_equal(same, image)


@pytest.mark.parametrize('affine', [tilted(), tilted(x=-90), tilted(side=500), tilted(y=250)])
@pytest.mark.parametrize('size', [32, 128])
def test_outside_the_mask_pixels_are_bit_identical(affine, size):
  image, mask = scene(), crop_mask.lower_face_mask(size, soft=True)
  before = image.copy()
  pasted = paste.paste(image, np.full((size, size, 3), 255, np.uint8), affine, mask)
  np.testing.assert_array_equal(image, before)
  y, x = np.mgrid[:image.shape[0], :image.shape[1]]
  points = np.stack([x, y], -1).reshape(1, -1, 2).astype(np.float32)
  at = landmarks.to_fractions(affine[None], points)[0].reshape(*y.shape, 2)
  # The mask as a function of the place, not as warped pixels; a crop pixel's width of grace.
  outline = cv2.dilate(crop_mask.lower_face_mask(1024), np.ones((3, 3)),
                       iterations=-(-1024 // size))
  inside = cv2.remap(outline, at[..., 0] * 1024 - .5, at[..., 1] * 1024 - .5, cv2.INTER_NEAREST)
  np.testing.assert_array_equal(pasted[inside == 0], image[inside == 0])
  changed = (pasted != image).any(-1)
  assert changed.any() or not inside.any()


def test_where_much_changed_the_new_crop_is_seen_and_no_old_detail():
  image, affine, size = scene(), tilted(), 64
  crop = np.full((size, size, 3), (200, 60, 60), np.uint8)
  pasted = paste.paste(image, crop, affine, crop_mask.lower_face_mask(size, soft=True))
  middle = landmarks.crop(pasted, affine, size)[38:50, 22:42].reshape(-1, 3)
  np.testing.assert_allclose(middle, np.broadcast_to((200, 60, 60), middle.shape), atol=1)


def test_where_little_changed_fine_detail_stays():
  image, affine, size = scene(), tilted(), 64
  mask = crop_mask.lower_face_mask(size, soft=True)
  crop = np.clip(landmarks.crop(image, affine, size).astype(int) + 4, 0, 255).astype(np.uint8)
  pasted = paste.paste(image, crop, affine, mask)
  added = pasted.astype(int) - image
  assert added.min() >= 0
  assert added.max() <= 5  # the crop's shift of 4 and a rounding, not the texture of 8


def test_the_edge_is_a_ramp_without_a_step():
  image = np.full((300, 300, 3), 100, np.uint8)
  affine, size = tilted(degrees=0, side=250, x=20, y=20), 64
  pasted = paste.paste(image, np.full((size, size, 3), 140, np.uint8), affine,
                       crop_mask.lower_face_mask(size, soft=True)).astype(int)
  steps = max(np.abs(np.diff(pasted, axis=axis)).max() for axis in (0, 1))
  # 40 levels over .07 of 250 pixels; a smooth ramp's steepest step is 1.5 times its mean.
  assert steps <= np.ceil(1.5 * 40 / (.07 * 250)) + 1
  assert pasted.max() == 140


def test_wrong_shapes_and_absent_faces_are_refused():
  image, mask = scene(), crop_mask.lower_face_mask(64, soft=True)
  with pytest.raises(ValueError, match='wanted'):
    paste.paste(image, np.zeros((32, 32, 3), np.uint8), tilted(), mask)
  with pytest.raises(ValueError, match='not finite'):
    paste.paste(image, np.zeros((64, 64, 3), np.uint8), np.full((2, 3), np.nan), mask)

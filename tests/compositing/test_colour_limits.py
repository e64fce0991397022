"""Generated colours stay within those that the person has been seen to have, near their place."""

import cv2
import numpy as np

from vidregen_jax.compositing import colour_limits

SIZE = 96
SKIN, LIPS, TEETH = (190, 150, 130), (170, 100, 100), (225, 220, 210)


def face(lips=LIPS, between=None):
  """A face of skin alone, with lips and what is between them."""
  crop = np.full((SIZE, SIZE, 3), SKIN, np.uint8)
  cv2.ellipse(crop, (48, 68), (16, 8), 0, 0, 360, lips, -1)
  if between:
    cv2.ellipse(crop, (48, 68), (11, 5), 0, 0, 360, between, -1)
  return crop


FACES = np.stack([face(), face(between=TEETH)])


def test_orange_lips_become_the_persons():
  held = colour_limits.ColourLimits(FACES[:1])(face(lips=(215, 95, 60)), face())
  before = np.abs(np.array((215, 95, 60)) - LIPS).sum()
  assert np.abs(held.astype(int)[66:70, 44:52] - LIPS).sum(-1).mean() < .4 * before


def test_a_smear_on_skin_is_taken_back_though_the_mouth_may_be_as_pale():
  generated = face()
  cv2.line(generated, (18, 50), (22, 80), TEETH, 8)
  held = colour_limits.ColourLimits(FACES)(generated, face())
  off = lambda crop: np.abs(crop[50:80, 8:30].astype(int) - SKIN).max(-1).mean()
  assert off(held) < .5 * off(generated)


def test_what_other_frames_show_may_be_generated_over_a_closed_mouth():
  generated = face(between=TEETH)
  held = colour_limits.ColourLimits(FACES)(generated, face())
  np.testing.assert_allclose(held, generated, atol=1)
  assert (colour_limits.ColourLimits(FACES[:1])(generated, face()) != generated).any()


def test_the_sources_own_mouth_decides_nothing():
  generated, limits = face(between=(40, 10, 10)), colour_limits.ColourLimits(FACES)
  np.testing.assert_array_equal(limits(generated, face()), limits(generated, face(between=TEETH)))


def test_limits_go_with_the_light():
  generated = face(between=TEETH)
  limits, darker = colour_limits.ColourLimits(FACES), lambda crop: np.uint8(np.rint(crop * .5))
  np.testing.assert_allclose(limits(darker(generated), darker(face())), darker(generated), atol=2)


def test_details_keep_their_contrast():
  rng = np.random.default_rng(0)
  pores = rng.integers(-6, 7, (SIZE, SIZE, 1))
  generated = np.uint8(np.array(SKIN) + 40 + pores)
  held = colour_limits.ColourLimits(FACES)(generated, face()).astype(int)
  middle = held[10:30, 10:86] - held[10:30, 10:86].mean((0, 1))
  assert np.corrcoef(middle[..., 0].ravel(), pores[10:30, 10:86].ravel())[0, 1] > .95
  assert middle[..., 0].std() > .9 * pores[10:30, 10:86].std()


def test_without_any_frames_nothing_is_held():
  none = colour_limits.ColourLimits(np.zeros((0, SIZE, SIZE, 3), np.uint8))
  np.testing.assert_array_equal(none(face(lips=(215, 95, 60)), face()), face(lips=(215, 95, 60)))


def test_what_is_seen_later_is_allowed_from_then_on():
  """Whether or not something was seen before, in whatever light."""
  generated = face(between=TEETH)
  darker = (face(between=TEETH) * .8).astype(np.uint8)
  for known in (FACES[:1], FACES[:0]):
    limits = colour_limits.ColourLimits(known)
    before = limits(generated, face())
    assert (before[68, 48].astype(int) < np.array(TEETH) - 20).all() == bool(len(known))
    limits.see(darker)
    assert np.abs(limits(generated, face()).astype(int) - generated).max() <= 6

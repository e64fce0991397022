"""A fitted decoder shows what the video's own frames show, and no frame that was left out."""

import numpy as np
import pytest

from vidregen_jax.inference import decoder_fit

SMALL, LARGE, FRAMES, LEARNED = 48, 96, 40, 28
LOWER = LARGE // 3  # first row in which the correction is whole


@pytest.fixture(scope='module')
def video():
  """A linear video: (decoded [N, 48, 48, 3], native [N, 96, 96, 3]) of three patterns that move.

  The decoded frames lack the native ones' fine detail and show other colours.
  """
  rng = np.random.default_rng(0)
  coarse = rng.normal(size=(3, 12, 12)).repeat(8, 1).repeat(8, 2)
  fine = rng.normal(size=(3, LARGE, LARGE))
  moves = rng.normal(size=(FRAMES, 3))
  still = 110 + 10 * rng.normal(size=(LARGE, LARGE))
  grey = still + np.tensordot(moves, 6 * coarse + 4 * fine, 1)
  tint = rng.uniform(-20, 20, (LARGE, LARGE, 3))
  native = np.clip(grey[..., None] + tint, 0, 255).astype(np.uint8)
  seen = 110 + np.tensordot(moves, 6 * coarse, 1)[:, ::2, ::2]
  return np.repeat(seen[..., None], 3, 3).astype(np.uint8), native


def corrected(decoded, native, kept, inputs):
  fit = decoder_fit.Fit(decoded, native)
  return fit.corrected(inputs, [(1., fit.regression(kept))])


def first(count):
  return np.arange(FRAMES) < count


def error(made, native):
  return np.sqrt(np.mean((made[:, LOWER:].astype(float) - native[:, LOWER:])**2))


def test_frames_that_were_left_out_are_shown_better_than_by_the_decoder(video):
  decoded, native = video
  made = corrected(decoded, native, first(LEARNED), decoded[LEARNED:])
  plain = decoder_fit.enlarged(decoded[LEARNED:], LARGE)
  assert error(made, native[LEARNED:]) < .25 * error(plain, native[LEARNED:])


def test_frames_that_were_left_out_have_no_influence(video):
  decoded, native = video
  kept = first(LEARNED)
  other = [np.where(kept[:, None, None, None], frames, 255 - frames) for frames in video]
  same = [corrected(*frames, kept, decoded[-4:]) for frames in (video, other)]
  np.testing.assert_array_equal(*same)
  assert (corrected(*other, ~kept, decoded[-4:]) != same[0]).any()


def test_a_picture_unlike_all_that_was_fitted_stays_the_decoders(video):
  decoded, native = video
  strange = np.where(np.indices((SMALL, SMALL)).sum(0)[..., None] // 12 % 2, 0, 255)
  strange = np.broadcast_to(strange, (1, SMALL, SMALL, 3)).astype(np.uint8)
  made = corrected(decoded, native, first(LEARNED), strange)
  np.testing.assert_array_equal(made, decoder_fit.enlarged(strange, LARGE))


def test_colours_are_the_videos(video):
  decoded, native = video
  reddened = decoded[LEARNED:].astype(int) + (12, -6, -6)
  made = corrected(decoded, native, first(LEARNED), reddened.astype(np.uint8))
  red = lambda frames: frames[:, LOWER:, :, 0].mean() - frames[:, LOWER:, :, 1].mean()
  assert red(reddened) - red(decoded[LEARNED:]) == 18
  assert abs(red(made) - red(native[LEARNED:])) < 1


def test_windows_leave_no_seam():
  rng = np.random.default_rng(0)
  grey = rng.integers(100, 120, (FRAMES, SMALL, SMALL, 1), np.uint8)
  decoded = np.repeat(grey, 3, 3)
  native = decoder_fit.enlarged(decoded, LARGE) + np.uint8(20)
  made = corrected(decoded, native, first(FRAMES), decoded[:4])
  added = made.astype(int) - decoder_fit.enlarged(decoded[:4], LARGE)
  # One grey level for rounding twice.
  np.testing.assert_allclose(added[:, LOWER:], 20, atol=1)
  assert (added[:, :LARGE // 6] == 0).all()


def test_regressions_are_mixed_by_their_shares(video):
  decoded, native = video
  fit = decoder_fit.Fit(decoded, native)
  one, other = (fit.regression(kept) for kept in (first(LEARNED), ~first(FRAMES - LEARNED)))
  each, both, mixed = (fit.corrected(decoded[:2], mixture).astype(float) for mixture in (
    [(1., one)], [(1., other)], [(.25, one), (.75, other)]))
  np.testing.assert_allclose(mixed, .25 * each + .75 * both, atol=1.01)  # rounded thrice

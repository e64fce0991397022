"""The linear guess finds a linear truth, and what it leaves is whole again when restored."""

import numpy as np

from vidregen_jax.datasets import windows
from vidregen_jax.models import linear_prior
from vidregen_jax.training import data_statistics

REGION = (2, 3)
SHAPE = windows.WindowShape(4, 1, 2, 4, REGION)


def record(seed, kernel):
  """A clip whose lower face is its still's, moved as its upper face moved, and a little lighter."""
  rng = np.random.default_rng(seed)
  still = rng.standard_normal((4, 3))
  context = still + 0.5 * rng.standard_normal((12, 4, 3))
  face = 0.2 + still[2:] + ((context - still).reshape(12, -1) @ kernel).reshape(12, 2, 3)
  target = np.concatenate([context[:, :2], face], 1).reshape(12, 2, 2, 3)
  return {'target': target, 'context': context.reshape(12, 2, 2, 3), 'cold': target,
          'stills': np.repeat(still.reshape(1, 2, 2, 3), 8, 0), 'still_frames': np.arange(0, 48, 6),
          'times': np.arange(48) / 25, 'mouth_box': np.zeros((12, 4)), 'lip_gap': np.zeros(48),
          'audio': np.zeros((96, 1, 2), np.float32)}


def test_a_linear_world_is_guessed_in_full():
  kernel = 0.3 * np.random.default_rng(9).standard_normal((12, 6))
  guess = data_statistics.fit_expectation([record(i, kernel) for i in range(40)], SHAPE, draws=3,
                                          ridge=1e-6)
  unseen = windows.cut(record(99, kernel), 0, SHAPE, np.random.default_rng(0))
  reference = linear_prior.mean_reference(unseen['references'][None].astype(np.float32),
                                          unseen['reference_valid'][None])
  context = unseen['context'][None].astype(np.float32)
  np.testing.assert_allclose(guess(context, reference)[0], unseen['target'][:, 2:], atol=0.02)


def test_restoring_a_residual_gives_the_face_back():
  kernel = np.random.default_rng(1).standard_normal((12, 6))
  guess = data_statistics.fit_expectation([record(i, kernel) for i in range(5)], SHAPE, draws=1,
                                          ridge=0.5)
  rng = np.random.default_rng(2)
  face, context, reference = (rng.standard_normal(s).astype(np.float32)
                              for s in ((2, 5, 2, 3), (2, 5, 4, 3), (2, 4, 3)))
  left = guess.residual(face, context, reference)
  np.testing.assert_allclose(guess.restore(left, context, reference), face, atol=1e-4)
  # With and without an axis of frames it is the same guess.
  np.testing.assert_allclose(guess(context, reference)[:, 0], guess(context[:, 0], reference),
                             atol=1e-5)


def test_without_a_guess_the_residual_is_the_face():
  face = np.random.default_rng(0).standard_normal((1, 2, 3)).astype(np.float32)
  nothing = linear_prior.none(REGION)
  context = reference = np.ones((1, 4, 3), np.float32)
  np.testing.assert_array_equal(nothing.residual(face, context, reference), face)


def test_only_valid_stills_count():
  stills = np.array([1.0, 5.0, 9.0], np.float32).reshape(1, 3, 1, 1)
  mean = lambda *valid: float(linear_prior.mean_reference(stills, np.array([valid]))[0, 0, 0])
  assert mean(True, False, True) == 5.0
  assert mean(True, False, False) == 1.0
  assert mean(False, False, False) == 0.0

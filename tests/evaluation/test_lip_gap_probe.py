"""Lips are read where they can be, and what is read of others' lips does not agree by itself."""

import numpy as np

from vidregen_jax.datasets import windows
from vidregen_jax.evaluation import lip_gap_probe
from vidregen_jax.models import linear_prior

SHAPE = windows.WindowShape(3, 1, 2, 4, (2, 3))


def clip(seed, hidden=None):
  """Latents in which one direction of the lower cells is the lip gap, among noise."""
  rng = np.random.default_rng(seed)
  gap = rng.uniform(0, 0.5, 24)
  target = rng.normal(0, 0.3, (6, 2, 2, 4))
  target[:, 1, :, 0] += 10 * (gap if hidden is None else hidden).reshape(6, 4).mean(1)[:, None]
  return {'clip_id': str(seed), 'target': target, 'context': np.zeros((6, 2, 2, 4)),
          'cold': target, 'stills': target[:4], 'still_frames': np.arange(0, 24, 6),
          'times': np.arange(24) / 25, 'mouth_box': np.zeros((6, 4)), 'lip_gap': gap,
          'audio': np.ones((48, 1, 3), np.float32)}


def read(reader, record):
  cut = windows.cut(record, 0, SHAPE, np.random.default_rng(0))
  names = ('target', 'context', 'references', 'reference_valid')
  return reader(*(cut[name][None] for name in names))


def agreement(seen):
  """How lips read in unseen clips agree with the truth, by the latent frame."""
  reader = lip_gap_probe.fit([clip(i) for i in range(40)], SHAPE, linear_prior.none((2, 3)), 2)
  read_gaps = np.concatenate([read(reader, seen(i)) for i in range(100, 120)])
  truth = np.stack([clip(i)['lip_gap'][:12] for i in range(100, 120)])
  by_latent_frame = lambda x: x.reshape(len(x), -1, 4).mean(2).reshape(1, -1)
  return lip_gap_probe.median_correlation(by_latent_frame(read_gaps), by_latent_frame(truth))


def test_lips_are_read_in_unseen_clips():
  assert agreement(clip) > 0.8


def test_lips_that_move_otherwise_do_not_agree():
  other = np.random.default_rng(1).uniform(0, 0.5, 24)
  assert abs(agreement(lambda seed: clip(seed, other))) < 0.4


def test_correlation_is_over_what_is_known():
  a, b = np.array([0.0, 1, 2, np.nan, 4]), np.array([1.0, 3, 5, 100, 9])
  assert abs(lip_gap_probe.correlation(a, b) - 1) < 1e-12
  assert np.isnan(lip_gap_probe.correlation(np.ones(5), b))


def test_the_readout_of_one_latent_frame_is_that_of_many():
  reader = lip_gap_probe.fit([clip(i) for i in range(8)], SHAPE, linear_prior.none((2, 3)), 2)
  cut = windows.cut(clip(9), 0, SHAPE, np.random.default_rng(0))
  by_frame = np.concatenate([reader.readout(face[None, [2, 3]])[0] for face in cut['target']])
  np.testing.assert_allclose(by_frame, read(reader, clip(9))[0], atol=1e-6)

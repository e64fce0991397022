"""Lips are read frame by frame, and steadied without a jump between latent frames."""

import numpy as np

from vidregen_jax.models import lip_readout


def test_a_readout_is_linear_in_the_residual():
  rng = np.random.default_rng(0)
  kernel, bias = rng.normal(size=(6, 4)), np.arange(4.)
  read = lip_readout.Readout(kernel.astype(np.float32), bias.astype(np.float32))
  one, other = rng.normal(size=(2, 3, 2)).astype(np.float32)
  np.testing.assert_allclose(read(0 * one), bias)
  np.testing.assert_allclose(read(one + other) - bias, read(one) + read(other) - 2 * bias,
                             atol=1e-5)
  np.testing.assert_allclose(read(np.stack([one, other]))[1], read(other))
  shapes = lip_readout.shapes(3, 2)
  assert shapes == {'kernel': kernel.shape, 'bias': bias.shape}


def test_a_single_jump_is_halved_and_what_is_steady_stays():
  np.testing.assert_allclose(lip_readout.steadied(np.array([0, 0, 1., 0]), 0.), [0, .25, .5, .25])
  np.testing.assert_allclose(lip_readout.steadied(np.full(4, .3), None), .3)
  np.testing.assert_allclose(lip_readout.steadied(np.array([1., 0, 0, 0]), None)[0], .75)


def test_latent_frames_are_steadied_into_each_other():
  gaps = np.linspace(0, .7, 8)
  both = [lip_readout.steadied(gaps[:4], None), lip_readout.steadied(gaps[4:], gaps[3])]
  np.testing.assert_allclose(np.diff(np.concatenate(both))[1:-1], .1, atol=.03)

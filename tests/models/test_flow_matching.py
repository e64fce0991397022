"""The flow's path and its solvers, on a velocity whose solution is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidregen_jax.evaluation import image_metrics
from vidregen_jax.models import flow_matching
from vidregen_jax.training import losses


def test_path_runs_from_data_to_noise_at_the_target_velocity():
  clean, noise = jnp.ones((2, 3, 4)), jnp.full((2, 3, 4), 5.0)
  np.testing.assert_allclose(flow_matching.interpolate(clean, noise, jnp.zeros(2)), clean)
  np.testing.assert_allclose(flow_matching.interpolate(clean, noise, jnp.ones(2)), noise)
  step = flow_matching.interpolate(clean, noise, jnp.full(2, 0.6)) - flow_matching.interpolate(
      clean, noise, jnp.full(2, 0.5))
  np.testing.assert_allclose(step / 0.1, flow_matching.velocity_target(clean, noise), rtol=1e-5)


@pytest.mark.parametrize(('solver', 'order'), [('euler', 1), ('heun', 2)])
def test_solvers_have_their_order(solver, order):
  # dx/dt = x from t = 1 to 0 ends at x / e.
  def error(steps):
    end = flow_matching.integrate(lambda x, t: x, jnp.float32(1.0), steps, 1.0, solver)
    return abs(float(end) - np.exp(-1))
  assert 2**order * 0.8 < error(8) / error(16) < 2**order * 1.2


def test_shift_moves_times_to_noise_and_keeps_the_ends():
  grid = flow_matching.times(4, 3.0)
  assert float(grid[0]) == 1.0
  assert float(grid[-1]) == 0.0
  assert (np.asarray(grid[1:-1]) > np.asarray(flow_matching.times(4, 1.0)[1:-1])).all()
  t = flow_matching.draw_time(jax.random.key(0), (4096,), 1.0)
  assert abs(float(jnp.median(t)) - 0.5) < 0.03


def test_unknown_solver_is_refused():
  with pytest.raises(ValueError, match='euler'):
    flow_matching.integrate(lambda x, t: x, jnp.zeros(1), 2, 1.0, 'rk4')


def test_mouth_pixels_weigh_more():
  target = jnp.zeros((1, 1, 4, 4, 3))
  box = jnp.array([[[0.5, 0.5, 1.0, 1.0]]])
  in_mouth, outside = target.at[0, 0, 3, 3].set(1.0), target.at[0, 0, 0, 0].set(1.0)
  ratio = losses.reconstruction(in_mouth, target, box, 4.0) / losses.reconstruction(
      outside, target, box, 4.0)
  np.testing.assert_allclose(ratio, 5.0)


def test_psnr_of_a_known_error():
  np.testing.assert_allclose(image_metrics.psnr(jnp.full(10, 0.2), jnp.zeros(10)), 20.0, atol=1e-4)
  weight = jnp.array([1.0] + [0.0] * 9)
  np.testing.assert_allclose(image_metrics.psnr(jnp.eye(1, 10)[0] * 2, jnp.zeros(10), weight), 0.0,
                             atol=1e-4)


def test_kl_of_the_prior_is_zero_and_cell_weights_average_one():
  assert float(losses.kl(jnp.zeros(5), jnp.zeros(5))) == 0.0
  weights = losses.mouth_cell_weights(jnp.array([[[0.5, 0.5, 1.0, 1.0]]]), 2, (2, 3), 4.0)
  np.testing.assert_allclose(weights, [[[1 / 3, 5 / 3]]], rtol=1e-5)


def test_ssim_of_equal_shifted_and_unlike_pictures():
  rng = np.random.default_rng(0)
  a = rng.uniform(-1, 1, (2, 24, 24, 3)).astype(np.float32)
  np.testing.assert_allclose(image_metrics.ssim(a, a), 1.0, atol=1e-4)
  # Far from black the luminance term is near 1: a constant picture has no structure in common with
  # noise, and its negative has the opposite one.
  assert (np.abs(image_metrics.ssim(a + 5, np.full_like(a, 5))) < 0.1).all()
  assert (np.asarray(image_metrics.ssim(a + 5, 5 - a)) < -0.9).all()
  # A constant picture against a brighter one: (2ab + C1) / (a^2 + b^2 + C1), the paper's formula.
  half, full = np.full((1, 12, 12, 1), 0.5, np.float32), np.ones((1, 12, 12, 1), np.float32)
  np.testing.assert_allclose(image_metrics.ssim(half, full), (1 + 4e-4) / (1.25 + 4e-4), rtol=1e-4)

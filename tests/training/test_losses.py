"""The losses are what their papers say, on cases that can be worked out by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from vidregen_jax.training import losses


def random(*shape):
  return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


def test_alignment_is_zero_on_the_teacher_and_does_not_see_lengths():
  teacher = random(2, 3, 3, 5)
  terms = losses.alignment(2.5 * teacher, teacher, 0.0, 0.0)
  np.testing.assert_allclose(terms, 0, atol=1e-6)


def test_the_pairwise_term_sees_angles_between_cells_alone():
  teacher = random(2, 3, 3, 5)
  turn, _ = np.linalg.qr(random(5, 5))
  cosine, pairwise = losses.alignment(teacher @ turn, teacher, 0.0, 0.0)
  assert cosine > 0.3
  assert pairwise < 1e-6


def test_margins_stop_the_pull_of_what_is_near_enough():
  # Two cells, at right angles for the teacher; the latents are 60 degrees off, and 60 apart.
  teacher = np.array([[1, 0], [0, 1]], np.float32).reshape(1, 1, 2, 2)
  at = np.deg2rad([60, 120])
  latents = np.stack([np.cos(at), np.sin(at)], -1).reshape(1, 1, 2, 2).astype(np.float32)
  cosines = np.array([0.5, np.sin(np.deg2rad(120))])
  cosine, pairwise = losses.alignment(latents, teacher, 0.0, 0.0)
  assert cosine == pytest.approx(np.mean(1 - cosines), abs=1e-6)
  assert pairwise == pytest.approx(0.5 * 2 / 4, abs=1e-6)  # .5 off in 2 of the 4 pairs
  cosine, pairwise = losses.alignment(latents, teacher, 0.4, 0.3)
  assert cosine == pytest.approx((0.1 + 0.0) / 2, abs=1e-6)
  assert pairwise == pytest.approx(0.2 * 2 / 4, abs=1e-6)


def test_hinge_is_zero_beyond_the_margin_and_leaves_out_what_does_not_count():
  real, fake = jnp.array([2.0, 0.5]).reshape(2, 1, 1), jnp.array([-1.5, 0.0]).reshape(2, 1, 1)
  assert losses.hinge(real[:1], fake[:1]) == 0
  assert losses.hinge(real, fake) == pytest.approx((0.5 / 2 + 1.0 / 2) / 2)
  assert losses.hinge(real, fake, jnp.array([0.0, 1.0])) == pytest.approx((0.5 + 1.0) / 2)
  assert losses.fooled(fake, jnp.array([1.0, 0.0])) == 1.5
  assert losses.fooled(fake, jnp.zeros(2)) == 0  # nothing to see: nothing to learn


def test_the_gradient_penalty_of_a_linear_judge_is_its_squared_length():
  slope = random(4, 4, 3)
  judge = lambda x: jnp.einsum('NHWC,HWC->N', x, slope)[:, None, None]
  assert losses.gradient_penalty(judge, random(5, 4, 4, 3)) == pytest.approx(
    np.sum(slope**2), rel=1e-5)
  # The verdict on a picture is the mean of its patches: more of them do not weigh more.
  twice = lambda x: jnp.tile(judge(x), (1, 2, 3))
  assert losses.gradient_penalty(twice, random(5, 4, 4, 3)) == pytest.approx(
    np.sum(slope**2), rel=1e-5)


def test_balancing_makes_two_gradients_equally_long():
  a, b = random(3, 4), 0.01 * random(4, 3)
  weight = losses.balance(a, b)
  assert np.linalg.norm(weight * b) == pytest.approx(np.linalg.norm(a), rel=1e-5)
  assert losses.balance(a, np.zeros(3, np.float32)) == 1e4


def test_perceptual_places_of_the_mouth_weigh_more():
  boxes = np.array([[0.0, 0.5, 1.0, 1.0]], np.float32)  # the lower half
  upper, lower = np.zeros((2, 1, 8, 8), np.float32)
  upper[:, :4], lower[:, 4:] = 1, 1
  for distance, wanted in ((upper, 0.5), (lower, 0.5 * 5)):
    found = losses.perceptual_distance([distance], boxes, 8, 4.0)
    assert found == pytest.approx(wanted, rel=1e-5)
  # The taps are added.
  assert losses.perceptual_distance([upper, lower], boxes, 8, 4.0) == pytest.approx(3.0, rel=1e-5)


def test_kl_is_the_formula_for_gaussians():
  assert losses.kl(jnp.ones(3), jnp.zeros(3)) == pytest.approx(0.5)
  assert losses.kl(jnp.zeros(3), jnp.full(3, np.log(4.0))) == pytest.approx(1.5 - np.log(2.0))


def test_errors_by_flow_time_add_up():
  errors, t = jnp.array([[1.0, 2.0], [4.0, 8.0]]), jnp.array([[0.1, 0.9], [0.2, 1.0]])
  sums, counts = losses.by_flow_time(errors, t, 4)
  np.testing.assert_array_equal(sums, [5, 0, 0, 10])
  np.testing.assert_array_equal(counts, [2, 0, 0, 2])

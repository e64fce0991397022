"""Flow matching on the straight path from data (t = 0) to noise (t = 1)."""

import jax
import jax.numpy as jnp


def shift_time(t, shift: float):
  """Moves flow times towards noise: t' = s t / (1 + (s - 1) t). Source: Wan2.2, fm_solvers.py."""
  return shift * t / (1.0 + (shift - 1.0) * t)


def draw_time(key, shape, shift: float):
  """Logit-normal flow times (Stable Diffusion 3, arXiv 2403.03206, section 3.1), shifted."""
  return shift_time(jax.nn.sigmoid(jax.random.normal(key, shape)), shift)


def interpolate(clean, noise, t):
  """x_t = (1 - t) x_0 + t e; t broadcasts over the last two axes (tokens, channels)."""
  t = t[..., None, None]
  return (1.0 - t) * clean + t * noise


def velocity_target(clean, noise):
  """dx_t / dt = e - x_0."""
  return noise - clean


def times(steps: int, shift: float):
  """The sampler's flow times from 1 down to 0, [steps + 1]."""
  return shift_time(jnp.linspace(1.0, 0.0, steps + 1), shift)


def integrate(velocity_fn, noise, steps: int, shift: float, solver: str):
  """Integrates from noise to data.

  Args:
    velocity_fn: (x, t scalar) -> dx/dt, of x's shape.
    noise: the state at t = 1.
    steps: number of intervals.
    shift: as in `shift_time`.
    solver: 'euler', or 'heun' (second order, two evaluations an interval).

  Returns:
    The state at t = 0.
  """
  grid = times(steps, shift)

  def euler(i, x):
    return x + (grid[i + 1] - grid[i]) * velocity_fn(x, grid[i])

  def heun(i, x):
    dt = grid[i + 1] - grid[i]
    v = velocity_fn(x, grid[i])
    return x + 0.5 * dt * (v + velocity_fn(x + dt * v, grid[i + 1]))

  if solver not in ('euler', 'heun'):
    raise ValueError(f"solver {solver!r} does not exist: use 'euler' or 'heun'")
  return jax.lax.fori_loop(0, steps, euler if solver == 'euler' else heun, noise)

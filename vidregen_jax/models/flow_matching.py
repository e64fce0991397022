"""Flow matching on the straight path from data (t = 0) to noise (t = 1), and how it is sampled."""

import dataclasses
import math

import jax
import jax.numpy as jnp

from vidregen_jax.errors import UserError

_MOST_STEPS = 1000


@dataclasses.dataclass(frozen=True)
class SamplerConfig:
  """How to sample.

  Attributes:
    steps: flow steps a latent frame.
    solver: 'euler' or 'heun'.
    shift: flow-time shift of the step grid.
    guidance_appearance, guidance_audio: v = v(none) + appearance (v(app) - v(none))
      + audio (v(app, audio) - v(app)), where app is references, anchor and history. 1 and 1 is the
      plain conditional velocity, in one branch instead of three.
    guidance_start, guidance_stop: flow times between which audio guidance other than 1 applies.
    noise: standard deviation of the noise that a latent frame starts from; less than 1 gives more
      likely and less varied samples, which hides the unevenness of a small model.
  """
  steps: int
  solver: str
  shift: float
  guidance_appearance: float
  guidance_audio: float
  guidance_start: float = 0.0
  guidance_stop: float = 1.0
  noise: float = 1.0

  def __post_init__(self):
    if not 1 <= self.steps <= _MOST_STEPS:
      raise UserError(f'steps {self.steps} is not between 1 and {_MOST_STEPS}')
    if self.solver not in ('euler', 'heun'):
      raise UserError(f"solver {self.solver!r} does not exist: use 'euler' or 'heun'")
    for name in ('shift', 'guidance_appearance', 'guidance_audio', 'noise'):
      value = getattr(self, name)
      if not (math.isfinite(value) and value >= 0):
        raise UserError(f'{name} {value} is no size: give 0 or more')

  @property
  def guided(self) -> bool:
    """Whether there are three branches, not one."""
    return (self.guidance_appearance, self.guidance_audio) != (1.0, 1.0)


def shift_time(t, shift: float):
  """Shifts flow times towards noise: t' = s t / (1 + (s - 1) t). Source: Wan2.2, fm_solvers.py."""
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


def guide(sampler: SamplerConfig, velocities: list, t):
  """The guided velocity at flow time t, from the branches' [none, appearance, both] or [both]."""
  if not sampler.guided:
    return velocities[0]
  none, appearance, both = velocities
  inside = (t >= sampler.guidance_start) & (t <= sampler.guidance_stop)
  scale = jnp.where(inside, sampler.guidance_audio, 1.0)
  return none + sampler.guidance_appearance * (appearance - none) + scale * (both - appearance)

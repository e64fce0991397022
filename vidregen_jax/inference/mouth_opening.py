"""How far generated mouths open, and that they close, as the person's own mouth does.

What a sound leaves open, a generator averages. In latents its mouths open as far as true ones, but
decoded they are soft, and an eye or a face tracker sees half of the opening. How far the lips are
apart is mended in the picture (`compositing.mouth_shape`); for lips that go with it, what is
generated is stretched: the residual of the linear prediction (`linear_prior`), which is mostly the
mouth, is multiplied where it opens. Where it closes, stretching would press lips that are closed
already until they glow; there it is drawn towards the person's own closed mouth, which is sharp.
Which of the two a residual does is read along one direction: that in which the person's own mouths
open. No residual is stretched beyond the largest of a real frame: further out the decoder paints
white lips.

Where it is known how far the lips should be apart, the residual is moved along that direction until
it is as far along as the person's real frames with such a gap are, and nothing is stretched: the
picture of a mouth that is open, and is then warped shut, shows what is left of its teeth, and one
that is stretched too has glowing lips over a dark shadow. Each frame of a latent frame is decoded
from latents of its own: one that closes within it would show those of its mean, half open.

The generator does not see it: its history holds what it generated.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

FURTHEST = 2.  # the largest amount
# Chosen by eye: how wide lips are open is mended in the picture. Where it is not, from 2 over 2.5
# and 3 to 3.5 those of rendered test clips open .52, .53, .59 and .62 as wide as true ones to a
# tracker, and glow more over a darker shadow.
_STRETCH = 2.0  # of what opens
_SETTLE = .7  # share of the way to the person's closed mouth
_SOFT = 1.5  # width of the passage from closed to open, in standard deviations of a latent
# A person's mouths show a direction if there are so many latent frames, whose lip gaps have at
# least this deviation, in distances between the eyes: two real speakers have .015 and .017.
_FEWEST, _VARIED = 6, .012
_FURTHER = 1.25  # how far lips are moved apart, beside the widest of a real frame
_RESTING = .2  # share of them, the least open ones, that are the closed mouth


@functools.partial(jax.tree_util.register_dataclass, meta_fields=[],
                   data_fields=['direction', 'closed', 'largest', 'level', 'slope', 'widest',
                                'stretch', 'settle', 'hold', 'gap'])
@dataclasses.dataclass(frozen=True)
class Opening:
  """How residuals are changed before they are decoded.

  Attributes:
    direction: [M, C] of length 1, in which residuals open the mouth.
    closed: [M, C] the residual of the person's closed mouth.
    largest: [] norm up to which residuals are stretched.
    level, slope: [] how far along the direction a real frame is: level + slope * gap.
    widest: [] gap up to which that is believed.
    stretch: [] factor of a residual that opens, where the gap is not known.
    settle: [] share of the way to `closed`, of a residual that closes.
    hold: [] share of the way to `closed`, of every residual.
    gap: [4] that lips should be apart in each frame, in distances between the eyes, or [1] in all;
      nan where that is not known.
  """

  direction: jax.Array
  closed: jax.Array
  largest: jax.Array
  level: jax.Array
  slope: jax.Array
  widest: jax.Array
  stretch: jax.Array
  settle: jax.Array
  hold: jax.Array
  gap: jax.Array

  def __call__(self, residual):
    """Residuals [B, M, C] of a latent frame, changed for each gap: [4, B, M, C] or [1, B, M, C]."""
    return jax.vmap(self._changed, (None, 0))(residual, self.gap)

  def _changed(self, residual, gap):
    along = lambda mouth: (mouth * self.direction).sum((1, 2), keepdims=True)
    known = jnp.isfinite(gap)
    aimed = self.level + self.slope * jnp.clip(jnp.where(known, gap, 0), 0, self.widest)
    opens = jax.nn.sigmoid(jnp.where(known, aimed, along(residual)) / _SOFT)
    norm = jnp.sqrt((residual**2).sum((1, 2), keepdims=True))
    room = jnp.maximum(self.largest / jnp.maximum(norm, 1e-6), 1)
    stretch = 1 + jnp.where(known, 0, self.stretch - 1) * opens
    mouth = residual * jnp.minimum(stretch, room)
    mouth = mouth + self.settle * (1 - opens) * (self.closed - residual)
    mouth = mouth + jnp.where(known, aimed - along(mouth), 0) * self.direction
    return mouth + self.hold * (self.closed - mouth)

  def by(self, amount: float, gaps=np.nan) -> 'Opening':
    """The same for another amount, 0 to FURTHEST: 1 is the calibrated one, 0 a closed mouth.

    `gaps`, one or [4], are how far lips should be apart at an amount of 1, if that is known.
    """
    stretch = 1 + (_STRETCH - 1) * max(amount, 1)
    gaps = np.atleast_1d(np.float32(gaps)) * max(amount, 1)
    return dataclasses.replace(self, stretch=jnp.float32(stretch), settle=jnp.float32(_SETTLE),
                               hold=jnp.float32(max(1 - amount, 0)), gap=jnp.asarray(gaps))


def resting(gaps) -> np.ndarray:
  """Which of some frames show the closed mouth: the least open ones of finite lip gaps [N]."""
  return np.argsort(gaps, kind='stable')[:max(round(_RESTING * len(gaps)), 1)]


def fit(residuals, gaps) -> Opening | None:
  """The calibrated opening of a person, from real frames.

  The direction is the covariance of residuals with lip gaps: with few frames and many latents a
  regression would be no better, and this needs no penalty.

  Args:
    residuals: [N, M, C] of the person's real latent frames.
    gaps: [N] their lip gaps, in distances between the eyes; nan where unknown.

  Returns:
    None if these mouths do not show in which direction they open.
  """
  residuals, gaps = residuals[np.isfinite(gaps)], gaps[np.isfinite(gaps)]
  if len(gaps) < _FEWEST or gaps.std() < _VARIED:
    return None
  direction = np.tensordot(gaps - gaps.mean(), residuals - residuals.mean(0), 1)
  direction /= np.linalg.norm(direction)
  slope, level = np.polyfit(gaps, (residuals * direction).sum((1, 2)), 1)
  return Opening(jnp.asarray(direction, jnp.float32),
                 jnp.asarray(residuals[resting(gaps)].mean(0), jnp.float32),
                 jnp.float32(np.linalg.norm(residuals.reshape(len(gaps), -1), axis=1).max()),
                 jnp.float32(level), jnp.float32(slope), jnp.float32(_FURTHER * gaps.max()),
                 *jnp.zeros(4)).by(1)

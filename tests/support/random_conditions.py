"""Random numbers for all that conditions a generator, by the table in `streams`."""

import dataclasses

import jax
import numpy as np

from vidregen_jax.models import streams, teacher_forcing


def conditions(config, frames, rng, batch=1) -> streams.Conditions:
  """A clip of so many latent frames at 25 fps, of which all is valid; the anchor comes right after.

  Args:
    config: generator.GeneratorConfig.
    frames: latent frames T.
    rng: numpy Generator.
    batch: clips.
  """
  def draw(x):
    shape = (batch, *x.shape)
    return np.ones(shape, bool) if x.dtype == bool else rng.standard_normal(shape, np.float32)
  drawn = jax.tree.map(draw, streams.shapes(config, frames))
  seconds = np.full_like(drawn.ahead.durations, 0.04)
  return dataclasses.replace(
    drawn, ahead=dataclasses.replace(drawn.ahead, durations=seconds),
    fixed=dataclasses.replace(drawn.fixed, anchor_time=np.full(batch, frames, np.float32)))


def clip(config, frames, rng, batch=1) -> teacher_forcing.Clip:
  """Such a clip as training sees it."""
  faces = rng.standard_normal((batch, frames + 1, len(config.region), config.latent_channels),
                              np.float32)
  return teacher_forcing.Clip(conditions(config, frames, rng, batch), faces[:, -1], faces[:, :-1])


def changed(clip, name, change) -> teacher_forcing.Clip:
  """A clip with another array: `change(array)` in place of the one of that name."""
  if name in ('anchor', 'history'):
    return dataclasses.replace(clip, **{name: change(getattr(clip, name))})
  arrays = streams.flat(clip.conditions)
  return dataclasses.replace(clip, conditions=streams.unflat(
    streams.Conditions, arrays | {name: change(arrays[name])}))

"""Streams: frames and sound as they come, and frames with another mouth, a second later."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from vidregen_jax.api import compiled, models
from vidregen_jax.editing import live
from vidregen_jax.errors import UserError
from vidregen_jax.provenance import consent as consents

SAMPLE_RATE = live.RATE  # of the sound
_RATES = 5.0, 120.0  # frames a second


def stream(frames: Iterable[np.ndarray], sound: Iterable[np.ndarray], *, model: models.Model,
           consent: str, rate: float = 25.0, stills: Iterable[np.ndarray] = (), seed: int = 0,
           sampler: Mapping[str, float | str] | None = None) -> Iterator[np.ndarray]:
  """Yields frames whose mouth follows the sound, one for each that comes.

  Both iterables may wait, for a camera and a microphone say; they are read in turn, in the caller's
  thread, and no further than needed. A frame is yielded once the sound up to `delay` seconds after
  it has come. The same frames, sound and seed give the same frames, in whatever pieces the sound
  comes. Frames without a face come as they are.

  Nothing is written, and so nothing is signed: whoever shows or keeps these frames says that they
  are made.

  Args:
    frames: uint8 [H, W, 3] RGB each, of one size.
    sound: float32 [n] each, mono, 16,000 samples a second, of any length; the first sample belongs
      to the first frame. Where it ends before the frames, the rest is silent.
    model: from `load`.
    consent: who is shown, who agreed, on what basis.
    rate: frames a second.
    stills: pictures that show the person clearly, uint8 [H, W, 3] each; if there are none, the
      first second of the frames does, and comes as it is.
    seed: of the noise.
    sampler: settings of the sampler to change.

  Raises:
    UserError: there is no consent, or a frame or a piece of sound is of another form.
  """
  consents.from_flags(consent, None)
  if not _RATES[0] <= rate <= _RATES[1]:
    raise UserError(f'rate {rate:g} is not between {_RATES[0]:g} and {_RATES[1]:g} frames a second')
  settings = dataclasses.replace(model.system.sampler, **dict(sampler or {}))
  return _to_the_end(live.frames(frames, sound, model.system, rate=rate, seed=seed, stills=stills,
                                 sampler=settings))


def _to_the_end(frames) -> Iterator[np.ndarray]:
  """Yields the frames; the next stream need not compile what this one has."""
  yield from frames
  compiled.share()


def delay(model: models.Model, rate: float = 25.0) -> float:
  """Seconds by which the sound must be ahead of a frame that is yielded."""
  return live.delay(rate, model.system.models.generator.look_ahead)

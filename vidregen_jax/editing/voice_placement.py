"""Places new words among a soundtrack's channels: in those that hold the old voice.

In a film the voice is in the centre channel, in an interview perhaps in one of two. New sound with
fewer channels than the old goes only there; the other channels keep the old sound, minus the old
voice as far as it can be separated.
"""

import dataclasses

import numpy as np

from vidregen_jax.media.audio import channels, lazy

_AROUND = 0.5  # seconds on either side of a span that are also searched for the old voice
_AT_ONCE = 10  # seconds
_SILENT = 1e-4  # of full scale
_FAINT = 0.1  # of the loudest front channel: fainter ones do not hold the voice
_LOUD = 0.7  # of the loudest front channel: louder ones count as equally loud
_ALIKE = 0.2  # correlation with the centre above which a channel shares its voice


@dataclasses.dataclass(frozen=True, eq=False)
class Placing:
  """How a soundtrack's channels are mixed where new sound is inserted.

  Attributes:
    gives: gains of the new sound's channels, float32 [old, new].
    keeps: gains of the old sound's channels, float32 [old, old].
    note: what was decided, in words; '' if there was nothing to decide.
  """

  gives: np.ndarray
  keeps: np.ndarray
  note: str = ''


def measure(old: lazy.Sound, first: int, last: int) -> np.ndarray:
  """Levels and correlations of the channels around a span, float64 [channels, channels].

  Args:
    old: the soundtrack.
    first, last: samples of the span.

  Returns:
    The mean product of every pair of channels.
  """
  around, step = round(_AROUND * old.rate), _AT_ONCE * old.rate
  first, last = max(first - around, 0), min(last + around, old.shape[1])
  products = np.zeros((old.shape[0], old.shape[0]))
  for at in range(first, last, step):
    part = old[:, at:min(at + step, last)].astype(np.float64)
    products += part @ part.T
  return products / max(last - first, 1)


def choose(products: np.ndarray, old: tuple[str, ...], new: tuple[str, ...]) -> Placing:
  """Places new sound among a soundtrack's channels.

  Args:
    products: of the soundtrack, from `measure`.
    old, new: places of the channels, from `channels.places`.
  """
  gives, nothing = channels.matrix(new, old), np.zeros((len(old), len(old)), np.float32)
  if len(new) >= len(old):
    note = f'{len(new)} channels are mixed down to {len(old)}' if len(new) > len(old) else ''
    return Placing(gives, nothing, note)
  loud = np.sqrt(np.diag(products))
  if len(new) > 2:
    return _beside(gives, old)
  sides = [i for i, place in enumerate(old) if place in ('FL', 'FR')]
  fronts = sides or [i for i, place in enumerate(old) if place not in channels.BASS]
  centre = old.index('FC') if 'FC' in old else None
  loudest = loud[fronts].max()
  if centre is not None and (loud[centre] > max(_FAINT * loudest, _SILENT) or loudest <= _SILENT):
    return _in_the_centre(products, loud, old, centre, channels.voice(new))
  if len(new) == len(sides) == 2:
    return _beside(gives, old)
  return _in_front(loud, fronts, old, channels.voice(new))


def _beside(gives, old):
  """Every channel of the new sound in its own place; channels that it lacks keep the old sound."""
  free = ~gives.any(1)
  note = f'the old sound stays in {_named(old, free)}' if free.any() else ''
  return Placing(gives, np.diag(free).astype(np.float32), note)


def _in_the_centre(products, loud, old, centre, voice):
  """Replaces the voice in the centre, and its share in channels that correlate with the centre."""
  share, keeps = np.zeros(len(old), np.float32), np.eye(len(old), dtype=np.float32)
  share[centre] = 1
  if loud[centre] > _SILENT:
    across = products[:, centre] / np.maximum(loud * loud[centre], _SILENT**2)
    share = np.where(np.abs(across) >= _ALIKE, products[:, centre] / loud[centre]**2, 0)
    share[[place in channels.BASS for place in old]] = 0
  keeps[:, centre] -= share.astype(np.float32)
  keeps[centre] = 0
  others = (share != 0) & (np.arange(len(old)) != centre)
  note = 'the new words are in the centre, where the old ones were'
  note += f', and as much as these were in {_named(old, others)}' if others.any() else ''
  note += '; elsewhere the old sound stays'
  return Placing(share[:, None].astype(np.float32) * voice, keeps, note)


def _in_front(loud, fronts, old, voice):
  """Puts the new voice into the front channels that hold the old one, with its relative levels."""
  share = np.zeros(len(old), np.float32)
  loudest = loud[fronts].max()
  share[fronts] = loud[fronts] / loudest if loudest > _SILENT else 1
  share = np.where(share < _FAINT, 0, np.where(share > _LOUD, 1, share)).astype(np.float32)
  note = ''
  if (share != 1).any():
    note = f'the new words are in {_named(old, share > 0)}, where the old ones were'
  return Placing(share[:, None] * voice, np.diag(share == 0).astype(np.float32), note)


def _named(places, which):
  return ', '.join(place for place, one in zip(places, which, strict=True) if one)

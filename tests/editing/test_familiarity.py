"""A face that a model cannot draw, or never saw such light on, lowers the confidence."""

import types

import numpy as np
import pytest

from vidregen_jax.editing import familiarity
from vidregen_jax.models import codec

SIZE = 32


class Codec:
  """Draws everything so many grey levels too bright, in latents that are so far out."""

  model = types.SimpleNamespace(cells=1)

  def __init__(self, off, distance):
    self._off, self._distance, self._crops = off, distance, []

  def stills(self, crops):
    self._crops = list(crops)
    return np.full((len(crops), 1, 1, 4), self._distance, np.float32)

  def start(self, batch):
    return batch

  def advance(self, latents, cache):
    made = (self._crops.pop(0).astype(np.float32) + self._off) / 127.5 - 1
    return np.stack([made] * codec.TIME_FACTOR)[None], cache


def known(off=0., distance=1., unfitted=False):
  crops = np.full((3, SIZE, SIZE, 3), 100, np.uint8)
  one = Codec(off, distance)
  return familiarity.measure(crops, one, one, unfitted)


def test_a_face_that_is_drawn_well_and_seen_often_is_known():
  one = known()
  assert (one.share, one.doubt) == (1, '')


@pytest.mark.parametrize('what, word', [
  ({'off': 20}, 'grey levels off'), ({'distance': 2}, 'light'), ({'unfitted': True}, 'too few')])
def test_each_reason_alone_makes_a_doubt_that_names_it(what, word):
  one = known(**what)
  assert one.share < familiarity.BAR and word in one.doubt
  assert one.doubt.count(':') == 2  # one reason alone, with its remedy


def test_confidence_falls_with_the_error_and_with_the_distance():
  for shares in ([known(off=off).share for off in (8, 10, 12, 15)],
                 [known(distance=far).share for far in (1.2, 1.4, 1.5, 1.7)]):
    assert shares[0] == 1 and shares[-1] == 0 and (np.diff(shares) < 0).all()


def test_frames_are_spread_over_all_that_is_changed():
  runs = [types.SimpleNamespace(start=a, stop=b) for a, b in ((10, 12), (50, 150))]
  frames = familiarity.frames(runs)
  assert len(frames) == familiarity.FRAMES and (frames[0], frames[-1]) == (10, 149)
  assert familiarity.frames(runs[:1]).tolist() == [10, 11]

"""Lips that move as the sound does are told from others that move as much."""

import numpy as np
import pytest
from scipy import ndimage

from vidregen_jax.editing import active_speaker

RATE, SECONDS = 16_000, 6
TIMES = np.arange(25 * SECONDS) / 25


def mouth(seed):
  """An opening, [150], that comes and goes some four times a second."""
  opening = ndimage.gaussian_filter1d(np.random.default_rng(seed).normal(size=len(TIMES)), 2)
  return np.clip(opening / opening.std(), 0, None) * .1


def voice(opening, late=0.0):
  """Noise as loud as the mouth is open."""
  clock = np.arange(RATE * SECONDS) / RATE
  noise = np.random.default_rng(9).normal(size=len(clock))
  return (np.interp(clock - late, TIMES, opening) * noise)[None].astype(np.float32)


def agreement(opening, sound, start=0.0, times=TIMES):
  return active_speaker.agreement(times, opening, np.full(len(times), .5),
                                  active_speaker.loudness(sound, RATE), start)


@pytest.mark.parametrize('late', [-.15, 0, .15])
def test_ones_own_sound_agrees_and_anothers_does_not(late):
  one, other = mouth(0), mouth(1)
  sound = voice(one, late)
  assert agreement(one, sound) > .5 > .3 > agreement(other, sound)


def test_sound_is_compared_where_it_is():
  one = mouth(0)
  late = np.pad(voice(one), [(0, 0), (RATE, 0)])
  assert agreement(one, late, start=-1.0) > .5
  assert agreement(one, late) < .3


def test_a_films_voice_is_heard_in_its_centre():
  one, other = mouth(0), mouth(1)
  six = np.repeat(10 * voice(other), 6, 0)  # louder all around, as music is
  six[:3] = 0
  six[2] = voice(one)
  assert agreement(one, six) == agreement(one, voice(one))


def test_gaps_in_what_is_seen_are_left_out():
  one = mouth(0)
  sound, seen = voice(one), one.copy()
  seen[40:90] = np.nan
  assert abs(agreement(seen, sound) - agreement(one, sound)) < .15


def test_what_cannot_be_compared_is_no_number():
  one = mouth(0)
  assert np.isnan(agreement(one, np.zeros((1, RATE * SECONDS), np.float32)))
  assert np.isnan(agreement(one, np.zeros((1, 0), np.float32)))
  assert np.isnan(agreement(np.full(len(TIMES), .1), voice(one)))
  assert np.isnan(agreement(np.full(len(TIMES), np.nan), voice(one)))
  assert np.isnan(agreement(one[:20], voice(one), times=TIMES[:20]))


def test_loudness_does_not_depend_on_how_the_sound_is_cut(monkeypatch):
  sound = voice(mouth(0))
  whole = active_speaker.loudness(sound, RATE)
  monkeypatch.setattr(active_speaker, '_CHUNK', 1)
  np.testing.assert_allclose(active_speaker.loudness(sound, RATE), whole, atol=1e-6)
  assert len(whole) == 100 * SECONDS

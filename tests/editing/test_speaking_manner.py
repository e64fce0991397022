"""How far a person opens the mouth beside what is heard: told only where lips and sound agree."""

import types

import jax
import numpy as np
import pytest

from vidregen_jax.editing import regenerator, speaking_manner
from vidregen_jax.media import video
from vidregen_jax.media.timeline import retimed_video
from vidregen_jax.models import lip_listener

FRAMES = 120


@pytest.fixture
def heard():
  return .05 + .05 * np.sin(np.arange(FRAMES) / 3)


@pytest.mark.parametrize(('share', 'factor'), [(.8, .8), (.3, .5), (3., 1.25)])
def test_a_person_who_opens_the_mouth_less_is_told(heard, share, factor):
  assert speaking_manner.told(heard, share * heard + .01) == pytest.approx(factor)


def test_nothing_is_told_by_few_frames_by_a_still_face_or_by_another_sound(heard):
  unseen = np.where(np.arange(FRAMES) < 80, np.nan, .5 * heard)
  for gaps in (unseen, np.zeros(FRAMES), np.roll(heard, 10) * .5, np.full(FRAMES, np.nan)):
    assert speaking_manner.told(heard, gaps) == speaking_manner.USUAL
  seen = np.where(np.arange(FRAMES) < 60, np.nan, .5 * heard)
  assert speaking_manner.told(heard, seen) == pytest.approx(.5)


def test_frames_are_heard_in_the_sources_own_sound_wherever_they_are_shown(monkeypatch,
                                                                           pack_folder):
  """A frame's gap is that of its place in the source; what runs backwards is left out."""
  path = pack_folder / 'test' / 'test_00009.mp4'
  source = retimed_video.Film.of(video.probe(path))
  times = source.times
  monkeypatch.setattr(speaking_manner.audio_features, 'of_frames',
                      lambda sound, times, lasting, hear: times.reshape(-1, 4)[:, :1])
  machine = types.SimpleNamespace(
    hear=None, listener=lambda starts: np.interp(starts[0] + np.arange(4) / rate, times, wave))
  rate = 1 / float(np.diff(times).mean())
  wave = .05 + .05 * np.sin(times * 9)
  order = np.r_[10:58, 30:14:-1]  # and then backwards
  film = types.SimpleNamespace(source=source.source, timeline=types.SimpleNamespace(source=order))
  seen = .7 * wave[order]
  seen[48:] = 9
  pieces = [list(range(0, 48, 4)), list(range(48, 64, 4))]
  assert speaking_manner.factor(film, seen, pieces, machine) == pytest.approx(.7, abs=.02)
  machine.listener = None
  assert speaking_manner.factor(film, seen, pieces, machine) == speaking_manner.USUAL


def test_past_the_end_of_the_sound_lips_are_closed():
  take = object.__new__(regenerator.Retake)
  shape = lip_listener.ListenerConfig(1, 8, 3, 5)
  listener = lip_listener.Listener(shape, lip_listener.init(shape, jax.random.key(0)))
  take._machine = types.SimpleNamespace(listener=listener)
  audio = np.ones((16, 1, 8), np.float32)
  assert take._heard(audio, True).shape == (4,) and take._heard(audio, True).any()
  assert not take._heard(audio, False).any()
  take._machine.listener = None
  assert take._heard(audio, True) is None


def test_what_is_heard_of_closed_lips_is_nothing_and_manner_scales_the_rest():
  heard = np.array([-.02, .005, .1])
  usual, half = speaking_manner.gaps(heard), speaking_manner.gaps(heard, speaking_manner.USUAL / 2)
  assert usual[:2].tolist() == [0, 0] and usual[2] == pytest.approx(2 * half[2])

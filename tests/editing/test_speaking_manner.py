"""How far a person opens the mouth beside what is heard: told only where lips and sound agree."""

import dataclasses
import types

import numpy as np
import pytest

from vidregen_jax.editing import speaking_manner
from vidregen_jax.media import video
from vidregen_jax.media.timeline import retimed_video
from vidregen_jax.models import lip_listener

FRAMES = 120


@pytest.fixture
def heard():
  return .05 + .05 * np.sin(np.arange(FRAMES) / 3)


@pytest.mark.parametrize(('opens', 'share'), [(.8, .8), (.2, .4), (3., 1.25)])
def test_a_person_who_opens_the_mouth_less_is_told(heard, opens, share):
  assert speaking_manner.share(heard, opens * heard + .01, .7) == pytest.approx(share)


def test_nothing_is_told_by_few_frames_by_a_still_face_or_by_another_sound(heard):
  unseen = np.where(np.arange(FRAMES) < 80, np.nan, .5 * heard)
  for gaps in (unseen, np.zeros(FRAMES), np.roll(heard, 10) * .5, np.full(FRAMES, np.nan)):
    assert speaking_manner.share(heard, gaps, .7) == .7
  seen = np.where(np.arange(FRAMES) < 60, np.nan, .5 * heard)
  assert speaking_manner.share(heard, seen, .7) == pytest.approx(.5)


def test_images_tell_how_far_and_how_fast_lips_open_whatever_was_said(heard):
  """But for images in which nobody speaks, and while few have been seen or little was heard."""
  heard = np.tile(heard, 3)
  other = .5 * np.random.default_rng(0).permutation(heard)
  told = speaking_manner.of_images(other, heard, 25)
  assert told.share == pytest.approx(.5) and told.rounding == speaking_manner.USUAL.rounding
  assert told.pace == speaking_manner.pace(25 * np.abs(np.diff(other)))
  lost = np.where(np.arange(len(heard)) < 100, np.nan, other)
  assert speaking_manner.of_images(lost, heard, 25).share == pytest.approx(.5, abs=.1)
  assert speaking_manner.of_images(3 * heard, heard, 25).share == 1.25
  for seen, coming in ((.1 * other, heard), (other[:240], heard), (other, heard[:240]),
                       (other, .1 * heard), (np.full(len(heard), np.nan), heard)):
    assert speaking_manner.of_images(seen, coming, 25) == speaking_manner.USUAL


def test_a_pace_is_nearly_the_fastest_that_is_seen():
  """One glitch of the tracker in many frames does not count, nor do frames without a face."""
  speeds = np.r_[np.linspace(0, 2, 200), 50, np.nan]
  assert 2 < speaking_manner.pace(speeds) < 2.6
  assert speaking_manner.pace(speeds[:20]) == speaking_manner.USUAL.pace
  assert speaking_manner.pace(0 * speeds) == .75


def test_frames_are_heard_in_the_sources_own_sound_wherever_they_are_shown(monkeypatch,
                                                                           pack_folder):
  """A frame's lips are those of its place in the source, though it is held or shown backwards."""
  path = pack_folder / 'test' / 'test_00009.mp4'
  source = retimed_video.Film.of(video.probe(path))
  times = source.times
  rate = 1 / float(np.diff(times).mean())
  wave = .05 + .05 * np.sin(times * 30)
  monkeypatch.setattr(speaking_manner.audio_features, 'of_frames',
                      lambda sound, times, lasting, hear: times.reshape(-1, 4))
  rounds = 1 + .1 * np.sin(times * 19)
  listener = lambda starts: lip_listener.Lips(*(np.interp(np.add.outer(
    starts, np.arange(4) / rate), times, of) for of in (wave, rounds)))
  machine = types.SimpleNamespace(hear=None, listener=listener)
  fastest = np.abs(np.diff(wave)).max() * rate
  for order in (np.r_[10:62, 30:14:-1], np.repeat(np.arange(10, 70), 2)):
    film = types.SimpleNamespace(source=source.source,
                                 timeline=types.SimpleNamespace(source=order))
    groups = list(range(0, len(order) - 3, 4))
    track = types.SimpleNamespace(lip_gap=.7 * wave[order],
                                  mouth_width=.5 * (1 + .6 * (rounds[order] - 1)))
    manner = speaking_manner.of_person(film, track, groups, machine)
    assert manner.share == pytest.approx(.7, abs=.02)
    assert manner.rounding == pytest.approx(.6, abs=.03)
    assert manner.pace == pytest.approx(1.25 * .7 * fastest, rel=.05)
  machine.listener = None
  silent = speaking_manner.of_person(film, track, groups, machine)
  assert silent == dataclasses.replace(speaking_manner.USUAL, pace=manner.pace)

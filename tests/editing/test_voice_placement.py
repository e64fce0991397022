"""New words go where the old voice is, and all else stays."""

import numpy as np
import pytest

from vidregen_jax.editing import voice_placement
from vidregen_jax.media.audio import channels, lazy

RATE, COUNT = 16_000, 16_000
SIX = channels.usual(6)
VOICE, LEFT, RIGHT, BEHIND, BASS, NEW = np.random.default_rng(0).normal(
    0, .1, (6, COUNT)).astype(np.float32)
MONO, STEREO = ('FC',), ('FL', 'FR')


def placed(old, new, places=None):
  """What comes out of all of an old sound with a new one in its place; and the Placing."""
  sound = lazy.Samples(np.float32(old), RATE)
  placing = voice_placement.choose(voice_placement.measure(sound, 0, COUNT), sound.places,
                                places or channels.usual(len(new)))
  out = channels.mix(placing.gives, np.float32(new)) + channels.mix(placing.keeps, np.float32(old))
  return out, placing


def test_a_films_voice_is_in_the_centre():
  old = [LEFT, RIGHT, VOICE, BASS, BEHIND, -BEHIND]
  out, placing = placed(old, [NEW])
  np.testing.assert_array_equal(out, [LEFT, RIGHT, NEW, BASS, BEHIND, -BEHIND])
  assert 'in the centre' in placing.note


def test_stereo_goes_into_the_centre_too_where_the_voice_was_there():
  out, _ = placed([LEFT, RIGHT, VOICE, BASS, BEHIND, BEHIND], [NEW, .5 * NEW])
  np.testing.assert_allclose(out, [LEFT, RIGHT, .75 * NEW, BASS, BEHIND, BEHIND], atol=1e-7)


def test_voice_that_spills_into_other_channels_is_exchanged_there_too():
  out, placing = placed([LEFT + .5 * VOICE, RIGHT, VOICE, BASS + .3 * VOICE, BEHIND, BEHIND], [NEW])
  np.testing.assert_allclose(out[0], LEFT + .5 * NEW, atol=.01)  # measured among other sounds
  np.testing.assert_array_equal(out[[1, 2, 4, 5]], [RIGHT, NEW, BEHIND, BEHIND])
  np.testing.assert_allclose(out[3], BASS + .3 * VOICE)  # never speech in the bass
  assert 'in FL' in placing.note


def test_without_a_voice_in_the_centre_it_goes_to_the_fronts():
  old = [VOICE, VOICE, 0 * VOICE, BASS, BEHIND, BEHIND]
  mono, _ = placed(old, [NEW])
  np.testing.assert_array_equal(mono, [NEW, NEW, 0 * NEW, BASS, BEHIND, BEHIND])
  stereo, _ = placed(old, [NEW, LEFT])
  np.testing.assert_array_equal(stereo, [NEW, LEFT, 0 * NEW, BASS, BEHIND, BEHIND])


@pytest.mark.parametrize(('right', 'share'), [(1, 1), (.8, 1), (.4, .4), (0, 0), (.05, 0)])
def test_a_voice_in_one_of_two_channels_stays_there(right, share):
  noise = 1e-3 * RIGHT
  out, placing = placed([VOICE, right * VOICE if right else noise], [NEW])
  np.testing.assert_array_equal(out[0], NEW)
  kept = (right * VOICE if right else noise) if share == 0 else share * NEW
  np.testing.assert_allclose(out[1], kept, atol=1e-6)
  assert bool(placing.note) == (share != 1)


def test_where_nothing_was_said_words_are_in_the_centre_or_on_both_sides():
  np.testing.assert_array_equal(placed(np.zeros((6, COUNT)), [NEW])[0][2], NEW)
  np.testing.assert_array_equal(placed(np.zeros((2, COUNT)), [NEW])[0], [NEW, NEW])


def test_more_channels_are_mixed_down_and_as_many_are_themselves():
  new = [LEFT, RIGHT, VOICE, BASS, BEHIND, NEW]
  out, placing = placed([VOICE, VOICE], new)
  less = np.float32(.5**.5)
  np.testing.assert_allclose(
      out, [LEFT + less * VOICE + less * BEHIND, RIGHT + less * VOICE + less * NEW], atol=1e-6)
  assert 'mixed down to 2' in placing.note
  sides = ('FL', 'FR', 'FC', 'LFE', 'SL', 'SR')
  out, placing = placed(np.zeros((6, COUNT)), new, sides)
  np.testing.assert_array_equal(out, new)
  assert not placing.note


def test_what_new_sound_has_no_channel_for_stays():
  out, placing = placed([LEFT, RIGHT, VOICE, BASS, BEHIND, -BEHIND], [NEW, NEW, RIGHT])
  np.testing.assert_array_equal(out, [NEW, NEW, RIGHT, BASS, BEHIND, -BEHIND])
  assert 'LFE, BL, BR' in placing.note


def test_it_is_measured_around_the_span_alone():
  early, late = np.zeros((2, 6, 4 * RATE), np.float32)
  early[2, :RATE] = early[0, 3 * RATE:] = .1
  sound = lazy.Samples(early + late, RATE)
  first, last = voice_placement.measure(sound, 0, RATE), voice_placement.measure(sound, 3 * RATE,
                                                                                 4 * RATE)
  assert first[2, 2] > 0 == first[0, 0] and last[0, 0] > 0 == last[2, 2]

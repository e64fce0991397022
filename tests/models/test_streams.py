"""The tables of streams agree with each other, and clips are split as the sampler takes them."""

import dataclasses

import jax
import numpy as np
import random_conditions

from vidregen_jax.models import generator, streams

CONFIG = generator.GeneratorConfig(
    cells=2, latent_channels=6, region=(2, 3), width=32, heads=2, layers=2, mlp=2, window=3,
    look_ahead=2, references=2, sinks=2, sink_logit=True, audio_layers=2, audio_channels=12,
    audio_hidden=8)


def conditions():
  return random_conditions.conditions(CONFIG, 3, np.random.default_rng(0), batch=2)


def test_the_tables_name_the_same_streams():
  assert len(streams.STREAMS) == streams.NOISY + 1
  # Tokens are laid out in the order of the table and found by their numbers.
  assert list(streams.TOKENS) == list(range(streams.NOISY))
  assert list(streams.TOKENS)[:len(streams.STATIC)] == list(streams.STATIC)
  assert set(streams.SEES) == {*streams.TOKENS, streams.NOISY}
  for query, row in streams.SEES.items():
    assert streams.SINK in row and set(row) <= set(streams.SEES)
    assert (streams.NOISY in row) == (query == streams.NOISY)  # keys hold for every flow step


def test_a_clip_is_what_comes_before_it_and_with_each_frame():
  clip = conditions()
  start, inputs = streams.split(CONFIG, clip)
  jax.tree.map(np.testing.assert_array_equal, start.fixed, clip.fixed)
  for name in ('target', 'context'):
    for i in range(3):
      np.testing.assert_array_equal(getattr(inputs.frames, name)[i],
                                    getattr(clip.frames, name)[:, i])
  for field in dataclasses.fields(streams.Ahead):
    whole, first, rest = (getattr(x.ahead, field.name) for x in (clip, start, inputs))
    assert first.shape[:2] == (2, 2) and rest.shape[:2] == (3, 2)  # look_ahead frames come before
    np.testing.assert_array_equal(np.concatenate([first, rest.swapaxes(0, 1)], 1), whole)


def test_what_is_planned_for_the_sampler_is_what_it_is_given():
  start, inputs = streams.split(CONFIG, conditions())
  described = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
  first = jax.tree.map(lambda x: x[0], inputs)
  assert described((start, first)) == described(streams.sampler_shapes(CONFIG, 2))


def test_arrays_are_found_by_name_and_others_left_out():
  clip = conditions()
  arrays = streams.flat(clip)
  assert {'references', 'context', 'audio'} <= set(arrays)
  again = streams.unflat(streams.Conditions, arrays | {'mouth_box': np.zeros(4)})
  jax.tree.map(np.testing.assert_array_equal, again, clip)
  stored = streams.stored(arrays | {'mouth_box': np.zeros(4)})
  assert set(stored) == set(arrays) and stored['audio'].dtype == np.float16
  whole = streams.flat(streams.of_windows(stored))
  assert {x.dtype for x in whole.values()} == {np.dtype(bool), np.dtype(np.float32)}

"""Skin does not flash, mouths move as they were made, and real light is followed."""

import numpy as np

from vidregen_jax.compositing import flicker

SIZE = 96
BOX = np.array((.35, .6, .65, .8))
CHIN = slice(84, 94), slice(30, 66)


def lit(level):
  return np.full((SIZE, SIZE, 3), level, np.uint8)


def test_skin_that_flashes_is_steadied_and_the_mouth_is_not_touched():
  steady, levels = flicker.Deflicker(), [120, 128] * 8
  made = [steady(lit(level), lit(124), BOX) for level in levels]
  chin = [crop[CHIN].mean() for crop in made]
  assert np.abs(np.diff(chin[4:])).mean() < .4 * 8
  x0, y0, x1, y1 = np.rint(BOX * SIZE).astype(int)
  for crop, level in zip(made, levels, strict=True):
    np.testing.assert_array_equal(crop[y0 + 1:y1 - 1, x0 + 1:x1 - 1], level)


def test_where_the_sources_light_changes_it_is_followed_at_once():
  steady = flicker.Deflicker()
  for _ in range(4):
    steady(lit(90), lit(90), BOX)
  np.testing.assert_array_equal(steady(lit(150), lit(150), BOX), lit(150))


def test_a_restart_forgets():
  steady = flicker.Deflicker()
  steady(lit(90), lit(120), BOX)
  assert (steady(lit(110), lit(120), BOX) != lit(110)).any()
  steady.restart()
  np.testing.assert_array_equal(steady(lit(110), lit(120), BOX), lit(110))

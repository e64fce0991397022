"""A mouth opens and closes as far as it should, shows its own teeth, and nothing else moves."""

import dataclasses
import types

import numpy as np
import pytest
import rendered_crops

from vidregen_jax.compositing import colour_limits, lip_edges, mouth_appearance, mouth_shape
from vidregen_jax.faces import landmarks

SIZE = 288
CHANGED = 4  # grey levels


@pytest.fixture(scope='module')
def points():
  return lip_edges.Points()


@pytest.fixture(scope='module')
def person(pack_folder):
  return rendered_crops.widest_and_closed(pack_folder, SIZE)


def gap_of(points, crop):
  return float(landmarks.lip_gap(points(crop)))


def mouth_of(crop, points):
  return mouth_shape.Mouth(mouth_shape.interior(crop, points(crop)))


@pytest.mark.parametrize('gap', [.05, .08, .14, .2])
def test_a_mouth_opens_as_far_as_it_should(points, person, gap):
  wide, _ = person
  made = mouth_shape.shaped(wide, points(wide), gap, np.nan, mouth_of(wide, points))
  assert gap_of(points, made) == pytest.approx(gap, abs=.2 * gap)


def test_a_closed_mouth_opens_further_the_further_it_should(points, person):
  """The tracker underrates how far lips were moved that it saw closed."""
  wide, closed = person
  mouth = mouth_of(wide, points)
  seen = [gap_of(points, mouth_shape.shaped(closed, points(closed), gap, np.nan, mouth))
          for gap in (0, .05, .1, .15, .2, .25)]
  assert seen[0] < .01 and seen[-1] > .15 and (np.diff(seen) > .005).all()


def test_an_open_mouth_closes(points, person):
  wide, _ = person
  assert gap_of(points, wide) > .08
  made = mouth_shape.shaped(wide, points(wide), 0., np.nan, mouth_shape.Mouth())
  assert gap_of(points, made) < .03


def test_nothing_moves_but_between_nose_and_chin(points, person):
  wide, closed = person
  made = mouth_shape.shaped(closed, points(closed), .15, np.nan, mouth_shape.Mouth())
  seen = points(closed)
  moved = np.abs(made.astype(int) - closed).max(2) > CHANGED
  assert moved.any()
  reach = 4 * mouth_shape._SOFT
  rows, columns = np.nonzero(moved)
  assert rows.min() > seen[2, 1] - reach and rows.max() < seen[152, 1] + reach
  assert columns.min() > seen[78, 0] - reach and columns.max() < seen[308, 0] + reach


def test_a_mouth_that_is_as_it_should_be_stays(points, person):
  wide, _ = person
  seen = points(wide)
  made = mouth_shape.shaped(wide, seen, float(landmarks.lip_gap(seen)), np.nan,
                            mouth_shape.Mouth())
  assert np.abs(made.astype(int) - wide).max() <= 1


def test_between_the_lips_is_what_the_persons_own_mouth_shows(points, person):
  wide, closed = person
  within = mouth_shape.interior(wide, points(wide))
  painted = mouth_shape.Mouth(
    dataclasses.replace(within, texture=np.full_like(within.texture, (0, 255, 0))))
  made = mouth_shape.shaped(closed, points(closed), .15, np.nan, painted).astype(int)
  green = (made[..., 1] > 200) & (made[..., 0] < 60)
  seen = points(made.astype(np.uint8))
  rows, columns = np.nonzero(green)
  assert green.sum() > 60
  assert columns.min() > seen[61, 0] and columns.max() < seen[291, 0]
  shut = mouth_shape.shaped(closed, points(closed), 0., np.nan, painted)
  unknown = mouth_shape.shaped(closed, points(closed), 0., np.nan, mouth_shape.Mouth())
  np.testing.assert_array_equal(shut, unknown)


def test_lips_keep_the_persons_colours(points, person):
  """Where they have moved to: lips that glow in the picture do not glow in what is made of it."""
  wide, closed = person
  seen = points(closed)
  known = mouth_appearance.of_person(4 * person, 4 * [points(wide), seen])
  lips, column, gap = lip_edges.edges(seen, closed), round(seen[14, 0]), .15
  glowing = closed.copy()
  glowing[round(seen[14, 1]):round(seen[17, 1]), round(seen[61, 0]):round(seen[291, 0])] = 250
  down = (1 - mouth_shape._UPPER_SHARE) * (gap * lips.eyes - lips.gap)
  lip = slice(round(lips.lower[column] + down) + 2, round(lips.outer_lower[column] + down) - 2)
  made = lambda appearance: mouth_shape.shaped(glowing, seen, gap, np.nan,
                                               mouth_shape.Mouth(appearance=appearance))
  free, held = made(None)[lip, column], made(known)[lip, column]
  assert len(free) > 5 and free.min() > 225 and held[:, 2].max() < 200


def test_lips_are_made_as_thick_then_coloured_and_what_is_within_at_last(points, person,
                                                                         monkeypatch):
  wide, closed = person
  seen, given = points(closed), []
  appearance = mouth_appearance.of_person(person, [points(wide), seen])
  white = dataclasses.replace(mouth_of(wide, points).interior,
                              texture=np.full((60, 65, 3), 255, np.float32))
  monkeypatch.setattr(mouth_appearance, 'thick', lambda lips, expected: dataclasses.replace(
    lips, outer_lower=lips.outer_lower + 7))
  for name in ('around', 'within'):
    monkeypatch.setattr(mouth_appearance, name, lambda image, lips, *rest, name=name: (
      given.append((name, float(image.max()), lips)), image)[1])
  mouth_shape.shaped(closed, seen, .15, np.nan, mouth_shape.Mouth(white, appearance))
  assert [each[0] for each in given] == ['around', 'within']
  assert given[0][1] < 250 < given[1][1]  # teeth are in the picture by then
  lips = lip_edges.edges(seen, closed)
  middle = round(given[0][2].middle)
  thick = float((given[0][2].outer_lower - given[0][2].lower)[middle])
  assert thick == pytest.approx(
    (lips.outer_lower - lips.lower)[round(lips.middle)] + 7, abs=1)


def test_a_mouth_that_is_moved_further_looks_as_it_should_be_seen(points, person):
  """Not as one that is as far open as its picture was warped."""
  wide, closed = person
  appearance, asked = mouth_appearance.of_person(person, [points(wide), points(closed)]), []
  mouth = mouth_shape.Mouth(appearance=types.SimpleNamespace(
    light=appearance.light, at=lambda *given: (asked.append(given[0]), appearance.at(*given))[1]))
  found = points(closed)
  mouth_shape.seen_to_be(closed, found, .1, np.nan, mouth, lambda crop, near: found)
  assert asked == [.1, .1]


def test_a_closed_mouth_shows_no_interior(points, person):
  assert mouth_shape.interior(person[1], points(person[1])) is None


def test_below_the_teeth_of_narrow_mouths_it_is_as_dark_as_in_others(points, person):
  """Only where nothing wider is seen; and of closed ones nothing is known."""
  wide, closed = person
  narrow = mouth_shape.shaped(closed, points(closed), .06, np.nan, mouth_of(wide, points))
  gap = gap_of(points, narrow)
  assert .02 < gap < .05
  within = lambda *crops: mouth_shape.known(
    crops, np.array([gap_of(points, crop) for crop in crops]), points).interior
  ajar = within(narrow, closed, closed)
  assert ajar.ajar and not within(narrow, wide, closed).ajar
  np.testing.assert_allclose(ajar.dark / colour_limits.light(narrow),
                             mouth_shape._USUALLY_DARK)
  assert 0 < ajar.depth.max() < .05
  narrower = mouth_shape.shaped(closed, points(closed), .055, np.nan, mouth_of(wide, points))
  assert .02 < gap_of(points, narrower) < gap
  np.testing.assert_array_equal(within(narrower, narrow).depth, ajar.depth)  # of the wider one
  assert within(closed, closed, closed) is None


def test_what_shows_no_face_has_no_points(points):
  assert points(np.full((SIZE, SIZE, 3), 128, np.uint8)) is None


def test_teeth_stay_where_they_are_in_a_mouth_that_opens_further(points, person):
  """They end where they did as the upper lip rises; below what was seen it is dark.

  What a still higher lip uncovers is not known: then they rise with it, and get no longer.
  """
  wide, closed = person
  depth = np.full(65, .05)
  white = np.full((20, 65, 3), 255, np.float32)
  lips = lip_edges.edges(points(closed), closed)
  mouth = mouth_shape.Mouth(mouth_shape.Interior(
    white, depth, mouth_shape._height(lips), np.array([40., 10, 10])))
  ends, shown = [], []
  for gap in (.06, .1, .2, .24):
    made = mouth_shape.shaped(closed, points(closed), gap, np.nan, mouth)
    column = made[:, int(points(closed)[13, 0])].astype(int)  # below the middle of the upper lip
    teeth = np.flatnonzero(column.min(1) > 180)
    ends.append(teeth[-1])
    shown.append(len(teeth))
  middle = round(lips.middle)
  assert .03 * lips.eyes < ends[0] - lips.upper[middle] < .08 * lips.eyes
  assert abs(ends[1] - ends[0]) <= 2 and shown[1] > shown[0]
  assert ends[3] < ends[2] and abs(shown[3] - shown[2]) <= 1


def smiling(points, crop):
  """A crop with teeth, here grey, from above the upper lip's edge down to the lower lip's."""
  lips = lip_edges.edges(points(crop), crop)
  rows = np.arange(SIZE)[:, None]
  teeth = (rows > lips.upper - .05 * lips.eyes) & (rows < lips.lower) & (np.abs(lips.across) < .9)
  return np.where(teeth[..., None], np.uint8([190, 190, 190]), crop), lips


def test_an_edge_of_the_lip_that_is_read_in_the_middle_of_the_teeth_is_found_above_them(points,
                                                                                       person):
  wide, closed = person
  seen = points(wide)
  smile, lips = smiling(points, wide)
  raised = lip_edges.edges(seen, smile)
  middle = slice(round(lips.middle) - 5, round(lips.middle) + 5)
  for before, after in ((lips.upper, raised.upper), (lips.outer_upper, raised.outer_upper)):
    assert (before - after)[middle].mean() == pytest.approx(.05 * lips.eyes, abs=1.5)
  np.testing.assert_array_equal(raised.lower, lips.lower)
  for crop in (wide, closed, np.repeat(smile.mean(2, keepdims=True), 3, 2).astype(np.uint8)):
    stays = lip_edges.edges(points(crop), crop)
    assert stays.upper[middle] == pytest.approx(
      lip_edges._of_points(points(crop), SIZE).upper[middle], abs=.03 * lips.eyes)


def test_of_the_wide_mouths_the_one_with_most_teeth_shows_what_is_within(monkeypatch):
  """Crop i shows i of them; one that is hardly open, half as wide as the widest, does not count."""
  crops = [np.full((4, 4, 3), i, np.uint8) for i in range(4)]
  monkeypatch.setattr(mouth_shape, 'interior',
                      lambda crop, points, ajar=False: None if ajar else (
                        crop.any() and types.SimpleNamespace(teeth=crop.max())))
  monkeypatch.setattr(mouth_appearance, 'of_person', lambda crops, points: len(crops))
  seen = lambda crop: 'points'
  within = lambda *given: mouth_shape.known(crops, *given).interior
  assert within(np.array([.3, .2, .18, .1]), seen).teeth == 2
  assert within(np.array([.1, .3, np.nan, .1]), seen).teeth == 1
  assert within(np.array([.3, .1, .1, .1]), seen) is None  # what shows nothing
  assert within(np.full(4, np.nan), seen) is None
  assert within(np.ones(4), lambda crop: None) is None
  assert mouth_shape.known(75 * crops, np.ones(300), seen).appearance == 43  # every seventh


def test_a_later_frame_is_taken_where_it_shows_clearly_more(monkeypatch):
  """More teeth, in a mouth that is nearly as wide open."""
  shown = lambda teeth, depth, ajar=False: types.SimpleNamespace(
    teeth=teeth, depth=np.array([depth]), ajar=ajar)
  appearance = types.SimpleNamespace(seeing=lambda crop, points: (crop, points))
  mouth = mouth_shape.Mouth(shown(.02, .1), appearance)
  for found, taken in ((None, False), (shown(.025, .1), False), (shown(.03, .1), True),
                       (shown(.03, .04), False)):
    monkeypatch.setattr(mouth_shape, 'interior', lambda crop, points, found=found: found)
    after = mouth_shape.seen_again(mouth, 'crop', 'points')
    assert after.interior is (found if taken else mouth.interior)
    assert after.appearance == ('crop', 'points')
    ajar = mouth_shape.Mouth(shown(.02, .1, ajar=True))  # anything that is wide is more
    for little in (mouth_shape.Mouth(), ajar):
      after = mouth_shape.seen_again(little, 'crop', 'points')
      assert after.interior is (found or little.interior)


def test_teeth_are_light_and_not_red(points, person):
  """Those of a smile count, a tongue and the dark of the mouth do not."""
  wide, _ = person
  seen, (smile, _) = points(wide), smiling(points, wide)
  tongue, dark = (np.where((smile == (190, 190, 190)).all(2)[..., None], np.uint8(colour), smile)
                  for colour in ((190, 110, 110), (40, 25, 25)))
  teeth, *others = (mouth_shape.interior(crop, seen).teeth for crop in (smile, tongue, dark))
  assert teeth > .01 and max(others) < .2 * teeth


@pytest.mark.parametrize('wider', [.82, .92, 1.1])
def test_a_mouth_becomes_as_wide_as_it_should(points, person, wider):
  """Its corners are where they should be, its lips as far apart, and the rest of the face stays."""
  for crop in person:
    seen = points(crop)
    ends = (seen[[61, 291], :2] - seen[[61, 291], :2].mean(0)).astype(np.float32)
    marked = crop.copy()
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for x, y in seen[[61, 291], :2]:
      marked[(columns - x)**2 + (rows - y)**2 < 9] = 0, 255, 0
    gap, width = (float(of(seen)) for of in (landmarks.lip_gap, landmarks.mouth_width))
    made = mouth_shape.shaped(marked, seen, gap, wider * width, mouth_shape.Mouth()).astype(int)
    green = (made[..., 1] > 180) & (made[..., 0] < 90)
    middle = seen[[61, 291], 0].mean()
    places = [columns[green & side].mean() - middle for side in (columns < middle,
                                                                 columns >= middle)]
    np.testing.assert_allclose(places, wider * ends[:, 0], atol=1.5)
    changed = np.abs(made - mouth_shape.shaped(marked, seen, gap, np.nan, mouth_shape.Mouth()))
    rows, _ = np.nonzero(changed.max(2) > CHANGED)
    assert rows.min() > seen[2, 1] - 4 and rows.max() < seen[152, 1] + 4


@pytest.mark.parametrize('wider', [.8, 1.2])
def test_nothing_moves_aside_further_than_the_lips_ends(points, person, wider):
  """Cheeks give way to them, less and less, and no column passes another."""
  lips = lip_edges.edges(points(person[1]), person[1])
  aside = mouth_shape._aside(lips, wider)
  ends = mouth_shape._LIPS_END * lips.half * abs(1 - wider)
  assert np.abs(aside).max() == pytest.approx(ends, rel=.03)
  assert (np.diff(np.arange(SIZE) + aside) > 0).all() and aside[0] == aside[-1] == 0


def test_a_mouth_is_widened_no_further_than_it_can_be(points, person):
  _, closed = person
  seen = points(closed)
  width = float(landmarks.mouth_width(seen))
  made = [mouth_shape.shaped(closed, seen, 0., by * width, mouth_shape.Mouth())
          for by in (.3, 1 - mouth_shape._MOST)]
  np.testing.assert_array_equal(*made)

"""A made mouth looks as the person's own does that is as far open, and only near the lips."""

import dataclasses

import cv2
import numpy as np
import pytest

from vidregen_jax.compositing import colour_limits, lip_edges, mouth_appearance
from vidregen_jax.evaluation import lip_sync
from vidregen_jax.faces import landmarks, tracks
from vidregen_jax.media import video

SIZE = 192
ROWS = np.arange(SIZE)[:, None]


@pytest.fixture(scope='module')
def frames(pack_folder):
  """Crops uint8 [S, S, 3] of a rendered person, each with its points."""
  clip, points = lip_sync.read_clips(pack_folder, 'test')[0], lip_edges.Points()
  track = tracks.track_file(clip.path)
  crops = [landmarks.crop(frame.image, track.affine[frame.index], SIZE)
           for frame in video.frames(clip.path)]
  return [(crop, points(crop)) for crop in crops]


@pytest.fixture(scope='module')
def known(frames):
  """Of every second one of these."""
  return mouth_appearance.of_person(*zip(*frames[::2], strict=True))


@pytest.fixture(scope='module')
def closed(frames):
  return min(frames[1::2], key=lambda each: landmarks.lip_gap(each[1]))


def expected(points, known):
  return known.at(float(landmarks.lip_gap(points)), float(landmarks.mouth_width(points)))


def around(crop, lips, known, mouth):
  light = colour_limits.light(crop) / known.light
  return mouth_appearance.around(np.float32(crop), lips, mouth, light)


def lip(lips, reach=.9):
  """The pixels of the lower lip."""
  return (lips.lower < ROWS) & (lips.outer_lower > ROWS) & (np.abs(lips.across) < reach)


def off(made, crop, where):
  return float(np.abs(np.float32(made) - crop)[where].mean())


def test_frames_that_were_not_looked_at_are_expected(frames, known):
  """Better than by the mean of all frames."""
  mean = dataclasses.replace(known, around=mouth_appearance.Regression(
    np.diag(np.diag(known.around.inputs)), known.around.seen * np.eye(4)[0][:, None]))
  by_gap, by_mean = [], []
  for crop, points in frames[1::2]:
    lips = lip_edges.edges(points, crop)
    for found, each in ((by_gap, known), (by_mean, mean)):
      found.append(off(around(crop, lips, each, expected(points, each)), crop, lip(lips)))
  assert np.mean(by_gap) < 12
  assert np.mean(by_gap) < .9 * np.mean(by_mean)


@pytest.mark.parametrize('paint', [90, -60])
def test_lips_that_glow_or_darken_come_back(known, closed, paint):
  crop, points = closed
  lips = lip_edges.edges(points, crop)
  painted = np.clip(crop.astype(int) + paint * lip(lips)[..., None], 0, 255)
  made = around(painted, lips, known, expected(points, known))
  assert off(painted, crop, lip(lips)) > 50
  assert off(made, crop, lip(lips)) < 15


def test_a_shadow_on_the_chin_goes_and_a_mole_stays(known, closed):
  crop, points = closed
  lips = lip_edges.edges(points, crop)
  down = (ROWS - lips.outer_lower) / (lips.bottom - lips.outer_lower)
  below = (down > .05) & (down < .4) & (np.abs(lips.across) < .6)
  soft = cv2.GaussianBlur(np.float32(below), (0, 0), 4)[..., None]
  made = lambda image: around(image, lips, known, expected(points, known))
  shaded = crop - 60 * soft
  assert off(shaded, crop, below) > 30
  assert off(made(shaded), made(crop), below) < 12
  # What is coarse near the chin and beside the mouth is as it was made.
  bright = np.clip(crop + np.float32(40), 0, 255)
  far = (lips.bottom - 3 < ROWS) & (lips.bottom > ROWS) | (np.abs(lips.across) > 1.75)
  far &= crop.max(2) < 200
  np.testing.assert_allclose((made(bright) - made(crop))[far], 40, atol=4)


def test_a_soft_mouth_gets_the_details_of_a_real_one(frames, known):
  crop, points = frames[1]
  lips = lip_edges.edges(points, crop)
  soft = cv2.GaussianBlur(crop, (0, 0), 2)
  near = (lips.outer_upper < ROWS) & (lips.bottom > ROWS) & (np.abs(lips.across) < 1)
  sharpness = lambda image: float(np.std(cv2.Laplacian(
    cv2.cvtColor(np.float32(image), cv2.COLOR_RGB2GRAY), cv2.CV_32F)[near]))
  made = sharpness(around(soft, lips, known, expected(points, known)))
  smooth = sharpness(around(soft, lips, known, expected(
    points, dataclasses.replace(known, detail=0 * known.detail))))
  assert smooth < .8 * made and .6 < made / sharpness(crop) < 1.3


def test_the_edge_of_a_hand_is_no_detail():
  """A thin line in one of the usual frames makes it the sharpest of them."""
  count, rows, columns = 12, mouth_appearance._BEGIN[-1], len(mouth_appearance._ACROSS)
  beyond = np.random.default_rng(0).normal(0, 4, (count, rows, columns, 3))
  beyond[4:] *= 4
  beyond[2, 80:82, 40:100] = -100
  flat = np.concatenate([beyond.reshape(count, -1), np.zeros((count, 2 * columns))], 1)
  found = mouth_appearance._detail(flat)
  line = found[80:82, 40:100]
  assert np.abs(line).mean() < 30 and np.abs(found).mean() > 1


def test_lips_get_as_thick_as_they_are_in_such_a_mouth(known, closed):
  crop, points = closed
  lips = lip_edges.edges(points, crop)
  swollen = dataclasses.replace(lips, outer_lower=lips.outer_lower + 8,
                                outer_upper=lips.outer_upper - 5)
  made = mouth_appearance.thick(swollen, expected(points, known))
  middle = np.abs(lips.across) < .5
  mouth = expected(points, known)
  thicker = mouth_appearance.thick(lips, dataclasses.replace(mouth, lower=2 * mouth.lower, known=1))
  thickness = (thicker.outer_lower - thicker.lower) / lips.eyes
  np.testing.assert_allclose(thickness[middle], 2 * np.interp(
    lips.across, mouth_appearance._ACROSS, mouth.lower)[middle])
  assert mouth.lower[68] > 1.1 * mouth.upper[68]  # in the middle
  for edge in ('upper', 'lower'):
    np.testing.assert_array_equal(getattr(made, edge), getattr(lips, edge))
    was, now = (np.abs(getattr(each, f'outer_{edge}') - getattr(lips, f'outer_{edge}'))[middle]
                for each in (swollen, made))
    assert now.mean() < .5 * was.mean()


def test_what_is_within_has_the_light_of_such_a_mouth(frames, known):
  """Where it has been seen; deeper nothing is known, and in a closed mouth there is nothing."""
  crop, points = max(frames, key=lambda each: landmarks.lip_gap(each[1]))
  lips, mouth = lip_edges.edges(points, crop), expected(points, known)
  inside = (lips.upper + 2 < ROWS) & (lips.lower - 2 > ROWS) & (np.abs(lips.across) < .7)
  between = (lips.upper - 1 < ROWS) & (lips.lower + 1 > ROWS)
  bright = np.where(between[..., None], 255, crop).astype(np.float32)
  light = colour_limits.light(crop) / known.light
  made = lambda expected: mouth_appearance.within(bright, lips, expected, light)
  assert mouth.within > .6
  assert off(made(mouth), crop, inside) < .5 * off(bright, crop, inside)
  deep = inside & (.6 * lips.lower + .4 * lips.upper < ROWS)
  half = made(dataclasses.replace(mouth, deep=.4))
  assert off(half, crop, deep) > .8 * off(bright, crop, deep)
  assert off(half, crop, inside & ~deep) < .8 * off(bright, crop, inside & ~deep)
  assert known.at(0., .5).within == 0 and known.at(3 * known.high[0], .5).deep < .34


def test_what_is_within_is_taken_as_far_as_it_is_known(frames, known):
  crop, points = max(frames, key=lambda each: landmarks.lip_gap(each[1]))
  lips, mouth = lip_edges.edges(points, crop), expected(points, known)
  bright, light = np.full(crop.shape, 255, np.float32), np.ones(3)
  change = [np.abs(mouth_appearance.within(
    bright, lips, dataclasses.replace(mouth, within=share), light) - bright).sum()
            for share in (.2, .4)]
  assert change[1] == pytest.approx(2 * change[0]) and change[0] > 0
  closed = [each for each in frames if landmarks.lip_gap(each[1]) < .014]
  assert len(closed) > 3
  assert mouth_appearance.of_person(*zip(*closed, strict=True)).within.known == 0


def test_mouths_beyond_all_that_were_seen_look_as_the_last_of_these(known):
  for beyond, last in ((known.high + .2, known.high), (known.low - .2, known.low)):
    made, bound = known.at(*beyond), known.at(*last)
    np.testing.assert_array_equal(made.colours, bound.colours)
    np.testing.assert_array_equal(made.lower, bound.lower)


def test_a_frame_in_less_light_stays_as_dark(known, closed):
  crop, points = closed
  lips = lip_edges.edges(points, crop)
  mouth = expected(points, known)
  dark = around(np.rint(.6 * crop), lips, known, mouth)
  assert off(dark, .6 * around(crop, lips, known, mouth), lip(lips)) < 3


def test_few_frames_say_little_and_a_hidden_mouth_less(frames):
  one = mouth_appearance.of_person(*zip(frames[0], strict=True))
  assert one.at(.05, .5).known == pytest.approx(1 / 3)
  some = frames[:48:4]
  hidden = [(np.where(ROWS[..., None] > SIZE // 2, 255 - crop, crop).astype(np.uint8), points)
            for crop, points in some[:2]]
  clean, disturbed = (mouth_appearance.of_person(*zip(*each, strict=True))
                      for each in (some, [*some, *hidden]))
  gap, width = float(np.mean([landmarks.lip_gap(points) for _, points in some])), clean.width
  lips = slice(mouth_appearance._BEGIN[1], mouth_appearance._BEGIN[2])
  at = lambda known: known.at(gap, width).colours[lips]
  inverted = np.abs(255 - 2 * at(clean)).mean()
  assert np.abs(at(disturbed) - at(clean)).mean() < .06 * inverted  # one seventh of the frames


def test_frames_that_come_later_count_as_all_others(frames):
  """But for the light, the usual width and the details, which are of the first ones."""
  order = sorted(frames, key=lambda each: float(landmarks.lip_gap(each[1])))
  first, more = order[:-20:3], order[-20:]
  known = mouth_appearance.of_person(*zip(*first, strict=True))
  every = mouth_appearance.of_person(*zip(*first, *more, strict=True))
  seen = known
  for crop, points in more:
    seen = seen.seeing(crop, points)
  gap, width = every.high[0], every.width
  np.testing.assert_allclose(seen.high, every.high)
  np.testing.assert_allclose(seen.low, every.low)
  means = [np.mean(np.abs((each.at(gap, width).colours - each.detail)
                          * np.float32(every.light / each.light)
                          - (every.at(gap, width).colours - every.detail)))
           for each in (known, seen)]
  assert means[1] < .5 * means[0]


@pytest.mark.parametrize('away', [(3 * SIZE, 0), (-3 * SIZE, 0), (0, 3 * SIZE), (0, -3 * SIZE)])
def test_lips_that_are_read_outside_of_the_crop_change_nothing(known, closed, away):
  crop, points = closed
  lips = lip_edges.edges(points + np.float32([*away, 0]), crop)
  made = around(crop, lips, known, expected(points, known))
  np.testing.assert_allclose(made, crop, atol=1)


def test_a_face_that_is_read_mirrored_is_no_error(known, closed):
  crop, points = closed
  lips = lip_edges.edges(points * np.float32([-1, 1, 1]) + np.float32([SIZE, 0, 0]), crop)
  assert around(crop, lips, known, expected(points, known)).shape == crop.shape


def test_where_no_face_was_seen_nothing_is_known():
  assert mouth_appearance.of_person([np.zeros((SIZE, SIZE, 3), np.uint8)], [None]) is None

"""Lips of made mouths have the colours of the person's own, and nothing else is touched."""

import cv2
import numpy as np
import pytest

from vidregen_jax.compositing import colour_limits, lip_colour, lip_edges
from vidregen_jax.evaluation import lip_sync
from vidregen_jax.faces import landmarks, tracks
from vidregen_jax.media import video

SIZE = 192


@pytest.fixture(scope='module')
def frames(pack_folder):
  """Every second crop uint8 [S, S, 3] of a rendered person, each with its points."""
  clip, points = lip_sync.read_clips(pack_folder, 'test')[0], lip_edges.Points()
  track = tracks.track_file(clip.path)
  crops = [landmarks.crop(frame.image, track.affine[frame.index], SIZE)
           for frame in video.frames(clip.path) if frame.index % 2 == 0]
  return [(crop, points(crop)) for crop in crops]


@pytest.fixture(scope='module')
def known(frames):
  """Of every second one of these."""
  return lip_colour.colours(*zip(*frames[::2], strict=True))


def held(crop, lips, known):
  """In the light of the crop itself."""
  return lip_colour.held(crop, lips, known, colour_limits.light(crop))


def luma(crop, lips):
  """Luma of the middle of the lower lip."""
  column = round(lips.middle)
  top, bottom = lips.lower[column], lips.outer_lower[column]
  return float(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[round((top + bottom) / 2), column])


def test_real_frames_that_were_not_looked_at_stay(frames, known):
  changes = [np.abs(held(crop, lip_edges.edges(points, crop), known).astype(int) - crop)
             for crop, points in frames[1::2]]
  lips = [change[change.max(2) > 0] for change in changes]
  assert np.mean([len(each) for each in lips]) < .01 * SIZE**2
  assert np.median([each.mean() if len(each) else 0 for each in lips]) < 4


@pytest.mark.parametrize('paint', [90, -60])
def test_lips_that_glow_or_darken_come_back(frames, known, paint):
  crop, points = min(frames, key=lambda each: landmarks.lip_gap(each[1]))
  lips = lip_edges.edges(points, crop)
  rows = np.arange(SIZE)[:, None]
  lip = (rows > lips.lower) & (rows < lips.outer_lower) & (np.abs(lips.across) < .9)
  painted = np.where(lip[..., None], np.clip(crop.astype(int) + paint, 0, 255), crop)
  painted = painted.astype(np.uint8)
  assert abs(luma(painted, lips) - luma(crop, lips)) > 50
  made = held(painted, lips, known)
  assert abs(luma(made, lips) - luma(crop, lips)) < 20


def test_nothing_but_lips_changes(frames, known):
  crop, points = frames[0]
  lips = lip_edges.edges(points, crop)
  bright = crop.copy()
  bright[SIZE // 2:] = np.clip(bright[SIZE // 2:].astype(int) + 80, 0, 255)
  changed = (held(bright, lips, known) != bright).any(2)
  rows = np.arange(SIZE)[:, None]
  near = ((rows > lips.outer_upper - 5) & (rows < lips.outer_lower + 5)
          & (np.abs(lips.across) < 1.2))
  assert changed.any() and not (changed & ~near).any()
  between = (rows > lips.upper + 5) & (rows < lips.lower - 5) & near
  assert not (changed & between).any()


def test_a_frame_in_less_light_stays_as_dark(frames, known):
  crop, points = frames[0]
  lips = lip_edges.edges(points, crop)
  dark = np.rint(.6 * crop).astype(np.uint8)
  assert luma(held(dark, lips, known), lips) == pytest.approx(luma(dark, lips), abs=6)


@pytest.mark.parametrize('away', [(3 * SIZE, 0), (-3 * SIZE, 0), (0, 3 * SIZE), (0, -3 * SIZE)])
def test_lips_that_are_read_outside_of_the_crop_change_nothing(frames, known, away):
  crop, points = frames[0]
  lips = lip_edges.edges(points + np.float32([*away, 0]), crop)
  assert held(crop, lips, known) is crop


def test_a_face_that_is_read_mirrored_is_no_error(frames, known):
  crop, points = frames[0]
  lips = lip_edges.edges(points * np.float32([-1, 1, 1]) + np.float32([SIZE, 0, 0]), crop)
  assert held(crop, lips, known).shape == crop.shape


def test_where_no_face_was_seen_nothing_is_known():
  assert lip_colour.colours([np.zeros((SIZE, SIZE, 3), np.uint8)], [None]) is None

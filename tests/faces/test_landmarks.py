"""The crop is set by eyes and nose, stands still when the head does, and never lags."""

import contextlib
import io

import numpy as np
import pytest

from vidregen_jax.faces import detect_and_track, face_track, landmarks, smoothing, tracks
from vidregen_jax.media import video, video_writer
from vidregen_jax.media.audio import waveform


def head() -> np.ndarray:
  """468 points whose anchors lie at their crop fractions, times 100 pixels."""
  points = np.random.default_rng(0).uniform(20, 80, (468, 3)).astype(np.float32)
  for group, at in zip((landmarks.LEFT_EYE, landmarks.RIGHT_EYE, landmarks.NOSE), landmarks.ANCHORS,
                       strict=True):
    spread = np.linspace(-4, 4, len(group))
    points[list(group), :2] = 100 * at
    points[list(group), 0] += spread
  points[list(landmarks.LIPS), 1] = 70 + np.linspace(-3, 3, len(landmarks.LIPS))
  points[[234, 454]] = [(5, 40, 0), (95, 40, 0)]
  return points


def moved(side: float = 100, degrees: float = 0, x: float = 0, y: float = 0) -> np.ndarray:
  """The head through a similarity: crop of `side` pixels, turned about the crop's corner."""
  angle, points = np.radians(degrees), head()
  turn = side / 100 * np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
  points[:, :2] = points[:, :2] @ turn.T + (x, y)
  return points


class Told:
  """A follower that is told what it sees: points, or None for no face."""

  def __init__(self, story):
    self._story = iter(story)

  def __call__(self, image, again):
    points = next(self._story)
    return {} if points is None else {0: landmarks.Landmarks(points, .99)}


# Something is to be seen in it: in an empty image nobody is filled in.
IMAGE = np.random.default_rng(0).integers(0, 256, (600, 900, 3), np.uint8)


def follow(monkeypatch, story, times=None, images=None, **options) -> face_track.Track:
  monkeypatch.setattr(detect_and_track, 'Follower', lambda turns: Told(story))
  return tracks.track(images or [IMAGE] * len(story), times, **options)


def centre(affine: np.ndarray) -> np.ndarray:
  return affine @ np.array([.5, .5, 1], np.float32)


def test_the_affine_is_the_similarity_that_moved_the_head(monkeypatch):
  track = follow(monkeypatch, [moved(side=180, degrees=20, x=30, y=-10)] * 9)
  angle = np.radians(20)
  expected = [(180 * np.cos(angle), -180 * np.sin(angle), 30),
              (180 * np.sin(angle), 180 * np.cos(angle), -10)]
  np.testing.assert_allclose(track.affine, np.broadcast_to(expected, (9, 2, 3)), atol=.01)
  assert track.valid.all()
  assert not track.filled.any()


def test_jaw_and_lips_do_not_move_the_crop(monkeypatch):
  open_mouth = moved()
  others = np.setdiff1d(np.arange(468),
                        [*landmarks.LEFT_EYE, *landmarks.RIGHT_EYE, *landmarks.NOSE])
  open_mouth[others, 1] += 15
  track = follow(monkeypatch, [moved()] * 5 + [open_mouth] * 5)
  np.testing.assert_allclose(track.affine, np.broadcast_to(track.affine[0], (10, 2, 3)), atol=1e-3)


@pytest.mark.parametrize('uneven', [False, True])
def test_smoothing_has_no_lag_and_calms_a_still_head(monkeypatch, uneven):
  rng = np.random.default_rng(0)
  times = np.cumsum(rng.choice([.02, .06], 60) if uneven else np.full(60, .04))
  moving = follow(monkeypatch, [moved(x=90 * t, y=40 * t) for t in times], times)
  # A head in even motion is followed exactly, up to the first and the last frame.
  expected = np.stack([90 * times + 50, 40 * times + 50], -1)
  np.testing.assert_allclose(centre(moving.affine), expected, atol=.02)
  noise = rng.normal(0, .5, (60, 2))
  still = follow(monkeypatch, [moved(x=x, y=y) for x, y in noise], times)
  jitter = np.diff(centre(still.affine), axis=0).std() / np.diff(noise, axis=0).std()
  assert jitter < .35


def test_one_wrong_frame_does_not_shake_its_neighbours(monkeypatch):
  story = [moved(x=.1 * i) for i in range(30)]
  story[15] = moved(x=22)
  track = follow(monkeypatch, story)
  np.testing.assert_allclose(centre(track.affine)[:, 0], 50 + .1 * np.arange(30), atol=.1)


def test_short_gaps_are_filled_and_long_ones_pass(monkeypatch):
  story = [moved(x=float(i)) for i in range(60)]
  story[10:10 + smoothing.MAX_GAP] = [None] * smoothing.MAX_GAP
  story[30:31 + smoothing.MAX_GAP] = [None] * (smoothing.MAX_GAP + 1)
  story[-2:] = [None] * 2
  track = follow(monkeypatch, story)
  assert np.flatnonzero(track.filled).tolist() == list(range(10, 10 + smoothing.MAX_GAP))
  missing = [*range(30, 31 + smoothing.MAX_GAP), 58, 59]
  assert np.flatnonzero(~track.valid).tolist() == missing
  np.testing.assert_allclose(centre(track.affine)[track.valid, 0],
                             (50. + np.arange(60))[track.valid], atol=.05)
  for values in (track.affine, track.mouth_box, track.jaw, track.landmarks, track.lip_gap):
    assert np.isnan(values[missing]).all()
    assert np.isfinite(values[track.valid]).all()
  assert (track.score[track.filled] == 0).all()


def test_a_cut_is_not_smoothed_over(monkeypatch):
  story = [moved()] * 12 + [None] * 2 + [moved(side=220, x=300)] * 12 + [moved(x=700)] * 12
  track = follow(monkeypatch, story)
  assert not track.valid[12:14].any()
  expected = np.r_[[50.] * 12, [np.nan] * 2, [410.] * 12, [750.] * 12]
  np.testing.assert_allclose(centre(track.affine)[:, 0], expected, atol=.01)


def test_a_profile_is_left_alone(monkeypatch):
  turned = moved()
  turned[454, 2] = turned[454, 0] * 3
  track = follow(monkeypatch, [moved()] * 3 + [turned] * 3)
  assert track.valid.tolist() == [True] * 3 + [False] * 3
  assert (np.abs(track.yaw[3:]) > face_track.MAX_YAW).all()


def test_nothing_to_follow(monkeypatch):
  track = follow(monkeypatch, [None] * 5)
  assert not track.valid.any()
  assert track.affine.shape == (5, 2, 3)
  assert len(follow(monkeypatch, [])) == 0
  with pytest.raises(ValueError, match='2 times for 3 images'):
    follow(monkeypatch, [None] * 3, [0., 1.])


def test_mouth_box_holds_the_lips(monkeypatch):
  track = follow(monkeypatch, [moved(side=150, degrees=10)] * 5, keep_landmarks=False)
  lips = head()[list(landmarks.LIPS), :2] / 100
  box = track.mouth_box[2]
  assert (box[:2] < lips.min(0)).all()
  assert (box[2:] > lips.max(0)).all()
  assert (box[2:] - box[:2] < 1.35 * np.ptp(lips, axis=0) + .2).all()
  assert track.landmarks is None


def test_the_jaw_is_the_outline_of_the_face(monkeypatch):
  track = follow(monkeypatch, [moved(side=150, degrees=10)] * 5, keep_landmarks=False)
  np.testing.assert_allclose(track.jaw[2], head()[list(landmarks.JAW), :2] / 100, atol=.01)


def test_the_largest_mouth_is_as_large_as_others_of_the_person_and_where_this_one_is(monkeypatch):
  faces = []
  for opening in (0, 0, 0, 12, 12):
    face = moved(side=150)
    lips = list(landmarks.LIPS)
    lower = [point for point in lips if face[point, 1] > face[lips, 1].mean()]
    face[lower, 1] += opening
    faces.append(face)
  track = follow(monkeypatch, faces)
  largest = face_track.largest_mouths(track)
  height = lambda boxes: boxes[:, 3] - boxes[:, 1]
  assert height(track.mouth_box)[0] < .9 * height(track.mouth_box)[4]
  np.testing.assert_allclose(height(largest), height(track.mouth_box)[4], rtol=.05)
  np.testing.assert_allclose(largest[:, 1], track.mouth_box[:, 1], atol=1e-6)


def test_lip_gap_has_no_unit():
  points = head()
  points[[13, 14], :2] = [(50, 65), (50, 71)]
  points[[33, 263], :2] = [(30, 30), (70, 30)]
  points[[61, 291], :2] = [(40, 68), (60, 68)]
  both = np.stack([points, 3 * points + 7])
  np.testing.assert_allclose(landmarks.lip_gap(both), [.15, .15], rtol=1e-4)
  np.testing.assert_allclose(landmarks.mouth_width(both[..., :2]), [.5, .5], rtol=1e-4)


@pytest.mark.parametrize('size', [16, 40, 64, 100, 160, 333])
def test_a_crop_pixel_lies_at_its_fraction(size):
  # A plane's value names the place: x in red, y in green.
  y, x = np.mgrid[:200, :240]
  image = np.stack([x, y, 0 * x], -1).astype(np.uint8)
  affine = np.array([(120, -30, 60), (30, 120, 20)], np.float32)
  crop = landmarks.crop(image, affine, size)
  fractions = (np.arange(size) + .5) / size
  u, v = np.meshgrid(fractions, fractions)
  expected = np.stack([120 * u - 30 * v + 60, 30 * u + 120 * v + 20], -1)
  # Half a level of rounding, and OpenCV's sampling at 32nds of a pixel.
  np.testing.assert_allclose(crop[..., :2], expected, atol=.65)
  assert abs((crop[..., :2] - expected).mean()) < .05


def test_a_small_crop_averages():
  checks = np.indices((512, 512)).sum(0) % 2 * 255
  crop = landmarks.crop(np.repeat(checks[..., None], 3, -1).astype(np.uint8),
                        np.array([(500., 0, 5), (0, 500, 5)]), 32)
  # Point sampling would show moire from 0 to 255.
  assert np.ptp(crop.astype(int)) < 40
  assert abs(crop.mean() - 127.5) < 3


def test_crops_may_hang_over_the_edge_but_need_a_face():
  image = np.full((60, 80, 3), 7, np.uint8)
  for shift in (-400, -30, 50, 500):
    assert (landmarks.crop(image, np.array([(90., 0, shift), (0, 90, shift)]), 24) == 7).all()
  with pytest.raises(ValueError, match='not finite'):
    landmarks.crop(image, np.full((2, 3), np.nan), 24)


def test_no_face_where_there_is_none():
  follower = detect_and_track.Follower()
  rng = np.random.default_rng(0)
  for image in (np.zeros((64, 200, 3), np.uint8), np.full((300, 90, 3), 200, np.uint8),
                rng.integers(0, 256, (120, 120, 3), np.uint8)):
    assert follower(image, True) == {}


def test_program_reports_mistakes_and_counts(tmp_path):
  video_writer.write_clip(tmp_path / 'grey.mp4', [np.full((64, 64, 3), 99, np.uint8)] * 3, 25)
  out, err = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    assert tracks.main([str(tmp_path / 'grey.mp4')]) == 0
    assert tracks.main([str(tmp_path / 'none.mp4')]) == 2
  assert out.getvalue().startswith('found 0/3 ')
  assert err.getvalue().splitlines()[-1].startswith('error: ')


# ---------------------------------------------------------------------------------------------
# The networks, on the rendered clips that the repository carries.
# ---------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def talker(pack_folder):
  """One rendered clip: its path."""
  return sorted(pack_folder.rglob('*.mp4'))[0]


def test_every_frame_of_a_rendered_talker_is_found(talker):
  track = tracks.track_file(talker, 0, 40, keep_landmarks=True)
  assert track.valid.all()
  assert track.score.min() > .9
  anchors = np.stack([track.landmarks[:, list(group)].mean(1)
                      for group in (landmarks.LEFT_EYE, landmarks.RIGHT_EYE, landmarks.NOSE)], 1)
  at = landmarks.to_fractions(track.affine, anchors)
  assert np.abs(at - landmarks.ANCHORS).max() < .08
  assert track.mouth_box[:, 1].min() > .5


def test_parts_of_a_video_are_tracked_as_they_are_alone(talker):
  whole = tracks.track_file(talker, 0, 60)
  times = whole.times
  faces = tracks.follow_parts(video.probe(talker), [(0, 20), (40, 49)])
  parts = faces.track(faces.pieces)
  assert len(parts) == video.probe(talker).frame_count and parts.times[:60].tolist() == list(times)
  assert parts.valid[:20].all() and parts.valid[40:49].all()
  assert not parts.valid[20:40].any() and not parts.valid[49:].any()
  assert (parts.reason[20:40] == face_track.NOT_LOOKED_AT).all() and (parts.shot[49:] == -1).all()
  np.testing.assert_allclose(parts.lip_gap[:20], whole.lip_gap[:20], atol=1e-6)
  np.testing.assert_allclose(parts.affine[:15], whole.affine[:15], atol=1e-6)  # smoothed alike
  assert np.isnan(parts.affine[20:40]).all() and not parts.score[20:40].any()


def test_a_face_is_found_again(talker):
  images = [frame.image for frame in video.frames(talker, 0, 3)]
  far = np.pad(images[2], ((0, 0), (images[2].shape[1], 0), (0, 0)))
  follower = detect_and_track.Follower()
  (first, _), = follower(images[0]).items()
  assert list(follower(images[1])) == [first]
  searches = follower.finder.detections
  assert list(follower(images[1])) == [first] and follower.finder.detections == searches
  assert follower(np.zeros_like(images[0])) == {}
  found, = follower(far).values()
  assert found.points[:, 0].min() > images[2].shape[1] * .9


def test_clips_have_sound_as_long_as_their_picture(talker):
  samples, rate, start = waveform.read(talker)
  info = video.probe(talker)
  assert abs(start + samples.shape[1] / rate - float(info.duration)) < .1


def test_frames_at_one_time_are_smoothed_all_the_same():
  times = np.array([0., 0., 0., .04, .08, .08])
  values = np.arange(24.).reshape(6, 4)
  assert np.isfinite(smoothing.smooth(times, values, 5.)).all()

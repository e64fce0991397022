"""Films: frames come in a timeline's order, at its times, and a track is read along it."""

import dataclasses

import numpy as np
import pytest

from vidregen_jax.errors import UserError
from vidregen_jax.faces import in_video
from vidregen_jax.media import video, video_writer
from vidregen_jax.media.timeline import retimed_video as films
from vidregen_jax.media.timeline import retiming

COUNT = 90


def numbered(i):
  """As many white columns as the frame's number."""
  image = np.zeros((32, 96, 3), np.uint8)
  image[:, :i] = 255
  return image


@pytest.fixture(scope='module')
def info(tmp_path_factory):
  path = tmp_path_factory.mktemp('film') / 'numbers.mp4'
  video_writer.write_clip(path, [numbered(i) for i in range(COUNT)], 25,
                          crf=0)
  return video.probe(path)


def numbers(frames):
  return [int((frame.image.mean((0, 2)) > 128).sum()) for frame in frames]


def test_the_source_is_itself(info):
  film = films.Film.of(info)
  assert film.is_the_source and film.info == info
  frames = list(film.frames())
  assert numbers(frames) == list(range(COUNT))
  assert [f.pts for f in frames] == film.timeline.pts.tolist()
  assert [f.index for f in film.frames(70)] == list(range(70, COUNT))
  np.testing.assert_allclose(film.times, np.arange(COUNT) / 25)


@pytest.mark.parametrize('order', [
  [0, 0, 1, 1, 1, 2], [5, 4, 3, 2, 1, 0], [3, 4, 5, 5, 4, 3, 3, 4], [0, 40, 80, 79, 10],
  [*range(COUNT), *range(COUNT - 1, -1, -1), *range(COUNT)]])
@pytest.mark.parametrize('first', [0, 2])
def test_frames_come_in_any_order_at_their_times(info, order, first):
  shown = retiming.Timeline(np.array(order), 7 + 11 * np.arange(len(order)), 7 + 11 * len(order))
  film = films.Film(info, shown)
  frames = list(film.frames(first))
  assert numbers(frames) == order[first:]
  assert [f.index for f in frames] == list(range(first, len(order)))
  assert [f.pts for f in frames] == shown.pts[first:].tolist()
  assert [f.duration for f in frames] == [11] * len(frames)
  assert all(f.time == f.pts * info.time_base for f in frames)
  assert film.info.frame_count == len(order) and not film.is_the_source
  assert film.info.duration == 11 * len(order) * info.time_base


def face(film):
  """Along a film, the one face that is seen in it."""
  seen = in_video.follow(film, [(0.0, 9.0)])
  return in_video.along(film, seen.track(seen.pieces))


def test_a_track_is_read_along_the_film(pack_folder):
  path = sorted((pack_folder / 'test').glob('*.mp4'))[0]
  plain = films.Film.of(video.probe(path))
  whole = face(plain)
  order = np.r_[0:30, 29:9:-1]
  step = int(plain.timeline.pts[1])
  film = films.Film(plain.source, retiming.Timeline(order, step * np.arange(len(order)),
                                                    step * len(order)))
  track = face(film)
  assert len(track) == len(order) and track.valid.all()
  np.testing.assert_allclose(track.lip_gap, whole.lip_gap[order], atol=1e-5)
  np.testing.assert_array_equal(track.times, film.times)
  crops = in_video.crops(film, [2, 30, 45], track, 32)
  np.testing.assert_array_equal(crops[1], in_video.crops(film, [29], track, 32)[0])  # shown twice
  assert np.abs(crops[0].astype(int) - crops[2]).mean() > 0.1
  assert in_video.crops(film, [], track, 32).shape == (0, 32, 32, 3)


def test_packets_without_a_frame_are_told(info):
  film = films.Film.of(info)
  more = film.timeline.source.tolist() + [len(film.timeline)]
  for order in (more, more[::-1]):
    shown = dataclasses.replace(film.timeline, source=np.array(order),
                                pts=np.arange(len(order)), end=len(order))
    with pytest.raises(UserError, match=f'frame {len(more) - 1} of them cannot be decoded'):
      list(dataclasses.replace(film, timeline=shown).frames())
    with pytest.raises(UserError, match=f'frame {len(more) - 1} of them cannot be decoded'):
      in_video.crops(dataclasses.replace(film, timeline=shown), [order.index(len(more) - 1)],
                     None, 8)

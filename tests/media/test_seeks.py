"""A frame is the one that all of the file has at its time, wherever reading begins."""

import numpy as np
import pytest
import small_videos

from vidregen_jax import errors
from vidregen_jax.media import opening, video
from vidregen_jax.media.audio import lazy, sound_file
from vidregen_jax.media.timeline import retimed_video as films
from vidregen_jax.media.timeline import retiming as timelines

MP2, AAC = ('mp2', 44_100, 'stereo'), ('aac', 44_100, 'stereo')
M2TS = {'mpegts_m2ts_mode': '1'}
# By name: encoder, time base, what else. MPEG codecs know few rates, and no finer clock.
FILES = {
  'h264.mp4': ('libx264', '1/12800', dict(sound=[AAC])),
  'h264.mkv': ('libx264', '1/1000', dict(sound=[AAC])),
  'h264.ts': ('libx264', '1/90000', dict(sound=[MP2])),
  'open.ts': ('libx264', '1/90000', dict(more='open-gop=1', sound=[AAC])),
  'h264.m2ts': ('libx264', '1/90000', dict(sound=[AAC], options=M2TS)),
  'hevc.ts': ('libx265', '1/90000', {}),
  'mpeg2.ts': ('mpeg2video', '1/25', dict(sound=[MP2])),
  'mpeg1.mpg': ('mpeg1video', '1/25', dict(sound=[MP2])),
  'mpeg2.mpg': ('mpeg2video', '1/25', dict(sound=[MP2])),
  'mpeg2.vob': ('mpeg2video', '1/25', {}),
  'mpeg4.avi': ('mpeg4', '1/25', dict(sound=[MP2])),
  'mjpeg.avi': ('mjpeg', '1/25', dict(pix_fmt='yuvj420p')),
  'wmv2.wmv': ('wmv2', '1/25', {}),
  'h264.flv': ('libx264', '1/1000', dict(sound=[AAC])),
  'h264.nut': ('libx264', '1/12800', {}),
  'mpeg2.mxf': ('mpeg2video', '1/25', {}),
  'vp8.webm': ('libvpx', '1/1000', {}),
  'vp9.webm': ('libvpx-vp9', '1/1000', {}),
  'av1.mkv': ('libsvtav1', '1/1000', {}),
  'vp9.ivf': ('libvpx-vp9', '1/25', {}),
  'mpeg1.m1v': ('mpeg1video', '1/25', {}),
  'raw.y4m': ('rawvideo', '1/25', {}),
}


@pytest.fixture(scope='module', params=FILES)
def path(request, tmp_path_factory):
  encoder, base, more = FILES[request.param]
  return small_videos.make(tmp_path_factory.mktemp('seeks') / request.param, encoder, base=base,
                           **more)


def planes(frame):
  return frame.source.to_ndarray()


def test_frames_from_anywhere_are_those_of_the_whole(path):
  whole, info = list(video.frames(path)), video.probe(path)
  assert len(whole) == info.frame_count == small_videos.COUNT
  assert [frame.pts for frame in whole] == info.stamps.tolist()
  pixels = [planes(frame) for frame in whole]
  for start in range(len(whole) + 1):
    tail = list(video.frames(path, start, stamps=info.stamps))
    assert [frame.index for frame in tail] == list(range(start, len(whole)))
    assert [frame.time for frame in tail] == [frame.time for frame in whole[start:]]
    for frame in tail:
      np.testing.assert_array_equal(planes(frame), pixels[frame.index], f'{start}: {frame.index}')


def test_what_is_seen_is_what_was_written(path):
  """Each frame is nearest to its own picture: no neighbour is shown in its place."""
  for start in (0, 7, 13, 29):
    frame = next(video.frames(path, start))
    image = frame.image.astype(float)
    apart = [np.abs(image - small_videos.picture(i, 80, 96)).mean()
             for i in range(small_videos.COUNT)]
    assert int(np.argmin(apart)) == start


def test_a_film_that_runs_back_shows_the_frames_it_names(path):
  info = video.probe(path)
  film = films.Film.of(info)
  ends = timelines.fit(film.timeline, 2 * (film.timeline.end - int(film.timeline.pts[0])),
                       'pingpong')
  there = [planes(frame) for frame in video.frames(path)]
  shown = list(films.Film(info, ends).frames())
  assert len(shown) > small_videos.COUNT + 20
  for frame, of in zip(shown, ends.source.tolist(), strict=True):
    np.testing.assert_array_equal(planes(frame), there[of])


@pytest.mark.parametrize('path', [name for name, (_, _, more) in FILES.items() if 'sound' in more],
                         indirect=True)
def test_sound_from_the_middle_is_that_of_the_whole(path, monkeypatch):
  whole = sound_file.Recording(path)[:, :]
  monkeypatch.setattr(lazy, 'BLOCK', 4096)
  for first in (0, 5000, 30_000, whole.shape[1] - 3000):
    part = sound_file.Recording(path)[:, first:first + 2500]
    # What AAC fills up with noise depends on what came before; a sample beside it is .03 off.
    np.testing.assert_allclose(part, whole[:, first:first + 2500], atol=1e-3)


def test_what_a_cut_recording_begins_with_is_no_frame(tmp_path):
  """Its first packets need a key frame that is not there."""
  whole = small_videos.make(tmp_path / 'whole.ts', 'libx264', base='1/90000')
  data, frames = whole.read_bytes(), list(video.frames(whole))
  (tmp_path / 'cut.ts').write_bytes(data[len(data) // 3 // 188 * 188:])
  info, cut = video.probe(tmp_path / 'cut.ts'), list(video.frames(tmp_path / 'cut.ts'))
  assert 0 < len(cut) == info.frame_count < len(frames)
  assert [frame.index for frame in cut] == list(range(len(cut)))
  for one, other in zip(cut, frames[-len(cut):], strict=True):
    np.testing.assert_array_equal(planes(one), planes(other))


def changed(source, path, change):
  """A copy of a file's pictures with other times."""
  with opening.open_input(source) as old, opening.open_output(path, 'matroska', {}) as new:
    stream = new.add_stream_from_template(old.streams.video[0], opaque=True)
    for index, packet in enumerate(old.demux(old.streams.video[0])):
      if packet.size:
        packet.pts = packet.dts = change(index, packet.pts)
        packet.stream = stream
        new.mux(packet)
  return path


def test_frames_at_one_time_are_told_apart_by_nobody(tmp_path):
  source = small_videos.make(tmp_path / 'source.mkv', 'ffv1', base='1/1000')
  path = changed(source, tmp_path / 'same.mkv', lambda i, pts: pts - 40 * (i == 5))
  with pytest.raises(errors.UserError, match='frames 4 and 5 are shown at the same time'):
    video.probe(path)


def test_frames_without_times_are_refused(tmp_path):
  path = small_videos.make(tmp_path / 'raw.h264', 'libx264')
  with pytest.raises(errors.UserError, match='no frames with timestamps'):
    video.probe(path)
  # An AVI has the times of decoding only, and here frames are decoded in another order.
  path = small_videos.make(tmp_path / 'late.avi', 'libx264', base='1/25')
  with pytest.raises(errors.UserError, match='not those of its frames'):
    video.probe(path)


def test_a_line_is_no_picture(tmp_path):
  path = small_videos.make(tmp_path / 'line.mkv', 'ffv1', size=(2064, 16), base='1/1000')
  with pytest.raises(errors.UserError, match='2064x16 pixels are too long and narrow'):
    video.probe(path)

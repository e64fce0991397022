"""Files come out with the times, colours and turns they went in with, whole or not at all."""

from fractions import Fraction

import av
import numpy as np
import pytest

from vidregen_jax import errors
from vidregen_jax.media import video, video_writer
from vidregen_jax.media.audio import aac, waveform


def picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
  """A smooth colour picture that differs from frame to frame."""
  y, x = np.mgrid[:height, :width] / max(height, width)
  waves = [np.sin(3 * x + 2 * y + .3 * index), np.cos(4 * y - x), np.sin(2 * x - .2 * index)]
  return np.uint8(128 + 90 * np.stack(waves, -1))


def info_for(time_base, height=48, width=64, **changes) -> video.VideoInfo:
  return video.VideoInfo('', width, height, rate=Fraction(25), time_base=Fraction(time_base),
                         **changes)


def write(path, info, stamps, **options):
  with video_writer.Writer(path, info, **options) as writer:
    for index, stamp in enumerate(stamps):
      writer.write(picture(index, info.height, info.width), stamp)


TIMELINES = {
  '25': ('1/25', range(40)),
  '24000/1001': ('1001/24000', range(40)),
  '30000/1001 in 90 kHz': ('1/90000', range(0, 40 * 3003, 3003)),
  'late start': ('1/15360', range(507, 507 + 40 * 512, 512)),
  'late start between milliseconds': ('1/90000', range(12_345, 12_345 + 40 * 3600, 3600)),
  'variable': ('1/1000', np.cumsum([33, 67, 33, 40, 17, 33, 100, 41] * 5).tolist()),
}


@pytest.mark.parametrize('name', TIMELINES)
@pytest.mark.parametrize('suffix', ['.mp4', '.mov'])
def test_every_frame_time_is_exactly_kept(tmp_path, name, suffix):
  base, stamps = TIMELINES[name]
  path = tmp_path / f'a name with spaces{suffix}'
  write(path, info_for(base), stamps, preset='medium')  # medium makes B-frames
  with av.open(str(path)) as container:
    assert container.streams.video[0].codec_context.has_b_frames
  read = list(video.frames(path))
  assert [frame.time for frame in read] == [stamp * Fraction(base) for stamp in stamps]
  again = video.probe(path)
  assert again.frame_count == len(stamps)
  assert again.start_time == stamps[0] * Fraction(base)


def test_second_generation_keeps_times_durations_and_tags(tmp_path):
  base, stamps = TIMELINES['variable']
  tags = dict(color_range=1, color_space=6, color_primaries=6, color_trc=6,
              sample_aspect_ratio=Fraction(16, 15))
  write(tmp_path / 'one.mp4', info_for(base, **tags), stamps)
  info = video.probe(tmp_path / 'one.mp4')
  with video_writer.Writer(tmp_path / 'two.mp4', info) as writer:
    for frame in video.frames(tmp_path / 'one.mp4'):
      writer.copy(frame)
  copy = video.probe(tmp_path / 'two.mp4')
  kept = ('width', 'height', 'time_base', 'frame_count', 'start_time', 'color_range',
          'color_space', 'color_primaries', 'color_trc', 'sample_aspect_ratio')
  for name in kept:
    assert getattr(copy, name) == getattr(info, name), name
  for name, value in tags.items():
    assert getattr(copy, name) == value, name
  # An mp4 holds durations in decoding order, and x264 may order B-frames otherwise in the second
  # generation: how long the very last frame is shown, and so the mean rate, are only near.
  last = 41 * Fraction(base)
  assert abs(copy.duration - info.duration) <= last
  assert abs(copy.rate / info.rate - 1) <= last / info.duration


@pytest.mark.parametrize('start', [1, 17, 39])
def test_frames_from_the_middle_are_those_of_the_whole(tmp_path, start):
  base, stamps = TIMELINES['late start']
  path = tmp_path / 'clip.mp4'
  write(path, info_for(base), stamps, preset='medium')
  whole = list(video.frames(path))
  part = list(video.frames(path, start, start + 2))
  assert [frame.index for frame in part] == list(range(start, min(start + 2, 40)))
  for frame in part:
    assert frame.pts == whole[frame.index].pts
    np.testing.assert_array_equal(frame.image, whole[frame.index].image)
  assert list(video.frames(path, 40)) == []


@pytest.mark.parametrize('space', [1, 6])
@pytest.mark.parametrize('full_range', [False, True])
def test_colours_survive_encoding(tmp_path, space, full_range):
  # Flat patches have no chroma detail to lose; what is left is rounding, a level or two.
  patches = np.random.default_rng(0).integers(30, 226, (6, 8, 3), np.uint8)
  image = patches.repeat(16, 0).repeat(16, 1)
  info = info_for('1/25', 96, 128, color_space=space, color_primaries=space, color_trc=space,
                  color_range=2 if full_range else 1)
  with video_writer.Writer(tmp_path / 'clip.mp4', info, crf=4) as writer:
    writer.write(image, 0)
  read = next(video.frames(tmp_path / 'clip.mp4')).image
  middle = np.s_[8::16, 8::16]
  difference = read[middle].astype(int) - image[middle]
  assert np.abs(difference).max() <= 4
  # swscale cuts full-range chroma off instead of rounding it: half a level, .8 in blue.
  assert np.abs(difference.mean((0, 1))).max() < (1 if full_range else .5)


def test_the_matrix_is_the_tags_own(tmp_path):
  """The same planes are other colours under BT.601 and BT.709; and a red is known by formula."""
  seen = {}
  for space in (1, 6):
    planes = np.stack([np.full((16, 16), value, np.uint8) for value in (110, 110, 180)])
    source = av.VideoFrame.from_ndarray(planes, 'yuv444p')
    source.colorspace, source.color_range = space, 1
    seen[space] = video.Frame(0, 0, Fraction(0), 0, source).image[0, 0].astype(float)
  for space, (red, blue) in {1: (.2126, .0722), 6: (.299, .114)}.items():
    y, u, v = (110 - 16) / 219, (110 - 128) / 224, (180 - 128) / 224
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    expected = 255 * np.array([r, (y - red * r - blue * b) / (1 - red - blue), b])
    np.testing.assert_allclose(seen[space], expected, atol=.6)


def test_a_frame_through_rgb_does_not_darken(tmp_path):
  write(tmp_path / 'clip.mp4', info_for('1/25', 96, 128), range(1))
  frame = next(video.frames(tmp_path / 'clip.mp4'))
  with video_writer.Writer(tmp_path / 'again.mp4', video.probe(tmp_path / 'clip.mp4'),
                           crf=0) as writer:
    writer.write(frame.image, frame.pts)
  again = next(video.frames(tmp_path / 'again.mp4'))
  luma, was = (f.source.to_ndarray()[:96].astype(int) for f in (again, frame))
  # Lossless x264 leaves the conversions alone: swscale's fast path would show -1.2 here.
  assert abs((luma - was).mean()) < .05
  assert np.abs(luma - was).max() <= 1


@pytest.mark.parametrize('size', [(47, 64), (48, 63), (47, 63)])
def test_odd_sizes_are_kept(tmp_path, size):
  write(tmp_path / 'clip.mp4', info_for('1/25', *size), range(3))
  info = video.probe(tmp_path / 'clip.mp4')
  assert (info.height, info.width, info.pix_fmt) == (*size, 'yuv444p')


def test_rotation_is_kept_as_metadata(tmp_path):
  quarter = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
  write(tmp_path / 'clip.mp4', info_for('1/25', display_matrix=quarter), range(3))
  info = video.probe(tmp_path / 'clip.mp4')
  assert info.display_matrix == quarter
  assert info.rotation == 90
  assert (info.height, info.width) == (48, 64)
  assert next(video.frames(tmp_path / 'clip.mp4')).image.shape == (48, 64, 3)


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt])
def test_nothing_is_left_of_a_broken_run(tmp_path, error):
  path = tmp_path / 'clip.mp4'
  path.write_bytes(b'earlier')
  with pytest.raises(error), video_writer.Writer(path, info_for('1/25')) as writer:
    for index in range(80):  # more than x264 holds back, so that the part is on the disk
      writer.write(picture(index), index)
    assert len(list(tmp_path.iterdir())) == 2
    raise error
  assert [p.name for p in tmp_path.iterdir()] == ['clip.mp4']
  assert path.read_bytes() == b'earlier'


def test_nothing_is_left_of_a_run_that_never_began(tmp_path):
  video_writer.write_clip(tmp_path / 'silent.mp4', [picture(0)], 25)
  with pytest.raises(errors.UserError, match='no such file'):
    video_writer.Writer(tmp_path / 'out.mp4', info_for('1/25'),
                        audio=tmp_path / 'none.mp4').__enter__()
  with (pytest.raises(errors.UserError, match='nothing was written'),
        video_writer.Writer(tmp_path / 'out.mp4', info_for('1/25'))):
    pass
  assert [p.name for p in tmp_path.iterdir()] == ['silent.mp4']


def tone(seconds: float, rate: int, channels: int) -> np.ndarray:
  """Noise bursts, whose place is known to the sample."""
  noise = np.random.default_rng(1).normal(0, .1, (channels, round(seconds * rate)))
  return (noise * (np.sin(np.arange(noise.shape[1]) / rate * 20) > 0)).astype(np.float32)


@pytest.mark.parametrize(('rate', 'channels', 'start'),
                         [(44_100, 2, Fraction(0)), (16_000, 1, Fraction(3, 10)),
                          (48_000, 6, Fraction(1, 50)), (44_100, 1, Fraction(-1, 10))])
def test_encoded_sound_keeps_rate_channels_length_and_place(tmp_path, rate, channels, start):
  samples = tone(1.3, rate, channels)
  track = aac.Soundtrack(samples, rate, start, bit_rate=128_000 * channels)
  write(tmp_path / 'clip.mp4', info_for('1/25'), range(40), audio=track)
  read, read_rate, read_start = waveform.read(tmp_path / 'clip.mp4')
  offset = round(start * rate)
  assert (read.shape, read_rate, read_start) == ((channels, offset + samples.shape[1]), rate, 0)
  expected = samples[0, max(0, -offset):]
  # AAC is not the same samples, but at the right place it is far closer than one sample off.
  there = read[0, max(0, offset):]
  error = np.square(there - expected).mean()
  shifted = np.square(there[1:] - expected[:-1]).mean()
  assert error < .5 * shifted


def test_copied_sound_is_the_same_bit_for_bit(tmp_path):
  track = aac.Soundtrack(tone(1.6, 44_100, 2), 44_100)
  write(tmp_path / 'one.mp4', info_for('1/25'), range(40), audio=track)
  write(tmp_path / 'two.mp4', info_for('1/15360'), range(507, 20_000, 512),
        audio=tmp_path / 'one.mp4')
  one, two = waveform.read(tmp_path / 'one.mp4'), waveform.read(tmp_path / 'two.mp4')
  np.testing.assert_array_equal(one[0], two[0])
  assert one[1:] == two[1:]
  assert video.probe(tmp_path / 'two.mp4').start_time == Fraction(507, 15360)


def test_mistakes_are_named(tmp_path):
  (tmp_path / 'text.mp4').write_text('not a video')
  with pytest.raises(errors.UserError, match='no such file'):
    video.probe(tmp_path / 'none.mp4')
  with pytest.raises(errors.UserError, match='not a media file'):
    video.probe(tmp_path / 'text.mp4')
  waveform.write_wav(tmp_path / 'sound.wav', np.zeros(1600, np.float32), 16_000)
  with pytest.raises(errors.UserError, match='no video stream'):
    video.probe(tmp_path / 'sound.wav')
  with pytest.raises(errors.UserError, match='choose one of them'):
    video_writer.Writer(tmp_path / 'clip.avi', info_for('1/25'))
  with pytest.raises(errors.UserError, match='must rise'):
    write(tmp_path / 'clip.mp4', info_for('1/25'), [0, 2, 2])
  with pytest.raises(errors.UserError, match='before 0'):
    write(tmp_path / 'clip.mp4', info_for('1/25'), [-1, 0])
  with (pytest.raises(ValueError, match='wanted uint8'),
        video_writer.Writer(tmp_path / 'clip.mp4', info_for('1/25')) as writer):
    writer.write(picture(0, 32, 32), 0)


def test_a_clip_has_its_rate_and_sound(tmp_path):
  video_writer.write_clip(tmp_path / 'clip.mp4', map(picture, range(30)), Fraction(30_000, 1001),
                   tone(1, 16_000, 1)[0], 16_000)
  info = video.probe(tmp_path / 'clip.mp4')
  assert info.rate == Fraction(30_000, 1001)
  assert info.frame_count == 30
  assert info.duration == Fraction(30 * 1001, 30_000)
  assert info.has_audio

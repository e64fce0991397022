"""Channels keep their places, are mixed as FFmpeg mixes them, and any number of them is read."""

from fractions import Fraction

import av
import numpy as np
import pytest
import small_sounds
from small_sounds import RATE, pitch, tones

from vidregen_jax.media import video, video_writer
from vidregen_jax.media.audio import aac, channels, lazy, sound_file, waveform

NAMES = ['mono', 'stereo', '2.1', '3.0', '3.0(back)', '4.0', 'quad', 'quad(side)', '3.1', '5.0',
         '5.0(side)', '4.1', '5.1', '5.1(side)', '6.0', '6.1', '6.1(back)', '7.0', '7.1',
         '7.1(wide)', 'octagonal']


def places(name):
  return channels.places(av.AudioLayout(name))


def swresample(source, target):
  """What FFmpeg's resampler makes of each channel alone, [target, source]."""
  count, columns = av.AudioLayout(source).nb_channels, []
  for alone in range(count):
    samples = np.zeros((count, 64), np.float32)
    samples[alone] = .5
    resampler = av.AudioResampler('flt', target, RATE)
    made, = resampler.resample(small_sounds.frame(samples, RATE, 0, source))
    columns.append(2 * made.to_ndarray().reshape(64, -1)[32])
  return np.array(columns).T


@pytest.mark.parametrize('source', NAMES)
@pytest.mark.parametrize('target', ['mono', 'stereo', '3.0', '4.0', 'quad', '5.0', '5.1', '7.1'])
def test_downmixes_are_those_of_ffmpeg(source, target):
  made = channels.matrix(places(source), places(target))
  if source == 'mono' and target in ('stereo', 'quad'):  # as loud in both, and back as it was
    np.testing.assert_array_equal(made[:2], [[1], [1]])
  elif (source, target) == ('stereo', 'mono'):
    np.testing.assert_array_equal(made, [[.5, .5]])
  else:
    np.testing.assert_allclose(made, swresample(source, target), atol=1e-3)


def test_the_centre_is_three_decibels_down_on_either_side():
  made = channels.matrix(places('5.1'), places('stereo'))
  np.testing.assert_allclose(made[:, 2], 10 ** (-3.01 / 20), atol=1e-3)
  assert not made[:, 3].any()  # the bass


def test_speech_is_heard_from_the_front():
  np.testing.assert_array_equal(channels.voice(places('5.1')), [[.5, .5, 1, 0, 0, 0]])
  np.testing.assert_array_equal(channels.voice(places('2.1')), [[.5, .5, 0]])
  np.testing.assert_array_equal(channels.voice(('BL', 'BR', 'LFE')), [[.5, .5, 0]])
  np.testing.assert_array_equal(channels.voice(channels.usual(16)), np.full((1, 16), 1 / 16))
  np.testing.assert_array_equal(channels.voice(places('ambisonic 1')), [[1, 0, 0, 0]])


@pytest.mark.parametrize('name', [*NAMES, '22.2', '7.1.4', 'hexadecagonal', 'downmix'])
@pytest.mark.parametrize('encoder', ['aac', 'libopus'])
def test_what_is_written_has_a_place_for_all_that_is_heard(name, encoder):
  layout, theirs = channels.written(places(name), encoder)
  assert channels.places(av.AudioLayout(layout)) == theirs
  gains = channels.matrix(places(name), theirs)
  assert (gains.any(0) | (np.array(places(name)) == 'LFE2')).all()


@pytest.mark.parametrize(('suffix', 'codec', 'layout'), [
  ('.mkv', 'flac', '7.1'), ('.webm', 'libopus', '7.1'), ('.mp4', 'aac', '7.1'),
  ('.wav', 'pcm_s16le', '7.1'), ('.wav', 'pcm_s16le', '22.2'), ('.wav', 'pcm_f32le', '64 channels'),
  ('.mka', 'ac3', '5.1')])
def test_every_channel_is_read_where_it_is(suffix, codec, layout, tmp_path):
  count = 64 if layout == '64 channels' else av.AudioLayout(layout).nb_channels
  sent = tones(count, .5)
  if count == 64:
    path = small_sounds.wav(tmp_path / 'many.wav', channels=64, bits=32, kind=3,
                            data=np.ascontiguousarray(sent.T, '<f4').tobytes())
  else:
    path = small_sounds.write(tmp_path / f'many{suffix}', codec, sent, layout=layout)
  whole, rate, _ = waveform.read(path)
  assert whole.shape[0] == count and rate == RATE
  np.testing.assert_array_equal(sound_file.Recording(path)[:, :], whole)
  for index in {0, 2, 7, count - 1} & {*range(count)}:
    alone = small_sounds.channel(path, index)
    np.testing.assert_allclose(whole[index], alone[:whole.shape[1]], atol=1e-6)
    if index != 3 and codec != 'ac3':  # the bass has no tones
      assert abs(pitch(whole[index]) - (300 + 100 * index)) < 4


def written(path, track):
  info = video.VideoInfo('', 32, 32, rate=Fraction(25), time_base=Fraction(1, 25))
  with video_writer.Writer(path, info, audio=track) as writer:
    for pts in range(2):
      writer.write(np.zeros((32, 32, 3), np.uint8), pts)
  return writer.left_out


@pytest.mark.parametrize('name', ['out.mp4', 'out.webm', 'out.mkv'])
@pytest.mark.parametrize('layout', ['quad', '5.0', '5.1', '6.1', '7.1'])
def test_every_channel_is_written_where_it_is(name, layout, tmp_path):
  sent = lazy.Mixed(lazy.Samples(tones(9, .5), RATE), places(layout),
                    np.eye(len(places(layout)), 9, dtype=np.float32))
  assert not written(tmp_path / name, aac.Soundtrack(sent, RATE, bit_rate=512_000))
  with av.open(str(tmp_path / name)) as container:
    theirs = channels.places(container.streams.audio[0].layout)
  for index, place in enumerate(places(layout)):
    if place not in ('LFE', 'BC'):
      heard = small_sounds.channel(tmp_path / name, theirs.index(place))
      assert abs(pitch(heard[4000:20_000]) - (300 + 100 * index)) < 8, place


def test_what_cannot_be_written_is_mixed_down_and_said(tmp_path):
  many = lazy.Samples(tones(16, .5), RATE)
  assert written(tmp_path / 'out.mp4', aac.Soundtrack(many, RATE, bit_rate=2_000_000)) == [
    '15 of 16 channels of the sound (mixed down to mono)']
  fine = aac.Soundtrack(tones(1, .5, 192_000), 192_000, bit_rate=2_000_000)
  assert written(tmp_path / 'out.webm', fine) == ['sound above 24000 Hz']
  heard, rate, _ = waveform.read(tmp_path / 'out.webm')
  assert rate == RATE and abs(pitch(heard[0, 4000:20_000]) - 300) < 8

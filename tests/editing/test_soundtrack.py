"""The sound of an edit: what is new is in its place, what is old stays, and mistakes are early."""

from fractions import Fraction

import av
import numpy as np
import pytest
import small_sounds
from small_sounds import RATE, noise, tones

from vidregen_jax import errors
from vidregen_jax.editing import changed_spans, soundtrack
from vidregen_jax.media import video, video_writer
from vidregen_jax.media.audio import aac, channels, packet_splice, waveform
from vidregen_jax.media.timeline import retimed_video as films
from vidregen_jax.reporting import proxy_video

PICTURES = 50  # two seconds


def film(path, samples, layout, codec='aac', **more):
  # AAC's decoder makes noise of its own, which depends on what came before; here it makes none.
  options = {'b': '384k', 'aac_pns': '0'} if codec == 'aac' else {}
  # And where a late track begins is written to the sample, not to a millisecond.
  exact = {'movie_timescale': str(RATE)} if path.suffix == '.mp4' else {}
  return small_sounds.write(path, codec, samples, layout=layout, pictures=PICTURES,
                            options=options, file=exact, **more)


def edited(source, out, new='', spans=(), patched=()):
  """Sound, rate and start of what is written, and the Composed; the pictures are copied."""
  arguments = (video.probe(source), str(new), spans, patched)
  info, new_audio, _, pieces = arguments
  soundtrack.check_samples(info, new_audio, pieces)
  composed = soundtrack.patched(soundtrack.compose(*arguments))
  with video_writer.Writer(out, composed.film.info, audio=composed.written, keep=source) as writer:
    for frame in video.frames(source):
      writer.copy(frame)
  return *waveform.read(out), composed


def near(sound, expected, share=.1):
  """Coded sound is what is meant, but for what coding leaves."""
  assert np.sqrt(np.mean((sound - expected)**2)) < share * np.sqrt(np.mean(expected**2))


@pytest.mark.parametrize(('name', 'codec', 'packets'), [
  ('a.mp4', 'aac', True), ('a.mkv', 'flac', False), ('a.webm', 'libopus', False)])
@pytest.mark.parametrize('layout', ['5.1', '7.1'])
def test_words_into_surround_sound_change_the_centre_alone(name, codec, packets, layout, tmp_path):
  count = av.AudioLayout(layout).nb_channels
  old = tones(count, 2, step=400)
  old[2] = noise(2)[0]
  source = film(tmp_path / name, old, layout, codec)
  new = noise(2, seed=1)
  small_sounds.write(tmp_path / 'new.wav', 'pcm_f32le', new)
  out = tmp_path / f'out{source.suffix}'
  sound, rate, start, composed = edited(source, out, tmp_path / 'new.wav', ((.8, 1.2),))
  before, _, _ = waveform.read(source)
  assert rate == RATE and abs(start) < .02 and sound.shape[0] == count
  assert isinstance(composed.written, packet_splice.Patched) == packets
  span, rest = slice(40_000, 56_000), np.r_[4000:36_000, 62_000:90_000]
  for index in range(count):
    alone = small_sounds.channel(out, index)
    if index == 2:
      late, alike = small_sounds.delay(alone[span], new[0, span])
      assert late == 0 and alike > .9
    elif index != 3:
      assert abs(small_sounds.pitch(alone[span]) - small_sounds.pitch(before[index, span])) < 8
    if packets:
      np.testing.assert_array_equal(sound[index, rest], before[index, rest])
  assert 'in the centre' in composed.notes[0]


def test_seven_channels_that_nobody_names_are_said(tmp_path):
  source = film(tmp_path / 'a.mp4', tones(1, 2), 'mono')
  data = np.int16(tones(7, 2).T * 32_767).tobytes()
  seven = small_sounds.wav(tmp_path / 'seven.wav', channels=7, data=data)
  sound, *_, composed = edited(source, tmp_path / 'out.mp4', seven)
  assert 'does not declare the layout of its 7 channels' in composed.notes[0]
  assert len(sound) == 8 and abs(small_sounds.pitch(sound[7, 8000:80_000]) - 900) < 4


@pytest.mark.parametrize('span', [(.1, .4), (.3, 1.2), (1.6, 1.9), (0.0, 2.0)])
def test_words_before_the_old_sound_begins_and_after_it_ends_are_heard(span, tmp_path):
  source = film(tmp_path / 'a.mp4', tones(1, .7), 'mono', late=RATE * 3 // 4)
  new = noise(2)
  small_sounds.write(tmp_path / 'new.wav', 'pcm_f32le', new)
  sound, rate, start, composed = edited(source, tmp_path / 'out.mp4', tmp_path / 'new.wav', (span,))
  first, last = (round((x - float(start)) * rate) for x in span)
  expected = new[0, round(span[0] * rate):round(span[1] * rate)]
  near(sound[0, first + 500:last - 500], expected[500:-500])
  assert not isinstance(composed.written, packet_splice.Patched)
  if span[1] < .9:
    old = round((.9 - float(start)) * rate)
    near(sound[0, old:old + 20_000], tones(1, .7)[0, round(.15 * rate):][:20_000])


def test_a_patch_before_the_old_sound_begins_is_heard(tmp_path):
  source = film(tmp_path / 'a.mp4', tones(1, 1), 'mono', late=RATE)
  small_sounds.write(tmp_path / 'new.wav', 'pcm_f32le', noise(.4))
  sound, rate, start, _ = edited(source, tmp_path / 'out.mp4', patched=(
    soundtrack.Patch(.2, .6, str(tmp_path / 'new.wav')),))
  first = round((.2 - float(start)) * rate)
  near(sound[0, first + 500:first + 18_000], noise(.4)[0, 500:18_000])


@pytest.mark.parametrize('seconds', [.2, .8])
def test_around_a_word_of_another_length_the_old_sound_goes_on(seconds, tmp_path):
  old = tones(6, 2)
  old[2] = noise(2)[0]
  source = film(tmp_path / 'a.mp4', old, '5.1')
  new = small_sounds.write(tmp_path / 'new.wav', 'pcm_f32le', noise(seconds, seed=1))
  arguments = (soundtrack.Patch(.4, .8, str(new)),)
  composed = soundtrack.compose(video.probe(source), patches=arguments)
  samples, moved = composed.track.samples, round((seconds - .4) * RATE)
  assert samples.shape[1] == 2 * RATE + moved
  first, last = round(.4 * RATE), round((.4 + seconds) * RATE)
  np.testing.assert_allclose(samples[:, first + 300:last - 300][2],
                             noise(seconds, seed=1)[0, 300:-300], atol=1e-6)
  before, _, _ = waveform.read(source)
  for index in (0, 1, 4, 5):
    np.testing.assert_allclose(samples[:, first:last][index, :-300],
                               before[index, first:last][:-300], atol=1e-5)
  np.testing.assert_array_equal(samples[:, last:], before[:, last - moved:])


@pytest.mark.parametrize('begin', [1.5, 1.98])
def test_a_frame_more_than_there_is_sound_still_copies_packets(begin, tmp_path):
  source = film(tmp_path / 'a.mp4', tones(1, 1.97), 'mono')
  small_sounds.write(tmp_path / 'new.wav', 'pcm_f32le', noise(2))
  *_, composed = edited(source, tmp_path / 'out.mp4', tmp_path / 'new.wav',
                         ((begin, 2.0),))
  assert isinstance(composed.written, packet_splice.Patched)


def test_new_sound_that_begins_late_is_late(tmp_path):
  source = film(tmp_path / 'a.mp4', tones(1, 2), 'mono')
  new = film(tmp_path / 'new.mp4', noise(1), 'mono', late=RATE)
  sound, rate, start, _ = edited(source, tmp_path / 'out.mp4', new, ((.5, 1.5),))
  assert np.abs(sound[0, 27_000:44_000]).max() < .01
  near(sound[0, RATE + 500:70_000], noise(1)[0, 500:22_000], .15)


def test_a_packet_a_sample_too_long_is_no_hole(tmp_path):
  source = film(tmp_path / 'a.mp4', noise(2), 'mono')
  with av.open(str(source)) as old, av.open(str(tmp_path / 'odd.mp4'), 'w') as made:
    streams = {s.index: made.add_stream_from_template(s) for s in old.streams}
    number = 0
    for packet in old.demux():
      if packet.size:
        if packet.stream.type == 'audio':
          packet.pts += number > 20
          packet.dts, packet.duration = packet.pts, packet.duration + (number == 20)
          number += 1
        packet.stream = streams[packet.stream_index]
        made.mux(packet)
  new = noise(2, seed=1)
  small_sounds.write(tmp_path / 'new.wav', 'pcm_f32le', new)
  for span in ((.3, .6), (1.2, 1.5)):  # around that packet, and after it
    out = tmp_path / 'out.mp4'
    sound, rate, _, composed = edited(tmp_path / 'odd.mp4', out, tmp_path / 'new.wav', (span,))
    assert isinstance(composed.written, packet_splice.Patched), composed.why_all_is_encoded
    first, last = (round(x * rate) for x in span)
    near(sound[0, first + 500:last - 500], new[0, first + 500:last - 500])


def test_sound_with_what_is_no_number_is_refused_before_anything(tmp_path):
  source = film(tmp_path / 'a.mp4', tones(1, 2), 'mono')
  new = noise(2)
  new[0, 60_000] = np.nan
  small_sounds.write(tmp_path / 'new.wav', 'pcm_f32le', new)
  patch = soundtrack.Patch(.2, .6, str(tmp_path / 'new.wav'))
  for arguments in ((str(tmp_path / 'new.wav'), ()), ('', (patch,))):
    with pytest.raises(errors.UserError, match=r'new\.wav: the sample at 1\.2500 s is nan'):
      soundtrack.check_samples(video.probe(source), *arguments)


@pytest.mark.parametrize(('name', 'codec'), [('new.mp3', 'libmp3lame'), ('new.m4a', 'aac'),
                                             ('new.opus', 'libopus'), ('new.flac', 'flac')])
def test_spans_are_found_in_sound_of_any_kind_as_in_a_wav(name, codec, tmp_path):
  old = noise(2)
  source = film(tmp_path / 'a.mp4', old, 'mono')
  new = old.copy()
  new[0, 48_000:60_000] = noise(2, seed=1)[0, 48_000:60_000]
  small_sounds.write(tmp_path / name, codec, new)
  (start, stop), = changed_spans.differences(video.probe(source), tmp_path / name, 0.0)
  assert abs(start - 1.0) < .03 and abs(stop - 1.25) < .03


def test_words_after_the_old_sound_has_ended_are_found(tmp_path):
  source = film(tmp_path / 'a.mp4', noise(1), 'mono')
  new = np.concatenate([noise(1), 0 * noise(.4), noise(.6, seed=1)], 1)
  small_sounds.write(tmp_path / 'new.wav', 'pcm_f32le', new)
  (start, stop), = changed_spans.differences(video.probe(source), tmp_path / 'new.wav', 0.0)
  assert abs(start - 1.4) < .03 and stop == 2.0


@pytest.mark.parametrize(('name', 'codec', 'more', 'late'), [
  ('new.aac', 'aac', {'muxer': 'adts'}, 1024), ('new.wav', 'pcm_s16le', {}, 0),
  ('new.mp3', 'libmp3lame', {'file': {'write_xing': '0'}}, 1105)])
def test_the_same_sound_later_is_told(name, codec, more, late, tmp_path):
  source = film(tmp_path / 'a.mp4', noise(2), 'mono')
  info = video.probe(source)
  small_sounds.write(tmp_path / name, codec, noise(2), **more)
  assert abs(changed_spans.lag(info, tmp_path / name) - late / RATE) < 2e-4
  assert (changed_spans.differences(info, tmp_path / name, 0.0) is None) == (late > 0)
  small_sounds.write(tmp_path / name, codec, noise(2, seed=1), **more)
  assert changed_spans.lag(info, tmp_path / name) == 0


def test_a_page_plays_sound_of_eight_channels(tmp_path):
  old = np.zeros((8, 2 * RATE), np.float32)
  old[2] = tones(1, 2)[0]
  source = film(tmp_path / 'a.mkv', old, '7.1', 'flac')
  track = aac.Soundtrack(np.float32(np.roll(old, -2, 0)), RATE, Fraction(0), 512_000)
  with video_writer.Writer(tmp_path / 'out.mp4', video.probe(source), audio=track) as writer:
    for frame in video.frames(source):
      writer.copy(frame)
  proxy = proxy_video.make(films.Film.of(video.probe(source)), tmp_path / 'out.mp4', [(10, 20)])
  (tmp_path / 'proxy.mp4').write_bytes(proxy.data)
  sound, rate, _ = waveform.read(tmp_path / 'proxy.mp4')
  part = slice(RATE // 2, RATE)
  for side, expected in zip(sound, (1, .5**.5), strict=True):  # of the centre, of the left: BS.775
    assert abs(small_sounds.pitch(side[part]) - 300) < 4
    assert abs(side[part].std() - expected * .2 / 2**.5) < .01
  assert channels.usual(8)[2] == 'FC'

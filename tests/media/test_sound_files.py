"""Sound of every kind is where FFmpeg puts it, and what is no sound is named with its place."""

import struct

import av
import numpy as np
import pytest
import small_sounds
from small_sounds import RATE, noise, tones, wav

from vidregen_jax import errors
from vidregen_jax.media.audio import sound_file, waveform

# Samples by which a sound comes late where its file does not say how much of it is the encoder's
# warming up: of LAME 576 and the decoder's 529, of AAC a packet, of AC-3 half a transform.
KINDS = {
  'pcm.wav': ('pcm_s16le', {}, 0), 'u8.wav': ('pcm_u8', {}, 0), 's24.wav': ('pcm_s24le', {}, 0),
  's32.wav': ('pcm_s32le', {}, 0), 'f32.wav': ('pcm_f32le', {}, 0), 'f64.wav': ('pcm_f64le', {}, 0),
  'alaw.wav': ('pcm_alaw', {}, 0), 'ulaw.au': ('pcm_mulaw', {}, 0), 'a.aiff': ('pcm_s16be', {}, 0),
  'f32.caf': ('pcm_f32be', {}, 0), 'a.flac': ('flac', {}, 0), 'a.wv': ('wavpack', {}, 0),
  'alac.m4a': ('alac', {}, 0), 'lame.mp3': ('libmp3lame', {}, 0),
  'bare.mp3': ('libmp3lame', {'file': {'write_xing': '0'}}, 576 + 529),
  'a.m4a': ('aac', {}, 0), 'adts.aac': ('aac', {'muxer': 'adts'}, 1024), 'a.mka': ('aac', {}, 0),
  'a.ts': ('aac', {}, 1024), 'a.ac3': ('ac3', {}, 256), 'a.eac3': ('eac3', {}, 256),
  'ac3.mka': ('ac3', {}, 0), 'ac3.mp4': ('ac3', {}, 0), 'a.opus': ('libopus', {}, 0),
  'opus.ogg': ('libopus', {}, 0), 'a.webm': ('libopus', {}, 0), 'opus.mp4': ('libopus', {}, 0),
  'mp3.mp4': ('libmp3lame', {}, 0), 'film.mp4': ('aac', {'pictures': 25}, 0),
  'film.mkv': ('aac', {'pictures': 25}, 0), 'film.webm': ('libopus', {'pictures': 25}, 0)}


@pytest.mark.parametrize('name', KINDS)
def test_sound_is_where_ffmpeg_puts_it(name, tmp_path):
  codec, more, late = KINDS[name]
  sent = noise()
  path = small_sounds.write(tmp_path / name, codec, sent, **more)
  recording = sound_file.Recording(path)
  after, alike = small_sounds.delay(recording[:, :][0], sent[0])
  assert alike > .9
  assert after + round(recording.start * RATE) == late
  whole, _, start = waveform.read(path)
  assert start == recording.start and whole.shape == recording.shape


def test_vorbis_is_where_it_was(tmp_path):
  sent = np.repeat(noise(), 2, 0)
  path = small_sounds.write(tmp_path / 'a.ogg', 'vorbis', sent, layout='stereo',
                            options={'strict': '-2', 'b': '256k'})
  recording = sound_file.Recording(path)
  after, alike = small_sounds.delay(recording[:, :][0], sent[0])
  assert after == 0 == recording.start and alike > .8


def test_sound_alone_begins_at_its_first_sample_and_beside_pictures_when_it_is_heard(tmp_path):
  alone, film = (small_sounds.write(tmp_path / name, 'aac', noise(), late=24_000, **more)
                 for name, more in (('late.mka', {}), ('late.mkv', {'pictures': 40})))
  assert sound_file.Recording(alone).start == 0 == waveform.read(alone)[2]
  # In Matroska, AAC's warming up comes before, and times are milliseconds.
  assert abs(sound_file.Recording(film).start - .5) < .025


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf, 1e30, 32_768.])
@pytest.mark.parametrize('codec', ['pcm_f32le', 'pcm_f64le'])
def test_what_is_no_sound_is_named_with_its_place(codec, value, tmp_path):
  sent = np.repeat(noise(), 2, 0)
  sent[1, 30_000] = value
  path = small_sounds.write(tmp_path / 'odd.wav', codec, sent, layout='stereo')
  said = rf'odd\.wav: the sample at 0\.6250 s is {value:g}'
  with pytest.raises(errors.UserError, match=said.replace('+', r'\+')):
    waveform.check(path)
  recording = sound_file.Recording(path)
  with pytest.raises(errors.UserError, match='0.6250 s'):
    recording[:, :]


def test_loud_sound_is_sound(tmp_path):
  path = small_sounds.write(tmp_path / 'loud.wav', 'pcm_f32le', 100 * noise())
  waveform.check(path)


def test_only_what_can_hold_it_is_read_for_it(tmp_path, monkeypatch):
  path = small_sounds.write(tmp_path / 'a.wav', 'pcm_s16le', noise())

  def decode(*_):
    raise AssertionError('it is read')
  monkeypatch.setattr(waveform, 'decode', decode)
  waveform.check(path)


@pytest.mark.parametrize(('header', 'said'), [
  ({'rate': 2**31 - 1}, '2147483647 samples a second'), ({'rate': 2**31}, 'not a media file'),
  ({'rate': 0}, 'not a media file'), ({'rate': 1}, '1 samples a second'),
  ({'channels': 65_535}, 'cannot be decoded'), ({'channels': 0}, 'cannot be decoded'),
  ({'data': b''}, 'is empty')])
def test_headers_that_cannot_be_are_one_line(header, said, tmp_path):
  with pytest.raises(errors.UserError, match=said) as raised:
    sound_file.Recording(wav(tmp_path / 'odd.wav', **header))
  assert '\n' not in str(raised.value)


def test_a_wav_that_claims_four_gigabytes_is_what_it_has(tmp_path):
  path = wav(tmp_path / 'stream.wav', data=struct.pack('<4h', 1, 2, 3, 4), claims=2**32 - 1)
  np.testing.assert_array_equal(sound_file.Recording(path)[:, :] * 32_768, [[1, 2, 3, 4]])


def joined(tmp_path, *sounds):
  """ADTS files one after the other, as a broadcast is."""
  parts = [small_sounds.write(tmp_path / f'{i}.aac', 'aac', samples, rate, layout).read_bytes()
           for i, (samples, rate, layout) in enumerate(sounds)]
  (tmp_path / 'all.aac').write_bytes(b''.join(parts))
  return tmp_path / 'all.aac'


@pytest.mark.parametrize('layouts', [('stereo', 'mono'), ('mono', 'stereo')])
def test_channels_that_change_on_the_way_are_mixed_to_the_first(layouts, tmp_path):
  count = {'mono': 1, 'stereo': 2}
  parts = [(np.repeat(tones(1, .5, first=first), count[layout], 0), RATE, layout)
           for first, layout in zip((300, 900), layouts, strict=True)]
  samples, _, _ = waveform.read(joined(tmp_path, *parts))
  assert samples.shape[0] == count[layouts[0]]
  for later in samples[:, 30_000:44_000]:
    assert abs(small_sounds.pitch(later) - 900) < 4 and abs(later.std() - .2 / 2**.5) < .01


def test_a_rate_that_changes_on_the_way_is_one_line(tmp_path):
  path = joined(tmp_path, (tones(1, .5), RATE, 'mono'), (tones(1, .5, 24_000), 24_000, 'mono'))
  with pytest.raises(errors.UserError, match='changes from 48000 to 24000 Hz'):
    waveform.read(path)


def test_times_that_were_rounded_move_nothing(tmp_path):
  """A packet that claims a sample more than it has leaves no hole behind it."""
  source = small_sounds.write(tmp_path / 'a.mp4', 'aac', noise(), options={'aac_pns': '0'})
  with av.open(str(source)) as old, av.open(str(tmp_path / 'odd.mp4'), 'w') as new:
    stream = new.add_stream_from_template(old.streams.audio[0])
    for number, packet in enumerate(old.demux(old.streams.audio[0])):
      if packet.size:
        packet.pts += number > 20
        packet.dts, packet.stream = packet.pts, stream
        packet.duration += number == 20
        new.mux(packet)
  with av.open(str(tmp_path / 'odd.mp4')) as container:
    assert 1025 in [packet.duration for packet in container.demux(container.streams.audio[0])]
  straight, odd = sound_file.Recording(source), sound_file.Recording(tmp_path / 'odd.mp4')
  np.testing.assert_array_equal(odd[:, :], waveform.read(tmp_path / 'odd.mp4')[0])
  np.testing.assert_array_equal(odd[:, :40_000], straight[:, :40_000])

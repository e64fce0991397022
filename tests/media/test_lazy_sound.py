"""Sound read in pieces is the whole's, to the last bit, in whatever order it is asked for."""

from fractions import Fraction

import av
import numpy as np
import pytest

from vidregen_jax import errors
from vidregen_jax.media.audio import lazy, sound_file, waveform

RATE, SECONDS = 44_100, 5


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
  monkeypatch.setattr(lazy, 'BLOCK', 20_011)  # half a second, and no multiple of anything


def voice(channels=2, rate=RATE, seconds=SECONDS, pitch=150):
  t = np.arange(seconds * rate) / rate
  noise = np.random.default_rng(0).normal(0, 0.01, (channels, len(t)))
  return np.float32([0.2 * np.sin(2 * np.pi * (pitch + 40 * c) * t) * np.sin(t)
                     for c in range(channels)] + noise)


def write(path, codec, samples, rate=RATE, skip=range(0), **options):
  """Encodes packets of 1000 samples, but for those in `skip`."""
  with av.open(str(path), 'w') as container:
    stream = container.add_stream(codec, rate=rate, layout='stereo', options=options)
    kind = stream.codec_context.format.name
    size = stream.codec_context.frame_size or 1000
    to_kind = av.AudioResampler(kind, 'stereo', rate)
    for number, begin in enumerate(range(0, samples.shape[1], size)):
      part = np.ascontiguousarray(samples[:, begin:begin + size])
      frame = av.AudioFrame.from_ndarray(part, 'fltp', 'stereo')
      frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
      for converted in to_kind.resample(frame):
        packets = stream.encode(converted)
        if number not in skip:
          container.mux(packets)
    container.mux(stream.encode(None))
  return path


# AAC's decoder fills bands with noise of its own, another from each place it begins at: without
# `aac_pns` there are none.
FILES = {
  'a.wav': ('pcm_s16le', {}), 'a.mp4': ('aac', {'aac_pns': '0'}), 'a.mkv': ('flac', {}),
  'a.ts': ('aac', {'aac_pns': '0'}), 'a.mp3': ('libmp3lame', {}), 'opus.webm': ('libopus', {}),
  'a.mov': ('pcm_s16le', {}), 'mp3.mp4': ('libmp3lame', {'b': '64k'})}  # with a reservoir of bits


@pytest.mark.parametrize('name', FILES)
def test_a_recording_is_the_file_bit_for_bit(name, tmp_path):
  codec, options = FILES[name]
  rate = 48_000 if codec == 'libopus' else RATE
  path = write(tmp_path / name, codec, voice(rate=rate), rate, **options)
  whole, rate, start = waveform.read(path)
  recording = sound_file.Recording(path)
  assert (recording.shape, recording.rate, recording.start) == (whole.shape, rate, start)
  np.testing.assert_array_equal(recording[:, :], whole)
  edges = np.r_[0, np.sort(np.random.default_rng(1).integers(0, whole.shape[1], 12)),
                whole.shape[1]]
  backwards = sound_file.Recording(path)
  for first, last in list(zip(edges, edges[1:], strict=False))[::-1]:
    np.testing.assert_array_equal(backwards[:, first:last], whole[:, first:last])


def test_a_file_is_decoded_once_and_anew_when_it_has_changed(tmp_path, monkeypatch):
  path, decoded, decode = write(tmp_path / 'a.mkv', 'flac', voice()), [], waveform.decode

  def counted(container, stream, path):
    for piece in decode(container, stream, path):
      decoded.append(piece)
      yield piece
  monkeypatch.setattr(waveform, 'decode', counted)
  count = sound_file.Recording(path).shape[1]
  first = len(decoded)
  assert sound_file.Recording(path).shape[1] == count and len(decoded) == first + 1
  write(path, 'flac', voice(seconds=3))
  assert sound_file.Recording(path).shape[1] == 3 * RATE < count


def test_silence_keeps_a_recordings_packets_in_their_places(tmp_path):
  path = write(tmp_path / 'holes.mkv', 'pcm_s16le', voice(), skip=range(60, 140))
  whole, _, _ = waveform.read(path)
  recording = sound_file.Recording(path)
  assert recording.shape == whole.shape and not whole[:, 61_000:139_000].any()
  for part in (slice(150_000, None), slice(0, 150_000)):
    np.testing.assert_array_equal(recording[:, part], whole[:, part])


def test_a_file_that_is_entered_too_late_is_read_from_its_start(tmp_path, monkeypatch):
  path, decode = write(tmp_path / 'a.wav', 'pcm_s16le', voice()), waveform.decode
  whole, _, _ = waveform.read(path)

  def late(container, stream, path):
    pieces = list(decode(container, stream, path))
    return iter(pieces[15:] if pieces[0].pts else pieces)
  recording = sound_file.Recording(path)
  monkeypatch.setattr(waveform, 'decode', late)
  np.testing.assert_array_equal(recording[:, 200_000:], whole[:, 200_000:])
  np.testing.assert_array_equal(recording[:, :200_000], whole[:, :200_000])


def test_what_is_read_does_not_depend_on_what_was(tmp_path):
  path = write(tmp_path / 'noisy.mp4', 'aac', voice())  # with noise that the decoder makes
  one, other = sound_file.Recording(path), sound_file.Recording(path)
  last = other[:, 150_000:160_000]
  one[:, :]
  np.testing.assert_array_equal(one[:, 150_000:160_000], last)
  # That noise apart it is the whole's.
  whole, _, _ = waveform.read(path)
  assert np.sqrt(np.mean((last - whole[:, 150_000:160_000])**2)) < 0.02


def test_memory_does_not_grow_with_the_sound(tmp_path):
  path = write(tmp_path / 'a.mp4', 'aac', voice())
  recording = sound_file.Recording(path)
  resampled = lazy.mono_16k(recording)
  for track in (recording, resampled):
    for first in range(0, track.shape[1], 1000):
      track[:, first:first + 1000]
    assert len(track._kept) <= lazy._KEPT
  assert len(recording._kept) == lazy._KEPT < recording.shape[1] // lazy.BLOCK


@pytest.mark.parametrize(('old', 'new'), [
  (44_100, 48_000), (48_000, 44_100), (44_100, 16_000), (16_000, 8_000), (22_050, 48_000),
  (8_000, 44_100)])
def test_resampling_in_pieces_is_resampling(old, new):
  samples = voice(rate=old, seconds=3)
  whole = waveform.resample(samples, old, new)
  pieces = lazy.at_rate(lazy.Samples(samples, old), new)
  assert pieces.shape == whole.shape
  for first in (0, 1, 19_999, 23_000, whole.shape[1] - 5):
    np.testing.assert_array_equal(pieces[:, first:first + 7_001], whole[:, first:first + 7_001])


def test_what_the_model_hears_is_the_same_in_pieces():
  samples = voice(seconds=3)
  heard = lazy.mono_16k(lazy.Samples(samples, RATE))
  np.testing.assert_array_equal(heard[:, :][0], waveform.mono_16k(samples, RATE))


def test_splicing_in_pieces_is_splicing():
  old, patches = voice(seconds=3), [voice(1, 48_000, 1, 300), voice(2, RATE, 1, 90)[:, :100]]
  # Seconds in the old sound: longer than its span, shorter, nothing at all for something.
  spans = [(0.5, 1.0), (1.25, 1.5), (2.0, 2.1)]
  patches.append(np.zeros((2, 0), np.float32))
  rates, whole, moved = [48_000, RATE, RATE], old, 0.0
  for (begin, end), patch, rate in zip(spans, patches, rates, strict=True):
    before = whole.shape[1]
    whole = waveform.splice(whole, RATE, patch, rate, begin + moved, end + moved)
    moved += (whole.shape[1] - before) / RATE
  spliced = lazy.Spliced(lazy.Samples(old, RATE), [
    (round(begin * RATE), round(end * RATE), lazy.Samples(patch, rate))
    for (begin, end), patch, rate in zip(spans, patches, rates, strict=True)])
  assert spliced.shape == whole.shape
  np.testing.assert_array_equal(spliced[:, :], whole)
  for first in range(0, whole.shape[1], 777):
    np.testing.assert_array_equal(spliced[:, first:first + 777], whole[:, first:first + 777])
  assert [b - a for a, b in spliced.changed] == [RATE, 100, 0]
  assert [a for a, _ in spliced.changed][0] == round(0.5 * RATE)
  with pytest.raises(errors.UserError, match='does not lie'):
    lazy.Spliced(lazy.Samples(old, RATE), [(0, old.shape[1] + 1, lazy.Samples(old, RATE))])


def test_a_cut_is_silent_outside_or_holds_its_last_sample():
  samples = np.arange(1, 7, dtype=np.float32)
  line = lazy.Samples(samples, RATE)
  np.testing.assert_array_equal(lazy.Cut(line, -2, 4)[:, :], [[0, 0, 1, 2, 3, 4]])
  np.testing.assert_array_equal(lazy.Cut(line, 4, 9)[:, 1:4], [[6, 0, 0]])
  np.testing.assert_array_equal(lazy.Cut(line, 4, 9, hold=True)[:, :], [[5, 6, 6, 6, 6]])
  np.testing.assert_array_equal(lazy.Cut(line, 4, 12, hold=True)[:, 5:], [[6, 6, 6]])
  np.testing.assert_array_equal(lazy.Cut(line, -9, -3)[:, :], [[0] * 6])
  assert lazy.Cut(line, 3, 2).shape == (1, 0)


def test_mistakes_are_named(tmp_path):
  with pytest.raises(errors.UserError, match='no such file'):
    sound_file.Recording(tmp_path / 'none.wav')
  with pytest.raises(IndexError, match='is sliced as'):
    lazy.Samples(voice(), RATE)[0, 5:9]

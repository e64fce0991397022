"""Soundtracks with a patch: packets outside it are the source's, and no seam is heard."""

from fractions import Fraction

import av
import numpy as np
import pytest

from vidregen_jax.media import video, video_writer
from vidregen_jax.media.audio import aac, packet_splice, waveform

RATE = 44_100


def voice(seconds, channels, pitch):
  """A harmonic sound that swells and fades, float32 [channels, n]."""
  t = np.arange(round(seconds * RATE)) / RATE
  tone = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in (1, 2, 3, 5))
  return np.float32([tone * (0.1 + 0.08 * np.sin(2 * np.pi * (1.3 + c) * t))
                     for c in range(channels)])


def film(path, channels, rate=RATE, **changes):
  info = video.VideoInfo('', 32, 32, rate=Fraction(25), time_base=Fraction(1, 25))
  track = aac.Soundtrack(voice(3, channels, 150), rate, **changes)
  with video_writer.Writer(path, info, audio=track) as writer:
    for pts in range(75):
      writer.write(np.full((32, 32, 3), pts, np.uint8), pts)
  return path


def packets(path):
  with av.open(str(path)) as container:
    return {p.pts: bytes(p) for p in container.demux(container.streams.audio[0]) if p.size}


def patched(source, first, last):
  """The source's sound as it is decoded, but for another voice between two samples."""
  samples, rate, start = waveform.read(source)
  other = voice((last - first) / RATE, len(samples), 210)[:, :last - first]
  samples = waveform.splice(samples, rate, other, rate, first / rate, last / rate)
  return aac.Soundtrack(samples, rate, start)


@pytest.mark.parametrize('channels', [1, 2])
@pytest.mark.parametrize(('first', 'last'), [(40_000, 60_001), (0, 5_000), (120_000, 131_000)])
def test_only_the_patch_is_encoded_and_its_seams_fit(channels, first, last, tmp_path):
  source = film(tmp_path / 'source.mp4', channels, bit_rate=96_000 * channels)
  meant = patched(source, first, last)
  made = packet_splice.patch(source, meant, [(first, last)])
  assert isinstance(made, packet_splice.Patched), made
  out = tmp_path / 'out.mp4'
  with video_writer.Writer(out, video.probe(source), audio=made) as writer:
    for frame in video.frames(source):
      writer.copy(frame)
  before, after = packets(source), packets(out)
  assert list(before) == list(after)
  new = {pts for pts in before if before[pts] != after[pts]}
  assert new <= set(made.replaced)
  # A window is two packets long, and one packet more makes room for the overlap.
  assert min(new) > first - 3 * 1024 and max(new) < last
  heard, rate, start = waveform.read(out)
  assert (rate, start) == (meant.rate, meant.start) and heard.shape == meant.samples.shape
  error = np.abs(heard - meant.samples)
  far = np.r_[0:max(first - 2048, 0), min(last + 2048, heard.shape[1]):heard.shape[1]]
  if len(far):
    assert error[:, far].max() < 1e-4
  seams = np.r_[max(first - 2048, 0):first, last:min(last + 2048, heard.shape[1])]
  level = np.sqrt(np.mean(meant.samples**2))
  assert np.sqrt(np.mean(error[:, seams]**2)) < 0.1 * level
  assert np.sqrt(np.mean(error[:, first:last]**2)) < 0.15 * level


def test_overlapping_windows_are_one_patch_and_bit_rates_do_not_fall(tmp_path):
  source = film(tmp_path / 'source.mp4', 1, bit_rate=128_000)
  samples, rate, start = waveform.read(source)
  both = samples.copy()
  both[:, 30_000:33_000] *= 0.5
  both[:, 33_500:36_000] *= -1
  made = packet_splice.patch(source, aac.Soundtrack(both, rate, start, bit_rate=32_000),
                   [(30_000, 33_000), (33_500, 36_000)])
  assert isinstance(made, packet_splice.Patched), made
  size = lambda data: np.mean([len(x) for x in data])
  assert size(made.replaced.values()) > 0.6 * size(packets(source).values())


def test_what_cannot_be_patched_says_why(tmp_path, monkeypatch):
  source = film(tmp_path / 'source.mp4', 1)
  meant = patched(source, 40_000, 60_000)
  monkeypatch.setattr(packet_splice, '_SEAM_RELATIVE', 0)
  monkeypatch.setattr(packet_splice, '_SEAM_ABSOLUTE', 0)
  assert 'seam would be heard at 0.8' in packet_splice.patch(source, meant, [(40_000, 60_000)])
  twice = aac.Soundtrack(np.repeat(meant.samples, 2, 0), RATE)
  assert 'channels are mono' in packet_splice.patch(source, twice, [(40_000, 60_000)])
  faster = aac.Soundtrack(meant.samples, 48_000)
  assert 'counted in 1/44100' in packet_splice.patch(source, faster, [(0, 9)])
  waveform.write_wav(tmp_path / 'a.wav', meant.samples, RATE)
  assert 'pcm_s16le, not AAC LC' in packet_splice.patch(tmp_path / 'a.wav', meant, [(0, 9)])


def opus_film(path, channels, rate, application='audio'):
  """Three seconds of grey with Opus."""
  with av.open(str(path), 'w') as out:
    shown = out.add_stream('libvpx-vp9', rate=25, options={'cpu-used': '8', 'deadline': 'realtime'})
    shown.width = shown.height = 32
    heard = out.add_stream('libopus', rate=48_000, layout={1: 'mono', 2: 'stereo'}[channels],
                           options={'application': application})
    heard.bit_rate = rate
    for pts in range(75):
      frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), pts, np.uint8), 'rgb24')
      frame.pts = pts
      out.mux(shown.encode(frame))
    samples = waveform.resample(voice(3, channels, 150), RATE, 48_000)
    frame = av.AudioFrame.from_ndarray(samples, 'fltp', heard.layout.name)
    frame.sample_rate, frame.pts = 48_000, 0
    out.mux([*heard.encode(frame), *shown.encode(None), *heard.encode(None)])
  return path


def copied(source, made, out):
  with video_writer.Writer(out, video.probe(source), audio=made) as writer:
    for frame in video.frames(source):
      writer.copy(frame)
  return out


@pytest.mark.parametrize('channels', [1, 2])
@pytest.mark.parametrize(('begins', 'ends'), [('mp4', 'mp4'), ('webm', 'webm'), ('mkv', 'mkv'),
                                              ('webm', 'mp4')])
def test_opus_outside_a_patch_is_the_sources(begins, ends, channels, tmp_path):
  first, last = 60_000, 80_000
  source = opus_film(tmp_path / f'source.{begins}', channels, 64_000 * channels)
  samples, rate, start = waveform.read(source)
  meant = samples.copy()
  meant[:, first:last] = waveform.resample(voice(1, channels, 210), RATE, rate)[:, :last - first]
  made = packet_splice.patch(source, aac.Soundtrack(meant, rate, start), [(first, last)])
  assert isinstance(made, packet_splice.Patched), made
  before = packets(source)
  out = copied(source, made, tmp_path / f'out.{ends}')
  after = packets(out)
  assert len(before) == len(after) and (begins != ends or list(before) == list(after))
  new = [a != b for a, b in zip(before.values(), after.values(), strict=True)]
  assert 0 < sum(new) * 960 < last - first + 5 * 3840 + 960
  assert 960 * new.index(True) > first - 3 * 3840
  heard, _, began = waveform.read(out)
  assert abs(began - start) < 2e-3 and heard.shape == samples.shape
  assert np.array_equal(heard[:, :first - 3 * 3840], samples[:, :first - 3 * 3840])
  # A decoder forgets little by little what it was told.
  assert np.abs(heard[:, last + 12_000:] - samples[:, last + 12_000:]).max() < 1e-3
  assert np.array_equal(heard[:, last + 36_000:], samples[:, last + 36_000:])
  error = np.abs(heard - meant)
  level = np.sqrt(np.mean(meant**2))
  assert np.sqrt(np.mean(error**2)) < .1 * level


def test_opus_that_cannot_be_patched_says_why(tmp_path):
  speech = opus_film(tmp_path / 'speech.webm', 1, 12_000, 'voip')
  samples, rate, start = waveform.read(speech)
  said = packet_splice.patch(speech, aac.Soundtrack(samples, rate, start), [(60_000, 80_000)])
  assert said == 'it is coded as speech there'


@pytest.mark.parametrize('channels', [1, 2])
def test_aac_in_matroska_is_patched_too(channels, tmp_path):
  first, last = 40_000, 60_001
  source = film(tmp_path / 'source.mkv', channels)
  meant = patched(source, first, last)
  made = packet_splice.patch(source, meant, [(first, last)])
  assert isinstance(made, packet_splice.Patched), made
  out = copied(source, made, tmp_path / 'out.mkv')
  before, after = packets(source), packets(out)
  assert list(before) == list(after)
  new = [a != b for a, b in zip(before.values(), after.values(), strict=True)]
  assert 0 < sum(new) < (last - first) / 1024 + 4
  heard, _, _ = waveform.read(out)
  error = np.abs(heard - meant.samples)
  far = np.r_[0:first - 2048, last + 2048:heard.shape[1]]
  assert error[:, far].max() == 0
  assert np.sqrt(np.mean(error**2)) < .1 * np.sqrt(np.mean(meant.samples**2))

"""Soundtracks with a patch: packets outside it are the source's, and no seam is heard."""

from fractions import Fraction

import av
import numpy as np
import pytest

from vidregen_jax.media import aac, audio, encode, video

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
  with encode.Writer(path, info, audio=track) as writer:
    for pts in range(75):
      writer.write(np.full((32, 32, 3), pts, np.uint8), pts)
  return path


def packets(path):
  with av.open(str(path)) as container:
    return {p.pts: bytes(p) for p in container.demux(container.streams.audio[0]) if p.size}


def patched(source, first, last):
  """The source's sound as it is decoded, but for another voice between two samples."""
  samples, rate, start = audio.read(source)
  other = voice((last - first) / RATE, len(samples), 210)[:, :last - first]
  samples = audio.splice(samples, rate, other, rate, first / rate, last / rate)
  return aac.Soundtrack(samples, rate, start)


@pytest.mark.parametrize('channels', [1, 2])
@pytest.mark.parametrize(('first', 'last'), [(40_000, 60_001), (0, 5_000), (120_000, 131_000)])
def test_only_the_patch_is_encoded_and_its_seams_fit(channels, first, last, tmp_path):
  source = film(tmp_path / 'source.mp4', channels, bit_rate=96_000 * channels)
  meant = patched(source, first, last)
  made = aac.patch(source, meant, [(first, last)])
  assert isinstance(made, aac.Patched), made
  out = tmp_path / 'out.mp4'
  with encode.Writer(out, video.probe(source), audio=made) as writer:
    for frame in video.frames(source):
      writer.copy(frame)
  before, after = packets(source), packets(out)
  assert list(before) == list(after)
  new = {pts for pts in before if before[pts] != after[pts]}
  assert new <= set(made.replaced)
  # A window is two packets long, and one packet more makes room for the overlap.
  assert min(new) > first - 3 * 1024 and max(new) < last
  heard, rate, start = audio.read(out)
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
  samples, rate, start = audio.read(source)
  both = samples.copy()
  both[:, 30_000:33_000] *= 0.5
  both[:, 33_500:36_000] *= -1
  made = aac.patch(source, aac.Soundtrack(both, rate, start, bit_rate=32_000),
                   [(30_000, 33_000), (33_500, 36_000)])
  assert isinstance(made, aac.Patched), made
  size = lambda data: np.mean([len(x) for x in data])
  assert size(made.replaced.values()) > 0.6 * size(packets(source).values())


def test_what_cannot_be_patched_says_why(tmp_path, monkeypatch):
  source = film(tmp_path / 'source.mp4', 1)
  meant = patched(source, 40_000, 60_000)
  monkeypatch.setattr(aac, '_SEAM_RELATIVE', 0)
  monkeypatch.setattr(aac, '_SEAM_ABSOLUTE', 0)
  assert 'seam would be heard at 0.8' in aac.patch(source, meant, [(40_000, 60_000)])
  twice = aac.Soundtrack(np.repeat(meant.samples, 2, 0), RATE)
  assert 'channels are mono' in aac.patch(source, twice, [(40_000, 60_000)])
  assert 'counted in 1/44100' in aac.patch(source, aac.Soundtrack(meant.samples, 48_000), [(0, 9)])
  audio.write_wav(tmp_path / 'a.wav', meant.samples, RATE)
  assert 'pcm_s16le, not AAC LC' in aac.patch(tmp_path / 'a.wav', meant, [(0, 9)])

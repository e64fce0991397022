"""Frames are encoded anew as well as their source was, whatever it was."""

import av
import numpy as np
import pytest

from vidregen_jax.media import encoders, source_quality, video

COUNT, SIDE = 30, 128


def noisy(path, encoder, factor):
  """Writes a video of moving noise of some strength, as a camera's, at a rate factor."""
  rng = np.random.default_rng(0)
  y, x = np.mgrid[:SIDE, :SIDE] / SIDE
  with av.open(str(path), 'w') as container:
    stream = container.add_stream(encoder, rate=25,
                                  options=encoders.settings(encoder, factor, 'medium'))
    stream.width = stream.height = SIDE
    stream.pix_fmt = 'yuv420p'
    for index in range(COUNT):
      wave = 128 + 60 * np.sin(9 * x + 5 * y + .2 * index)
      image = np.clip(wave[..., None] + rng.normal(0, 6, (SIDE, SIDE, 3)), 0, 255)
      container.mux(stream.encode(av.VideoFrame.from_ndarray(image.astype(np.uint8))))
    container.mux(stream.encode(None))
  return video.probe(path)


def factor(info, encoder):
  return source_quality.rate_factor(info, encoders.Coder(encoder, 'yuv420p', {}), 12, 'superfast')


@pytest.mark.parametrize('encoder', ['libx264', 'libx265'])
def test_the_factor_follows_the_sources(encoder, tmp_path):
  found = [factor(noisy(tmp_path / f'{given}.mp4', encoder, given), encoder)
           for given in (17, 23, 29)]
  assert found == sorted(found) and found[2] - found[0] > 6
  # A little finer than the source, though its encoder worked longer at every frame.
  for given, one in zip((17, 23, 29), found, strict=True):
    assert given - 13 < one < given - 2


def test_a_fine_source_is_encoded_as_finely_as_can_be(tmp_path):
  assert factor(noisy(tmp_path / 'fine.mp4', 'libx264', 6), 'libx264') == source_quality.FINEST


def test_a_coarse_source_is_not_encoded_coarser_than_new_faces_bear(tmp_path):
  found = factor(noisy(tmp_path / 'coarse.mp4', 'libx264', 44), 'libx264')
  assert found == source_quality.COARSEST

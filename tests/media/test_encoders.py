"""Whatever pixels a source has, they are kept, or what is lost is said, or the edit is refused."""

import os
from fractions import Fraction

import av
import numpy as np
import pytest

from vidregen_jax import errors
from vidregen_jax.media import encoders, planes, video, video_writer

WIDTH, HEIGHT, COUNT = 64, 48, 3
BOX = (16, 16)  # left and top of what is changed, 16 pixels wide and high, in the second frame
ENCODERS = ('libx264', 'libx264rgb', 'libx265', 'libvpx-vp9', 'ffv1', 'qtrle', 'png', 'mjpeg',
            'rawvideo', 'prores_ks', 'dvvideo')
FORMATS = sorted({each.name for name in ENCODERS
                  for each in av.Codec(name, 'w').video_formats or ()}
                 | {'nv12', 'p010le', 'yuyv422', 'uyvy422', 'yuv440p10le', 'yuvj440p', 'yuvj411p',
                    'rgb565le', 'x2rgb10le', 'gbrp16le', 'monow', 'gray14le', 'ya8', 'pal8', 'argb',
                    'rgb48be', 'yuv420p16be', 'xyz12le', 'bayer_rggb8', 'gbrpf32le', 'v30xle'})


def info_of(pix_fmt, **more):
  return video.VideoInfo('in.mov', 64, 48, Fraction(25), Fraction(1, 25), pix_fmt=pix_fmt, **more)


def traits(name):
  """By FFmpeg: bits, samples of chroma in 16 x 16 pixels, and whether there are RGB and alpha."""
  kind = av.VideoFormat(name, 16, 16)
  colours = [each for each in kind.components if not each.is_alpha]
  chroma = 0 if len(colours) < 3 and not kind.has_palette else (
    256 if kind.is_rgb or kind.has_palette else kind.chroma_width() * kind.chroma_height())
  return (max(each.bits for each in colours), chroma, kind.is_rgb or kind.has_palette,
          len(colours) < len(kind.components))


@pytest.mark.parametrize('crf', [0, 10.5])
@pytest.mark.parametrize('suffix', ['mp4', 'mov', 'mkv', 'webm'])
def test_no_format_loses_anything_in_silence(suffix, crf):
  chosen = {}
  for name in FORMATS:
    try:
      coder = encoders.choose(info_of(name), f'out.{suffix}', crf, 'superfast')
    except errors.UserError as error:
      assert 'cannot be kept' in str(error)
      continue
    bits, chroma, rgb, alpha = traits(name)
    after = traits(coder.pix_fmt)
    lost = encoders.lost(name, coder)
    assert after[0] >= bits and after[1] >= chroma, (name, coder)
    assert ('transparency' in lost) == (alpha and not after[3])
    assert any('RGB' in each for each in lost) == (rgb and not after[2])
    if not crf:
      assert lost == [] or name == 'pal8'
      assert (after[0] == bits or bits < 8) and (after[2] == rgb) and after[1] == chroma, name
    chosen[name] = coder
  assert {'yuv420p', 'yuvj420p', 'yuv444p', 'nv12'} <= chosen.keys()
  if suffix == 'mkv':
    wild = {name for name in FORMATS if encoders.Pixels.of(name) is None}
    assert {'xyz12le', 'bayer_rggb8', 'gbrpf32le'} <= wild
    assert set(FORMATS) - wild - chosen.keys() <= (
      {'ya16be'} if crf else {'ya8', 'ya16be', 'yuvj411p'})


@pytest.mark.parametrize(('name', 'expected'), [
  ('gbrp', ('libx264', 'yuv444p')), ('rgb24', ('libx264', 'yuv444p')),
  ('pal8', ('libx264', 'yuv444p')), ('gbrp10le', ('libx265', 'yuv444p10le')),
  ('yuv411p', ('libx264', 'yuv422p')), ('yuv440p', ('libx264', 'yuv444p')),
  ('yuvj440p', ('libx264', 'yuv444p')), ('yuv410p', ('libx264', 'yuv420p')),
  ('uyvy422', ('libx264', 'yuv422p')), ('p010le', ('libx265', 'yuv420p10le')),
  ('gray', ('libx264', 'yuv420p')), ('gray10le', ('libx265', 'yuv420p10le')),
  ('yuvj422p', ('libx264', 'yuvj422p')), ('yuva444p12le', ('libx265', 'yuv444p12le')),
  ('yuv420p16le', ('ffv1', 'yuv420p16le')), ('gbrap16le', ('ffv1', 'gbrap16le'))])
def test_the_nearest_format_is_taken(name, expected):
  coder = encoders.choose(info_of(name), 'out.mkv', 10.5, 'superfast')
  assert (coder.encoder, coder.pix_fmt) == expected


def source(path, encoder, pix_fmt, **tags):
  """Stripes of colour, one pixel wide, and noise as deep as the format is."""
  rng = np.random.default_rng(0)
  with av.open(str(path), 'w') as out:
    stream = out.add_stream(encoder, rate=25)
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
    for name, value in tags.items():
      setattr(stream.codec_context, name, value)
    for index in range(COUNT):
      image = rng.integers(18_000, 22_000, (HEIGHT, WIDTH, 3)).astype(np.uint16)
      image[:, ::2, 0] += 30_000
      image[:, 1::2, 2] += 30_000
      if pix_fmt == 'pal8':
        palette = np.array([(255, 190, 80, 80), (255, 80, 80, 190)], np.uint8)
        numbers = np.uint8(np.arange(WIDTH) % 2 + 0 * image[..., 0])
        frame = av.VideoFrame.from_ndarray((numbers, np.resize(palette, (256, 4))), 'pal8')
      else:
        frame = av.VideoFrame.from_ndarray(image, 'rgb48le').reformat(
          format=pix_fmt, dst_color_range=tags.get('color_range'))
      frame.pts = index
      out.mux(stream.encode(frame))
    out.mux(stream.encode(None))
  return path


def edit(path, out, crf):
  """Inverts a square of the second frame; returns what was left out."""
  left, top = BOX
  with video_writer.Writer(out, video.probe(path), crf=crf, preset='superfast') as writer:
    for frame in video.frames(path):
      if frame.index == 1:
        writer.replace(frame, 255 - frame.image[top:top + 16, left:left + 16], BOX)
      else:
        writer.copy(frame)
  return writer.left_out


def samples(frame, pix_fmt):
  """All samples of a frame in a format, by FFmpeg alone."""
  made = frame.source.reformat(format=pix_fmt)
  kind = np.uint16 if made.format.components[0].bits > 8 else np.uint8
  return [np.frombuffer(plane, kind).reshape(plane.height, -1).astype(int) for plane in made.planes]


@pytest.mark.parametrize(('encoder', 'pix_fmt', 'come'), [
  ('ffv1', 'gbrp10le', 'mkv'), ('ffv1', 'gbrp16le', 'mkv'), ('ffv1', 'bgra', 'mkv'),
  ('qtrle', 'argb', 'mov'), ('qtrle', 'rgb24', 'mov'), ('ffv1', 'yuva422p10le', 'mkv'),
  ('ffv1', 'yuv411p', 'mkv'), ('ffv1', 'yuv440p', 'mkv'), ('ffv1', 'gray12le', 'mkv'),
  ('mjpeg', 'yuvj422p', 'avi'), ('rawvideo', 'yuyv422', 'avi'), ('libx264rgb', 'rgb24', 'mp4')])
def test_without_loss_all_samples_outside_a_change_are_the_sources(encoder, pix_fmt, come,
                                                                   tmp_path):
  path = source(tmp_path / f'in.{come}', encoder, pix_fmt)
  left_out = edit(path, tmp_path / 'out.mkv', 0)
  assert [each for each in left_out if 'millisecond' not in each] == []
  for old, new in zip(video.frames(path), video.frames(tmp_path / 'out.mkv'), strict=True):
    if old.index == 1:
      corner = (slice(BOX[1] + 4, BOX[1] + 12), slice(BOX[0] + 4, BOX[0] + 12))
      apart = np.abs(new.image[corner].astype(int) + old.image[corner] - 255)
      assert apart.max() <= 4 or not old.source.format.is_rgb
      continue
    native = old.source.format.name
    for before, after in zip(samples(old, native), samples(new, native), strict=True):
      # Rows are padded, by one or the other decoder.
      width = min(before.shape[1], after.shape[1])
      np.testing.assert_array_equal(before[:, :width], after[:, :width])


@pytest.mark.parametrize(('encoder', 'pix_fmt', 'come', 'go'), [
  ('qtrle', 'rgb24', 'mov', 'mp4'), ('libx264rgb', 'rgb24', 'mp4', 'mkv'),
  ('ffv1', 'gbrp10le', 'mkv', 'mov'), ('qtrle', 'argb', 'mov', 'webm'),
  ('png', 'pal8', 'mov', 'mp4')])
def test_rgb_keeps_every_pixels_colour_and_says_what_it_became(encoder, pix_fmt, come, go,
                                                               tmp_path):
  path = source(tmp_path / f'in.{come}', encoder, pix_fmt)
  left_out = edit(path, tmp_path / f'out.{go}', 4)
  assert any('RGB samples (they became YUV 4:4:4' in each for each in left_out)
  assert any('transparency' in each for each in left_out) == (pix_fmt in ('argb', 'pal8'))
  for old, new in zip(video.frames(path), video.frames(tmp_path / f'out.{go}'), strict=True):
    if old.index != 1:
      # In 4:2:0 red and blue stripes would be one purple, 58 levels off on average.
      assert np.abs(old.image.astype(int) - new.image).mean() < 6


def test_deep_rgb_becomes_yuv_without_a_way_through_eight_bits(tmp_path):
  path = source(tmp_path / 'in.mkv', 'ffv1', 'gbrp12le')
  frame, info = next(video.frames(path)), video.probe(path)
  luma = planes._arrays(planes.as_format(frame, info, 'yuv444p12le'))[0]
  green, blue, red = (plane.astype(float) for plane in planes._arrays(frame.source))
  expected = 16 * (16 + 219 * (.299 * red + .587 * green + .114 * blue) / 4095)
  # Of 4095: FFmpeg's own way is 5 too light or dark; eight bits are 16 of them.
  assert np.abs(luma - expected).max() < 8
  made = planes.with_image(frame, 255 - frame.image[:16, :16], info, 'yuv444p12le')
  np.testing.assert_array_equal(planes._arrays(made)[0][32:], luma[32:])
  assert (planes._arrays(made)[0][:16, :16] != luma[:16, :16]).mean() > .8


@pytest.mark.parametrize('go', ['mp4', 'mkv', 'webm'])
def test_full_range_stays_full(go, tmp_path):
  path = source(tmp_path / 'in.avi', 'mjpeg', 'yuvj420p', color_range=2)
  edit(path, tmp_path / f'out.{go}', 10.5)
  made = video.probe(tmp_path / f'out.{go}')
  assert made.color_range == 2
  for old, new in zip(video.frames(path), video.frames(made.path), strict=True):
    assert np.abs(planes.coarse(old.source, 4) - planes.coarse(new.source, 4)).max() < 1 or (
      old.index == 1)


@pytest.mark.parametrize(('encoder', 'pix_fmt', 'come'), [
  ('ffv1', 'gray', 'mkv'), ('ffv1', 'gray10le', 'mkv'), ('libx264', 'gray', 'mp4'),
  ('libx264', 'gray10le', 'mp4')])
@pytest.mark.parametrize('go', ['mp4', 'mkv'])
def test_grey_stays_grey(encoder, pix_fmt, come, go, tmp_path):
  path = source(tmp_path / f'in.{come}', encoder, pix_fmt)
  edit(path, tmp_path / f'out.{go}', 10.5)
  for old, new in zip(video.frames(path), video.frames(tmp_path / f'out.{go}'), strict=True):
    neutral = 1 << (new.source.format.components[0].bits - 1)
    for plane in planes._arrays(new.source)[1:]:
      assert (plane == neutral).all()
    if old.index != 1:
      assert np.abs(old.image.astype(int) - new.image).mean() < 3


@pytest.mark.skipif(not hasattr(os, 'sched_getscheduler') or os.geteuid() != 0,
                    reason="encoders' threads: only root may make them real-time ones, on Linux")
def test_no_encoder_makes_a_thread_a_real_time_one(tmp_path):
  info = video.VideoInfo('in.mkv', WIDTH, HEIGHT, Fraction(25), Fraction(1, 25), codec='av1',
                         pix_fmt='yuv420p10le')
  with video_writer.Writer(tmp_path / 'out.webm', info) as writer:
    assert writer._coder.encoder == 'libsvtav1'
    writer.write(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 0)
    threads = list(map(int, os.listdir('/proc/self/task')))
    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER}

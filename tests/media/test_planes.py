"""A part of a picture is treated as the whole would be, to the last bit."""

import av
import numpy as np
import pytest

from vidregen_jax.media import planes, video

HEIGHT, WIDTH = 120, 182  # no multiples of 16


def frames(path, pix_fmt, width=WIDTH, **tags):
  """A noisy frame as a decoder gives it, twice: one whose picture nobody has asked for yet."""
  noise = np.random.default_rng(0).integers(0, 255, (HEIGHT, width, 3), np.uint8)
  with av.open(str(path), 'w') as container:
    stream = container.add_stream('libx264', rate=25, options={'crf': '4'})
    stream.width, stream.height, stream.pix_fmt = width, HEIGHT, pix_fmt
    for name, value in tags.items():
      setattr(stream.codec_context, name, value)
    container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, 'rgb24').reformat(
      format=pix_fmt)))
    container.mux(stream.encode(None))
  return next(video.frames(path)), next(video.frames(path))


FORMATS = pytest.mark.parametrize(('pix_fmt', 'tags'), [
  ('yuv420p', {}), ('yuv420p', {'colorspace': 1, 'color_range': 1}),
  ('yuvj420p', {'color_range': 2}), ('yuv422p', {}), ('yuv444p10le', {'colorspace': 9}),
  ('yuv420p10le', {})])


@FORMATS
def test_a_part_is_a_part_of_the_whole_picture(pix_fmt, tags, tmp_path):
  frame, fresh = frames(tmp_path / 'a.mp4', pix_fmt, **tags)
  rng = np.random.default_rng(1)
  for _ in range(20):
    (left, right), (top, bottom) = (np.sort(rng.choice(size + 1, 2, replace=False)).tolist()
                                    for size in (WIDTH, HEIGHT))
    part = planes.part(fresh, (left, top, right, bottom))
    np.testing.assert_array_equal(part, frame.image[top:bottom, left:right])
  assert 'image' not in vars(fresh)  # or it would have been the whole's, cut


def test_a_part_of_an_untagged_picture_has_the_matrix_of_the_wholes_size(tmp_path):
  frame, fresh = frames(tmp_path / 'a.mp4', 'yuv420p', width=1280)
  np.testing.assert_array_equal(planes.part(fresh, (600, 40, 700, 90)),
                                frame.image[40:90, 600:700])


@FORMATS
@pytest.mark.parametrize('box', [(40, 31, 97, 88), (0, 0, 20, 20), (150, 90, 182, 120)])
def test_a_part_is_replaced_as_in_the_whole_picture(pix_fmt, tags, box, tmp_path):
  frame, fresh = frames(tmp_path / 'a.mp4', pix_fmt, **tags)
  info = video.probe(tmp_path / 'a.mp4')
  left, top, right, bottom = box
  whole = frame.image.copy()
  whole[top:bottom, left:right] = 255 - whole[top:bottom, left:right]
  wanted = planes.with_image(frame, whole, info, info.pix_fmt)
  made = planes.with_image(fresh, whole[top:bottom, left:right], info, info.pix_fmt, (left, top))
  assert planes.same(made, wanted) and not planes.same(made, fresh.source)


def test_samples_above_their_depth_are_brought_down_to_it(tmp_path):
  *_, frame = frames(tmp_path / 'a.mkv', 'yuv420p10le')
  info = video.VideoInfo('', frame.source.width, frame.source.height, rate=25, time_base=1,
                         pix_fmt='yuv420p10le')
  assert planes.as_format(frame, info, info.pix_fmt) is frame.source
  broken = av.VideoFrame(info.width, info.height, info.pix_fmt)
  for plane, value in zip(planes._arrays(broken), (5000, 700, 1024), strict=True):
    plane[...] = value
  made = planes.as_format(video.Frame(0, 0, 0, 0, broken), info, info.pix_fmt)
  assert [int(plane.max()) for plane in planes._arrays(made)] == [1023, 700, 1023]
  assert int(planes._arrays(broken)[0].max()) == 5000

"""Sheets of pictures: results beside their references, large enough to look at."""

import cv2
import numpy as np

PIXELS = 192  # least side of one picture on a sheet


def compare(source, result):
  """[source, result, 4 x error] of two pictures, uint8 [H, W, 3]."""
  error = np.abs(source.astype(np.int16) - result)
  return [source, result, np.minimum(4 * error, 255).astype(np.uint8)]


def enlarge(picture, least=PIXELS):
  """A picture with every pixel repeated, until the shorter side has at least `least` pixels."""
  scale = -(-least // min(picture.shape[:2]))
  return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def square(picture, box, side):
  """The square around a box, enlarged pixel by pixel.

  Args:
    picture: uint8 [S, S, 3].
    box: x0, y0, x1, y1 in fractions of the picture.
    side: pixels a side of what is returned.

  Returns:
    uint8 [side, side, 3]; a square that would reach beyond the picture is moved inside.
  """
  size = len(picture)
  x0, y0, x1, y1 = np.asarray(box) * size
  wide = int(np.clip(np.ceil(max(x1 - x0, y1 - y0)), 1, size))
  left, top = (int(np.clip(round((low + high - wide) / 2), 0, size - wide))
               for low, high in ((x0, x1), (y0, y1)))
  part = picture[top : top + wide, left : left + wide]
  return cv2.resize(part, (side, side), interpolation=cv2.INTER_NEAREST)


def join(rows):
  """Rows of pictures, lists of uint8 [H, W, 3] of one size, as one picture."""
  return np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)


def write(path, picture):
  """Write an RGB picture, uint8 [H, W, 3], in the format that the path's ending names."""
  _, data = cv2.imencode(path.suffix, picture[:, :, ::-1])
  path.write_bytes(data)

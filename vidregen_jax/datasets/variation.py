"""Variation of clips of frames: frame rate, light and colour, compression, the crop's place.

A `Look` is drawn once for a clip or a window and applied to all of its frames. What is hidden, and
what serves as a reference, is taken from these frames afterwards, so target, context and references
always look alike.
"""

import dataclasses

import cv2
import numpy as np

_SLOWEST = 0.4  # of a clip's own frame rate
# Bounds of what is drawn: shift in sides of the crop, degrees, and factors.
_SHIFT, _TURN, _SCALE = 0.025, 3.0, 1.06
_GAIN, _CONTRAST, _GAMMA, _SATURATION = 1.08, 1.2, 1.2, 1.3
_BRIGHTNESS = 16.0  # grey levels
_QUALITY = (40, 95)  # of JPEG
_P_COMPRESSED = 0.5


@dataclasses.dataclass(frozen=True)
class Look:
  """How a clip is shown.

  Attributes:
    affine: float64 [2, 3], fractions of the crop to fractions of the varied crop.
    levels: uint8 [256, 3], a new level for each level of red, green and blue.
    saturation: factor of the distance from grey.
    quality: of JPEG, by which every frame is compressed and decompressed; 0 for not at all.
  """

  affine: np.ndarray
  levels: np.ndarray
  saturation: float
  quality: int


def draw(rng: np.random.Generator) -> Look:
  """A random look."""
  spread = lambda factor, *shape: factor ** rng.uniform(-1, 1, shape or None)
  angle, scale = np.radians(rng.uniform(-_TURN, _TURN)), spread(_SCALE)
  turn = scale * np.array([(np.cos(angle), -np.sin(angle)), (np.sin(angle), np.cos(angle))])
  shift = rng.uniform(-_SHIFT, _SHIFT, 2) + 0.5 - turn @ (0.5, 0.5)
  x = np.arange(256)[:, None] / 255
  x = x ** spread(_GAMMA) * spread(_GAIN, 3)
  x = 255 * (0.5 + (x - 0.5) * spread(_CONTRAST)) + rng.uniform(-_BRIGHTNESS, _BRIGHTNESS)
  quality = int(rng.integers(*_QUALITY, endpoint=True))
  return Look(np.concatenate([turn, shift[:, None]], 1), np.uint8(np.clip(np.rint(x), 0, 255)),
              float(spread(_SATURATION)), quality if rng.random() < _P_COMPRESSED else 0)


def apply(look: Look, frames: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Shows frames by a look.

  Args:
    look: of `draw`.
    frames: uint8 [F, S, S, 3].
    boxes: float32 [F, 4], crop fractions x0, y0, x1, y1.

  Returns:
    New arrays of the same shapes; each box is around the turned one, within the crop.
  """
  size = frames.shape[-2]
  # From fractions to pixels, whose centres are integers.
  pixels = look.affine.copy()
  pixels[:, 2] = pixels[:, 2] * size + 0.5 * pixels[:, :2].sum(1) - 0.5
  table = np.ascontiguousarray(look.levels.reshape(1, 256, 3))
  shown = np.empty_like(frames)
  for number, frame in enumerate(frames):
    frame = cv2.warpAffine(frame, pixels, (size, size), flags=cv2.INTER_LINEAR,
                           borderMode=cv2.BORDER_REPLICATE)
    frame = cv2.LUT(frame, table)
    grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    frame = cv2.addWeighted(frame, look.saturation, grey, 1 - look.saturation, 0)
    if look.quality:
      _, data = cv2.imencode('.jpg', frame, [cv2.IMWRITE_JPEG_QUALITY, look.quality])
      frame = cv2.imdecode(data, cv2.IMREAD_COLOR)
    shown[number] = frame
  corners = np.stack([boxes[:, [0, 1]], boxes[:, [2, 1]], boxes[:, [0, 3]], boxes[:, [2, 3]]], 1)
  corners = corners @ look.affine[:, :2].T + look.affine[:, 2]
  moved = np.concatenate([corners.min(1), corners.max(1)], 1)
  return shown, np.clip(moved, 0, 1).astype(np.float32)


def draw_rate(times: np.ndarray, rng: np.random.Generator) -> float:
  """A frame rate between a part of a clip's own and that; times are seconds [F]."""
  own = (len(times) - 1) / max(float(times[-1] - times[0]), 1e-6)
  return own * rng.uniform(_SLOWEST, 1)


def at_rate(times: np.ndarray, rate: float) -> np.ndarray:
  """Which frames show a clip at another frame rate, int [N] ascending, each once.

  Args:
    times: seconds [F].
    rate: frames a second, of which the clip has as many or more.
  """
  grid = np.arange(times[0], times[-1] + 1e-6, 1 / rate)
  after = np.clip(np.searchsorted(times, grid), 1, max(len(times) - 1, 1))
  nearest = np.where(grid - times[after - 1] <= times[after] - grid, after - 1, after)
  return np.unique(np.clip(nearest, 0, len(times) - 1))


def varied(clip: dict, rng: np.random.Generator, least: int) -> dict:
  """A whole clip by a random look and, if it is long enough, at a random frame rate.

  Args:
    clip: of `input_pipeline.talker_clips`; its sound stays, as times tell what belongs together.
    rng: draws rate and look.
    least: frames that it must have.
  """
  count = len(clip['frames'])
  chosen = at_rate(clip['times'], draw_rate(clip['times'], rng))
  if len(chosen) < least:
    chosen = np.arange(count)
  picked = {name: x[chosen] if isinstance(x, np.ndarray) and name != 'audio' and len(x) == count
            else x for name, x in clip.items() if np.ndim(x)}
  frames, boxes = apply(draw(rng), picked['frames'], picked['mouth_box'])
  return clip | picked | {'frames': frames, 'mouth_box': boxes}

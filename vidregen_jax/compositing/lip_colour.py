"""Keeps the lips of made mouths in the colours that the person's own lips have.

Where a small model presses lips or stretches them beyond what it knows, they glow for the frames of
one latent frame: a pale line where the lower lip was. `colour_limits` lets it pass, as teeth are
pale in the same place. So each place of the lips, between the mouth's corners and between a lip's
edges, is held to the colours that it has in real frames of the person.
"""

import dataclasses

import cv2
import numpy as np

from vidregen_jax.compositing import colour_limits, lip_edges

_ACROSS = np.linspace(-.95, .95, 17)  # between the mouth's corners
_DOWN = np.linspace(0, 1, 7)  # between the edges of a lip
_RARE = 10  # per cent of the frames that are beyond each bound
_ROOM = 3.  # levels of 255, of noise and of light that a frame may add
_EDGE = 1.  # pixels of blur of the lips' outline
_SOFT = .8  # places of blur of what is taken from a frame


@dataclasses.dataclass(frozen=True, eq=False)
class LipColours:
  """The colours of a person's lips.

  Attributes:
    low, high: float32 [2, V, U, 3], bounds in YCrCb of the places of the upper and the lower lip.
    light: [3], the colour of the upper face in which these were seen.
  """

  low: np.ndarray
  high: np.ndarray
  light: np.ndarray


def colours(crops, found) -> LipColours | None:
  """The colours of lips in real frames.

  Args:
    crops: uint8 [S, S, 3] each.
    found: points of `lip_edges.Points` in each, or None.

  Returns:
    None if no face is seen in any.
  """
  seen = [(crop, points) for crop, points in zip(crops, found, strict=True) if points is not None]
  if not seen:
    return None
  light = np.median([colour_limits.light(crop) for crop, _ in seen], axis=0)
  places = [_places(_ycrcb(crop * (light / colour_limits.light(crop))),
                    lip_edges.edges(points, crop)) for crop, points in seen]
  low, high = np.percentile(places, (_RARE, 100 - _RARE), axis=0)
  return LipColours(np.float32(low - _ROOM), np.float32(high + _ROOM), light)


def held(crop, lips: lip_edges.Edges, known: LipColours, light) -> np.ndarray:
  """A crop uint8 [H, W, 3], or a part of one, with its lips in the colours that are known of them.

  Args:
    crop: of a face.
    lips: in it.
    known: of the person.
    light: [3], the colour of the upper face, `colour_limits.light` of the whole crop.
  """
  lit = light / known.light
  box = rows, columns = _box(lips, crop.shape)
  if not crop[box].size:
    return crop
  lips, image = lips.within(rows, columns), _ycrcb(crop[box] / lit)
  places = _places(image, lips)
  beyond = places - np.clip(places, known.low, known.high)
  if not beyond.any():
    return crop
  down = np.arange(len(image), dtype=np.float32)[:, None]
  across = np.clip(np.interp(lips.across, _ACROSS, np.arange(len(_ACROSS))), 0, len(_ACROSS) - 1)
  for excess, (top, bottom) in zip(beyond, _lips(lips), strict=True):
    depth = (down - top) / (bottom - top) * (len(_DOWN) - 1)
    excess = cv2.GaussianBlur(excess, (0, 0), _SOFT, borderType=cv2.BORDER_REPLICATE)
    taken = cv2.remap(excess, np.broadcast_to(across, depth.shape).astype(np.float32),
                      depth.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = np.clip(down - top + 1, 0, 1) * np.clip(bottom - down + 1, 0, 1)
    inside = inside * np.clip((1 - np.abs(lips.across)) / .05, 0, 1)
    image -= taken * cv2.GaussianBlur(inside.astype(np.float32), (0, 0), _EDGE)[..., None]
  made = crop.copy()
  made[box] = np.clip(np.rint(cv2.cvtColor(image, cv2.COLOR_YCrCb2RGB) * lit), 0, 255)
  return made


def _box(lips, shape):
  """Rows and columns of the part of a crop with the lips and their soft edge; it may be empty."""
  room = 1 + round(4 * _EDGE)
  inside = lambda first, last, end: slice(*np.clip(
    (first - room, last + room + 1), 0, end).astype(int))
  columns = inside(*sorted((lips.right, lips.left)), shape[1])
  if columns.start == columns.stop:
    return slice(0), columns
  rows = inside(lips.outer_upper[columns].min(), lips.outer_lower[columns].max(), shape[0])
  return rows, columns


def _ycrcb(crop):
  return cv2.cvtColor(crop.astype(np.float32), cv2.COLOR_RGB2YCrCb)  # in integers it would round


def _lips(lips):
  """Upper and lower edges of the two lips."""
  return (lips.outer_upper, lips.upper), (lips.lower, lips.outer_lower)


def _places(image, lips):
  """Colours float32 [2, V, U, 3] of an image's lips."""
  columns = lips.middle + lips.half * _ACROSS
  found = []
  for edges in _lips(lips):
    top, bottom = (np.interp(columns, np.arange(len(edge)), edge) for edge in edges)
    rows = top + (bottom - top) * _DOWN[:, None]
    found.append(cv2.remap(image, np.broadcast_to(columns, rows.shape).astype(np.float32),
                           rows.astype(np.float32), cv2.INTER_LINEAR))
  return np.stack(found)

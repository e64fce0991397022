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
                    lip_edges.edges(points, len(crop))) for crop, points in seen]
  low, high = np.percentile(places, (_RARE, 100 - _RARE), axis=0)
  return LipColours(np.float32(low - _ROOM), np.float32(high + _ROOM), light)


def held(crop, lips: lip_edges.Edges, known: LipColours) -> np.ndarray:
  """A crop uint8 [S, S, 3] with each place of its lips in the colours that are known of it."""
  lit = colour_limits.light(crop) / known.light
  image = _ycrcb(crop / lit)
  places = _places(image, lips)
  beyond = places - np.clip(places, known.low, known.high)
  if not beyond.any():
    return crop
  rows = np.arange(len(crop), dtype=np.float32)[:, None]
  across = np.clip(np.interp(lips.across, _ACROSS, np.arange(len(_ACROSS))), 0, len(_ACROSS) - 1)
  for excess, (top, bottom) in zip(beyond, _lips(lips), strict=True):
    down = (rows - top) / (bottom - top)
    excess = cv2.GaussianBlur(excess, (0, 0), _SOFT, borderType=cv2.BORDER_REPLICATE)
    taken = cv2.remap(excess, np.broadcast_to(across, down.shape).astype(np.float32),
                      (down * (len(_DOWN) - 1)).astype(np.float32), cv2.INTER_LINEAR,
                      borderMode=cv2.BORDER_REPLICATE)
    inside = np.clip((rows - top) + 1, 0, 1) * np.clip((bottom - rows) + 1, 0, 1)
    inside = inside * np.clip((1 - np.abs(lips.across)) / .05, 0, 1)
    image -= taken * cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 1.)[..., None]
  made = cv2.cvtColor(image, cv2.COLOR_YCrCb2RGB) * lit
  return np.clip(np.rint(made), 0, 255).astype(np.uint8)


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

"""Who is seen and where: people that do not exist, their hair, clothes and glasses, and the room.

Painting works in the neutral head's own coordinates (units of about a centimetre), so freckles,
brows and lips follow every identity and every expression.
"""

import dataclasses

import cv2
import numpy as np

from data.talkers import mesh, render

HAIR_STYLES = ('bald', 'cropped', 'short', 'bob', 'long')

# Display colours; skin from fair to deep.
_SKINS = np.array([
  [0.95, 0.80, 0.72], [0.92, 0.75, 0.65], [0.87, 0.68, 0.55], [0.80, 0.60, 0.46],
  [0.70, 0.49, 0.36], [0.58, 0.39, 0.28], [0.46, 0.30, 0.21], [0.37, 0.24, 0.17],
])  # fmt: skip
_HAIRS = np.array([
  [0.09, 0.08, 0.08], [0.17, 0.12, 0.09], [0.30, 0.20, 0.13], [0.45, 0.31, 0.19],
  [0.66, 0.51, 0.32], [0.47, 0.23, 0.11], [0.62, 0.60, 0.58], [0.36, 0.35, 0.34],
])  # fmt: skip
_IRISES = np.array(
  [[0.33, 0.20, 0.11], [0.24, 0.14, 0.08], [0.38, 0.52, 0.66], [0.42, 0.50, 0.33],
   [0.50, 0.36, 0.18], [0.45, 0.52, 0.55]]
)  # fmt: skip


def linear(display):
  """Display colours in [0, 1] to linear light."""
  return np.asarray(display, np.float64) ** 2.2


@dataclasses.dataclass(frozen=True)
class Identity:
  """One person. Colours are display RGB in [0, 1]; shares lie in [0, 1].

  Attributes:
    seed: drives the noise of skin, brows, beard and hair.
    shape: identity coefficients in standard deviations.
    beard: 0 none .. 1 full; `stubble` says it is short.
    iris_size: radius in eye radii.
  """

  seed: int
  shape: tuple[float, ...]
  skin: tuple[float, float, float]
  ruddiness: float
  freckles: float
  blotches: float
  lips: tuple[float, float, float]
  lip_strength: float
  hair: tuple[float, float, float]
  hair_style: str
  hair_volume: float
  hairline: float
  parting: float
  curl: float
  brow_weight: float
  beard: float
  stubble: bool
  iris: tuple[float, float, float]
  iris_size: float
  teeth: tuple[float, float, float]
  glasses: str
  glasses_colour: tuple[float, float, float]
  cloth: tuple[float, float, float]
  cloth_pattern: int
  cloth_frequency: float
  neckline: float

  @classmethod
  def draw(cls, seed):
    """Draws a person: the same seed, the same person."""
    rng = np.random.default_rng([seed, 7])
    colour = lambda array: tuple(float(c) for c in np.clip(array, 0, 1))
    shape = np.clip(rng.normal(0, 0.85, 32), -1.9, 1.9)
    tone = rng.uniform(0, len(_SKINS) - 1)
    low = int(tone)
    skin = _SKINS[low] + (tone - low) * (_SKINS[min(low + 1, len(_SKINS) - 1)] - _SKINS[low])
    skin = skin * (1 + rng.normal(0, 0.025)) * (1 + rng.normal(0, 0.02, 3))
    masculine = rng.random() < 0.5
    dark = tone > 3.5
    hair = _HAIRS[rng.choice([0, 1, 2, 6], p=[0.55, 0.3, 0.05, 0.1]) if dark
                  else rng.choice(len(_HAIRS), p=[0.1, 0.17, 0.2, 0.18, 0.13, 0.08, 0.07, 0.07])]
    hair = hair * (1 + rng.normal(0, 0.1))
    odds = [0.14, 0.24, 0.5, 0.04, 0.08] if masculine else [0.02, 0.06, 0.2, 0.3, 0.42]
    style = str(rng.choice(HAIR_STYLES, p=odds))
    # Lips keep their distance from the skin, so that a mouth can be read at 64 pixels.
    natural = skin * np.array([0.86, 0.60, 0.58]) + (0.05 if dark else 0.0)
    stick = np.array([rng.uniform(0.55, 0.8), rng.uniform(0.12, 0.35), rng.uniform(0.15, 0.38)])
    painted = not masculine and rng.random() < 0.4
    bearded = masculine and rng.random() < 0.45
    iris = _IRISES[rng.choice([0, 1], p=[0.4, 0.6]) if dark else rng.integers(len(_IRISES))]
    cloth = np.array([rng.random(), rng.uniform(0.05, 0.8), rng.uniform(0.12, 0.9)])
    cloth = _from_hsv(cloth * [1, rng.choice([0.25, 1.0]), 1])
    stain = rng.uniform(-0.07, 0.05)
    metal = rng.uniform(0.05, 0.25) * np.ones(3) * (1 + 0.3 * rng.normal(0, 1, 3))
    return cls(
      seed=seed, shape=tuple(float(c) for c in shape), skin=colour(skin),
      ruddiness=rng.uniform(0.2, 1.0), freckles=float(max(rng.normal(-0.3, 0.5), 0.0)),
      blotches=rng.uniform(0.3, 1.0), lips=colour(stick if painted else natural),
      lip_strength=rng.uniform(0.75, 0.95) if painted else rng.uniform(0.6, 0.9),
      hair=colour(hair), hair_style=style, hair_volume=rng.uniform(0.5, 1.4),
      hairline=rng.normal(-3, 3.5) + (5.0 if masculine and rng.random() < 0.3 else 0.0),
      parting=rng.uniform(-1, 1), curl=float(rng.choice([0, rng.uniform(0.2, 1)], p=[0.6, 0.4])),
      brow_weight=rng.uniform(0.55, 1.0) * (1.0 if masculine else 0.8),
      beard=rng.uniform(0.4, 1.0) if bearded else 0.0, stubble=bool(rng.random() < 0.55),
      iris=colour(iris * (1 + rng.normal(0, 0.1))), iris_size=rng.uniform(0.46, 0.52),
      teeth=colour([0.93 + 0.6 * stain, 0.90 + 0.8 * stain, 0.83 + 1.3 * stain]),
      glasses=str(rng.choice(['none', 'round', 'square'], p=[0.76, 0.12, 0.12])),
      glasses_colour=colour(metal), cloth=colour(cloth), cloth_pattern=int(rng.integers(4)),
      cloth_frequency=rng.uniform(14, 40), neckline=rng.uniform(0, 1),
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Scene:
  """Light, room and camera of one clip; colours are linear light.

  Attributes:
    face_height: chin to hairline (17.5 units of the mean head) as a share of the frame.
    distance: of the camera, units. noise: standard deviation in display levels of 0 to 255.
    blur: standard deviation in pixels of a 256 pixel frame. exposure_drift: share.
  """

  seed: int
  light: tuple[float, float, float]
  key: tuple[float, float, float]
  fill: tuple[float, float, float]
  ambient: tuple[float, float, float]
  background: str
  face_height: float
  distance: float
  centre: tuple[float, float]
  noise: float
  blur: float
  exposure_drift: float

  @classmethod
  def draw(cls, seed):
    """Draws a scene: the same seed, the same scene."""
    rng = np.random.default_rng([seed, 11])
    azimuth, height = np.radians(rng.uniform(-60, 60)), np.radians(rng.uniform(5, 50))
    light = (np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height))
    warm = rng.normal(0, 0.06)
    tint = lambda w: np.array([1 + w, 1.0, 1 - 1.3 * w])
    contrast = rng.uniform(0.45, 1.0)
    return cls(
      seed=seed, light=tuple(map(float, light)),
      key=tuple(map(float, (0.75 + 0.65 * contrast) * tint(warm))),
      fill=tuple(map(float, (0.5 - 0.33 * contrast) * tint(-warm))),
      ambient=tuple(map(float, (0.36 - 0.16 * contrast) * tint(rng.normal(0, 0.05)))),
      background=str(rng.choice(['gradient', 'blobs', 'stripes', 'room'])),
      face_height=rng.uniform(0.45, 0.62), distance=rng.uniform(52, 85),
      centre=(float(rng.normal(0, 0.02)), float(rng.normal(0, 0.015))),
      noise=rng.uniform(0.5, 3.0), blur=float(rng.choice([0, rng.uniform(0.3, 0.8)])),
      exposure_drift=rng.uniform(0, 0.02),
    )  # fmt: skip

  def backdrop(self, side):
    """The room behind the talker, linear float32 [side, side, 3]."""
    rng = np.random.default_rng([self.seed, 13])
    y, x = np.mgrid[0:1:128j, 0:1:128j]
    pick = lambda v: linear(_from_hsv([rng.random(), rng.uniform(0.02, 0.5), v]))
    value = rng.uniform(0.25, 0.85)
    first, second = pick(value), pick(np.clip(value + rng.normal(0, 0.25), 0.1, 0.95))
    angle = rng.uniform(0, 2 * np.pi)
    ramp = 0.5 + 0.7 * ((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle))
    picture = first + np.clip(ramp, 0, 1)[..., None] * (second - first)
    if self.background == 'blobs':
      for _ in range(rng.integers(5, 14)):
        size = rng.uniform(0.02, 0.2)
        reach = ((x - rng.random()) ** 2 + (y - rng.random()) ** 2) / size**2
        share = 1 / (1 + np.exp(np.clip(6 * (reach - 1), -40, 40)))
        picture += 0.7 * share[..., None] * (pick(rng.uniform(0.1, 1.0)) - picture)
    elif self.background == 'stripes':
      turn = rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])
      wave = np.sin(2 * np.pi * rng.uniform(3, 14) * (x * np.cos(turn) + y * np.sin(turn)))
      picture *= 1 + rng.uniform(0.05, 0.3) * np.clip(3 * wave, -1, 1)[..., None]
    elif self.background == 'room':
      for _ in range(rng.integers(3, 9)):
        left, top = rng.uniform(-0.2, 1, 2)
        wide, high = rng.uniform(0.05, 0.6, 2)
        inside = (x > left) & (x < left + wide) & (y > top) & (y < top + high)
        picture[inside] += rng.uniform(0.4, 0.9) * (pick(rng.uniform(0.1, 0.95)) - picture[inside])
    picture = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), rng.uniform(0.4, 4.0))
    return np.clip(cv2.resize(picture, (side, side)), 0, 1.5).astype(np.float32)


def figure(head, identity):
  """Builds the render.Figure of an identity on a mesh.Head."""
  rest = head.shape(identity.shape)
  # Skin under the clothes is left out, or it would show through them when the neck turns.
  middle = head.neutral[head.triangles].mean(1)
  covered = (middle[:, 1] < -14.0 - 2.6 * identity.neckline * 2.2)
  covered |= (np.abs(middle[:, 0]) > 8.6) & (middle[:, 1] < -11)
  parts = [_Part(rest, head.triangles[~covered], head.materials[~covered],
                 head.triangle_uv[~covered])]  # fmt: skip
  count = len(rest)
  if identity.hair_style not in ('bald', 'cropped'):
    parts.append(_hair(rest, identity))
  if identity.glasses != 'none':
    parts.append(_glasses(rest[head.landmarks], identity))
  body_start = sum(len(part.vertices) for part in parts)
  parts.append(_torso(identity))
  offsets = np.cumsum([0] + [len(part.vertices) for part in parts])
  inner = np.zeros(offsets[-1], np.float32)
  inner[:count][head.vertex_mask(mesh.GUMS, mesh.TEETH, mesh.SOCKET)] = 1.0
  palette = [identity.iris, identity.hair, identity.cloth, identity.glasses_colour,
             identity.teeth, 0.55 * np.array([0.86, 0.42, 0.42]) + 0.3 * np.array(identity.skin)]
  traits = [identity.iris_size, identity.cloth_pattern, identity.cloth_frequency,
            260.0 - 150.0 * identity.curl, 0.05 + 0.06 * identity.curl, 0.3]
  return render.Figure(
    rest=np.concatenate([p.vertices for p in parts]).astype(np.float32),
    head_vertices=count,
    body_start=body_start,
    triangles=np.concatenate(
      [p.triangles + o for p, o in zip(parts, offsets, strict=False)]
    ).astype(np.int32),
    materials=np.concatenate([p.materials for p in parts]).astype(np.uint8),
    uv=np.concatenate([p.uv for p in parts]).astype(np.float32),
    paint=paint(head, identity),
    inner=inner,
    palette=linear(np.array(palette)).astype(np.float32),
    traits=np.array(traits, np.float32),
  )


def paint(head, identity):
  """The face and scalp sheets: float32 [2, P, P, 4], linear albedo and gloss."""
  rng = np.random.default_rng([identity.seed, 17])
  size = head.paint_position.shape[1]
  points = head.paint_position.reshape(-1, 3).astype(np.float32)
  face = np.arange(len(points)) < size * size
  marks = head.neutral[head.landmarks]
  x, y, z = points.T
  noise = lambda *octaves: _noise(points, identity.seed, octaves)

  skin = linear(identity.skin)
  colour = np.tile(skin.astype(np.float32), (len(points), 1))
  tone = noise((0.18, 0.07), (0.5, 0.05), (1.6, 0.05), (5.0, 0.05), (11.0, 0.05))
  colour *= (1 + identity.blotches * tone)[:, None]
  # Blood shows on cheeks, nose tip, ears and chin.
  blood = np.zeros(len(points))
  for centre, radius, much in (
    ((4.6, -0.8, 8.5), 2.6, 0.9), ((-4.6, -0.8, 8.5), 2.6, 0.9), ((0, 0.2, 12.8), 1.3, 0.8),
    ((0, -6.5, 11), 1.7, 0.35), ((8.8, 2, 0), 2.5, 0.8), ((-8.8, 2, 0), 2.5, 0.8),
    ((0, -2.9, 11), 2.6, 0.25),
  ):  # fmt: skip
    blood += much * np.exp(-(((points - centre) / radius) ** 2).sum(1))
  blood = blood * identity.ruddiness * (1 + noise((0.9, 0.4)))
  colour *= np.exp(-blood[:, None] * np.array([0.02, 0.30, 0.26]))
  # Tired lids, forehead sheen, and the darker folds beside nose and mouth.
  for eye in (marks[36:42].mean(0), marks[42:48].mean(0)):
    under = np.exp(-((((points - eye) + [0, 0.55, 0]) / [2.0, 1.0, 3.0]) ** 2).sum(1))
    colour *= np.exp(-under[:, None] * np.array([0.16, 0.26, 0.2]) * identity.blotches)
  if identity.freckles > 0:
    spots = np.clip(noise((3.3, 1.0), (5.1, 0.8)) - 0.62, 0, 0.4) / 0.4
    where = np.exp(-(((points - [0, 0.8, 10.5]) / [6.5, 3.2, 6.0]) ** 2).sum(1))
    colour *= np.exp(-(identity.freckles * spots * where)[:, None] * np.array([0.35, 0.6, 0.8]))
  for _ in range(rng.integers(0, 5)):
    spot = points[rng.integers(size * size)]
    reach = ((points - spot) ** 2).sum(1) / rng.uniform(0.1, 0.2) ** 2
    colour *= np.exp(-np.exp(-reach)[:, None] * np.array([0.5, 0.8, 0.9]))
  gloss = 0.035 + 0.05 * np.exp(-(((points - [0, 3.5, 12]) / [3.0, 6.0, 4.0]) ** 2).sum(1))
  gloss = gloss * (1 + noise((4.0, 0.5), (9.0, 0.5)))

  hair = linear(identity.hair)
  stroke = 1 + noise((6.0, 0.35), (13.0, 0.35))
  # Scalp: skin under cropped hair, and the ground that shows between strands.
  if identity.hair_style != 'bald':
    edge = _hairline(np.arctan2(np.abs(x), z - 1.0), identity) - _polar(points)
    cover = np.clip(edge / 5.0 + 0.5 * noise((2.0, 0.5), (6.0, 0.5)), 0, 1)
    ear = (np.abs(x) > 8.3) & (np.abs(y - 2) < 3.6) & (z > -1.8)
    share = {'cropped': 0.9}.get(identity.hair_style, 0.85) * cover * ~ear * (y > -8)
    colour += share[:, None] * (hair * stroke[:, None] - colour)
    gloss *= 1 - 0.7 * share
  # Beard and moustache, broken up by single hairs.
  if identity.beard > 0:
    lip_y = marks[51, 1]
    jaw = np.interp(np.abs(x), [0, 2.4, 4.5, 7.0, 8.2], [-3.9, -4.2, -2.6, -0.5, 2.2])
    area = np.clip((jaw - y) / 1.2, 0, 1) * np.clip((y + 10.5) / 1.8, 0, 1) * (z > 0)
    # It follows the lip and thins out towards its ends.
    line = lip_y + 0.55 - 0.13 * x**2
    moustache = np.clip(1.25 - np.abs(y - line) / (0.62 - 0.05 * x**2).clip(0.2), 0, 1)
    moustache *= np.clip((3.2 - np.abs(x)) / 1.2, 0, 1) * (z > 8)
    area = np.maximum(area, np.clip(moustache * 1.6, 0, 1))
    area *= np.clip(1 + 0.8 * noise((0.8, 0.3), (3.0, 0.25), (9.0, 0.35)), 0, 1)
    area *= identity.beard * (0.5 if identity.stubble else 0.92) * face
    colour += area[:, None] * (hair * (0.8 * stroke)[:, None] - colour)
    gloss *= 1 - 0.5 * area
  # Lips: full colour from the wet line to a soft border, never over the beard's roots.
  border = np.full(len(points), -9.0, np.float32)
  near = np.flatnonzero((np.abs(x) < 4) & (y > -6) & (y < -1) & (z > 7))
  border[near] = _inside(points[near, :2], marks[48:60, :2])
  depth = marks[48:60, 2].min() - 1.6
  lip = np.clip(border / 0.28 + 0.65, 0, 1) * (z > depth) * face * identity.lip_strength
  creases = 1 + noise((5.0, 0.10), (12.0, 0.08))
  colour += lip[:, None] * (linear(identity.lips) * creases[:, None] - colour)
  gloss += lip * (0.10 - gloss * 0.5)
  # Brows: strokes that thin out to both ends.
  for marks_of in (marks[17:22], marks[22:27]):
    knots = np.linspace(0, 1, 24)
    path = np.stack([np.interp(knots, np.linspace(0, 1, 5), marks_of[:, k]) for k in (0, 1)], 1)
    near = np.flatnonzero(face & (z > 4) & (np.abs(y - path[:, 1].mean()) < 2)
                          & (np.abs(x - path[:, 0].mean()) < 3.2))  # fmt: skip
    gap = np.sqrt(((points[near, None, :2] - path[None]) ** 2).sum(-1))
    thick = np.interp(knots, [0, 0.3, 0.7, 1], [0.3, 0.42, 0.45, 0.3])[gap.argmin(1)]
    share = np.clip((1.25 - gap.min(1) / thick) * 1.6, 0, 1) * identity.brow_weight
    share *= np.clip(0.95 + _noise(points[near], identity.seed, ((4.0, 0.3), (9.0, 0.25))), 0, 1)
    colour[near] += share[:, None] * (0.6 * hair - colour[near])
  # Lashes: the rims of the lids, the upper one heavier.
  for upper, lower in ((marks[36:40], marks[[36, 41, 40, 39]]),
                       (marks[42:46], marks[[42, 47, 46, 45]])):  # fmt: skip
    for rim, width, much in ((upper, 0.20, 0.85), (lower, 0.12, 0.4)):
      knots = np.linspace(0, 1, 20)
      path = np.stack([np.interp(knots, np.linspace(0, 1, 4), rim[:, k]) for k in range(3)], 1)
      near = np.flatnonzero(face & (np.abs(points - path.mean(0)) < 2.2).all(1))
      gap = np.sqrt(((points[near, None] - path[None]) ** 2).sum(-1).min(1))
      colour[near] *= (1 - 0.9 * much * np.clip(1.4 - gap / width, 0, 1))[:, None]
  colour = np.clip(colour, 0.004, 0.98)
  sheets = np.concatenate([colour, np.clip(gloss, 0, 1)[:, None]], 1)
  return np.ascontiguousarray(sheets.reshape(2, size, size, 4).astype(np.float32))


def _from_hsv(hsv):
  h, s, v = (float(c) for c in hsv)
  ramps = np.clip(np.abs((h * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
  return v * (1 - s + s * ramps)


def _noise(points, seed, octaves):
  """Sum of lattice noise [n]; octaves are (frequency per unit, amplitude)."""
  points = np.ascontiguousarray(points, np.float32)
  total = np.zeros(len(points), np.float32)
  for k, (frequency, amplitude) in enumerate(octaves):
    wave = np.zeros(len(points), np.float32)
    render.value_noise(points, np.float32(frequency), seed % 1000 + 7 * k, wave)
    total += np.float32(amplitude) * wave
  return total


def _inside(points, polygon):
  """Signed distance [n] to a closed polygon [k, 2] in its own units, positive inside."""
  inside = np.zeros(len(points), bool)
  nearest = np.full(len(points), np.inf)
  x, y = points.T
  for start, stop in zip(polygon, np.roll(polygon, -1, 0), strict=True):
    edge = stop - start
    along = np.clip(((points - start) @ edge) / (edge @ edge), 0, 1)
    nearest = np.minimum(nearest, ((points - start - along[:, None] * edge) ** 2).sum(1))
    crosses = (start[1] > y) != (stop[1] > y)
    inside ^= crosses & (x < edge[0] * (y - start[1]) / (edge[1] + 1e-12) + start[0])
  return np.where(inside, 1, -1) * np.sqrt(nearest)


# Polar angle in degrees from a crown axis through the skull's centre.
_CENTRE = np.array([0.0, 3.5, 1.0])
_CROWN = np.array([0.0, 0.97, -0.243])


def _polar(points):
  offset = points - _CENTRE
  cosine = offset @ _CROWN / np.maximum(np.linalg.norm(offset, axis=1), 1e-6)
  return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def _hairline(azimuth, identity):
  """Polar angle [degrees] of the hair's edge at |azimuth| from the front [radians]."""
  knots = np.radians([0, 25, 45, 62, 76, 90, 108, 125, 150, 180])
  edge = [54, 55, 57, 72, 97, 96, 96, 128, 140, 143]
  recede = np.interp(azimuth, np.radians([0, 40, 60, 75]), [0.9, 1.4, 0.8, 0])
  return np.interp(azimuth, knots, edge) - identity.hairline * recede


@dataclasses.dataclass(frozen=True, eq=False)
class _Part:
  vertices: np.ndarray
  triangles: np.ndarray
  materials: np.ndarray
  uv: np.ndarray


def _grid(points, uv, material, closed=False):
  """A sheet [rows, columns, 3] with uv [rows, columns, 2] as a _Part."""
  rows, columns = points.shape[:2]
  ids = np.arange(rows * columns).reshape(rows, columns)
  right = np.roll(ids, -1, 1) if closed else ids[:, 1:]
  left = ids if closed else ids[:, :-1]
  a, b, c, d = left[:-1], right[:-1], left[1:], right[1:]
  triangles = np.concatenate([
    np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)
  ])  # fmt: skip
  flat = uv.reshape(-1, 2)
  return _Part(
    points.reshape(-1, 3), triangles, np.full(len(triangles), material, np.uint8), flat[triangles]
  )


def _hair(rest, identity):
  """A sheet of hair from the crown to its edge; longer styles fall from the sides and the back."""
  columns, rows = 96, 30
  azimuth = np.linspace(-np.pi, np.pi, columns)
  skull = _skull(rest)
  edge = _hairline(np.abs(azimuth), identity)
  if identity.hair_style == 'short':
    fall = np.zeros(columns)
  else:
    length = 9.5 if identity.hair_style == 'bob' else 19.0
    fall = length * np.clip((np.degrees(np.abs(azimuth)) - 60) / 14, 0, 1)
    edge = np.where(fall > 0, np.minimum(edge, 92), edge)
  v = np.linspace(0, 1, rows)[:, None]
  on_skull = np.where(fall > 0, 0.55, 1.0)
  polar = np.minimum(v / on_skull, 1.0) * edge
  drop = np.clip((v - on_skull) / 0.45, 0, 1) * fall
  # Directions around the crown axis.
  forward = np.cross(np.array([1.0, 0, 0]), _CROWN)
  ring = np.sin(azimuth)[:, None] * np.array([1.0, 0, 0]) + np.cos(azimuth)[:, None] * forward
  angle = np.radians(polar)[..., None]
  direction = np.cos(angle) * _CROWN + np.sin(angle) * ring[None]
  radius = skull(polar, azimuth)
  # Thick on top, thin at the edge of short hair; the parting is a shallow valley.
  thick = identity.hair_volume * (0.45 + 0.75 * np.cos(np.radians(polar) * 0.9))
  taper = np.where(fall > 0, 1.0, 1 - 0.72 * np.clip((v - 0.72) / 0.28, 0, 1) ** 2)
  valley = np.exp(-((direction[..., 0] * 9 - 3.5 * identity.parting) / 0.5) ** 2)
  valley *= (direction[..., 2] > -0.2) * (0.5 if identity.hair_style != 'short' else 0.3)
  points = _CENTRE + direction * radius[..., None]
  octaves = ((0.35, 0.25), (1.1, 0.1 + 0.35 * identity.curl))
  lumps = _noise(points.reshape(-1, 3), identity.seed, octaves).reshape(polar.shape)
  height = np.maximum(thick * taper * (1 + lumps) * (1 - valley), 0.12) + 0.12
  points = points + direction * height[..., None]
  outward = ring[None] * np.array([1, 0, 1])
  wave = 0.25 * np.sin(drop * 1.1 + azimuth * 3) * (0.5 + identity.curl)
  points = points + outward * (0.5 * np.sqrt(drop / 10) + wave * (drop > 0))[..., None]
  points[..., 1] -= drop
  # Falling hair clings to the neck instead of hanging like a bell.
  points[..., 2] -= 0.06 * drop * (points[..., 2] > 0)
  uv = np.stack(np.broadcast_arrays((azimuth / (2 * np.pi) + 0.5)[None], v), -1)
  return _grid(points, uv, mesh.HAIR)


def _skull(rest):
  """A function (polar degrees, azimuth) -> distance of the skin from the skull's centre."""
  offset = rest - _CENTRE
  chosen = (np.abs(rest[:, 0]) < 8.6) & (rest[:, 1] > -7)
  offset = offset[chosen]
  forward = np.cross(np.array([1.0, 0, 0]), _CROWN)
  azimuth = np.arctan2(offset[:, 0], offset @ forward)
  polar = _polar(rest[chosen])
  rows, columns = 19, 36
  table = np.zeros((rows, columns))
  np.maximum.at(
    table,
    (np.clip(np.rint(polar / 10).astype(int), 0, rows - 1),
     np.rint(azimuth / (2 * np.pi) * columns).astype(int) % columns),
    np.linalg.norm(offset, axis=1),
  )  # fmt: skip
  table[0] = table[:2].max()
  for row in range(1, rows):
    empty = table[row] == 0
    table[row, empty] = table[row - 1, empty]
  wrapped = np.concatenate([table, table, table], 1).astype(np.float32)
  smooth = cv2.GaussianBlur(wrapped, (0, 0), 1.0)[:, columns : 2 * columns]
  smooth = np.maximum(smooth, 0.5 * (smooth + table))

  def radius(polar, azimuth):
    polar, azimuth = np.broadcast_arrays(polar, azimuth)
    row, column = np.clip(polar / 10, 0, rows - 1.001), azimuth / (2 * np.pi) * columns
    i, j = np.floor(row).astype(int), np.floor(column).astype(int)
    fi, fj = row - i, column - j
    at = lambda a, b: smooth[a, b % columns]
    top = at(i, j) * (1 - fj) + at(i, j + 1) * fj
    return top * (1 - fi) + (at(i + 1, j) * (1 - fj) + at(i + 1, j + 1) * fj) * fi

  return radius


def _tube(path, radius, closed):
  """A round tube of 6 sides along a path [n, 3]."""
  ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
  ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
  side = np.cross(ahead, [0.05, 0.1, 1.0])
  side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-6)
  up = np.cross(side, ahead)
  turn = np.linspace(0, 2 * np.pi, 6, endpoint=False)
  ring = np.cos(turn)[:, None, None] * side + np.sin(turn)[:, None, None] * up
  points = path[None] + radius * ring
  points = np.concatenate([points, points[:1]])
  if closed:
    points = np.concatenate([points, points[:, :1]], 1)
  return _grid(points, np.zeros((*points.shape[:2], 2)), mesh.GLASSES)


def _glasses(marks, identity):
  """Frames around both eyes, a bridge and two temples, fitted to the landmarks [68, 3]."""
  rng = np.random.default_rng([identity.seed, 19])
  tube = rng.uniform(0.09, 0.2)
  power = 2.0 if identity.glasses == 'round' else rng.uniform(3.0, 5.0)
  wide = rng.uniform(2.15, 2.5)
  high = wide * (rng.uniform(0.85, 0.95) if power == 2.0 else rng.uniform(0.6, 0.8))
  front = marks[27, 2] + 0.5
  turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
  parts, rims = [], []
  for eye, sign in ((marks[36:42].mean(0), -1), (marks[42:48].mean(0), 1)):
    x = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** (2 / power) * wide
    y = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** (2 / power) * high
    centre = sign * max(abs(eye[0]), wide + 0.65)
    path = np.stack([centre + x, eye[1] - 0.25 + y, front - 0.035 * (centre + x) ** 2], 1)
    parts.append(_tube(path, tube, closed=True))
    rims.append((centre, eye[1] - 0.25))
    outer = np.array([centre + sign * wide, eye[1] + 0.5 * high - 0.25,
                      front - 0.035 * (abs(centre) + wide) ** 2])  # fmt: skip
    ear = np.array([sign * (abs(marks[0, 0]) + 0.5), outer[1] - 0.2, marks[0, 2] - 2.5])
    share = np.linspace(0, 1, 8)[:, None]
    parts.append(_tube(outer + share * (ear - outer), tube * 0.9, closed=False))
  share = np.linspace(-1, 1, 9)
  gap = abs(rims[1][0]) - wide
  height = (rims[0][1] + rims[1][1]) / 2 + 0.35 * high
  bridge = np.stack([gap * share, height + 0.3 * (1 - share**2), front + 0.1 * (1 - share**2)], 1)
  parts.append(_tube(bridge, tube, closed=False))
  offsets = np.cumsum([0] + [len(part.vertices) for part in parts])
  return _Part(
    np.concatenate([p.vertices for p in parts]),
    np.concatenate([p.triangles + o for p, o in zip(parts, offsets, strict=False)]),
    np.concatenate([p.materials for p in parts]),
    np.concatenate([p.uv for p in parts]),
  )


def _torso(identity):
  """Shoulders in a pullover whose collar hides the foot of the neck."""
  turn = np.linspace(0, 2 * np.pi, 49)
  low = 2.2 * identity.neckline
  rows = [(-11.6 - low, 7.3, 6.6, -2.2), (-12.3 - low, 8.3, 7.2, -2.3),
          (-13.6 - 0.6 * low, 10.8, 8.0, -2.3), (-15.0 - 0.2 * low, 14.6, 9.0, -2.3),
          (-17.2, 18.6, 9.6, -2.4), (-21, 21.0, 10.4, -2.5),
          (-30, 22.5, 11.5, -2.5), (-48, 22.5, 12.5, -2.5)]  # fmt: skip
  points, uv = [], []
  for k, (y, wide, deep, z) in enumerate(rows):
    x = wide * np.sin(turn)
    dip = (0.9 + 2.0 * low) * np.maximum(np.cos(turn), 0) ** 2 * max(1 - k / 3, 0)
    rise = 1.6 * np.maximum(-np.cos(turn), 0) * max(1 - k / 4, 0)
    # The muscles from neck to shoulders lift the cloth at both sides.
    slope = 3.0 * np.sin(turn) ** 2 * max(1 - k / 5, 0)
    points.append(np.stack([x, y - dip + rise + slope, z + deep * np.cos(turn)], 1))
    uv.append(np.stack([turn / (2 * np.pi), np.full(49, y / -48)], 1))
  return _grid(np.array(points), np.array(uv), mesh.CLOTH)

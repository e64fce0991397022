"""A software rasteriser for one talking head: z-buffer, soft shadow, crevice shading, skin.

Everything is compiled by numba without the interpreter lock, so that frames run on threads side by
side. Colours are linear light inside; the film curve is applied when a frame is resolved.
"""

import dataclasses
import math

import numba
import numpy as np

from data.talkers import mesh

_jit = numba.njit(cache=True, nogil=True, fastmath=True)
SUPERSAMPLING = 2
SHADOW_SIZE = 192
_SHADOW_REACH = 17.0  # units from the head's centre that the shadow map covers

FACE, SCALP, SOCKET, GUMS, TEETH = mesh.FACE, mesh.SCALP, mesh.SOCKET, mesh.GUMS, mesh.TEETH
EYE, HAIR, CLOTH, GLASSES = mesh.EYE, mesh.HAIR, mesh.CLOTH, mesh.GLASSES


@dataclasses.dataclass(frozen=True, eq=False)
class Figure:
  """One person ready to be rendered: the shaped head and the rigid extras in one triangle list.

  Attributes:
    rest: float32 [V + X, 3]; head vertices first, then hair and glasses, then cloth.
    head_vertices: V. body_start: index of the first vertex that does not follow the head.
    triangles: int32 [N, 3]; materials: uint8 [N]; uv: float32 [N, 3, 2].
    paint: float32 [2, P, P, 4]; linear albedo and gloss of the face and scalp sheets.
    inner: float32 [V + X]; 1 on lips' inside, gums, teeth, tongue and mouth socket.
    palette: float32 [6, 3]; linear colours: iris, hair, cloth, glasses, teeth, gums.
    traits: float32 [6]; iris radius, cloth pattern, pattern frequency, hair strand frequency,
      hair raggedness, hair gloss.
  """

  rest: np.ndarray
  head_vertices: int
  body_start: int
  triangles: np.ndarray
  materials: np.ndarray
  uv: np.ndarray
  paint: np.ndarray
  inner: np.ndarray
  palette: np.ndarray
  traits: np.ndarray


class Canvas:
  """The buffers of one rendering thread. `image` after `draw`: linear light [HH, HH, 3]."""

  def __init__(self, figure, size):
    self.figure = figure
    self.side = size * SUPERSAMPLING
    vertices = len(figure.rest)
    self.shape = figure.rest.copy()
    self.camera = np.empty((vertices, 3), np.float32)
    self.screen = np.empty((vertices, 3), np.float32)
    self.normals = np.empty((vertices, 3), np.float32)
    self.shadow_screen = np.empty((vertices, 3), np.float32)
    self.depth = np.empty((self.side, self.side), np.float32)
    self.which = np.empty((self.side, self.side), np.int32)
    self.shadow = np.empty((SHADOW_SIZE, SHADOW_SIZE), np.float32)
    self.image = np.empty((self.side, self.side, 3), np.float32)

  def draw(self, head, weights, pose, lens, lights, background):
    """Draws one frame into `self.image` and returns it.

    Args:
      weights: float32 [C] of mesh.CHANNELS.
      pose: (rotation float32 [3, 3], shift float32 [3], body shift float32 [3]).
      lens: (distance, focal length in supersampled pixels, height aimed at, sideways aim).
      lights: float32 [4, 3]; direction to the key light, key colour, fill colour, ambient colour.
      background: float32 [HH, HH, 3], linear.
    """
    figure = self.figure
    active = np.flatnonzero(np.abs(weights) > 1e-4)
    deform(
      figure.rest, head.expressions, active, weights[active].astype(np.float32), self.shape
    )
    rotation, shift, body_shift = pose
    place(
      self.shape, figure.body_start, rotation, shift, body_shift, lens, self.side,
      self.camera, self.screen,
    )  # fmt: skip
    find_normals(self.camera, figure.triangles, self.normals)
    outline = self.screen[head.landmarks[48:60], :2]
    mouth_box = np.concatenate([outline.min(0) - 2, outline.max(0) + 2]).astype(np.int64)
    raster(
      self.screen, figure.triangles, figure.materials, figure.uv, figure.traits, mouth_box,
      self.depth, self.which,
    )  # fmt: skip
    light_view = _light_basis(lights[0])
    look_from_light(self.camera, light_view, self.shadow_screen)
    raster_depth(self.shadow_screen, figure.triangles, figure.materials, self.shadow)
    around, per_reach = _neighbours(float(lens[1] / (lens[0] - 8.0)))
    lips = self.shape[head.landmarks[[51, 57, 62, 66]]]
    gape = max(float(lips[2, 1] - lips[3, 1]), 0.0)
    mouth = np.array([(lips[0, 2] + lips[1, 2]) / 2, gape], np.float32)
    shade(
      self.screen, self.camera, self.normals, self.shape, figure.triangles, figure.materials,
      figure.uv, figure.paint, figure.inner, figure.palette, figure.traits, self.depth, self.which,
      self.shadow, light_view, lights, mouth, around, per_reach, background, self.image,
    )  # fmt: skip
    return self.image


def _light_basis(direction):
  """float32 [3, 3]: rows right, up and towards the light."""
  forward = direction / np.linalg.norm(direction)
  right = np.cross(np.array([0, 1, 0], np.float32), forward)
  right /= np.linalg.norm(right)
  return np.stack([right, np.cross(forward, right), forward]).astype(np.float32)


def _neighbours(pixels_per_unit):
  """Offsets int64 [8, 2] of the crevice test and 1 / their length in units, float32 [8]."""
  turn = np.arange(8) * np.pi / 4
  radius = np.where(np.arange(8) % 2, 1.1, 0.35) * pixels_per_unit
  radius = np.maximum(radius, np.where(np.arange(8) % 2, 2, 1))
  offsets = np.rint(np.stack([np.cos(turn), np.sin(turn)], 1) * radius[:, None]).astype(np.int64)
  lengths = np.linalg.norm(offsets, axis=1) / pixels_per_unit
  return offsets, (1 / lengths).astype(np.float32)


@_jit
def deform(rest, expressions, active, weights, out):
  """out[:V] = rest + sum_k weights[k] expressions[active[k]]; the extras keep their rest shape."""
  count = expressions.shape[1]
  out[:count] = rest[:count]
  for k in range(len(active)):
    moved, weight = expressions[active[k]], weights[k]
    for i in range(count):
      for axis in range(3):
        out[i, axis] += weight * moved[i, axis]


@_jit
def place(shape, body_start, rotation, shift, body_shift, lens, side, camera, screen):
  """Poses vertices about the neck's top and projects them; screen is x, y [px] and 1 / depth."""
  distance, focal, aim_y, aim_x = lens
  pivot_y, pivot_z = np.float32(-6.0), np.float32(-1.0)
  half = np.float32(side / 2)
  for i in range(len(shape)):
    x, y, z = shape[i, 0], shape[i, 1], shape[i, 2]
    if i < body_start:
      y0, z0 = y - pivot_y, z - pivot_z
      # The neck twists less the lower it is, so that its foot stays in the collar.
      hold = min(max((y + np.float32(19.0)) / np.float32(12.0), np.float32(0)), np.float32(1))
      px = rotation[0, 0] * x + rotation[0, 1] * y0 + rotation[0, 2] * z0 + shift[0]
      py = rotation[1, 0] * x + rotation[1, 1] * y0 + rotation[1, 2] * z0 + shift[1] + pivot_y
      pz = rotation[2, 0] * x + rotation[2, 1] * y0 + rotation[2, 2] * z0 + shift[2] + pivot_z
      rest_x, rest_y, rest_z = x + body_shift[0], y + body_shift[1], z + body_shift[2]
      x = rest_x + hold * (px - rest_x)
      y = rest_y + hold * (py - rest_y)
      z = rest_z + hold * (pz - rest_z)
    else:
      x, y, z = x + body_shift[0], y + body_shift[1], z + body_shift[2]
    camera[i, 0], camera[i, 1], camera[i, 2] = x, y, z
    inverse = np.float32(1.0) / np.float32(distance - z)
    screen[i, 0] = half + focal * (x - aim_x) * inverse
    screen[i, 1] = half - focal * (y - aim_y) * inverse
    screen[i, 2] = inverse


@_jit
def look_from_light(camera, basis, screen):
  """Orthographic view from the light over +-_SHADOW_REACH; z grows towards the light."""
  scale = np.float32(SHADOW_SIZE / (2 * _SHADOW_REACH))
  half = np.float32(SHADOW_SIZE / 2)
  for i in range(len(camera)):
    x, y, z = camera[i, 0], camera[i, 1], camera[i, 2]
    screen[i, 0] = half + scale * (basis[0, 0] * x + basis[0, 1] * y + basis[0, 2] * z)
    screen[i, 1] = half - scale * (basis[1, 0] * x + basis[1, 1] * y + basis[1, 2] * z)
    screen[i, 2] = basis[2, 0] * x + basis[2, 1] * y + basis[2, 2] * z


@_jit
def find_normals(points, triangles, out):
  """Area-weighted vertex normals, unit length."""
  out[:] = 0
  for t in range(len(triangles)):
    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    x, y, z = points[a, 0], points[a, 1], points[a, 2]
    ux, uy, uz = points[b, 0] - x, points[b, 1] - y, points[b, 2] - z
    vx, vy, vz = points[c, 0] - x, points[c, 1] - y, points[c, 2] - z
    nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    for i in (a, b, c):
      out[i, 0] += nx
      out[i, 1] += ny
      out[i, 2] += nz
  for i in range(len(out)):
    x, y, z = out[i, 0], out[i, 1], out[i, 2]
    scale = np.float32(1) / (math.sqrt(x * x + y * y + z * z) + np.float32(1e-9))
    out[i, 0], out[i, 1], out[i, 2] = x * scale, y * scale, z * scale


@_jit
def _hash(x, y, z):
  """A number in [0, 1) for a lattice point."""
  h = np.uint32(x * 73856093) ^ np.uint32(y * 19349663) ^ np.uint32(z * 83492791)
  h = (h ^ (h >> np.uint32(13))) * np.uint32(1274126177)
  h = (h ^ (h >> np.uint32(16))) * np.uint32(2246822519)
  return np.float32((h ^ (h >> np.uint32(13))) & np.uint32(0xFFFFFF)) / np.float32(16777216.0)


@_jit
def _strand(u, v, frequency):
  """Smooth noise in [0, 1) that is long along v: the look of combed hair."""
  x, y = u * frequency, v * np.float32(3.0)
  i, j = math.floor(x), math.floor(y)
  fx, fy = np.float32(x - i), np.float32(y - j)
  fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
  i, j = int(i), int(j)
  low = _hash(i, j, 7) * (1 - fx) + _hash(i + 1, j, 7) * fx
  high = _hash(i, j + 1, 7) * (1 - fx) + _hash(i + 1, j + 1, 7) * fx
  return low * (1 - fy) + high * fy


@_jit
def value_noise(points, frequency, seed, out):
  """Adds to `out` [n] lattice noise in [-1, 1] at points [n, 3] times frequency."""
  for n in range(len(points)):
    x = points[n, 0] * frequency + 1000.0
    y = points[n, 1] * frequency + 1000.0
    z = points[n, 2] * frequency + 1000.0
    i, j, k = int(x), int(y), int(z)
    fx, fy, fz = x - i, y - j, z - k
    fx, fy, fz = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy), fz * fz * (3 - 2 * fz)
    total = 0.0
    for a in range(2):
      for b in range(2):
        for c in range(2):
          weight = (fx if a else 1 - fx) * (fy if b else 1 - fy) * (fz if c else 1 - fz)
          total += weight * _hash(i + a + seed * 131, j + b, k + c)
    out[n] += 2.0 * total - 1.0


@_jit
def raster(screen, triangles, materials, uv, traits, mouth_box, depth, which):
  """Fills `depth` (1 / distance, larger is nearer) and `which` (triangle, -1 for none).

  The mouth's inside is drawn only within `mouth_box` (left, top, right, bottom), the lips' box.
  """
  side = depth.shape[0]
  depth[:] = 0
  which[:] = -1
  for t in range(len(triangles)):
    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    ax, ay = screen[a, 0], screen[a, 1]
    bx, by = screen[b, 0], screen[b, 1]
    cx, cy = screen[c, 0], screen[c, 1]
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    # Image y points down: an outside face has negative area. Hair and cloth are seen from both.
    if area > np.float32(-1e-7) and (materials[t] < HAIR or area < np.float32(1e-7)):
      continue
    left = max(int(math.ceil(min(ax, bx, cx) - 0.5)), 0)
    right = min(int(math.floor(max(ax, bx, cx) - 0.5)), side - 1)
    top = max(int(math.ceil(min(ay, by, cy) - 0.5)), 0)
    bottom = min(int(math.floor(max(ay, by, cy) - 0.5)), side - 1)
    if materials[t] >= SOCKET and materials[t] <= TEETH:
      left, top = max(left, mouth_box[0]), max(top, mouth_box[1])
      right, bottom = min(right, mouth_box[2]), min(bottom, mouth_box[3])
    if left > right or top > bottom:
      continue
    inverse = np.float32(1) / area
    az, bz, cz = screen[a, 2], screen[b, 2], screen[c, 2]
    ragged = materials[t] == HAIR
    for row in range(top, bottom + 1):
      y = np.float32(row + 0.5)
      for column in range(left, right + 1):
        x = np.float32(column + 0.5)
        wa = ((bx - x) * (cy - y) - (by - y) * (cx - x)) * inverse
        wb = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) * inverse
        wc = np.float32(1) - wa - wb
        if wa < 0 or wb < 0 or wc < 0:
          continue
        z = wa * az + wb * bz + wc * cz
        if z <= depth[row, column]:
          continue
        if ragged:
          u = wa * uv[t, 0, 0] + wb * uv[t, 1, 0] + wc * uv[t, 2, 0]
          v = wa * uv[t, 0, 1] + wb * uv[t, 1, 1] + wc * uv[t, 2, 1]
          if v > np.float32(1) - traits[4] * _strand(u, np.float32(0.1), traits[3]):
            continue
        depth[row, column] = z
        which[row, column] = t


@_jit
def raster_depth(screen, triangles, materials, depth):
  """Like `raster` for the shadow map: depth only, all faces towards the light."""
  side = depth.shape[0]
  depth[:] = -1e9
  for t in range(len(triangles)):
    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    ax, ay = screen[a, 0], screen[a, 1]
    bx, by = screen[b, 0], screen[b, 1]
    cx, cy = screen[c, 0], screen[c, 1]
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if area > np.float32(-1e-7) and (materials[t] != HAIR or area < np.float32(1e-7)):
      continue
    if materials[t] == EYE or materials[t] == GUMS or materials[t] == SOCKET:
      continue
    left = max(int(math.ceil(min(ax, bx, cx) - 0.5)), 0)
    right = min(int(math.floor(max(ax, bx, cx) - 0.5)), side - 1)
    top = max(int(math.ceil(min(ay, by, cy) - 0.5)), 0)
    bottom = min(int(math.floor(max(ay, by, cy) - 0.5)), side - 1)
    if left > right or top > bottom:
      continue
    inverse = np.float32(1) / area
    az, bz, cz = screen[a, 2], screen[b, 2], screen[c, 2]
    for row in range(top, bottom + 1):
      y = np.float32(row + 0.5)
      for column in range(left, right + 1):
        x = np.float32(column + 0.5)
        wa = ((bx - x) * (cy - y) - (by - y) * (cx - x)) * inverse
        wb = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) * inverse
        wc = np.float32(1) - wa - wb
        if wa < 0 or wb < 0 or wc < 0:
          continue
        z = wa * az + wb * bz + wc * cz
        if z > depth[row, column]:
          depth[row, column] = z


@_jit
def paint_raster(points, triangles, uv, size):
  """Draws positions over a paint sheet: (float32 [P, P, 3], bool [P, P] covered)."""
  sheet = np.zeros((size, size, 3), np.float32)
  hit = np.zeros((size, size), np.bool_)
  for t in range(len(triangles)):
    a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
    ax, ay = uv[t, 0, 0] * size, uv[t, 0, 1] * size
    bx, by = uv[t, 1, 0] * size, uv[t, 1, 1] * size
    cx, cy = uv[t, 2, 0] * size, uv[t, 2, 1] * size
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    if abs(area) < 1e-9:
      continue
    left = max(int(math.ceil(min(ax, bx, cx) - 0.5)), 0)
    right = min(int(math.floor(max(ax, bx, cx) - 0.5)), size - 1)
    top = max(int(math.ceil(min(ay, by, cy) - 0.5)), 0)
    bottom = min(int(math.floor(max(ay, by, cy) - 0.5)), size - 1)
    for row in range(top, bottom + 1):
      for column in range(left, right + 1):
        x, y = column + 0.5, row + 0.5
        wa = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
        wb = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
        wc = 1 - wa - wb
        if wa >= -1e-4 and wb >= -1e-4 and wc >= -1e-4:
          hit[row, column] = True
          for k in range(3):
            sheet[row, column, k] = wa * points[a, k] + wb * points[b, k] + wc * points[c, k]
  return sheet, hit


@_jit
def _power(x, doublings):
  for _ in range(doublings):
    x = x * x
  return x


@_jit
def shade(
  screen, camera, normals, shape, triangles, materials, uv, paint, inner, palette, traits, depth,
  which, shadow, light_view, lights, mouth, around, per_reach, background, image,
):  # fmt: skip
  """Shades every pixel of `which` into `image`.

  Skin scatters: its diffuse term wraps past the terminator, red furthest (the wrap lighting of
  GPU Gems 1, chapter 16). Crevices darken by comparing depths around the pixel.
  """
  one, zero = np.float32(1), np.float32(0)
  side = depth.shape[0]
  sheet = paint.shape[1]
  lx, ly, lz = light_view[2, 0], light_view[2, 1], light_view[2, 2]
  # The half vector towards a far camera.
  hx, hy, hz = lx, ly, lz + one
  scale = one / math.sqrt(hx * hx + hy * hy + hz * hz)
  hx, hy, hz = hx * scale, hy * scale, hz * scale
  half_shadow = np.float32(SHADOW_SIZE / 2)
  shadow_scale = np.float32(SHADOW_SIZE / (2 * _SHADOW_REACH))
  for row in range(side):
    for column in range(side):
      t = which[row, column]
      if t < 0:
        for k in range(3):
          image[row, column, k] = background[row, column, k]
        continue
      a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
      x, y = np.float32(column + 0.5), np.float32(row + 0.5)
      ax, ay = screen[a, 0], screen[a, 1]
      bx, by = screen[b, 0], screen[b, 1]
      cx, cy = screen[c, 0], screen[c, 1]
      inverse = one / ((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))
      wa = ((bx - x) * (cy - y) - (by - y) * (cx - x)) * inverse
      wb = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) * inverse
      wc = one - wa - wb
      nx = wa * normals[a, 0] + wb * normals[b, 0] + wc * normals[c, 0]
      ny = wa * normals[a, 1] + wb * normals[b, 1] + wc * normals[c, 1]
      nz = wa * normals[a, 2] + wb * normals[b, 2] + wc * normals[c, 2]
      scale = one / (math.sqrt(nx * nx + ny * ny + nz * nz) + np.float32(1e-6))
      if nz < 0 and materials[t] >= HAIR:
        scale = -scale
      nx, ny, nz = nx * scale, ny * scale, nz * scale
      u = wa * uv[t, 0, 0] + wb * uv[t, 1, 0] + wc * uv[t, 2, 0]
      v = wa * uv[t, 0, 1] + wb * uv[t, 1, 1] + wc * uv[t, 2, 1]
      material = materials[t]

      # Albedo, gloss and scattering of the material.
      wrap_r, wrap_g, wrap_b = np.float32(0.1), np.float32(0.1), np.float32(0.1)
      gloss, sharp = np.float32(0.05), 4
      if material <= SCALP:
        m = 0 if material == FACE else 1
        tx = min(max(u * sheet - np.float32(0.5), zero), np.float32(sheet - 1.001))
        ty = min(max(v * sheet - np.float32(0.5), zero), np.float32(sheet - 1.001))
        i, j = int(tx), int(ty)
        fx, fy = tx - np.float32(i), ty - np.float32(j)
        w00, w01 = (one - fx) * (one - fy), fx * (one - fy)
        w10, w11 = (one - fx) * fy, fx * fy
        red = (paint[m, j, i, 0] * w00 + paint[m, j, i + 1, 0] * w01
               + paint[m, j + 1, i, 0] * w10 + paint[m, j + 1, i + 1, 0] * w11)  # fmt: skip
        green = (paint[m, j, i, 1] * w00 + paint[m, j, i + 1, 1] * w01
                 + paint[m, j + 1, i, 1] * w10 + paint[m, j + 1, i + 1, 1] * w11)  # fmt: skip
        blue = (paint[m, j, i, 2] * w00 + paint[m, j, i + 1, 2] * w01
                + paint[m, j + 1, i, 2] * w10 + paint[m, j + 1, i + 1, 2] * w11)  # fmt: skip
        gloss = (paint[m, j, i, 3] * w00 + paint[m, j, i + 1, 3] * w01
                 + paint[m, j + 1, i, 3] * w10 + paint[m, j + 1, i + 1, 3] * w11)  # fmt: skip
        wrap_r, wrap_g, wrap_b = np.float32(0.42), np.float32(0.22), np.float32(0.16)
      elif material == EYE:
        radial = math.sqrt(u * u + v * v) / traits[0]
        red, green, blue = np.float32(0.72), np.float32(0.68), np.float32(0.66)
        if radial < 1.12:
          ray = _strand(math.atan2(v, u), np.float32(0.2), np.float32(9.0))
          shine = np.float32(0.45) + np.float32(0.8) * ray * radial
          if radial > 0.8:
            shine *= one - np.float32(0.65) * min((radial - np.float32(0.8)) * 5, one)
          blend = min(max((np.float32(1.12) - radial) * np.float32(6), zero), one)
          if radial < 0.42:
            shine *= max(min((radial - np.float32(0.32)) * 10, one), np.float32(0.02))
          red += (palette[0, 0] * shine - red) * blend
          green += (palette[0, 1] * shine - green) * blend
          blue += (palette[0, 2] * shine - blue) * blend
        # The upper lid and its lashes shade the ball.
        lid = min(max(one - (v - np.float32(0.05)) * np.float32(1.1), np.float32(0.45)), one)
        red, green, blue = red * lid, green * lid, blue * lid
        wrap_r, wrap_g, wrap_b = np.float32(0.3), np.float32(0.3), np.float32(0.3)
        gloss, sharp = np.float32(0.45), 9
      elif material == TEETH:
        red, green, blue = palette[4, 0], palette[4, 1], palette[4, 2]
        wrap_r, wrap_g, wrap_b = np.float32(0.4), np.float32(0.35), np.float32(0.3)
        gloss, sharp = np.float32(0.3), 5
      elif material == GUMS:
        red, green, blue = palette[5, 0], palette[5, 1], palette[5, 2]
        wrap_r, wrap_g, wrap_b = np.float32(0.45), np.float32(0.3), np.float32(0.3)
        gloss, sharp = np.float32(0.18), 5
      elif material == SOCKET:
        red, green = palette[5, 0] * np.float32(0.5), palette[5, 1] * np.float32(0.4)
        blue = palette[5, 2] * np.float32(0.4)
      elif material == HAIR:
        strand = _strand(u, v, traits[3]) + np.float32(0.7) * _strand(u, v * 2, traits[3] * 3)
        shine = np.float32(0.35) + np.float32(0.8) * strand
        red, green, blue = palette[1, 0] * shine, palette[1, 1] * shine, palette[1, 2] * shine
        wrap_r, wrap_g, wrap_b = np.float32(0.3), np.float32(0.3), np.float32(0.3)
      elif material == CLOTH:
        red, green, blue = palette[2, 0], palette[2, 1], palette[2, 2]
        kind = int(traits[1])
        weave = one
        if kind == 1 and math.floor(v * traits[2]) % 2 == 0:
          weave = np.float32(0.6)
        elif kind == 2 and math.floor(u * traits[2]) % 2 == 0:
          weave = np.float32(0.7)
        elif kind == 3:
          weave = np.float32(0.8) + np.float32(0.4) * _hash(int(u * 160), int(v * 160), 3)
        red, green, blue = red * weave, green * weave, blue * weave
        gloss = np.float32(0.01)
      else:
        red, green, blue = palette[3, 0], palette[3, 1], palette[3, 2]
        gloss, sharp = np.float32(0.6), 5

      # Crevices: how much of the surroundings stands in front of this pixel.
      distance = one / depth[row, column]
      hidden = zero
      for k in range(len(around)):
        i, j = column + around[k, 0], row + around[k, 1]
        if i < 0 or j < 0 or i >= side or j >= side:
          continue
        # distance - 1 / depth[j, i], to first order, as a slope. 20 degrees hide nothing.
        rise = distance * (depth[j, i] * distance - one) * per_reach[k] - np.float32(0.35)
        if rise > 0:
          # What stands far in front is another thing, not this crevice's wall.
          hidden += min(rise, one) * max(min(np.float32(1.8) - rise * np.float32(0.3), one), zero)
      open_sky = max(one - np.float32(0.085) * hidden, np.float32(0.3))

      # Soft shadow of the key light.
      px = wa * camera[a, 0] + wb * camera[b, 0] + wc * camera[c, 0]
      py = wa * camera[a, 1] + wb * camera[b, 1] + wc * camera[c, 1]
      pz = wa * camera[a, 2] + wb * camera[b, 2] + wc * camera[c, 2]
      lit = one
      facing = nx * lx + ny * ly + nz * lz
      if facing > np.float32(-0.42) and material != EYE and material != GLASSES:
        sx = light_view[0, 0] * px + light_view[0, 1] * py + light_view[0, 2] * pz
        sy = light_view[1, 0] * px + light_view[1, 1] * py + light_view[1, 2] * pz
        sz = lx * px + ly * py + lz * pz
        sx = half_shadow + shadow_scale * sx
        sy = half_shadow - shadow_scale * sy
        bias = np.float32(0.45) + np.float32(0.5) * (one - min(max(facing, zero), one))
        i, j = int(sx), int(sy)
        if i >= 1 and j >= 1 and i < SHADOW_SIZE - 3 and j < SHADOW_SIZE - 3:
          fx, fy = sx - np.float32(i), sy - np.float32(j)
          dark = zero
          for dj in range(3):
            wy = (one - fy) if dj == 0 else (fy if dj == 2 else one)
            for di in range(3):
              wx = (one - fx) if di == 0 else (fx if di == 2 else one)
              # A shadow fades in with the blocker's height: no acne, no hard steps.
              block = (shadow[j + dj - 1, i + di - 1] - sz - bias) * np.float32(2.0)
              dark += wx * wy * min(max(block, zero), one)
          lit = max(one - dark * np.float32(0.25), zero)

      # The mouth is lit through its opening only.
      within = wa * inner[a] + wb * inner[b] + wc * inner[c]
      if within > 0:
        deep = mouth[0] - (wa * shape[a, 2] + wb * shape[b, 2] + wc * shape[c, 2])
        fade = one - (deep - np.float32(0.7)) / (np.float32(3.0) + np.float32(1.2) * mouth[1])
        fade = min(max(fade, np.float32(0.05)), one)
        fade = fade * fade * min(np.float32(0.6) + np.float32(0.5) * mouth[1], one)
        fade = one + within * (fade - one)
        open_sky *= max(fade, np.float32(0.02))
        lit = (lit + within * (np.float32(0.75) - lit)) * fade

      key_r = max((facing + wrap_r) / (one + wrap_r), zero)
      key_g = max((facing + wrap_g) / (one + wrap_g), zero)
      key_b = max((facing + wrap_b) / (one + wrap_b), zero)
      # Light that scattered into the shadow's rim is red.
      lit_r = lit if material > SCALP else math.sqrt(lit)
      fill = max(np.float32(0.45) + np.float32(0.55) * (nz * np.float32(0.7) - nx * lx), zero)
      fill *= open_sky
      sky = (np.float32(0.7) + np.float32(0.3) * ny) * open_sky
      glint = max(nx * hx + ny * hy + nz * hz, zero)
      if material == HAIR:
        # Kajiya and Kay 1989: strands shine where the half vector stands across them.
        tx_, ty_, tz_ = -ny * nx, one - ny * ny, -ny * nz
        length = math.sqrt(tx_ * tx_ + ty_ * ty_ + tz_ * tz_) + np.float32(1e-5)
        along = (tx_ * hx + ty_ * hy + tz_ * hz) / length
        shine = _power(max(one - along * along, zero), 5) * traits[5] * (strand * strand)
        shine *= max(facing + np.float32(0.2), zero)
      else:
        shine = gloss * _power(glint, sharp) * max(facing, zero) * np.float32(2)
        grazing = one - max(nz, zero)
        shine += gloss * grazing * grazing * grazing * np.float32(0.15) * open_sky
      shine *= lit * open_sky
      shine_g, shine_b = shine, shine
      if material == HAIR:
        # Half of the shine has passed through the strand and taken its colour.
        shine_g = shine * (np.float32(0.12) + np.float32(1.4) * palette[1, 1])
        shine_b = shine * (np.float32(0.12) + np.float32(1.4) * palette[1, 2])
        shine = shine * (np.float32(0.12) + np.float32(1.4) * palette[1, 0])
      image[row, column, 0] = red * (
        lights[1, 0] * key_r * lit_r + lights[2, 0] * fill + lights[3, 0] * sky
      ) + shine * lights[1, 0]
      image[row, column, 1] = green * (
        lights[1, 1] * key_g * lit + lights[2, 1] * fill + lights[3, 1] * sky
      ) + shine_g * lights[1, 1]
      image[row, column, 2] = blue * (
        lights[1, 2] * key_b * lit + lights[2, 2] * fill + lights[3, 2] * sky
      ) + shine_b * lights[1, 2]


_CURVE_STEPS = 4096
_CURVE_END = 2.0


def film_curve():
  """float32 [_CURVE_STEPS]: linear light in [0, 2] -> display value in [0, 255], soft shoulder."""
  light = np.linspace(0, _CURVE_END, _CURVE_STEPS)
  knee = 0.7
  over = np.maximum(light - knee, 0)
  displayed = np.where(light < knee, light, knee + (1 - knee) * (1 - np.exp(-over / (1 - knee))))
  return (255 * displayed ** (1 / 2.2)).astype(np.float32)


@_jit
def resolve(image, exposure, curve, out):
  """Averages 2x2 pixels of linear light, times exposure [3], into display values out [S, S, 3]."""
  top = np.float32(len(curve) - 1)
  scale = top / np.float32(_CURVE_END)
  for row in range(out.shape[0]):
    for column in range(out.shape[1]):
      for k in range(3):
        light = (
          image[2 * row, 2 * column, k] + image[2 * row, 2 * column + 1, k]
          + image[2 * row + 1, 2 * column, k] + image[2 * row + 1, 2 * column + 1, k]
        )  # fmt: skip
        step = light * np.float32(0.25) * exposure[k] * scale
        out[row, column, k] = curve[int(min(max(step, np.float32(0)), top))]


@_jit
def add_noise(image, noise, top, left, level, out):
  """uint8 out = image + level * a window of the noise sheet; shadows are a little noisier."""
  for row in range(out.shape[0]):
    for column in range(out.shape[1]):
      for k in range(3):
        value = image[row, column, k]
        gain = level * (np.float32(1.2) - value * np.float32(0.002))
        value += gain * noise[top + row, left + column, k] + np.float32(0.5)
        out[row, column, k] = np.uint8(min(max(value, np.float32(0)), np.float32(255)))

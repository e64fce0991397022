"""The morphable head: neutral shape, identities, face channels by name, and paint coordinates.

The model file is made by `convert_ict.py` from USC ICT-FaceKit (MIT); it is not in this repository.
Lengths are ICT units, about one centimetre; x is to the image right, y up, z towards the camera.
"""

import dataclasses
import functools
import os
import pathlib

import numpy as np
from scipy import ndimage

from vidregen_jax import errors

# fmt: off
ICT_CHANNELS = (
  'PupilDilate_L', 'PupilDilate_R', 'browDown_L', 'browDown_R', 'browInnerUp_L', 'browInnerUp_R',
  'browOuterUp_L', 'browOuterUp_R', 'cheekPuff_L', 'cheekPuff_R', 'cheekRaiser_L',
  'cheekRaiser_R', 'cheekSquint_L', 'cheekSquint_R', 'eyeBlink_L', 'eyeBlink_R', 'eyeLookDown_L',
  'eyeLookDown_R', 'eyeLookIn_L', 'eyeLookIn_R', 'eyeLookOut_L', 'eyeLookOut_R', 'eyeLookUp_L',
  'eyeLookUp_R', 'eyeSquint_L', 'eyeSquint_R', 'eyeWide_L', 'eyeWide_R', 'jawForward', 'jawLeft',
  'jawOpen', 'jawRight', 'mouthClose', 'mouthDimple_L', 'mouthDimple_R', 'mouthFrown_L',
  'mouthFrown_R', 'mouthFunnel', 'mouthLeft', 'mouthLowerDown_L', 'mouthLowerDown_R',
  'mouthPress_L', 'mouthPress_R', 'mouthPucker', 'mouthRight', 'mouthRollLower', 'mouthRollUpper',
  'mouthShrugLower', 'mouthShrugUpper', 'mouthSmile_L', 'mouthSmile_R', 'mouthStretch_L',
  'mouthStretch_R', 'mouthUpperUp_L', 'mouthUpperUp_R', 'noseSneer_L', 'noseSneer_R',
)
# fmt: on
CHANNELS = ICT_CHANNELS + ('tongueUp', 'tongueOut')

# Materials of the rendered triangles. The last three belong to appearance.py's extra geometry.
FACE, SCALP, SOCKET, GUMS, TEETH, EYE, HAIR, CLOTH, GLASSES = range(9)
_MATERIALS = {
  'M_Face': FACE, 'M_BackHead': SCALP, 'M_GumsTongue': GUMS, 'M_Teeth': TEETH,
  'M_IrisLeft': EYE, 'M_IrisRight': EYE, 'M_ScleraLeft': EYE, 'M_ScleraRight': EYE,
}  # fmt: skip
# Vertex ranges of the back-head material that are no outer skin (ICT-FaceKit's vertex order).
_MOUTH_SOCKET = (11248, 13293)
# The free part of the tongue, within the gums' material.
_TONGUE = (16600, 17038)

# The 68 landmark vertices published with ICT-FaceKit, in the common (iBUG) order.
# fmt: off
LANDMARKS = np.array([
  1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088,
  3443, 268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140,
  2075, 1147, 4269, 3360, 1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732,
  5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216,
  6207, 6470, 5517, 5966,
])
# fmt: on

PAINT_SIZE = 512  # texels a side of one paint sheet


@dataclasses.dataclass(frozen=True, eq=False)
class Head:
  """A head reduced to what is rendered.

  Attributes:
    neutral: float32 [V, 3], the mean identity at rest.
    expressions: float32 [C, V, 3], one displacement for each name of `CHANNELS`.
    identities: float32 [K, V, 3], displacement of one standard deviation of each identity mode.
    triangles: int32 [N, 3], counter-clockwise from outside.
    materials: uint8 [N], values FACE .. EYE.
    triangle_uv: float32 [N, 3, 2]; paint coordinates in [0, 1] (FACE, SCALP), coordinates from the
      eye's axis in eye radii (EYE; 9 behind the equator), zero elsewhere.
    landmarks: int64 [68], vertex ids.
    paint_position: float32 [2, P, P, 3]; the neutral position painted by each texel of the face
      sheet and of the scalp sheet.
  """

  neutral: np.ndarray
  expressions: np.ndarray
  identities: np.ndarray
  triangles: np.ndarray
  materials: np.ndarray
  triangle_uv: np.ndarray
  landmarks: np.ndarray
  paint_position: np.ndarray

  def shape(self, identity_coefficients):
    """The rest shape of an identity: coefficients [K' <= K] in deviations -> float32 [V, 3]."""
    weights = np.asarray(identity_coefficients, np.float32)
    if weights.size > len(self.identities):
      raise ValueError(f'{weights.size} identity coefficients, the head has {len(self.identities)}')
    return self.neutral + np.tensordot(weights, self.identities[: weights.size], 1)

  @functools.cached_property
  def channel_landmarks(self):
    """float32 [C, 68, 3]: what each channel does to the landmarks."""
    return self.expressions[:, self.landmarks]

  def vertex_mask(self, *materials):
    """bool [V]: vertices used by triangles of any of the materials."""
    mask = np.zeros(len(self.neutral), bool)
    mask[self.triangles[np.isin(self.materials, materials)]] = True
    return mask


def load(path=None):
  """Loads a head from `path`, or from the file named by the environment variable VIDREGEN_HEAD.

  Raises:
    UserError: no file given or found.
  """
  path = path or os.environ.get('VIDREGEN_HEAD')
  if not path:
    raise errors.UserError('no head model: give --head FILE.npz (see data/talkers/README.md)')
  path = pathlib.Path(path).expanduser()
  if not path.is_file():
    raise errors.UserError(f'{path}: no such head model (make one with data.talkers.convert_ict)')
  return _load(path.resolve())


@functools.lru_cache(maxsize=2)
def _load(path):
  with np.load(path, allow_pickle=False) as file:
    # A channel the file lacks stays still, as when an older kit has no cheekRaiser.
    names = [str(name) for name in file['expr_names']]
    neutral = file['neutral'].astype(np.float32)
    expression_of = dict(zip(names, file['expr'].astype(np.float32), strict=True))
    identities = file['ident'].astype(np.float32)
    triangles, triangle_paint, paint = file['tri'], file['tuv'], file['uv']
    material_names = [str(name).split()[-1] for name in file['mats']]
    code = np.array([_MATERIALS.get(name, 255) for name in material_names], np.uint8)
    materials = code[file['tri_mat']]

  first = triangles.min(1)
  scalp = materials == SCALP
  materials[scalp & (first >= _MOUTH_SOCKET[0]) & (first <= _MOUTH_SOCKET[1])] = SOCKET
  eye_sockets = scalp & (first >= 6548) & _spherical(neutral, triangles)
  keep = (materials != 255) & ~eye_sockets
  triangles, materials = triangles[keep], materials[keep]
  triangle_uv = (paint[triangle_paint[keep]] % 1.0).astype(np.float32)

  used = np.union1d(np.unique(triangles), LANDMARKS)
  place = np.full(len(neutral), -1, np.int64)
  place[used] = np.arange(len(used))
  triangles = place[triangles].astype(np.int32)
  neutral, identities = neutral[used], np.ascontiguousarray(identities[:, used])
  still = np.zeros_like(neutral)
  expressions = [expression_of.get(name, [still]) for name in ICT_CHANNELS]
  expressions = [e[used] if len(e) > 1 else still for e in expressions]
  expressions += _tongue(neutral, (used >= _TONGUE[0]) & (used <= _TONGUE[1]))

  paint_position = np.stack([
    _paint_position(neutral, triangles[materials == m], triangle_uv[materials == m])
    for m in (FACE, SCALP)
  ])
  for side in (-1, 1):
    chosen = (materials == EYE) & (side * neutral[triangles[:, 0], 0] > 0)
    points = neutral[triangles[chosen]]
    low, high = points.min((0, 1)), points.max((0, 1))
    centre, radius = (low + high) / 2, (high - low)[:2].max() / 2
    local = (points - centre) / radius
    triangle_uv[chosen] = np.where(local[..., 2:] > 0, local[..., :2], 9.0)
  triangle_uv[np.isin(materials, (SOCKET, GUMS, TEETH))] = 0.0
  return Head(
    neutral, np.stack(expressions), identities, triangles, materials,
    np.ascontiguousarray(triangle_uv), place[LANDMARKS], paint_position,
  )  # fmt: skip


def _spherical(neutral, triangles):
  """bool [N]: triangles that lie on the ICT eye sockets, which are 2.6 units wide at z 6 to 9.4."""
  centre = neutral[triangles].mean(1)
  sideways = np.abs(np.abs(centre[:, 0]) - 3.05) < 1.5
  return sideways & (np.abs(centre[:, 1] - 3.55) < 1.55) & (np.abs(centre[:, 2] - 7.9) < 1.45)


def _tongue(neutral, tongue):
  """Displacements of tongueUp and tongueOut: ICT-FaceKit has a tongue but no shapes for it."""
  # The root stays where it is; the tip rises to the ridge behind the upper teeth, or lies on the
  # lower teeth and comes out between the lips.
  front = np.where(tongue, np.clip((neutral[:, 2] - 4.5) / 5.0, 0, 1) ** 1.3, 0)
  up, out = np.zeros_like(neutral), np.zeros_like(neutral)
  up[:, 1], up[:, 2] = 1.35 * front, 0.3 * front
  out[:, 1], out[:, 2] = 1.3 * front, 2.0 * front
  return [up, out]


def _paint_position(neutral, triangles, triangle_uv):
  """Rasterises positions over the paint sheet and fills the texels outside its charts."""
  from data.talkers import render

  if not len(triangles):
    return np.zeros((PAINT_SIZE, PAINT_SIZE, 3), np.float32)
  sheet, hit = render.paint_raster(neutral, triangles, triangle_uv, PAINT_SIZE)
  nearest = ndimage.distance_transform_edt(~hit, return_distances=False, return_indices=True)
  return sheet[tuple(nearest)]

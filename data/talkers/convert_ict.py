"""Converts USC ICT-FaceKit (MIT licence) into the head model that mesh.load reads.

  git clone https://github.com/USC-ICT/ICT-FaceKit
  python -m data.talkers.convert_ict --kit ICT-FaceKit/FaceXModel --out head.npz

The kit holds Wavefront files: `generic_neutral_mesh.obj` with faces, paint coordinates and
materials; `<expression>.obj` and `identityNNN.obj` with the same vertices, moved.
"""

import argparse
import pathlib
import sys

import numpy as np

from data.talkers import mesh
from vidregen_jax import errors, outputs

NEUTRAL = 'generic_neutral_mesh.obj'


def read_vertices(path):
  """The `v` lines of a Wavefront file: float32 [V, 3]."""
  with open(path, encoding='utf-8', errors='replace') as file:
    rows = [line.split()[1:4] for line in file if line.startswith('v ')]
  return np.array(rows, np.float32).reshape(-1, 3)


def read_mesh(path):
  """A whole Wavefront mesh, its polygons cut into fans of triangles.

  Returns:
    dict of neutral [V, 3], uv [U, 2], tri [N, 3], tuv [N, 3], tri_mat [N], mats [M]; the names are
    the fields of the head model.
  """
  paint, triangles, painted, materials, names = [], [], [], [], []
  current = 0
  with open(path, encoding='utf-8', errors='replace') as file:
    for line in file:
      if line.startswith('vt '):
        paint.append(line.split()[1:3])
      elif line.startswith('usemtl'):
        name = line.split()[-1].split(':')[-1]
        if name not in names:
          names.append(name)
        current = names.index(name)
      elif line.startswith('f '):
        corners = [[int(part or 0) - 1 for part in c.split('/')[:2]] for c in line.split()[1:]]
        for k in range(1, len(corners) - 1):
          fan = (corners[0], corners[k], corners[k + 1])
          triangles.append([c[0] for c in fan])
          painted.append([c[1] if len(c) > 1 else 0 for c in fan])
          materials.append(current)
  if not triangles:
    raise errors.UserError(f'{path}: no faces; is this the kit\'s {NEUTRAL}?')
  return dict(
    neutral=read_vertices(path),
    uv=np.array(paint, np.float32).reshape(-1, 2),
    tri=np.array(triangles, np.int32),
    tuv=np.array(painted, np.int32),
    tri_mat=np.array(materials, np.uint8),
    mats=np.array(names),
  )


def convert(kit, out, identity_modes=32):
  """Reads the folder `kit` (FaceXModel) and writes the head model `out` (.npz).

  Raises:
    UserError: the folder lacks the neutral mesh, all expressions or all identities, or a file's
      vertices are not the neutral mesh's.
  """
  kit, out = pathlib.Path(kit), pathlib.Path(out)
  if not (kit / NEUTRAL).is_file():
    raise errors.UserError(f'{kit}: no {NEUTRAL}; give the kit\'s FaceXModel folder')
  fields = read_mesh(kit / NEUTRAL)
  neutral = fields['neutral']

  def moved(path):
    points = read_vertices(path)
    if points.shape != neutral.shape:
      raise errors.UserError(f'{path}: {len(points)} vertices, {NEUTRAL} has {len(neutral)}')
    return (points - neutral).astype(np.float16)

  # The kit spells left and right `_L`, `_R`; a shape it does not have stays still in mesh.load.
  names = [name for name in mesh.ICT_CHANNELS if (kit / f'{name}.obj').is_file()]
  identities = sorted(kit.glob('identity[0-9]*.obj'))[:identity_modes]
  if not names or not identities:
    raise errors.UserError(f'{kit}: {len(names)} expression and {len(identities)} identity files')
  fields['expr'] = np.stack([moved(kit / f'{name}.obj') for name in names])
  fields['expr_names'] = np.array(names)
  fields['ident'] = np.stack([moved(path) for path in identities])
  out.parent.mkdir(parents=True, exist_ok=True)
  with outputs.whole_file(out) as part:
    np.savez_compressed(part, **fields)
  return fields


def main(arguments=None):
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--kit', required=True, help='the FaceXModel folder of ICT-FaceKit')
  parser.add_argument('--out', required=True, help='the head model to write, .npz')
  parser.add_argument('--identities', type=int, default=32, help='identity modes kept (of 100)')
  args = parser.parse_args(arguments)
  try:
    fields = convert(args.kit, args.out, args.identities)
  except errors.UserError as error:
    print(f'error: {error}', file=sys.stderr)
    return 2
  print(
    f'{args.out}: {len(fields["neutral"])} vertices, {len(fields["expr"])} expressions, '
    f'{len(fields["ident"])} identities'
  )
  return 0


if __name__ == '__main__':
  sys.exit(main())

"""Exported models: a folder with config.json and <kind>.safetensors, enough to run the model.

`regenerate` and `evaluate` read these, without Orbax or Grain.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil

import numpy as np
import safetensors
import safetensors.numpy

from vidregen_jax import documents, files, outputs
from vidregen_jax.errors import UserError
from vidregen_jax.faces import crop_geometry

_FORMAT = 1
_PARAMS = 'params/'
# What of the crop's geometry a model of a kind depends on; all others have the lower face hidden.
_GEOMETRY = {'sync': crop_geometry.CROP}
_MOST_CONFIG = 1_000_000  # bytes of config.json
_LONGEST_NAME = 300
_TYPES = {'F16': np.float16, 'F32': np.float32, 'F64': np.float64, 'I32': np.int32, 'I64': np.int64}
_HEADER = documents.record({
  'format': documents.whole(_FORMAT, _FORMAT), 'kind': documents.text(32),
  'config': documents.table(lambda value, where: value, 256)},
  {'crop': lambda value, where: value})


@dataclasses.dataclass(frozen=True)
class Export:
  """A model as read from its folder.

  Attributes:
    kind: 'codec', 'generator', 'student', 'lips' or 'sync'.
    config: what was given to `export`, with tuples for lists.
    params: nested dict of NumPy arrays; what was stored as float16 is float32 again.
    arrays: dict of further NumPy arrays, such as a codec's latent_mean and latent_std.
    digest: sha256 of the weights file: which model this is.
    config_digest: sha256 of config.json; '' if the export was not read from files.
  """

  kind: str
  config: dict
  params: dict
  arrays: dict
  digest: str
  config_digest: str = ''


def flatten(tree, prefix=''):
  """Nested dict of arrays -> flat dict with '/'-joined names."""
  flat = {}
  for name, value in tree.items():
    if isinstance(value, dict):
      flat |= flatten(value, f'{prefix}{name}/')
    else:
      flat[prefix + name] = value
  return flat


def unflatten(flat):
  """Undo `flatten`."""
  tree = {}
  for path, value in flat.items():
    *parents, name = path.split('/')
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
    node[name] = value
  return tree


def join(params, arrays):
  """Parameters and further arrays -> one flat dict, named as in a weights file."""
  return flatten(params, _PARAMS) | arrays


def split(flat):
  """Undo `join`: (params, arrays)."""
  params = {name[len(_PARAMS):]: x for name, x in flat.items() if name.startswith(_PARAMS)}
  return unflatten(params), {name: x for name, x in flat.items() if not name.startswith(_PARAMS)}


def export(folder, kind, config, params, **arrays):
  """Writes a model to a folder, whole or not at all; it replaces an older one.

  Args:
    folder: path of the folder to make.
    kind: 'codec', 'generator', 'student', 'lips' or 'sync'.
    config: plain nested dict (numbers, strings, tuples) that the model is built from.
    params: nested dict of arrays.
    **arrays: further arrays to keep with the model.

  Returns:
    sha256 of the weights file, as in `Export.digest`.
  """
  with outputs.whole_folder(folder) as part:
    return fill(part, kind, config, params, **arrays)


def fill(folder, kind, config, params, **arrays):
  """`export` into an existing folder, beside its other files."""
  flat = {name: np.asarray(x, order='C') for name, x in join(params, arrays).items()}
  data = safetensors.numpy.save(flat)
  header = {'format': _FORMAT, 'kind': kind, 'crop': _geometry(kind), 'config': config}
  (folder / f'{kind}.safetensors').write_bytes(data)
  (folder / 'config.json').write_text(json.dumps(header, indent=2) + '\n')
  return hashlib.sha256(data).hexdigest()


def _geometry(kind):
  return _GEOMETRY.get(kind, crop_geometry.MASKED_CROP)


def copy(folder, target, kind):
  """Copies a model that `export` wrote into a new folder, without any other files."""
  target.mkdir()
  for name in ('config.json', f'{kind}.safetensors'):
    files.check_readable(folder / name)
    shutil.copyfile(folder / name, target / name)


def load_export(folder, kind):
  """Reads a model that `export` wrote; `model_loader` checks its config.

  Raises:
    UserError: no such folder, a model of another kind, damaged files, or numbers that are not
      finite.
  """
  folder = pathlib.Path(folder)
  about, path = folder / 'config.json', folder / f'{kind}.safetensors'
  if not os.path.exists(about):
    raise UserError(
      f'{folder}: no exported {kind} here (no config.json): give the `export` folder that '
      'training leaves in its workdir'
    )
  config = files.read_bytes(about, most=_MOST_CONFIG)
  header = documents.parse(config, str(about))
  if not isinstance(header, dict) or header.get('format') != _FORMAT:
    raise UserError(f'{about} is not of format {_FORMAT}: export the model again')
  header = _HEADER(header, str(about))
  if header['kind'] != kind:
    raise UserError(f'{folder} holds a {header["kind"]}, but a {kind} is needed here')
  crop_geometry.check(header.get('crop'), _geometry(kind), str(folder),
                      f'train the {kind} again')
  if not os.path.exists(path):
    raise UserError(f'{path} is missing: export the model again')
  data = files.read_bytes(path)
  return Export(kind, _tuples(header['config']), *split(tensors(data, path)),
                hashlib.sha256(data).hexdigest(), hashlib.sha256(config).hexdigest())


def tensors(data: bytes, path) -> dict:
  """The arrays in the bytes of a safetensors file, by name; float16 becomes float32.

  Raises:
    UserError: it is damaged, or an array has another type or is not finite; names `path`.
  """
  again = 'export the model again'
  try:
    rows = safetensors.deserialize(data)
  except safetensors.SafetensorError as error:
    raise UserError(f'{path} is damaged ({error}): {again}') from None
  arrays, folders = {}, set()
  for name, row in rows:
    parts = name.split('/')
    if len(name) > _LONGEST_NAME or not all(parts):
      raise UserError(f'{path} has an array of a name that no model has, {name[:40]!r}: {again}')
    if row['dtype'] not in _TYPES:
      raise UserError(f'{path}: {name} is {row["dtype"]}, not one of {", ".join(_TYPES)}: {again}')
    array = np.frombuffer(row['data'], _TYPES[row['dtype']]).reshape(row['shape'])
    array = array.astype(np.float32) if array.dtype == np.float16 else array
    if array.dtype.kind == 'f' and not np.isfinite(array).all():
      raise UserError(f'{path}: {name} has numbers that are not finite: {again}')
    arrays[name] = array
    folders |= {'/'.join(parts[:end]) for end in range(1, len(parts))}
  if twice := sorted(folders & set(arrays)):
    raise UserError(f'{path} has {twice[0]} as an array and as what others are in: {again}')
  return arrays


def check_shapes(stored, expected, source, way_out):
  """Refuses weights that belong to a model of another shape.

  Args:
    stored, expected: nested dicts of anything with a shape.
    source: where the stored ones come from, for the message.
    way_out: what to do about it, for the message.

  Raises:
    UserError: names the first array that differs, with both shapes.
  """
  stored, expected = flatten(stored), flatten(expected)
  for name in sorted(stored | expected):
    shapes = [
      list(tree[name].shape) if name in tree else 'no such array' for tree in (stored, expected)
    ]
    if shapes[0] != shapes[1]:
      raise UserError(
        f'{source} is of another model: {name} is {shapes[0]} there and {shapes[1]} in this '
        f'config: {way_out}'
      )


def _tuples(value):
  """JSON has no tuples, and a frozen config needs them to be hashable."""
  if isinstance(value, dict):
    return {name: _tuples(item) for name, item in value.items()}
  if isinstance(value, list):
    return tuple(_tuples(item) for item in value)
  return value

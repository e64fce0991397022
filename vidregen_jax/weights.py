"""Exported models: a folder with config.json and <kind>.safetensors, enough to run the model.

Needs neither Orbax nor Grain: this is what `regenerate` and `evaluate` read.
"""

import contextlib
import dataclasses
import hashlib
import json
import pathlib

import numpy as np
import safetensors
import safetensors.numpy

from vidregen_jax import interrupts, outputs
from vidregen_jax.errors import UserError

_FORMAT = 1
_PARAMS = 'params/'


@dataclasses.dataclass(frozen=True)
class Export:
  """A model as read from its folder.

  Attributes:
    kind: 'codec', 'generator' or 'student'.
    config: what was given to `export`, with tuples for lists.
    params: nested dict of NumPy arrays; what was stored as float16 is float32 again.
    arrays: dict of the further NumPy arrays (a codec's latent_mean and latent_std, say).
    digest: sha256 of the weights file: which model this is.
  """

  kind: str
  config: dict
  params: dict
  arrays: dict
  digest: str


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


@contextlib.contextmanager
def whole_folder(folder):
  """A new folder to fill, which takes the place of `folder` when the `with` block ends well.

  Otherwise what was there stays. Yields the path to fill, from which `..` is what it will be.
  """
  folder = pathlib.Path(folder)
  folder.parent.mkdir(parents=True, exist_ok=True)
  with outputs.Room(folder.parent) as room:
    new, old = outputs.sibling(room), room / 'old'
    new.mkdir()
    yield new
    with interrupts.held():
      existed = folder.exists()
      if existed:
        folder.rename(old)
      try:
        new.rename(folder)
      except BaseException:
        if existed:
          old.rename(folder)
        raise


def export(folder, kind, config, params, **arrays):
  """Write a model to a folder; it appears whole or not at all, in place of what was there.

  Args:
    folder: path of the folder to make.
    kind: 'codec', 'generator' or 'student'.
    config: plain nested dict (numbers, strings, tuples) that the model is built from.
    params: nested dict of arrays.
    **arrays: further arrays to keep with the model.

  Returns:
    sha256 of the weights file, as in `Export.digest`.
  """
  with whole_folder(folder) as part:
    return fill(part, kind, config, params, **arrays)


def fill(folder, kind, config, params, **arrays):
  """`export` into a folder that is there already, beside what is in it."""
  flat = {name: np.ascontiguousarray(x) for name, x in join(params, arrays).items()}
  data = safetensors.numpy.save(flat)
  header = {'format': _FORMAT, 'kind': kind, 'config': config}
  (folder / f'{kind}.safetensors').write_bytes(data)
  (folder / 'config.json').write_text(json.dumps(header, indent=2) + '\n')
  return hashlib.sha256(data).hexdigest()


def load_export(folder, kind):
  """Read a model that `export` wrote.

  Raises:
    UserError: no such folder, a model of another kind, or damaged files.
  """
  folder = pathlib.Path(folder)
  path = folder / f'{kind}.safetensors'
  try:
    header = json.loads((folder / 'config.json').read_text())
  except (FileNotFoundError, NotADirectoryError):
    raise UserError(
      f'{folder}: no exported {kind} here (no config.json): give the `export` folder that '
      'training leaves in its workdir'
    ) from None
  except OSError as error:
    raise UserError(f'{folder}/config.json: cannot be read ({error.strerror})') from None
  except ValueError as error:  # not JSON, or not even text
    raise UserError(f'{folder}/config.json is damaged ({error}): export the model again') from None
  if not isinstance(header, dict) or header.get('format') != _FORMAT:
    raise UserError(f'{folder}/config.json is not of format {_FORMAT}: export the model again')
  if header['kind'] != kind:
    raise UserError(f'{folder} holds a {header["kind"]}, but a {kind} is needed here')
  try:
    data = path.read_bytes()
    flat = {name: x.astype(np.float32) if x.dtype == np.float16 else x
            for name, x in safetensors.numpy.load(data).items()}
  except FileNotFoundError:
    raise UserError(f'{path} is missing: export the model again') from None
  except OSError as error:
    raise UserError(f'{path}: cannot be read ({error.strerror})') from None
  except safetensors.SafetensorError as error:
    raise UserError(f'{path} is damaged ({error}): export the model again') from None
  return Export(kind, _tuples(header['config']), *split(flat), hashlib.sha256(data).hexdigest())


def check_shapes(stored, expected, source, way_out):
  """Refuse weights that belong to a model of another shape.

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

"""Pretrained weights, from a folder or the Hugging Face hub, read from safetensors.

What a model does with the tensors is in the model's own file. This one finds them, and reports any
fault in them with the file, the cause and the way out.
"""

import os
import pathlib
import re

import huggingface_hub
import numpy as np
import safetensors

from vidregen_jax import documents, errors, files

FILES = ('config.json', 'model.safetensors', 'model.safetensors.index.json', 'model-*.safetensors')
EXTRACTOR = 'preprocessor_config.json'  # how sound or pictures become what the model takes
_TYPES = ('F16', 'F32', 'F64', 'I32', 'I64')
_MOST_JSON = 32_000_000  # bytes of a JSON file; the index of the largest models has some 100,000
_SHARD = re.compile(r'[\w-][\w.-]*\.safetensors')
_HUB_ID = re.compile(r'[\w-][\w.-]*(/[\w-][\w.-]*)?')


def locate(source, kind, example):
  """The folder of a model.

  Args:
    source: a folder, or a hub id; a folder of that name wins.
    kind: what the model is called in messages, such as 'Whisper'.
    example: a hub id that would do.

  Raises:
    UserError: neither a folder nor the hub gives it.
  """
  folder = pathlib.Path(source)
  if os.path.isdir(folder):
    return folder
  if not _HUB_ID.fullmatch(str(source)):
    raise errors.UserError(
      f'no {kind} folder at {source}; give a folder with config.json and model.safetensors, '
      f"or a hub id such as '{example}'"
    )
  try:
    return pathlib.Path(huggingface_hub.snapshot_download(
      str(source), allow_patterns=[*FILES, EXTRACTOR]))
  except (OSError, ValueError) as error:
    cause = str(error).strip().partition('\n')[0]
    raise errors.UserError(
      f'{source} is not a folder, and the Hugging Face hub did not give it '
      f'({type(error).__name__}: {cause}); check the name and the network, or copy the model '
      'into a folder and give its path'
    ) from error


def read_json(path, kind):
  """A JSON file of a model's folder.

  Raises:
    UserError: it is not there, or not JSON.
  """
  if not path.exists():
    raise errors.UserError(
      f'{path} does not exist; a {kind} folder holds config.json and model.safetensors'
    )
  return documents.read(path, most=_MOST_JSON)


def read_fields(fields, path, checks):
  """The fields of a model's config that are needed, checked; others may be there.

  Args:
    fields: of `read_json`.
    path: the file, for the message.
    checks: `documents` checks by field name.

  Raises:
    UserError: one is missing or has an impossible value.
  """
  return documents.record(checks, more=True)(fields, str(path))


def read_tensors(folder, kind, rename):
  """The requested tensors, as float32.

  Args:
    folder: with model.safetensors, or its shards and their index.
    kind: what the model is called in messages.
    rename: function from a stored name to the name to return it by; None skips the tensor.

  Returns:
    dict of NumPy arrays.

  Raises:
    UserError: files are missing or damaged, or hold numbers that are not finite.
  """
  index = folder / 'model.safetensors.index.json'
  if (folder / 'model.safetensors').is_file() or not index.is_file():
    names = ['model.safetensors']
  else:
    shards = read_fields(read_json(index, kind), index, {
      'weight_map': documents.table(_shard, 1_000_000)})['weight_map']
    names = sorted({file for name, file in shards.items() if rename(name)})
  tensors = {}
  for path in (folder / name for name in names):
    if not path.exists():
      raise errors.UserError(
        f'{path} does not exist; copy the safetensors weights of the model into its folder'
      )
    files.check_readable(path)
    try:
      # Opened rather than loaded: the tensors that are skipped can be most of a large model.
      with safetensors.safe_open(path, framework='numpy') as opened:
        for name in opened.keys():  # noqa: SIM118 (it is not a dict)
          if wanted := rename(name):
            tensors[wanted] = _tensor(opened, name, path)
    except safetensors.SafetensorError as error:
      raise errors.UserError(
        f'{path} is not a whole safetensors file ({error}); copy it again'
      ) from error
  return tensors


def _shard(value, where):
  """Checks for the name of a file in the same folder."""
  if not isinstance(value, str) or not _SHARD.fullmatch(value):
    raise errors.UserError(
      f'{where} is not the name of a safetensors file in the same folder; copy the model again')
  return value


def _tensor(opened, name, path):
  kind = opened.get_slice(name).get_dtype()
  if kind not in _TYPES:
    raise errors.UserError(f'{path}: {name} is {kind}, not one of {", ".join(_TYPES)}; give the '
                           'model in one of these')
  tensor = opened.get_tensor(name).astype(np.float32)
  if not np.isfinite(tensor).all():
    raise errors.UserError(f'{path}: {name} has numbers that are not finite; copy the model again')
  return tensor


class Absent:
  """Zeros in place of `Tensors` that take no memory: for the shapes of a model that is not here."""

  def take(self, _, *shape):
    return np.broadcast_to(np.float32(0), shape)

  def stack(self, rows):
    """Tensors of one shape along a new first axis."""
    return np.broadcast_to(rows[0], (len(rows), *rows[0].shape))

  def check(self):
    """Nothing can be wrong with zeros."""


class Tensors:
  """Tensors to take by name and shape; all faults are reported together, by `check`.

  Args:
    tensors: dict of `read_tensors`.
    folder: where they are from, for the message.
    what: what the folder should hold, for the message.
  """

  def __init__(self, tensors, folder, what):
    self._tensors, self._folder, self._what = tensors, folder, what
    self._faults = []

  def take(self, name, *shape):
    """The tensor; zeros where it is missing or has another shape, which `check` reports."""
    if name not in self._tensors:
      self._faults.append(f'{name} is missing')
    elif self._tensors[name].shape != shape:
      self._faults.append(f'{name} is {self._tensors[name].shape}, not {shape}')
    else:
      return self._tensors[name]
    return np.broadcast_to(np.float32(0), shape)  # a config may say any size: it takes no memory

  def stack(self, rows):
    """Tensors of one shape along a new first axis; zeros where something was wrong."""
    if self._faults:
      return np.broadcast_to(np.float32(0), (len(rows), *rows[0].shape))
    return np.stack(rows)

  def check(self):
    """Raises:
      UserError: something that was taken is missing or of another shape.
    """
    if self._faults:
      rest = len(self._faults) - 1
      more = f' and {rest} more faults' if rest else ''
      raise errors.UserError(
        f'{self._folder} does not hold {self._what}: {self._faults[0]}{more}; '
        'copy the model again'
      )

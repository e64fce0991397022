"""Checks the JSON files of a dataset's folder before anything acts on what they say.

A folder of crops is in TFDS's format: its features.json names Python classes, and TFDS imports
their modules, whatever they are. So only the classes that our builders write are accepted. A folder
of latents is in our own format; it names the shards in it.
"""

import os
import pathlib
import re

from vidregen_jax import documents, files
from vidregen_jax.documents import choice, flag, number, record, row, table, text, whole
from vidregen_jax.errors import UserError
from vidregen_jax.faces import crop_geometry

INFO, _FEATURES, _METADATA = 'dataset_info.json', 'features.json', 'metadata.json'
_TFDS = 'tensorflow_datasets.core.features'
_TEMPLATE = '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}'
_NAME = re.compile(r'\w[\w.-]*')
_NUMBER = re.compile(r'\d{1,15}')
_SIDE = object()  # stands for a crop's side, which may be any
# What every clip has: dtype, and shape without the first axis, which is time.
_CLIP = {'frames': ('uint8', (_SIDE, _SIDE, 3)), 'times': ('float32', ()), 'audio': ('int16', ()),
         'mouth_box': ('float32', (4,)), 'lip_gap': ('float32', ()), 'mouth_width': ('float32', ())}
_MOST_SHARDS = 1_000_000


def named(value, where):
  """Checks for a name that is no path."""
  if not isinstance(value, str) or not _NAME.fullmatch(value):
    raise UserError(f'{where} is no plain name')
  return value


def _digits(value, where):
  """Checks for a whole number, which protocol buffers write as a string."""
  if not isinstance(value, str) or not _NUMBER.fullmatch(value):
    raise UserError(f'{where} is no number of things')
  return int(value)


def _any(value, where):
  return value


def _dimension(value, where):
  return -1 if value == '-1' else _digits(value, where)


_SHAPE = record({}, {'dimensions': row(_dimension, 0, 8)})
_TENSOR = record({
  'dtype': choice('uint8', 'int16', 'int32', 'int64', 'float32'),
  'encoding': choice('none', 'bytes'), 'shape': _SHAPE})
_KINDS = {
  f'{_TFDS}.tensor_feature.Tensor': record({'tensor': _TENSOR}),
  f'{_TFDS}.scalar.Scalar': record({'tensor': _TENSOR}),
  f'{_TFDS}.text_feature.Text': record({'text': record({})}),
}


def _feature(value, where):
  """Checks one feature of a clip; gives (dtype, shape), None for a text."""
  fields = dict(record({'pythonClassName': text(200)}, more=True)(value, where))
  if fields['pythonClassName'] not in _KINDS:
    raise UserError(f'{where} is of the class {documents.short(fields["pythonClassName"])}, which '
                    'is none that our builders write, and is not run')
  rest = {name: each for name, each in value.items() if name != 'pythonClassName'}
  tensor = _KINDS[fields['pythonClassName']](rest, where).get('tensor')
  return tensor and (tensor['dtype'], tensor['shape'].get('dimensions', ()))


_ALL_FEATURES = record({
  'pythonClassName': choice(f'{_TFDS}.features_dict.FeaturesDict'),
  'featuresDict': record({'features': table(_feature, 256)})})
_WORDS = text(100_000)
_CROPS = record(
  {'name': named, 'version': named, 'fileFormat': choice('array_record'),
   'splits': row(record(
     {'name': named, 'filepathTemplate': choice(_TEMPLATE),
      'shardLengths': row(_digits, 1, _MOST_SHARDS)}, {'numBytes': _digits}), 0, 64)},
  {'configName': named, 'configDescription': _WORDS, 'moduleName': text(200),
   'description': _WORDS, 'citation': text(10_000), 'downloadSize': _digits,
   'releaseNotes': table(_WORDS, 1000)})


def check_crops(folder) -> None:
  """Checks what TFDS will read of a dataset.

  Args:
    folder: pathlib.Path, that of its version.

  Raises:
    UserError: it is none that our builders write, damaged, or of another crop of the face; names
      the file and the field.
  """
  for path in sorted(folder.iterdir()):
    files.check_readable(path)  # a shard that is a pipe is waited for without end
  about, features = folder / INFO, folder / _FEATURES
  _CROPS(documents.read(about), str(about))
  known = _ALL_FEATURES(documents.read(features), str(features))['featuresDict']['features']
  for name, (dtype, shape) in _CLIP.items():
    found = known.get(name)
    if not found or found[0] != dtype or len(found[1]) != len(shape) + 1 or any(
        size is not _SIDE and size != stored for size, stored in zip(shape, found[1][1:],
                                                                     strict=True)):
      raise UserError(f'{features}: {name} is not what a clip has: build the dataset again')
  if 'clip_id' not in known:
    raise UserError(f'{features} lacks clip_id: build the dataset again')
  metadata = {}
  if os.path.lexists(folder / _METADATA):
    metadata = dict(table(_any, 64)(documents.read(folder / _METADATA), str(folder / _METADATA)))
  crop_geometry.check(metadata.pop('crop', None), crop_geometry.CROP, str(folder),
                      'build the dataset again')
  table(text(10_000), 64)(metadata, str(folder / _METADATA))


def holds_latents(folder) -> bool:
  """Whether a folder's dataset_info.json, if there is one, is of latents."""
  path = pathlib.Path(folder) / INFO
  info = documents.read(path) if os.path.lexists(path) else {}
  return isinstance(info, dict) and 'latent_shape' in info


_SECONDS = number(0, 3600)
_LISTED = table(record({'files': row(named, 0, _MOST_SHARDS)},
                       {'clips': whole(0, 2**40), 'records': whole(0, 2**40)}), 64)
_HEARD = {
  'audio_encoder': text(4096), 'audio_layers': row(whole(0, 256), 1, 257),
  'audio_width': whole(1, 65_536), 'window_seconds': _SECONDS, 'margin_seconds': _SECONDS}
_TRAINED_ON = _HEARD | {'codec': text(64), 'latent_shape': row(whole(1, 65_536), 3, 3)}
_LATENTS = record(_TRAINED_ON | {'splits': _LISTED},
                  {'dtype': text(32), 'flip': flag, 'looks': whole(0, 1000),
                   'size': whole(1, 65_536), 'crop': _any})


def read_latents(folder, way_out) -> dict:
  """The dataset_info.json that `encode_latents` wrote, checked.

  Raises:
    UserError: crops are there, nothing is, it is damaged, or made with another mask.
  """
  return _LATENTS(*_read_latents(folder, way_out))


def read_shards(folder, way_out) -> dict:
  """The same of its splits alone: by name, files, clips and records."""
  return record({'splits': _LISTED}, more=True)(*_read_latents(folder, way_out))['splits']


def read_heard(folder, way_out) -> dict:
  """How a dataset was heard, and its splits; of one of latents, the same part of it.

  Raises:
    UserError: crops are there, nothing is, or it is damaged.
  """
  info, path = (_read_latents if holds_latents(folder) else _read)(folder, way_out)
  return {name: value for name, value in record(_HEARD | {'splits': _LISTED}, more=True)(
    info, path).items() if name in (*_HEARD, 'splits')}


def _read_latents(folder, way_out):
  info, path = _read(folder, way_out)
  recorded = info.get('crop') if isinstance(info, dict) else None
  crop_geometry.check(recorded, crop_geometry.MASKED_CROP, str(folder), 'encode the dataset again')
  return info, path


def _read(folder, way_out):
  path = pathlib.Path(folder) / INFO
  if not os.path.lexists(path):
    raise UserError(f'no finished dataset of latents in {folder}: {way_out}')
  info = documents.read(path)
  if isinstance(info, dict) and 'fileFormat' in info:  # TFDS's
    raise UserError(f'{folder} holds crops, but latents are needed here: {way_out}')
  return info, str(path)

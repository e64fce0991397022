"""Datasets of sound that was heard, and of the shape of the speakers' lips.

One record is one clip, its sound beginning with time 0:

  clip_id       str
  audio         float16 [n, layers, E]   Whisper states at 50 Hz
  times         float32 [F]              seconds
  lip_gap       float32 [F]              mouth opening at these times, eye distances
  mouth_width   float32 [F]              distance of the mouth's corners, eye distances

A dataset of latents holds all of that, so it is read as one as well; others are written here. The
shards are ArrayRecord, and dataset_info.json is written last. A run that was stopped goes on with
the shard it was at.
"""

import pathlib

import grain
import numpy as np

from vidregen_jax import files
from vidregen_jax.datasets import (
  consent_record,
  dataset_folder,
  input_pipeline,
  mixture,
  shard_files,
)
from vidregen_jax.errors import BadRecord, UserError

_SHARD = 64  # clips
_LIPS = ('lip_gap', 'mouth_width')
_FIELDS = ('audio', 'times', *_LIPS)
WAY_OUT = 'make it with `python -m data.talkers.make_speech`, or give one of encode_latents'


def write(folder, splits, records, inputs, skip) -> None:
  """Writes a dataset; what an earlier run finished is kept.

  Args:
    folder: where to.
    splits: by name, the numbers of its clips.
    records: function from a split's name and some of its numbers to their records, in order.
    inputs: dict of JSON values that the records depend on, those of `dataset_folder.read_heard`;
      kept, and compared on resuming.
    skip: called with the number of clips of each shard that is there.

  Raises:
    UserError: the folder holds records that were made from other inputs, or a damaged shard; a
      record holds what is no number.
  """
  folder = pathlib.Path(folder)
  shard_files.compare(folder, shard_files.claimed(folder, inputs), inputs, 'records')
  listed = {}
  for split, numbers in splits.items():
    parts = [numbers[at:at + _SHARD] for at in range(0, len(numbers), _SHARD)]
    names = [f'{split}-{i:05d}-of-{len(parts):05d}.array_record' for i in range(len(parts))]
    for part, name in zip(parts, names, strict=True):
      path = folder / name
      if path.exists():
        skip(len(part))
      else:
        with shard_files.writer(path) as put:
          for record in records(split, part):
            put(checked(record | {'audio': record['audio'].astype(np.float16)}))
      shard_files.check(path, len(part))
    listed[split] = {'files': names, 'clips': len(numbers), 'records': len(numbers)}
  files.write_json(folder / dataset_folder.INFO, inputs | {'splits': listed})


def info(spec) -> dict:
  """What is heard in datasets: audio_encoder, audio_layers, audio_width and more.

  Args:
    spec: a folder, or several by weight, such as 'out/speech:2,out/latents/96'.

  Raises:
    UserError: there is no such dataset, or two heard differently.
  """
  (first, _), *others = mixture.parse(spec)
  found = dataset_folder.read_heard(first, WAY_OUT)
  for other, _ in others:
    for name, value in dataset_folder.read_heard(other, WAY_OUT).items():
      if name != 'splits' and value != found[name]:
        raise UserError(f'{first} and {other} cannot be mixed: their {name} is {found[name]!r} and '
                        f'{value!r}')
  return found


def clips(spec, split) -> grain.MapDataset:
  """The records of a split, of `audio`, `times`, `lip_gap` and `mouth_width` alone.

  Raises:
    UserError: as `info`, there is no such split, or somebody in it has withdrawn; on reading a
      record, BadRecord: damage, or numbers that are not finite.
  """
  folders, weights = zip(*mixture.parse(spec), strict=True)
  return mixture.mixed([_clips(folder, split) for folder in folders], weights)


def _clips(folder, split):
  splits = dataset_folder.read_heard(folder, WAY_OUT)['splits']
  consent_record.check(folder, 'build the dataset again, which leaves them out, and encode it')
  return input_pipeline.shards(folder, split, splits, WAY_OUT).map(checked)


def checked(record) -> dict:
  """The fields of a record that are used here.

  Raises:
    BadRecord: one is missing, or not finite, or there are other numbers of times and of lips.
  """
  try:
    kept = {name: record[name] for name in ('clip_id', *_FIELDS)}
  except KeyError as error:
    raise BadRecord(f'a record has no {error}: make the dataset again') from error
  for name in _FIELDS:
    if not np.isfinite(kept[name]).all():
      raise BadRecord(f'clip {kept["clip_id"]}: its {name} is not finite: make the dataset again')
  for name in _LIPS:
    if kept['times'].shape != kept[name].shape or len(kept['times']) < 2:
      raise BadRecord(f'clip {kept["clip_id"]}: it has {len(kept["times"])} times and '
                      f'{len(kept[name])} of {name}: make the dataset again')
  return kept

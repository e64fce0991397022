"""Prepared footage as TFDS ArrayRecords, which codec and latents read as they read the talkers.

  python -m data.talking_faces.build --manifest MANIFEST.csv --data_dir out --sizes 64,256

  tfds.builder_from_directory('out/talking_faces/64/1.0.0').as_data_source('train')[0]['frames']

Records are copied from the sources' results one by one: memory does not grow with the footage.
`record` tells what they hold. Beside them lies consent.json.
"""

import collections
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil

import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core import dataset_builder

from data.talking_faces import record
from vidregen_jax import terminal
from vidregen_jax.datasets import consent_manifest, consent_record
from vidregen_jax.errors import UserError
from vidregen_jax.faces import crop_geometry

_SHARD = 500_000_000  # bytes of crops in a shard
_SHARES = {'test': 0.05, 'validation': 0.05}  # of the people


@dataclasses.dataclass(frozen=True)
class Clip:
  """A clip of a source's result.

  Attributes:
    clip_id: its name.
    folder: of the result.
    index: its place there.
    frames: how many it has.
    person: hash.
    split: which it belongs to.
  """

  clip_id: str
  folder: pathlib.Path
  index: int
  frames: int
  person: str
  split: str


@dataclasses.dataclass(frozen=True)
class Index:
  """What a dataset is made of.

  Attributes:
    clips: of all splits, in an order that hashes fix: neighbours are of different sources.
    consent: the datasets of consent.json.
  """

  clips: tuple[Clip, ...]
  consent: tuple[dict, ...]

  def digest(self) -> str:
    """SHA-256 of everything but where the results lie."""
    clips = [dataclasses.asdict(clip) | {'folder': clip.folder.name} for clip in self.clips]
    return hashlib.sha256(json.dumps([clips, self.consent], sort_keys=True).encode()).hexdigest()


def split_people(clips: list[Clip]) -> list[Clip]:
  """Chooses splits where the manifest did not: nobody is in two of them.

  A person's hash decides, so that a person stays in their split when others come. Where nobody came
  into one of them, the clips of the next person by hash are moved there; where there are not people
  enough, single clips of the person with the most.

  Args:
    clips: whose split may be ''.

  Raises:
    UserError: there are fewer clips than splits.
  """
  chosen = []
  for clip in clips:
    at = int(clip.person, 16) / 16**len(clip.person)
    name = next((name for number, (name, share) in enumerate(_SHARES.items())
                 if at < sum(list(_SHARES.values())[:number + 1])), 'train')
    chosen.append(dataclasses.replace(clip, split=clip.split or name))
  free = {clip.clip_id for clip in clips if not clip.split}
  for name in ('train', 'validation', 'test'):
    if any(clip.split == name for clip in chosen):
      continue
    of = collections.defaultdict(list)
    for clip in chosen:
      if clip.clip_id in free:
        of[clip.split].append(clip)
    donor = max(of, key=lambda split: (len({clip.person for clip in of[split]}), len(of[split])),
                default=None)
    if donor is None or sum(clip.split == donor for clip in chosen) < 2:
      raise UserError(f'{len(clips)} clips are too few for train, validation and test: give more '
                      'footage, or shorter clips by --max_seconds')
    people = sorted({clip.person for clip in of[donor]})
    if len(people) > 1:
      moved = {clip.clip_id for clip in of[donor] if clip.person == people[0]}
    else:
      moved = {min(of[donor], key=lambda clip: clip.clip_id).clip_id}
    chosen = [dataclasses.replace(clip, split=name) if clip.clip_id in moved else clip
              for clip in chosen]
  return chosen


def index(name: str, manifest, jobs, accounts, note=()) -> Index:
  """The clips and the consent of a dataset.

  Args:
    name: of the dataset.
    manifest: path of the consent manifest.
    jobs, accounts: of the sources, in the same order.
    note: lines for the card of what is trained on it.

  Raises:
    UserError: no clip is left, or too few for three splits.
  """
  rows = {row.source: row for row in consent_manifest.read(manifest)}
  salt = consent_manifest.read_salt(manifest)
  said = {consent_manifest.hashed(salt, 'source', source): row for source, row in rows.items()}
  clips = [Clip(clip['clip_id'], job.folder, number, clip['frames'], job.origin.person, job.split)
           for job, account in zip(jobs, accounts, strict=True)
           for number, clip in enumerate(account['clips'])]
  if not clips:
    raise UserError('nothing of the footage can be used: the report says why')
  clips = split_people(clips)
  clips.sort(key=lambda clip: hashlib.sha256(clip.clip_id.encode()).digest())
  split_of = {clip.clip_id: clip.split for clip in clips}
  people = {}
  for job, account in zip(jobs, accounts, strict=True):
    if not account['clips']:
      continue
    row = said[job.origin.source]
    person = people.setdefault(job.origin.person, {
      'person': job.origin.person, 'basis': set(), 'dates': set(), 'languages': set(),
      'sources': 0, 'clips': collections.Counter(), 'hours': 0.0})
    person['basis'].add(row.basis)
    person['dates'].add(row.date)
    person['languages'] |= {row.language} - {''}
    person['sources'] += 1
    person['clips'].update(split_of[clip['clip_id']] for clip in account['clips'])
    person['hours'] += sum(clip['seconds'] for clip in account['clips']) / 3600
  plain = lambda value: sorted(value) if isinstance(value, set) else (
    dict(sorted(value.items())) if isinstance(value, dict) else value)
  listed = [{field: plain(value) for field, value in person.items()}
            | {'hours': round(person['hours'], 6)} for _, person in sorted(people.items())]
  consent = {'name': name, 'note': list(note), 'manifest': os.path.abspath(manifest),
             'people': listed}
  return Index(tuple(clips), (consent,))


@dataclasses.dataclass
class SizeConfig(tfds.core.BuilderConfig):
  """`size` S: pixels a side of the canonical crop."""

  size: int = 256


class TalkingFaces(dataset_builder.FileReaderBuilder):
  """People who agreed to be learned from, speaking; see `build.py`.

  Args:
    index: what it is made of; None to read what is there.
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'First release.'}
  BUILDER_CONFIGS = [SizeConfig(name=str(size), size=size, description=f'{size} pixel crops')
                     for size in record.SIZES]

  def __init__(self, *, index: Index | None = None, **options):
    self._index = index
    options.setdefault('file_format', tfds.core.FileFormat.ARRAY_RECORD)
    super().__init__(**options)

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self, description='Speaking faces of people who agreed, cut out of their footage.',
      features=record.features(self.builder_config.size),
      metadata=tfds.core.MetadataDict({'made_from': '', 'crop': {}}))

  def _download_and_prepare(self, dl_manager, download_config=None):
    del dl_manager, download_config  # nothing to download
    self.info.metadata.update(made_from=self._index.digest(), crop=crop_geometry.CROP)
    size = self.builder_config.size
    found = []
    with terminal.Progress(len(self._index.clips), 'clip', f'{size} px') as bar:
      for split in consent_manifest.SPLITS:
        clips = [clip for clip in self._index.clips if clip.split == split]
        if clips:
          found.append(self._write(split, clips, size, bar))
    self.info.set_splits(tfds.core.SplitDict(found))
    consent_record.write(self.data_path, list(self._index.consent))

  def _write(self, split, clips, size, bar) -> tfds.core.SplitInfo:
    """Copies the records of a split into shards."""
    template = tfds.core.ShardedFileTemplate(
      data_dir=self.data_path, dataset_name=self.name, split=split, filetype_suffix='array_record')
    each = max(_SHARD // (max(clip.frames for clip in clips) * size * size * 3), 1)
    shards = [clips[first:first + each] for first in range(0, len(clips), each)]
    written = 0
    for number, shard in enumerate(shards):
      path = template.sharded_filepath(shard_index=number, num_shards=len(shards))
      writer = record.writer(os.fspath(path))
      try:
        for clip in shard:
          data = _read(clip.folder / f'{size}.array_record', clip.index)
          writer.write(data)
          written += len(data)
          bar.update()
      finally:
        writer.close()
    return tfds.core.SplitInfo(name=split, shard_lengths=[len(shard) for shard in shards],
                               num_bytes=written, filename_template=template)


def _read(path, index):
  """A record of a result.

  Raises:
    UserError: the result is damaged.
  """
  try:
    reader = array_record_module.ArrayRecordReader(str(path))
    (data,) = reader.read([index])
    reader.close()
  except (RuntimeError, IndexError, ValueError) as error:
    raise UserError(f'{path} is damaged: remove its folder and run the same command again'
                    ) from error
  return data


def write(builder: type[TalkingFaces], size: int, data_dir, found: Index) -> pathlib.Path:
  """Writes the dataset of one size, unless it is there and of this very index.

  Returns:
    The folder for `tfds.builder_from_directory`.
  """
  made = builder(config=str(size), data_dir=os.fspath(data_dir), index=found)
  folder = pathlib.Path(made.data_dir)
  if folder.exists():
    if dict(made.info.metadata).get('made_from') == found.digest():
      return folder
    shutil.rmtree(folder)  # of other clips, or of somebody who withdrew
    made = builder(config=str(size), data_dir=os.fspath(data_dir), index=found)
  tfds.disable_progress_bar()
  made.download_and_prepare()
  return folder

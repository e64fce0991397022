"""Reads clips of frames and of latents from disk, and cuts the windows the codec is trained on.

The only file that reads TFDS and ArrayRecord; the order of what is read here is up to `batches`.
"""

import functools
import os
import pathlib

import grain
import msgpack
import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module

from vidregen_jax import files
from vidregen_jax.datasets import batches, consent_record, dataset_folder, mixture, variation
from vidregen_jax.errors import BadRecord, UserError
from vidregen_jax.faces import crop_mask

_BOX_SLACK = 0.5  # how far a mouth's box may reach beyond the crop, in sides of the crop


# ------------------------------------------------------------------------------------------------
# Clips of frames
# ------------------------------------------------------------------------------------------------


def talker_clips(folder, split, size, way_out='build it first'):
  """Open a TFDS dataset of talking-head clips, one record a clip, read one by one.

  Args:
    folder: the dataset's folder, with or without its version.
    split: 'train', 'validation' or 'test'.
    size: side S of the crop that is expected, pixels.
    way_out: how to get the dataset, for the message when it is absent.

  Returns:
    grain.MapDataset of dicts: frames uint8 [F, S, S, 3], times float32 [F] seconds, audio int16
    [n] at 16 kHz, mouth_box float32 [F, 4] crop fractions x0 y0 x1 y1, and the clip's truths.

  Raises:
    UserError: no dataset there, no such split, crops of another size, or somebody in it has
      withdrawn; on reading a clip, BadRecord: damage, or what `check_clip` refuses.
  """
  if dataset_folder.holds_latents(folder):
    raise UserError(f'{folder} holds latents, but crops are needed here: name the dataset that it '
                    'was encoded from')
  where = _version_folder(folder, way_out)
  dataset_folder.check_crops(where)
  consent_record.check(where)
  builder = tfds.builder_from_directory(where)
  if split not in builder.info.splits:
    raise UserError(f'{folder} has no split {split!r}, only {sorted(builder.info.splits)}')
  stored = builder.info.features['frames'].shape[1]
  if stored != size:
    raise UserError(
      f'{folder} holds {stored} px crops, but the model takes {size} px: choose a dataset or a '
      'config of the same size'
    )
  records = _Records(builder.as_data_source(split), f'{split} in {folder}')
  return grain.MapDataset.source(records).map(check_clip)


class _Records:
  """Records, read on demand; a damaged one raises BadRecord, which names it."""

  def __init__(self, source, where):
    self._source, self._where = source, where

  def __len__(self):
    return len(self._source)

  def __getitem__(self, index):
    try:
      return self._source[index]
    except RuntimeError as error:  # ArrayRecord's: a wrong checksum, a file that is short or gone
      raise BadRecord(f'record {index} of {self._where} cannot be read '
                      f'({str(error).partition(";")[0]}): build the dataset again') from error


def check_clip(clip):
  """Returns a clip whose frames and mouth boxes can be trained on.

  A box may reach a little beyond the crop's edge, as trackers' boxes do. One that does not meet the
  crop, or lies far outside it, is in another unit or belongs to another face.

  Raises:
    BadRecord: frames that are not uint8, boxes of another number, or a box that is not finite,
      empty within the crop, or far outside it.
  """
  frames, boxes = clip['frames'], clip['mouth_box']
  if frames.dtype != np.uint8:
    raise _bad_clip(clip, f'its frames are {frames.dtype}, not uint8')
  if len(frames) != len(boxes):
    raise _bad_clip(clip, f'it has {len(frames)} frames, but {len(boxes)} mouth boxes')
  within = np.clip(boxes, 0, 1)
  for fault, found in (
    ('is not finite', ~np.isfinite(boxes)),
    ('is empty within the crop', within[:, 2:] <= within[:, :2]),
    ('is far outside the crop, whose sides are 1', np.abs(boxes - 0.5) > 0.5 + _BOX_SLACK),
  ):
    if (bad := np.flatnonzero(found.any(axis=1))).size:
      box = ', '.join(f'{x:.3g}' for x in boxes[bad[0]])
      raise _bad_clip(clip, f'the mouth_box ({box}) of frame {bad[0]} {fault}')
  return clip


def _name(clip):
  return clip['clip_id'].decode(errors='replace')


def _bad_clip(clip, fault):
  return BadRecord(f'clip {_name(clip)}: {fault}: mend it or leave it out, and build '
                   'the dataset again')


def _version_folder(folder, way_out):
  folder = pathlib.Path(folder)
  if os.path.exists(folder / dataset_folder.INFO):
    return folder
  versions = sorted(path.parent for path in folder.glob(f'*/{dataset_folder.INFO}'))
  if not versions:
    raise UserError(f'no dataset in {folder}: {way_out}')
  return versions[-1]


def mixed_clips(spec, split, size, way_out='build it first'):
  """`talker_clips` of one folder, or of several by weight, such as 'out/a:3,out/b:1'."""
  folders, weights = zip(*mixture.parse(spec), strict=True)
  return mixture.mixed([talker_clips(folder, split, size, way_out) for folder in folders], weights)


def consent(spec, way_out='build it first') -> list[dict]:
  """Whose clips datasets hold, of frames or of latents: what their consent.json lists.

  Returns:
    As `consent_record` describes them; nothing of a dataset that needs none, as the talkers.
  """
  found = []
  for name, _ in mixture.parse(spec):
    folder = pathlib.Path(name)
    if not dataset_folder.holds_latents(folder):
      folder = _version_folder(folder, way_out)
    found += (consent_record.read(folder) or {'datasets': ()})['datasets']
  return found


def _window(clip, start, num_frames):
  frames, boxes = clip['frames'], clip['mouth_box']
  if len(frames) < num_frames:
    raise UserError(
      f'clip {_name(clip)} has {len(frames)} frames, but num_frames is {num_frames}: '
      f'use --config.num_frames={len(frames) // 4 * 4} or less'
    )
  return frames[start : start + num_frames], boxes[start : start + num_frames]


def random_window(clip, rng, num_frames, p_flip, p_masked, p_still, p_rate, p_look):
  """One codec example. The encoder serves video, masked context and stills: it learns from all.

  Args:
    clip: of `talker_clips`.
    rng: numpy Generator, which chooses everything.
    num_frames: F.
    p_flip, p_masked, p_still, p_rate, p_look: how likely it is to be mirrored, to have its lower
      face hidden, to repeat one frame, to be at a lower frame rate, and to have another look.

  Returns:
    Dict of frames uint8 [F, S, S, 3], mouth_box float32 [F, 4], and masked and still, bool.

  Raises:
    UserError: the clip is shorter than that.
  """
  if p_rate and rng.random() < p_rate:
    chosen = variation.at_rate(clip['times'], variation.draw_rate(clip['times'], rng))
    if len(chosen) >= num_frames:
      clip = clip | {name: clip[name][chosen] for name in ('frames', 'mouth_box')}
  start = rng.integers(max(len(clip['frames']) - num_frames, 0) + 1)
  frames, boxes = _window(clip, start, num_frames)
  if p_look and rng.random() < p_look:
    frames, boxes = variation.apply(variation.draw(rng), frames, boxes)
  flip, masked, still = rng.random(3) < (p_flip, p_masked, p_still)
  if still:
    frames = np.broadcast_to(frames[:1], frames.shape)
    boxes = np.broadcast_to(boxes[:1], boxes.shape)
  if flip:
    frames, boxes = crop_mask.mirror(frames, boxes)
  if masked:
    frames = crop_mask.hide_lower_face(frames)
  return {
    'frames': np.ascontiguousarray(frames),
    'mouth_box': boxes.astype(np.float32),
    'masked': masked,
    'still': still,
  }


def codec_batches(config, split, seed, rows, put, augment=True, **options):
  """Random windows of the clips, without end.

  Args:
    config: fields dataset, dataset_help, batch_size, num_frames, p_flip, p_masked, p_still,
      p_rate, p_look, num_workers, max_bad_records, model.
    split: which part of the dataset.
    seed: int; it fixes every choice.
    rows: of a batch that this process reads.
    put: function from these rows as NumPy arrays to device arrays.
    augment: False for the plain windows only: no flips, masks, stills or variation.
    **options: `place` and `tell` of `batches.Batches`.

  Returns:
    batches.Batches of put(part), part = dict of frames uint8 [B, F, S, S, 3], mouth_box float32
    [B, F, 4], and masked and still, bool [B]: what was done to the frames.
  """
  clips = mixed_clips(config.dataset, split, config.model.size, config.dataset_help)
  on = float(augment)
  window = functools.partial(
    random_window,
    num_frames=config.num_frames,
    p_flip=on * config.p_flip,
    p_masked=on * config.p_masked,
    p_still=on * config.p_still,
    p_rate=on * config.p_rate,
    p_look=on * config.p_look,
  )
  return batches.Batches(clips, window, seed, config.batch_size, rows, put, config.num_workers,
                         config.max_bad_records, **options)


def _clips(config, split):
  clips = mixed_clips(config.dataset, split, config.model.size, config.dataset_help)
  return batches.mended(clips, config.max_bad_records)


def codec_examples(config, split, count):
  """The middle windows of a split's first clips, the same at every call, for validation.

  Returns:
    Dict of frames uint8 [N, F, S, S, 3] and mouth_box float32 [N, F, 4]; N is `count`, or fewer
    where the split has fewer clips.
  """
  clips = _clips(config, split)
  windows = []
  for i in range(min(count, len(clips))):
    middle = max(len(clips[i]['frames']) - config.num_frames, 0) // 2
    windows.append(_window(clips[i], middle, config.num_frames))
  frames, boxes = zip(*windows, strict=True)
  return {'frames': np.stack(frames), 'mouth_box': np.stack(boxes)}


def codec_groups(config, split, count, seed):
  """Groups of 4 frames drawn from all clips of a split, a share of them mirrored.

  Returns:
    uint8 [N, 4, S, S, 3], N at least `count`.
  """
  clips = _clips(config, split)
  rng, groups = np.random.default_rng(seed), []
  each = -(-count // len(clips))
  for i in range(len(clips)):
    frames = clips[i]['frames']
    for start in rng.integers(len(frames) - 3, size=each):
      group = frames[start : start + 4]
      groups.append(group[:, :, ::-1] if rng.random() < config.p_flip else group)
  return np.stack(groups)


# ------------------------------------------------------------------------------------------------
# Clips of latents, as latent_dataset writes them
# ------------------------------------------------------------------------------------------------


def encode_record(arrays):
  """Dict of arrays, strings and numbers -> bytes; `decode_record` undoes it."""
  def pack(x):
    return [x.dtype.str, x.shape, x.tobytes()] if isinstance(x, np.ndarray) else x

  return msgpack.packb({name: pack(value) for name, value in arrays.items()})


def decode_record(record):
  """Bytes of `encode_record` -> dict; the arrays are read-only views.

  Raises:
    BadRecord: they are something else.
  """
  def unpack(x):
    return np.frombuffer(x[2], x[0]).reshape(x[1]) if isinstance(x, list) else x

  try:
    return {name: unpack(value) for name, value in msgpack.unpackb(record).items()}
  except (AttributeError, IndexError, TypeError, ValueError) as error:
    raise BadRecord(f'a record holds no clip of latents ({error}): encode the dataset again'
                    ) from error


def check_latents(record):
  """Returns a record of which every number is finite.

  Raises:
    BadRecord: something in it is not; float16 ends at 65504.
  """
  for name, x in record.items():
    if isinstance(x, np.ndarray) and not (finite := np.isfinite(x)).all():
      raise BadRecord(
        f'clip {record["clip_id"]}: {x.size - finite.sum()} of {x.size} numbers of its {name} are '
        f'not finite in {x.dtype}: mend the codec or the clip, and encode the dataset again'
      )
  return record


def latent_info(folder, way_out='run `python -m vidregen_jax.encode_latents` first'):
  """What `encode_latents` says about its dataset: codec digest, shapes, audio layers, counts.

  Args:
    folder: one, or several by weight, such as 'out/a:3,out/b:1', that were encoded alike.

  Raises:
    UserError: no finished dataset of latents in the folder, or two that were encoded differently.
  """
  (first, _), *others = mixture.parse(folder)
  info = dataset_folder.read_latents(first, way_out)
  for other, _ in others:
    found = dataset_folder.read_latents(other, way_out)
    for name in sorted(found.keys() | info.keys()):
      if name not in ('splits', 'looks') and found.get(name) != info.get(name):
        raise UserError(f'{first} and {other} cannot be mixed: their {name} is '
                        f'{info.get(name)!r} and {found.get(name)!r}: encode both alike')
  return info


def latent_clips(folder, split, way_out='run `python -m vidregen_jax.encode_latents` first'):
  """Open a split of a dataset of latents; records are read when asked for.

  Args:
    folder: one, or several by weight, such as 'out/a:3,out/b:1'.
    split: its name.
    way_out: how to get the dataset, for the message when it is absent.

  Returns:
    grain.MapDataset of dicts as described in latent_dataset.py.

  Raises:
    UserError: no finished dataset there, no such split, a damaged shard, or somebody in it has
      withdrawn; on reading a clip, BadRecord: damage, or numbers that are not finite.
  """
  folders, weights = zip(*mixture.parse(folder), strict=True)
  return mixture.mixed([_latents(each, split, way_out) for each in folders], weights)


def _latents(folder, split, way_out):
  splits = dataset_folder.read_shards(folder, way_out)
  consent_record.check(folder, 'build the dataset again, which leaves them out, and encode it')
  return shards(folder, split, splits, 'run `python -m vidregen_jax.encode_latents` again, which '
                'keeps the other shards').map(check_latents)


def shards(folder, split, splits, way_out) -> grain.MapDataset:
  """The records of a split, of shards that `encode_record` filled; read one by one.

  Args:
    folder: of the dataset.
    split: its name.
    splits: of the dataset's dataset_info.json.
    way_out: how to make a damaged shard again.

  Raises:
    UserError: there is no such split, or a damaged shard; on reading a record, BadRecord.
  """
  if split not in splits:
    raise UserError(f'{folder} has no split {split!r}, only {sorted(splits)}')
  paths = [str(pathlib.Path(folder) / name) for name in splits[split]['files']]
  if not paths:
    raise UserError(f'split {split!r} of {folder} holds no clips: name another')
  for path in filter(os.path.lexists, paths):
    files.check_readable(path)
  try:
    source = grain.sources.ArrayRecordDataSource(paths)
  except RuntimeError as error:
    for path in paths:
      if not array_record_module.ArrayRecordReader(path).ok():
        raise UserError(f'{path} is damaged or absent: remove what is left of it and '
                        f'{way_out}') from error
    raise
  return grain.MapDataset.source(_Records(source, f'{split} in {folder}')).map(decode_record)

"""Datasets of latents, for generator training: clips encoded by a codec, and their audio features.

One record is one clip. If asked for, more are of the clip at another frame rate, with other light,
colour, compression and place of the crop (`variation`), and one more of each is its mirror image:

  clip_id      str
  flipped      bool
  target       float16 [T, H, W, C]     the whole clip, encoded as one stream
  context      float16 [T, H, W, C]     the same with the lower face hidden
  cold         float16 [T, H, W, C]     each latent frame's 4 frames encoded alone: the anchor after
                                        a span is encoded so, because its past is not the source's
  stills       float16 [K, H, W, C]     every sixth frame, repeated 4 times: the references
  still_frames int32 [K]                which frames those are
  times        float32 [4T]             seconds since the clip began
  mouth_box    float32 [T, 4]           around the mouths of the latent frame's frames, x0 y0 x1 y1
  lip_gap      float32 [4T]             true mouth opening, eye distances
  mouth_width  float32 [4T]             true distance of the mouth's corners, eye distances
  audio        float16 [n, layers, E]   Whisper states at 50 Hz

Latents are normalised with the codec's latent_mean and latent_std. The shards are ArrayRecord, and
dataset_info.json is written last. A run that was stopped goes on with the shard it was at. Several
hosts that share the folder can write it together: shards do not depend on how many hosts there are.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence

import numpy as np

from vidregen_jax import files, terminal
from vidregen_jax.datasets import consent_record, input_pipeline, shard_files, variation
from vidregen_jax.faces import crop_geometry, crop_mask
from vidregen_jax.models import codec

STILL_STRIDE = 6  # frames between stills
_SHARD = 16  # clips in a shard
_LEAST_FRAMES = 48  # of a clip at another frame rate, so that windows still fit in it


# ------------------------------------------------------------------------------------------------
# Encoding
# ------------------------------------------------------------------------------------------------


def encode_frames(encoder, frames):
  """The four kinds of latents of one or two clips of one shape.

  Args:
    encoder: streaming_codec.Encoder.
    frames: uint8 [B, 4T, S, S, 3].

  Returns:
    List of B dicts of float16: target, context, cold, stills, as the module describes them.
  """
  count, length = frames.shape[:2]
  streams = encoder.stream(np.concatenate([frames, crop_mask.hide_lower_face(frames)]))
  cold = encoder.alone(frames.reshape(-1, codec.TIME_FACTOR, *frames.shape[2:]))
  stills = frames[:, ::STILL_STRIDE]
  stills = encoder.stills(stills.reshape(-1, *stills.shape[2:]))
  kinds = {
    'target': streams[:count],
    'context': streams[count:],
    'cold': cold.reshape(count, length // codec.TIME_FACTOR, *cold.shape[1:]),
    'stills': stills.reshape(count, -1, *stills.shape[1:]),
  }
  return [{name: x[b].astype(np.float16) for name, x in kinds.items()} for b in range(count)]


def encode_looks(clip, encoder, listen, flip, looks):
  """The records of one clip as it is and by `looks` random looks, which its name fixes."""
  records = encode_clip(clip, encoder, listen, flip)
  for number in range(looks):
    seed = hashlib.sha256(clip['clip_id'] + b'#%d' % number).digest()
    other = variation.varied(clip, np.random.default_rng(np.frombuffer(seed, np.uint32)),
                             _LEAST_FRAMES)
    records += encode_clip(other, encoder, listen, flip)
  return records


def encode_clip(clip, encoder, listen, flip):
  """The records of one clip.

  Args:
    clip: a clip of input_pipeline.talker_clips.
    encoder: streaming_codec.Encoder.
    listen: function from samples float32 [n], mono at 16 kHz, to states [n / 320, layers, E].
    flip: whether to add the mirror image.

  Returns:
    List of one or two dicts as the module describes them.
  """
  length = len(clip['frames']) // codec.TIME_FACTOR * codec.TIME_FACTOR
  frames, box = clip['frames'][None, :length], clip['mouth_box'][None, :length]
  if flip:
    mirrored = crop_mask.mirror(frames, box)
    frames, box = (np.concatenate(pair) for pair in zip((frames, box), mirrored, strict=True))
  box = box.reshape(len(box), -1, codec.TIME_FACTOR, 4)
  box = np.concatenate([box[..., :2].min(2), box[..., 2:].max(2)], axis=-1)
  shared = {
    'clip_id': clip['clip_id'].decode(),
    'still_frames': np.arange(0, length, STILL_STRIDE, dtype=np.int32),
    'times': clip['times'][:length].astype(np.float32),
    'lip_gap': clip['lip_gap'][:length].astype(np.float32),
    'mouth_width': clip['mouth_width'][:length].astype(np.float32),
    'audio': np.asarray(listen(clip['audio'].astype(np.float32) / 32768)).astype(np.float16),
  }
  return [
    shared | kinds | {'mouth_box': box[b].astype(np.float32), 'flipped': bool(b)}
    for b, kinds in enumerate(encode_frames(encoder, frames))
  ]


# ------------------------------------------------------------------------------------------------
# The dataset
# ------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Shard:
  """A file of records that is to be written.

  Attributes:
    path: the file.
    clips: those of its split.
    span: which of the clips it holds.
    records: how many records they make.
    looks: random looks of each clip among them.
  """

  path: pathlib.Path
  clips: Sequence
  span: range
  records: int
  looks: int = 0


def write_dataset(folder, dataset, encoder, listen, flip, inputs, names, host=0, hosts=1,
                  looks=0):
  """Encode this host's share of splits into a folder; what an earlier run finished is kept.

  Args:
    folder: where to; all hosts share it.
    dataset: folder of the clips.
    encoder: streaming_codec.Encoder.
    listen: see `encode_clip`.
    flip: whether to add mirror images.
    inputs: dict of JSON values that the latents depend on; kept, and compared on resuming.
    names: the splits.
    host, hosts: which host this is, of how many; it encodes every `hosts`-th shard.
    looks: how many random looks of each training clip are added.

  Raises:
    UserError: the folder holds latents that were made from other inputs, or a damaged shard; a
      clip cannot be used.
  """
  folder = pathlib.Path(folder)
  shards, splits = [], {}
  for split in names:
    clips = input_pipeline.talker_clips(dataset, split, encoder.model.size)
    varied = looks if split == 'train' else 0
    each = (2 if flip else 1) * (1 + varied)
    starts = range(0, len(clips), _SHARD)
    named = [f'{split}-{i:05d}-of-{len(starts):05d}.array_record' for i in range(len(starts))]
    for start, name in zip(starts, named, strict=True):
      span = range(start, min(start + _SHARD, len(clips)))
      shards.append(Shard(folder / name, clips, span, each * len(span), varied))
    splits[split] = {'files': named, 'clips': len(clips), 'records': each * len(clips)}
  claim(folder, inputs)

  mine = shards[host::hosts]
  total = sum(len(shard.span) for shard in mine)
  with terminal.Progress(total, 'clip') as bar:
    for shard in mine:
      bar.describe(shard.path.stem)
      if shard.path.exists():
        bar.update(len(shard.span))
        continue
      with shard_files.writer(shard.path) as write:
        for i in shard.span:
          with np.errstate(over='ignore'):  # reported below, with the clip's name
            records = encode_looks(shard.clips[i], encoder, listen, flip, shard.looks)
          for record in records:
            write(input_pipeline.check_latents(record))
          bar.update()

  # From one listing: a network file system may still cache that a single file is absent.
  present = {path.name for path in folder.iterdir()}
  missing = [shard.path.name for shard in shards if shard.path.name not in present]
  if missing:
    terminal.say(f'{len(missing)} of {len(shards)} shards are still missing, {missing[0]} is the '
                 'first: the host that ends last finishes the dataset; if one was stopped, run its '
                 'command again')
    return
  for shard in shards:
    shard_files.check(shard.path, shard.records)
  if datasets := input_pipeline.consent(dataset):
    consent_record.write(folder, datasets)
  model = encoder.model
  info = inputs | {
    'crop': crop_geometry.MASKED_CROP,
    'latent_shape': [model.cells, model.cells, model.latent_channels],
    'size': model.size,
    'splits': splits,
  }
  files.write_json(folder / 'dataset_info.json', info)


def claim(folder, inputs):
  """Mark a folder as made from these inputs, so that no run mixes latents of two codecs in it."""
  found = shard_files.claimed(folder, inputs | {'crop': crop_geometry.MASKED_CROP})
  crop_geometry.check(found.pop('crop', None), crop_geometry.MASKED_CROP, str(folder),
                      'give another --out, or remove the folder')
  shard_files.compare(folder, found, inputs, 'latents')

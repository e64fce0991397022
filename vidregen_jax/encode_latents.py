"""Encode a dataset once for generator training: latents of every clip, and its audio features.

  python -m vidregen_jax.encode_latents --codec=out/codec/export --dataset=out/talkers/64 \
    --audio_encoder=checkpoints/whisper-base --out=out/latents/64

One record is one clip (and, with --flip, one more is its mirror image with the same audio):

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
  audio        float16 [n, layers, E]   Whisper states at 50 Hz

Latents are normalised with the codec's latent_mean and latent_std. The shards are ArrayRecord;
a run that was stopped goes on with the shard it was at; dataset_info.json is written last.

Several machines that share the output folder encode one dataset together: the same command on each,
with --hosts=N and its own --host, 0 to N - 1. Shards do not depend on N, so what a host left undone
is done by its command again, or by any other number of hosts. Whoever ends last writes
dataset_info.json.
"""

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from array_record.python import array_record_module

from vidregen_jax import cli, documents, files, outputs, terminal
from vidregen_jax.datasets import input_pipeline
from vidregen_jax.errors import UserError
from vidregen_jax.exports import model_loader
from vidregen_jax.faces import crop_mask
from vidregen_jax.inference import streaming_codec
from vidregen_jax.models import codec, whisper

_CODEC = flags.DEFINE_string('codec', None, 'Folder of the exported codec.')
_DATASET = flags.DEFINE_string('dataset', None, 'Folder of the dataset of clips.')
_AUDIO_ENCODER = flags.DEFINE_string(
  'audio_encoder', 'checkpoints/whisper-base', 'Folder or hub id of a Whisper model.'
)
_OUT = flags.DEFINE_string('out', None, 'Folder for the latents.')
_LAYERS = flags.DEFINE_list('layers', None, 'Whisper states to keep, 0 the first; default all.')
_WINDOW = flags.DEFINE_float('window_seconds', 10.0, 'Length of the audio windows.')
_MARGIN = flags.DEFINE_float('margin_seconds', 1.0, 'What is thrown away at their inner ends.')
_SPLITS = flags.DEFINE_list('splits', ['train', 'validation', 'test'], 'Which to encode.')
_FLIP = flags.DEFINE_bool('flip', True, 'Also write the mirror image of every clip.')
_HOSTS = flags.DEFINE_integer('hosts', 1, 'How many machines share the work and the folder.')
_HOST = flags.DEFINE_integer('host', 0, 'Which of them this is, 0 to hosts - 1.')

STILL_STRIDE = 6  # frames between stills
_SHARD = 16  # clips in a shard
_INPUTS = 'inputs.json'


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
  """A file of records to be.

  Attributes:
    path: the file.
    clips: those of its split.
    span: which of the clips it holds.
    records: how many records they make.
  """

  path: pathlib.Path
  clips: Sequence
  span: range
  records: int


def write_dataset(folder, dataset, encoder, listen, flip, inputs, names, host=0, hosts=1):
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

  Raises:
    UserError: the folder holds latents that were made from other inputs, or a damaged shard; a
      clip cannot be used.
  """
  folder = pathlib.Path(folder)
  shards, splits = [], {}
  for split in names:
    clips = input_pipeline.talker_clips(dataset, split, encoder.model.size)
    each = 2 if flip else 1
    starts = range(0, len(clips), _SHARD)
    shard_files = [f'{split}-{i:05d}-of-{len(starts):05d}.array_record' for i in range(len(starts))]
    for start, name in zip(starts, shard_files, strict=True):
      span = range(start, min(start + _SHARD, len(clips)))
      shards.append(Shard(folder / name, clips, span, each * len(span)))
    splits[split] = {'files': shard_files, 'clips': len(clips), 'records': each * len(clips)}
  try:
    folder.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise UserError(f'{folder}: no folder can be made there ({error.strerror}): give another '
                    '--out') from error
  claim(folder, inputs)

  mine = shards[host::hosts]
  total = sum(len(shard.span) for shard in mine)
  with terminal.Progress(total, 'clip') as bar:
    for shard in mine:
      bar.describe(shard.path.stem)
      if shard.path.exists():
        bar.update(len(shard.span))
        continue
      with shard_writer(shard.path) as write:
        for i in shard.span:
          with np.errstate(over='ignore'):  # told below, with the clip's name
            records = encode_clip(shard.clips[i], encoder, listen, flip)
          for record in records:
            write(input_pipeline.check_latents(record))
          bar.update()

  # Listed anew: asked for one by one, files of other hosts can be missing in a network's cache.
  present = {path.name for path in folder.iterdir()}
  missing = [shard.path.name for shard in shards if shard.path.name not in present]
  if missing:
    terminal.say(f'{len(missing)} of {len(shards)} shards are still missing, {missing[0]} is the '
                 'first: the host that ends last finishes the dataset; if one was stopped, run its '
                 'command again')
    return
  for shard in shards:
    check_shard(shard)
  model = encoder.model
  info = inputs | {
    'latent_shape': [model.cells, model.cells, model.latent_channels],
    'size': model.size,
    'splits': splits,
  }
  files.write_json(folder / 'dataset_info.json', info)


def claim(folder, inputs):
  """Mark a folder as made from these inputs, so that no run mixes the latents of two codecs."""
  path = folder / _INPUTS
  # Of hosts that start at once only one can make the link; all compare with what it links to.
  with contextlib.suppress(FileExistsError):
    files.write_json(path, inputs, replace=False)
  found = documents.table(lambda value, where: value, 64)(documents.read(path), str(path))
  if found != inputs:
    name = next(k for k in sorted(found | inputs) if found.get(k) != inputs.get(k))
    raise UserError(
      f'{folder} holds latents made with {name} {found.get(name)!r}, not {inputs.get(name)!r}: '
      'give another --out, or remove the folder'
    )


@contextlib.contextmanager
def shard_writer(path):
  """Give a function that writes records; the file appears whole or not at all.

  Raises:
    UserError: another run makes the same shard.
  """
  with outputs.Outputs([path], replace=True) as shard:
    # One record a group: they are read one by one, in any order.
    writer = array_record_module.ArrayRecordWriter(str(shard.part(path)), 'group_size:1')
    try:
      yield lambda record: writer.write(input_pipeline.encode_record(record))
    finally:
      writer.close()


def check_shard(shard):
  """Compare a finished shard's index with what was to be in it.

  Raises:
    UserError: the file is damaged or was made from other clips.
  """
  count = array_record_module.ArrayRecordReader(str(shard.path)).num_records()  # 0 if unreadable
  if count != shard.records:
    raise UserError(f'{shard.path} has {count} readable records, not {shard.records}: remove it '
                    'and run the same command again')


def chosen_layers(names, count):
  """The Whisper states to keep: numbers from the flag, or all.

  Args:
    names: list of str, or None.
    count: the encoder's layers; it has one state more.

  Raises:
    UserError: one of them is no such state.
  """
  if names is None:
    return tuple(range(count + 1))
  for name in names:
    if not name.isdecimal() or int(name) > count:
      raise UserError(f'--layers has {name!r}: the encoder has states 0 to {count}')
  return tuple(map(int, names))


def run():
  """Do what the flags say.

  Raises:
    UserError: a mistake in the flags, the codec, the dataset or the audio encoder.
  """
  if _HOST.value not in range(_HOSTS.value):
    raise UserError(f'--host={_HOST.value} is not one of --hosts={_HOSTS.value} hosts: they are '
                    'numbered from 0')
  for flag in (_CODEC, _DATASET, _OUT):
    if flag.value is None:
      raise UserError(f'--{flag.name} is missing: `--help` says what it is')
  found = model_loader.load_codec(_CODEC.value)
  export = found.export
  audio_config, audio_params = whisper.load(_AUDIO_ENCODER.value)
  audio_params = jax.tree.map(jnp.asarray, audio_params)
  layers = chosen_layers(_LAYERS.value, audio_config.layers)
  listen = functools.partial(
    whisper.features,
    audio_config,
    audio_params,
    window_seconds=_WINDOW.value,
    margin_seconds=_MARGIN.value,
    layers=layers,
  )
  inputs = {
    'codec': export.digest,
    # Hosts of two kinds would round the latents differently.
    'dtype': str(found.model.activations),
    'audio_encoder': _AUDIO_ENCODER.value,
    'audio_layers': list(layers),
    'audio_width': audio_config.width,
    'window_seconds': _WINDOW.value,
    'margin_seconds': _MARGIN.value,
    'flip': _FLIP.value,
  }
  write_dataset(_OUT.value, _DATASET.value, streaming_codec.Encoder.of(export), listen, _FLIP.value,
                inputs,
                _SPLITS.value, _HOST.value, _HOSTS.value)


if __name__ == '__main__':
  cli.run(run, 'the same command goes on with the shard it was at')

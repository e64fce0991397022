"""The embedded dataset as TFDS ArrayRecords: canonical crops, sound at 16 kHz, the mouth's truth.

  python -m data.talkers.talkers --size 64 --data_dir DIR

  tfds.builder_from_directory('DIR/talkers/64/1.0.0').as_data_source('train')[0]['frames']

Neither needs TensorFlow. Crops are cut by the transforms which the bundled tracker found in the
encoded clips, as they will be in a user's video. The build is reused while the pack is the same.
"""

import argparse
import concurrent.futures
import dataclasses
import os
import pathlib
import shutil
import sys

import cv2
import numpy as np
import tensorflow_datasets as tfds
import tqdm
from tensorflow_datasets.core import shuffle

from data.talkers import truth
from vidregen_jax import errors
from vidregen_jax.faces import crop_geometry, landmarks
from vidregen_jax.media import video
from vidregen_jax.media.audio import waveform

PACK = pathlib.Path(__file__).with_name('pack')
SIZES = (64, 96, 128)
SOUND_RATE = 16_000
# Of packs and datasets that do not record it.
FIRST_CROP = {name: crop_geometry.UNRECORDED[name] for name in crop_geometry.CROP}


@dataclasses.dataclass
class TalkersConfig(tfds.core.BuilderConfig):
  """`size` S: pixels a side of the canonical crop."""

  size: int = 64


class Talkers(tfds.core.GeneratorBasedBuilder):
  """Rendered people who speak synthetic speech in eleven languages; see `make_pack.py`.

  Args:
    pack: folder of the pack; the one in the repository if None.
  """

  VERSION = tfds.core.Version('1.0.0')
  RELEASE_NOTES = {'1.0.0': 'First release.'}
  BUILDER_CONFIGS = [
    TalkersConfig(name=str(size), size=size, description=f'{size} pixel crops') for size in SIZES
  ]

  def __init__(self, *, pack: str | os.PathLike | None = None, **options):
    self.pack = pathlib.Path(pack) if pack is not None else PACK
    options.setdefault('file_format', tfds.core.FileFormat.ARRAY_RECORD)
    super().__init__(**options)

  def _info(self) -> tfds.core.DatasetInfo:
    size, features = self.builder_config.size, tfds.features
    series = lambda *shape: features.Tensor(shape=(None, *shape), dtype=np.float32)
    # Raw bytes: TFDS would widen whole numbers to eight bytes each.
    raw = lambda shape, dtype: features.Tensor(
      shape=shape, dtype=dtype, encoding=features.Encoding.BYTES
    )
    return tfds.core.DatasetInfo(
      builder=self,
      description='Rendered talking heads with exact phonemes, landmarks and mouth openings.',
      features=features.FeaturesDict({
        'clip_id': features.Text(),
        'frames': raw((None, size, size, 3), np.uint8),
        'times': series(),
        'audio': raw((None,), np.int16),
        'mouth_box': series(4),
        'lip_gap': series(),
        'mouth_width': series(),
        'points68': raw((None, 68, 2), np.float32),
        'identity': features.Scalar(np.int32),
        'voice': features.Text(),
        'language': features.Text(),
        'sentence': features.Text(),
      }),
      metadata=tfds.core.MetadataDict({'pack': '', 'crop': {}}),
    )  # fmt: skip

  def _split_generators(self, dl_manager):
    del dl_manager  # nothing to download
    clips = truth.read_index(self.pack)['clips']
    self.info.metadata.update(_made_from(self.pack))
    splits = dict.fromkeys(clip['split'] for clip in clips)
    return {
      split: self._generate_examples([clip for clip in clips if clip['split'] == split])
      for split in splits
    }

  def _generate_examples(self, clips):
    size = self.builder_config.size
    cut = lambda clip: read_clip(self.pack / clip['split'] / clip['clip_id'], size)
    cv2.setNumThreads(1)
    # Decoding, cropping and resampling leave the interpreter's lock; a few clips are in flight.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
      name = clips[0]['split'] if clips else ''
      for group in tqdm.tqdm(_batches(clips, 16), desc=f'{name}, 16 clips each', leave=False):
        for example in pool.map(cut, group):
          yield example['clip_id'], example


def read_clip(path: pathlib.Path, size: int) -> dict:
  """One clip of a pack as a record.

  Args:
    path: the clip's files without their suffix.
    size: S, the crop's side in pixels.

  Raises:
    UserError: a file is missing, or film and truth disagree.
  """
  known = truth.Truth.load(path.with_suffix('.npz'))
  film = path.with_suffix('.mp4')
  frames = [
    landmarks.crop(frame.image, affine, size)
    for frame, affine in zip(video.frames(film), known.affine, strict=False)
  ]
  if len(frames) != len(known.times):
    raise errors.UserError(
      f'{film}: {len(frames)} frames, its truth has {len(known.times)}; make the pack again'
    )
  to_fraction = np.linalg.inv(known.affine[:, :, :2])
  offsets = known.points68 - known.affine[:, None, :, 2]
  return {
    'clip_id': path.name,
    'frames': np.stack(frames),
    'times': known.times.astype(np.float32),
    'audio': _sound(film, known.times),
    'mouth_box': known.mouth_box,
    'lip_gap': known.lip_gap,
    'mouth_width': known.mouth_width,
    'points68': np.einsum('fij,fpj->fpi', to_fraction, offsets).astype(np.float32),
    'identity': known['identity'],
    'voice': known['voice_name'],
    'language': known['language'],
    'sentence': known['sentence'],
  }


def _sound(film, times):
  """int16 [n] at 16 kHz, beginning with the first frame and ending with the last."""
  samples, rate, start = waveform.read(film)
  mono = waveform.mono_16k(samples, rate)
  late = round(float(start) * SOUND_RATE)
  mono = mono[-late:] if late < 0 else np.pad(mono, (late, 0))
  length = round((times[-1] + np.median(np.diff(times))) * SOUND_RATE)
  mono = np.pad(mono[:length], (0, max(length - len(mono), 0)))
  return np.clip(np.round(mono * 32767), -32768, 32767).astype(np.int16)


def _batches(items, count):
  return [items[i : i + count] for i in range(0, len(items), count)]


def _made_from(pack):
  """The metadata of a dataset: which pack it is of, and how its faces lie in the crops."""
  index = truth.read_index(pack)
  return {'pack': truth.checksum(pathlib.Path(pack) / truth.INDEX),
          'crop': index.get('crop', FIRST_CROP)}


def build(
  size: int, data_dir: str | os.PathLike, pack: str | os.PathLike = PACK
) -> pathlib.Path:
  """Makes the ArrayRecords unless they are there and of this very pack.

  Returns:
    The folder for `tfds.builder_from_directory`.

  Raises:
    UserError: no such size, no pack, or a pack of another crop of the face.
  """
  if size not in SIZES:
    raise errors.UserError(f'no crops of {size} pixels; choose one of {SIZES}')
  metadata = _made_from(pack)
  crop_geometry.check(metadata['crop'], crop_geometry.CROP, str(pack), 'make the pack again')
  builder = Talkers(config=str(size), data_dir=os.fspath(data_dir), pack=pack)
  folder = pathlib.Path(builder.data_dir)
  if folder.exists():
    if {'crop': FIRST_CROP} | dict(builder.info.metadata) == metadata:
      return folder
    shutil.rmtree(folder)  # of another pack
    builder = Talkers(config=str(size), data_dir=os.fspath(data_dir), pack=pack)
  tfds.disable_progress_bar()  # _generate_examples has one that knows the end
  # TFDS sorts a split of more than a gigabyte on disk, by TensorFlow; so all are sorted in memory.
  shuffle.MAX_MEM_BUFFER_SIZE = sys.maxsize
  builder.download_and_prepare()
  return folder


def main():
  parser = argparse.ArgumentParser(description='Builds the talkers dataset from a pack.')
  parser.add_argument('--size', type=int, default=64, help=f'crop, one of {SIZES}')
  parser.add_argument('--data_dir', required=True)
  parser.add_argument('--pack', '--manual_dir', default=PACK, help='folder of the pack')
  args = parser.parse_args()
  try:
    folder = build(args.size, args.data_dir, args.pack)
  except errors.UserError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)
  print(folder)


if __name__ == '__main__':
  main()

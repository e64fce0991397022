"""A dataset of coloured noise with the features of the talkers dataset, small enough for tests."""

import numpy as np
import tensorflow_datasets as tfds


class FakeTalkers(tfds.core.GeneratorBasedBuilder):
  """Clips of 24 to 40 frames at 25 a second; each frame's content encodes its clip and index."""

  VERSION = tfds.core.Version('1.0.0')
  SPLITS = {'train': 5, 'validation': 2, 'test': 1}
  BUILDER_CONFIGS = [tfds.core.BuilderConfig(name='16'), tfds.core.BuilderConfig(name='32')]

  def _info(self):
    size = int(self.builder_config.name)
    tensor = tfds.features.Tensor
    features = {
      'clip_id': tfds.features.Text(),
      'frames': tensor(shape=(None, size, size, 3), dtype=np.uint8, encoding='bytes'),
      'times': tensor(shape=(None,), dtype=np.float32),
      'audio': tensor(shape=(None,), dtype=np.int16),
      'mouth_box': tensor(shape=(None, 4), dtype=np.float32),
      'lip_gap': tensor(shape=(None,), dtype=np.float32),
      'mouth_width': tensor(shape=(None,), dtype=np.float32),
      'points68': tensor(shape=(None, 68, 2), dtype=np.float32),
      'identity': tfds.features.Scalar(np.int32),
      'voice': tfds.features.Text(),
      'language': tfds.features.Text(),
      'sentence': tfds.features.Text(),
    }
    return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

  def _split_generators(self, download_manager):
    return {name: self._generate_examples(name) for name in self.SPLITS}

  def _generate_examples(self, split):
    size = int(self.builder_config.name)
    for i in range(self.SPLITS[split]):
      rng = np.random.default_rng([i, len(split)])
      n = 24 + 4 * i
      rows, columns = np.mgrid[:size, :size] / size
      phase = rng.uniform(0, 6, (n, 1, 1, 1)) * 0.2 + np.arange(n)[:, None, None, None] / 4
      waves = np.sin(phase + 5 * np.stack([rows, columns, rows * columns], -1)[None])
      yield f'{split}-{i}', {
        'clip_id': f'{split}-{i}',
        'frames': (127.5 + 120 * waves).astype(np.uint8),
        'times': np.arange(n, dtype=np.float32) / 25,
        'audio': (3000 * rng.standard_normal(n * 640)).astype(np.int16),
        'mouth_box': np.tile(np.float32([0.25, 0.6, 0.7, 0.9]), (n, 1)),
        'lip_gap': rng.uniform(0, 0.3, n).astype(np.float32),
        'mouth_width': np.full(n, 0.5, np.float32),
        'points68': np.zeros((n, 68, 2), np.float32),
        'identity': i,
        'voice': 'none',
        'language': 'none',
        'sentence': 'none',
      }


def build(data_dir, size=16):
  """Writes the dataset under data_dir, and returns its folder."""
  builder = FakeTalkers(data_dir=str(data_dir), config=str(size), file_format='array_record')
  builder.download_and_prepare()
  return builder.data_dir

"""A clip as it is stored: the fields of a record, for codec and latents those of the talkers.

  clip_id            text: the source's hash, and the clip's number in it
  frames             uint8 [F, S, S, 3], canonical crops
  times              float32 [F] seconds from the first frame
  source_times       int64 [F] microseconds on the source's own clock
  valid              uint8 [F]: 0 where no face was found and its place is interpolated
  confidence         float32 [F], `face_track.Track.confidence`
  audio              int16 [n], 16 kHz, from the first frame to the end of the last, in sync
  mouth_box          float32 [F, 4] crop fractions x0, y0, x1, y1
  lip_gap            float32 [F] eye distances, as tracked
  mouth_width        float32 [F] likewise
  offset             float32 seconds by which the source's sound was late, and was moved
  offset_agreement   float32, see `sync_offset.Offset`
  offset_sure        int32: 0 where the offset was uncertain and nothing was moved
  source, person     text: salted hashes
  basis              text: of consent, or licence
  language, sentence text, or ''
  words              text: JSON of [[begin, end, word], ...], seconds from the first frame
"""

import functools

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core import example_serializer

SIZES = (64, 96, 128, 256, 512)
# One record a group, so that records can be read in any order. Not compressed: zstd makes crops of
# 256 pixels a quarter smaller, and reading them takes twice as long.
WRITER = 'group_size:1,uncompressed'


def features(size: int) -> tfds.features.FeaturesDict:
  """The fields of a record of crops of `size` pixels."""
  of = tfds.features
  series = lambda *shape: of.Tensor(shape=(None, *shape), dtype=np.float32)
  # Raw bytes: TFDS would widen whole numbers to eight bytes each.
  raw = lambda shape, dtype: of.Tensor(shape=shape, dtype=dtype, encoding=of.Encoding.BYTES)
  return of.FeaturesDict({
    'clip_id': of.Text(),
    'frames': raw((None, size, size, 3), np.uint8),
    'times': series(),
    'source_times': raw((None,), np.int64),
    'valid': raw((None,), np.uint8),
    'confidence': series(),
    'audio': raw((None,), np.int16),
    'mouth_box': series(4),
    'lip_gap': series(),
    'mouth_width': series(),
    'offset': of.Scalar(np.float32),
    'offset_agreement': of.Scalar(np.float32),
    'offset_sure': of.Scalar(np.int32),
    'source': of.Text(),
    'person': of.Text(),
    'basis': of.Text(),
    'language': of.Text(),
    'sentence': of.Text(),
    'words': of.Text(),
  })


@functools.cache
def _serializer(size):
  known = features(size)
  return known, example_serializer.ExampleSerializer(known.get_serialized_info())


def encode(size: int, clip: dict) -> bytes:
  """A clip's fields as the bytes that TFDS reads."""
  known, serializer = _serializer(size)
  # Otherwise the order of the fields would differ from process to process.
  return serializer.get_tf_example(known.encode_example(clip)).SerializeToString(deterministic=True)


def writer(path):
  """An ArrayRecordWriter for records of `encode`."""
  return array_record_module.ArrayRecordWriter(str(path), WRITER)

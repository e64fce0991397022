"""Windows of cached latents for the generator: what a clip gives in training and in evaluation.

`regenerate` builds the same arrays from a video; the two must mean the same thing.
"""

import dataclasses

import jax
import numpy as np

from vidregen_jax.errors import UserError
from vidregen_jax.models import audio_timeline, codec, streams


@dataclasses.dataclass(frozen=True)
class WindowShape:
  """What a window holds.

  Attributes:
    frames: latent frames T.
    look_ahead: latent frames of audio beyond them.
    references: stills R.
    reference_distance: least distance, in video frames, between a reference and the window.
    region: flat cells of the lower face.
  """

  frames: int
  look_ahead: int
  references: int
  reference_distance: int
  region: tuple[int, ...]


def cut(record, start, shape, rng):
  """Cut a window out of a record of `encode_latents`.

  Args:
    record: dict as `encode_latents` describes it, T' latent frames.
    start: its first latent frame.
    shape: WindowShape.
    rng: numpy Generator; chooses references and the anchor.

  Returns:
    Dict of arrays, all of fixed shape: those of `streams.Conditions` by name, audio not
    standardised; and, to train and score with, mouth_box [T, 4] and lip_gap [4T].

  Raises:
    UserError: the clip is shorter than a window.
  """
  factor, total = codec.TIME_FACTOR, len(record['target'])
  if total < shape.frames:
    raise UserError(f'clip {record["clip_id"]} has {total} latent frames, but num_frames is '
                    f'{shape.frames}: use --config.num_frames={total} or less')
  stop, heard = start + shape.frames, shape.frames + shape.look_ahead
  flat = record['target'].shape[1] * record['target'].shape[2]
  channels = record['target'].shape[3]

  # Audio beyond the clip's last frame is not known to belong to it: hidden, and zero.
  audio, durations = listen(record['audio'], record['times'], start, min(start + heard, total))
  missing = heard - len(audio)
  audio = np.pad(audio, [(0, missing)] + [(0, 0)] * 3)
  durations = np.pad(durations, (0, missing), mode='edge')

  references, valid = choose_references(record, start * factor, stop * factor, shape, rng)
  # Half of the windows end where real footage goes on at once, half some way before it.
  room = total - stop
  distance = 0 if rng.random() < 0.5 else int(rng.integers(shape.frames + 1))
  anchored = distance < room
  at = stop + distance if anchored else 0
  anchor = np.asarray(record['cold'][at]).reshape(flat, channels)
  return streams.stored({
    'target': np.asarray(record['target'][start:stop]).reshape(shape.frames, flat, channels),
    'context': np.asarray(record['context'][start:stop]).reshape(shape.frames, flat, channels),
    'audio': audio,
    'audio_valid': np.arange(heard) < heard - missing,
    'durations': durations,
    'references': references.reshape(shape.references, flat, channels),
    'reference_valid': valid,
    'anchor': anchor[list(shape.region)],
    'anchor_context': np.asarray(record['context'][at]).reshape(flat, channels),
    'anchor_valid': anchored,
    'anchor_time': shape.frames + distance,
  }) | {
    'mouth_box': record['mouth_box'][start:stop],
    'lip_gap': record['lip_gap'][start * factor:stop * factor],
  }


def shapes(model, frames):
  """What `cut` returns, as shapes and types: what a step is planned with where there are no data.

  Args:
    model: generator.GeneratorConfig.
    frames: latent frames T.
  """
  return streams.flat(streams.shapes(model, frames)) | {
    'mouth_box': jax.ShapeDtypeStruct((frames, 4), np.float32),
    'lip_gap': jax.ShapeDtypeStruct((frames * codec.TIME_FACTOR,), np.float32),
  }


def draw(clips, shape, count):
  """Yields `count` random windows of each clip, the same at every call."""
  rng = np.random.default_rng(0)
  for i in range(len(clips)):
    record = clips[i]
    for _ in range(count):
      start = int(rng.integers(max(len(record['target']) - shape.frames, 0) + 1))
      yield cut(record, start, shape, rng)


def listen(features, times, start, stop):
  """Audio of latent frames start to stop.

  Args:
    features: [n, layers, channels] Whisper states at 50 Hz.
    times: [4T'] seconds of all the video's frames.
    start, stop: latent frames.

  Returns:
    audio [stop - start, 16, layers, channels] and durations [stop - start], seconds a frame.
  """
  times = np.asarray(times, np.float64)
  steps = np.diff(times, append=times[-1] + (times[-1] - times[-2]))
  span = slice(start * codec.TIME_FACTOR, stop * codec.TIME_FACTOR)
  audio = audio_timeline.sample_at(features, times[span], steps[span])
  return audio, steps[span].reshape(-1, codec.TIME_FACTOR).mean(1)


def choose_references(record, start, stop, shape, rng):
  """Random stills that are not near the frames [start, stop); none rather than near ones."""
  at = record['still_frames']
  far = np.flatnonzero((at < start - shape.reference_distance)
                       | (at >= stop + shape.reference_distance))
  chosen = rng.permutation(far)[:shape.references]
  valid = np.arange(shape.references) < len(chosen)
  chosen = np.concatenate([chosen, np.zeros(shape.references - len(chosen), int)]).astype(int)
  return record['stills'][chosen], valid


def codec_shapes(num_frames, size):
  """One example of `input_pipeline.codec_batches`, as shapes and types."""
  return {
    'frames': jax.ShapeDtypeStruct((num_frames, size, size, 3), np.uint8),
    'mouth_box': jax.ShapeDtypeStruct((num_frames, 4), np.float32),
    'masked': jax.ShapeDtypeStruct((), bool), 'still': jax.ShapeDtypeStruct((), bool),
  }

"""Windows cut from cached latents: the examples of the generator's training and evaluation.

`editing/regenerator` builds the same arrays from a video; the two must mean the same thing.
"""

import dataclasses

import jax
import numpy as np

from vidregen_jax.errors import UserError
from vidregen_jax.models import audio_timeline, codec, streams


@dataclasses.dataclass(frozen=True)
class WindowShape:
  """The sizes of a window, and the distance of its references.

  Attributes:
    frames: latent frames T.
    look_ahead: latent frames of audio after them.
    references: number of stills R.
    reference_distance: smallest distance in video frames between a reference and the window.
    region: flat cells of the lower face.
  """

  frames: int
  look_ahead: int
  references: int
  reference_distance: int
  region: tuple[int, ...]


def cut(record, start, shape, rng):
  """Cuts a window out of a record of `encode_latents`.

  Args:
    record: dict as `encode_latents` describes it, T' latent frames.
    start: the window's first latent frame.
    shape: WindowShape.
    rng: numpy Generator, which chooses references and the anchor.

  Returns:
    Dict of arrays, all of fixed shape: those of `streams.Conditions` by name, audio not
    standardised; and, for losses and scores, mouth_box [T, 4] and lip_gap [4T].

  Raises:
    UserError: the clip is shorter than a window.
  """
  factor, total = codec.TIME_FACTOR, len(record['target'])
  if total < shape.frames:
    raise UserError(f'clip {record["clip_id"]} has {total} latent frames, but num_frames is '
                    f'{shape.frames}: use --config.num_frames={total} or less')
  stop, audio_frames = start + shape.frames, shape.frames + shape.look_ahead
  flat = record['target'].shape[1] * record['target'].shape[2]
  channels = record['target'].shape[3]

  # Audio after the clip's last frame may not belong to it: it is zero and marked invalid.
  audio, durations = listen(record['audio'], record['times'], start,
                            min(start + audio_frames, total))
  missing = audio_frames - len(audio)
  audio = np.pad(audio, [(0, missing)] + [(0, 0)] * 3)
  durations = np.pad(durations, (0, missing), mode='edge')

  references, valid = choose_references(record, start * factor, stop * factor, shape, rng)
  # In half of the windows real footage follows at once, in the others some way after the end.
  room = total - stop
  distance = 0 if rng.random() < 0.5 else int(rng.integers(shape.frames + 1))
  anchored = distance < room
  at = stop + distance if anchored else 0
  anchor = np.asarray(record['cold'][at]).reshape(flat, channels)
  return streams.stored({
    'target': np.asarray(record['target'][start:stop]).reshape(shape.frames, flat, channels),
    'context': np.asarray(record['context'][start:stop]).reshape(shape.frames, flat, channels),
    'audio': audio,
    'audio_valid': np.arange(audio_frames) < audio_frames - missing,
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
  """What `cut` returns, as shapes and types, to plan a step without data.

  Args:
    model: generator.GeneratorConfig.
    frames: latent frames T.
  """
  return streams.flat(streams.shapes(model, frames)) | {
    'mouth_box': jax.ShapeDtypeStruct((frames, 4), np.float32),
    'lip_gap': jax.ShapeDtypeStruct((frames * codec.TIME_FACTOR,), np.float32),
  }


def draw(clips, shape, count):
  """Yields `count` random windows of each clip, the same ones at every call."""
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
  """Random stills far enough from the frames [start, stop); fewer if there are not enough."""
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

"""The examples of the lips' listener: states of some latent frames, and the shape of the lips.

How wide a mouth is at rest cannot be heard, so widths are given beside it. It is taken from the
frames of the clip in which lips are closed or nearly so: of 192 rendered clips it is .996 of the
true one, with a deviation of .02, where speaking mouths have one of .054.
"""

import numpy as np

from vidregen_jax.datasets import batches, heard_dataset
from vidregen_jax.errors import UserError
from vidregen_jax.inference import mouth_opening
from vidregen_jax.models import audio_timeline, codec

# Frame rates that videos have, drawn with equal chances: latent frames are longer in some of them.
RATES = (24000 / 1001, 24, 25, 25, 30000 / 1001, 30, 50, 60000 / 1001, 60)
_BEYOND = .1  # seconds by which a window may begin before the clip, or end after it


def train_batches(config, seed, rows, put, **options):
  """Random windows of the training clips, without end.

  Args:
    config: see configs/lips.py.
    seed, rows, put: as in `input_pipeline.codec_batches`.
    **options: `place` and `tell` of `batches.Batches`.

  Returns:
    batches.Batches of put(part), part = dict of `cut`'s arrays, stacked.
  """
  def window(clip, rng):
    rate = RATES[rng.integers(len(RATES))]
    first, last = clip['times'][0], clip['times'][-1] - codec.TIME_FACTOR * config.num_frames / rate
    start = rng.uniform(first - _BEYOND, max(last, first) + _BEYOND)
    return cut(clip, start, rate, config.num_frames)

  return batches.Batches(heard_dataset.clips(config.dataset, 'train'), window, seed,
                         config.batch_size, rows, put, config.num_workers, config.max_bad_records,
                         **options)


def cut(clip, start, rate, frames) -> dict:
  """A window of a clip.

  Args:
    clip: of `heard_dataset.clips`.
    start: seconds.
    rate: frames a second.
    frames: latent frames T.

  Returns:
    audio float16 [T, 16, layers, E], not standardised, and float32 [T, 4] lip_gap, and mouth_width,
    1 at rest. Before the clip and after it, all stay as they were.

  Raises:
    UserError: the clip has no sound.
  """
  if not len(clip['audio']):
    raise UserError(f'clip {clip["clip_id"]} has no sound: make the dataset again')
  times = start + np.arange(codec.TIME_FACTOR * frames) / rate
  audio = audio_timeline.sample_at(clip['audio'].astype(np.float32), times, 1 / rate)
  lips = {'lip_gap': clip['lip_gap'], 'mouth_width': clip['mouth_width'] / _at_rest(clip)}
  return {'audio': audio.astype(np.float16)} | {
    name: np.interp(times, clip['times'], row).reshape(frames, -1).astype(np.float32)
    for name, row in lips.items()}


def _at_rest(clip):
  """The width of a clip's mouth at rest, in distances between the eyes."""
  closed = mouth_opening.resting(clip['lip_gap'])
  return max(float(np.median(clip['mouth_width'][closed])), 1e-6)


def whole(clip, rate) -> dict:
  """All latent frames that lie in a clip, as `cut` gives them."""
  seconds = float(clip['times'][-1] - clip['times'][0])
  return cut(clip, clip['times'][0], rate, max(int(seconds * rate) // codec.TIME_FACTOR, 1))

"""The examples of the sync scorer: a mouth and its sound, cut from a clip and disturbed."""

import cv2
import numpy as np

from vidregen_jax.datasets import batches, input_pipeline
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import sync_scorer
from vidregen_jax.faces import mouth_view
from vidregen_jax.models import log_mel, sync

_WANDER = 0.2  # deviation of a mouth's place from frame to frame, as a share of the window's own
_TURN = 3.0  # degrees, deviation
_GAIN, _TILT = 0.1, 0.15  # deviation of a window's loudness, and of its treble against its bass
_GREY_NOISE = 5.0  # largest deviation of a pixel's noise, grey levels


def clips(config, split):
  """The clips of a dataset of crops whose mouths have the model's size.

  Raises:
    UserError: as `input_pipeline.talker_clips`.
  """
  view = mouth_view.mouth(config.model.size)
  return input_pipeline.talker_clips(config.dataset, split, round(view.size / view.side),
                                     config.dataset_help)


def train_batches(config, seed, rows, put, **options):
  """Random disturbed windows of the training clips, without end.

  Args:
    config: see configs/sync.py.
    seed, rows, put: as in `input_pipeline.codec_batches`.
    **options: `place` and `tell` of `batches.Batches`.

  Returns:
    batches.Batches of put(part), part = dict of `cut`'s arrays, stacked.
  """
  def window(clip, rng):
    return cut(clip, rng, config)

  return batches.Batches(clips(config, 'train'), window, seed, config.batch_size, rows, put,
                         config.num_workers, config.max_bad_records, **options)


def cut(clip, rng, config) -> dict:
  """A random window, disturbed as other cameras, trackers, rooms and encoders would.

  Args:
    clip: of `input_pipeline.talker_clips`.
    rng: numpy Generator.
    config: see configs/sync.py.

  Returns:
    mouths uint8 [F, S, S] and mel float32 [4 F, 80], F = config.num_frames.

  Raises:
    UserError: the clip is shorter than a window.
  """
  sound = _noised(clip['audio'].astype(np.float32) / 32768, rng, config.p_noise, config.noise_db)
  mel = sync.spectrogram(sound)
  count = sync.COLUMNS * config.num_frames
  if len(mel) < count:
    raise UserError(f'clip {clip["clip_id"].decode(errors="replace")} has '
                    f'{len(mel) // sync.COLUMNS} frames at {sync.RATE} a second, but num_frames is '
                    f'{config.num_frames}: use fewer, --config.num_frames')
  first = int(rng.integers(len(mel) - count + 1))
  mel = mel[first:first + count] + rng.normal(0, _GAIN)
  mel = mel + rng.normal(0, _TILT) * np.linspace(-1, 1, sync.MEL_BINS, dtype=np.float32)
  seconds = first * log_mel.HOP / log_mel.SAMPLE_RATE + np.arange(config.num_frames) / sync.RATE
  frames = sync_scorer.nearest(clip['times'], seconds + clip['times'][0])
  crops = mouth_view.grey(clip['frames'][frames])
  return {'mouths': _disturbed(crops, rng, config), 'mel': mel.astype(np.float32)}


def _noised(sound, rng, p_noise, decibels):
  if rng.random() < p_noise:
    level = np.sqrt(np.mean(sound**2)) * 10 ** (-rng.uniform(*decibels) / 20)
    sound = sound + level * rng.standard_normal(len(sound), np.float32)
  return sound


def _disturbed(crops, rng, config):
  """Mouths [F, S, S] of grey crops [F, 2S, 2S]: placed, lit, blurred and encoded differently."""
  view = mouth_view.mouth(config.model.size)
  size, shape = view.size, (len(crops), 2)
  turn, grow = np.radians(rng.normal(0, _TURN)), np.exp(rng.normal(0, config.jitter))
  place = rng.normal(0, config.jitter, 2) + rng.normal(0, _WANDER * config.jitter, shape)
  flip = -1 if rng.random() < config.p_flip else 1
  cos, sin = grow * np.cos(turn), grow * np.sin(turn)
  axes = np.array([(flip * cos, -sin), (flip * sin, cos)])
  middle = (np.array([view.left, view.top]) + view.side / 2) * size / view.side - .5
  blur, noise = rng.uniform(0, 1.2), rng.uniform(0, _GREY_NOISE)
  gamma = np.exp(rng.normal(0, .25))
  curve = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
  mouths = np.empty((len(crops), size, size), np.float32)
  for i, crop in enumerate(crops):
    shift = middle + size * place[i] - axes @ np.full(2, (size - 1) / 2)
    mouth = cv2.warpAffine(crop, np.concatenate([axes, shift[:, None]], 1), (size, size),
                           flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                           borderMode=cv2.BORDER_REPLICATE)
    mouths[i] = cv2.GaussianBlur(curve[mouth], (0, 0), blur) if blur > .3 else curve[mouth]
  mouths += noise * rng.standard_normal(mouths.shape, np.float32)
  return np.clip(np.rint(mouths), 0, 255).astype(np.uint8)

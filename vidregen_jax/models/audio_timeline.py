"""Which of Whisper's hidden states belong to a latent frame of video, at any frame rate.

Hidden states come 50 times a second: state k of a sound is centred 20k ms after its first sample,
so index and time convert by a factor and nothing is ever off by half a step.
"""

import numpy as np

from vidregen_jax.models import log_mel

RATE = 50  # hidden states per second
SAMPLES_PER_STATE = log_mel.SAMPLE_RATE // RATE
WINDOW_SAMPLES = 16  # times that `sample_at` reads for one latent frame
CONTEXT_SAMPLES = 4  # of those, how many lie before the latent frame, and how many after it


def sample_times(frame_times, durations):
  """The times at which audio features are sampled for each latent frame.

  The frame rate may be any, and may vary. A latent frame is 4 frames, each sampled at its start and
  its middle; 4 more times, 20 ms apart, come before the first of these 8 and 4 after the last. At
  25 fps all 16 are 20 ms apart.

  Args:
    frame_times: [4T], seconds since the first sample of the audio.
    durations: [4T], or one number for all frames, seconds.

  Returns:
    float64 [T, 16], seconds, ascending along the last axis.

  Raises:
    ValueError: the number of frames is not a multiple of 4.
  """
  times = np.asarray(frame_times, np.float64)
  if times.ndim != 1 or times.size % 4:
    raise ValueError(f'{times.shape} frame times; a latent frame is 4 frames, so give [4T]')
  halves = np.broadcast_to(np.asarray(durations, np.float64), times.shape) / 2
  inside = np.stack([times, times + halves], axis=-1).reshape(-1, 8)
  steps = np.arange(1, CONTEXT_SAMPLES + 1) / RATE
  return np.concatenate([inside[:, :1] - steps[::-1], inside, inside[:, -1:] + steps], axis=-1)


def sample_at(features, frame_times, durations):
  """The 16 hidden states of each latent frame, interpolated linearly in time.

  Args:
    features: float32 [n50, layers, C] at 50 Hz, from `features`.
    frame_times: [4T], seconds since the first sample of the audio.
    durations: [4T], or one number for all frames, seconds.

  Returns:
    float32 [T, 16, layers, C], at `sample_times`; before the start and past the end of the audio
    the first and the last state are repeated.

  Raises:
    ValueError: the number of frames is not a multiple of 4, or there are no features.
  """
  if not len(features):
    raise ValueError('there are no audio features to sample')
  return _interpolate(features, *_positions(len(features), frame_times, durations))


def sample_stream(states, count, frame_times, durations):
  """Yields what `sample_at` gives, one latent frame at a time; memory holds a few states.

  Args:
    states: iterator over float32 [k, layers, C], from `stream`; read no further than needed.
    count: length of their audio in samples.
    frame_times, durations: as of `sample_at`.

  Yields:
    float32 [16, layers, C], T times.

  Raises:
    ValueError: the number of frames is not a multiple of 4.
  """
  held, begin = None, 0
  for low, high, part in zip(
    *_positions(-(-count // SAMPLES_PER_STATE), frame_times, durations), strict=True):
    while held is None or begin + len(held) <= high.max():
      more = next(states)
      kept = 0 if held is None else min(max(low.min() - begin, 0), len(held))
      held = more if held is None else np.concatenate([held[kept:], more])
      begin += kept
    yield _interpolate(held, low - begin, high - begin, part)


def from_each(values):
  """Of [N + 3] frames' times or durations those of the 4 frames from each of N on: [4N]."""
  return np.lib.stride_tricks.sliding_window_view(values, 4).reshape(-1)


def _positions(count, frame_times, durations):
  """The two states around each sample time, and the fraction between them: [T, 16] each."""
  position = np.clip(sample_times(frame_times, durations) * RATE, 0, count - 1)
  low = np.floor(position).astype(np.int64)
  return low, np.minimum(low + 1, count - 1), (position - low).astype(np.float32)


def _interpolate(states, low, high, part):
  part = part[..., None, None]
  return states[low] * (1 - part) + states[high] * part

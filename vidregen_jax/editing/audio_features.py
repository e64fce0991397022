"""What is heard of a soundtrack while some frames are shown."""

import itertools

import numpy as np

from vidregen_jax.media.audio import lazy
from vidregen_jax.models import audio_timeline, codec

_MARGIN = 1.0  # seconds of sound around the frames that the audio encoder also hears


def of_frames(track, times, durations, hear):
  """Yields the audio features from each frame of latent frames on, in order, computed on demand.

  The first are those of the latent frame itself; all are what a `StreamingListener` hears.

  Args:
    track: aac.Soundtrack that is heard.
    times, durations: [4T] seconds.
    hear: System.hear.

  Yields:
    [4, 16, layers, channels] T times.
  """
  following = codec.TIME_FACTOR - 1
  times = np.append(times, times[-1] + durations[-1] * np.arange(1, following + 1))
  durations = np.pad(durations, (0, following), mode='edge')
  begin = max(times[0] - _MARGIN, float(track.start))
  end = times[-1] + durations[-1] + _MARGIN
  first, last = (round((x - float(track.start)) * track.rate) for x in (begin, end))
  sound = lazy.mono_16k(lazy.Cut(track.samples, first, min(last, track.samples.shape[1])))
  features = audio_timeline.sample_stream(
    hear(sound), sound.shape[1], audio_timeline.from_each(times - begin),
    audio_timeline.from_each(durations))
  while windows := list(itertools.islice(features, codec.TIME_FACTOR)):
    yield np.stack(windows)

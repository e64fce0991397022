"""What is heard of a soundtrack while some frames are shown."""

import numpy as np

from vidregen_jax.media.audio import lazy
from vidregen_jax.models import audio_timeline

_MARGIN = 1.0  # seconds of sound around the frames that the audio encoder also hears


def of_frames(track, times, durations, hear):
  """Yields the audio features of latent frames, in order, computed on demand.

  Args:
    track: aac.Soundtrack that is heard.
    times, durations: [4T] seconds.
    hear: System.hear.

  Yields:
    [16, layers, channels] T times.
  """
  begin = max(times[0] - _MARGIN, float(track.start))
  end = times[-1] + durations[-1] + _MARGIN
  first, last = (round((x - float(track.start)) * track.rate) for x in (begin, end))
  sound = lazy.mono_16k(lazy.Cut(track.samples, first, min(last, track.samples.shape[1])))
  yield from audio_timeline.sample_stream(hear(sound), sound.shape[1], np.asarray(times) - begin,
                                          durations)

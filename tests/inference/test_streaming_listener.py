"""Lip gaps are heard from every frame on, and are the mean of what is heard of a frame."""

import jax
import numpy as np

from vidregen_jax.inference import streaming_listener
from vidregen_jax.models import lip_listener


def test_a_frames_gap_is_the_mean_of_all_windows_that_have_it():
  """Window i hears 10 i + 0 to 3: of frame f, from each of up to 4 windows."""
  heard = iter(np.add.outer(10. * np.arange(12), np.arange(4)).reshape(3, 4, 4))
  listener = streaming_listener.StreamingListener(lambda windows: next(heard))
  gaps = np.concatenate([listener(None) for _ in range(3)])
  windows = [[w for w in range(frame - 3, frame + 1) if w >= 0] for frame in range(12)]
  expected = [np.mean([10 * w + frame - w for w in some]) for frame, some in enumerate(windows)]
  np.testing.assert_allclose(gaps, expected)


def test_past_the_end_of_the_sound_lips_are_closed():
  shape = lip_listener.ListenerConfig(1, 8, 3, 5)
  network = lip_listener.Listener(shape, lip_listener.init(shape, jax.random.key(0)))
  windows = np.ones((4, 16, 1, 8), np.float32)
  listener = streaming_listener.StreamingListener(network)
  assert listener(windows).shape == (4,) and listener(windows, True).all()
  assert listener(windows, False)[:3].any()  # windows from before the end hear some of these
  assert not listener(windows, False).any()

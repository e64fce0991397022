"""Lips are heard from every frame on, and are the mean of what is heard of a frame."""

import jax
import numpy as np

from vidregen_jax.inference import streaming_listener
from vidregen_jax.models import lip_listener


def test_a_frames_lips_are_the_mean_of_all_windows_that_have_them():
  """Window i hears 10 i + 0 to 3: of frame f, from each of up to 4 windows. Widths are less 5."""
  heard = iter(np.add.outer(10. * np.arange(12), np.arange(4)).reshape(3, 4, 4))
  listener = streaming_listener.StreamingListener(
    lambda windows: lip_listener.Lips(of := next(heard), of - 5))
  gaps, widths = (np.concatenate(rows) for rows in zip(*(listener(None) for _ in range(3)),
                                                       strict=True))
  windows = [[w for w in range(frame - 3, frame + 1) if w >= 0] for frame in range(12)]
  expected = [np.mean([10 * w + frame - w for w in some]) for frame, some in enumerate(windows)]
  np.testing.assert_allclose(gaps, expected)
  np.testing.assert_allclose(widths, gaps - 5)


def test_past_the_end_of_the_sound_lips_rest():
  shape = lip_listener.ListenerConfig(1, 8, 3, 5)
  network = lip_listener.Listener(shape, lip_listener.init(shape, jax.random.key(0)))
  windows = np.ones((4, 16, 1, 8), np.float32)
  listener = streaming_listener.StreamingListener(network)
  assert listener(windows).gap.shape == (4,) and listener(windows, True).gap.all()
  assert listener(windows, False).gap[:3].any()  # windows from before the end hear some of these
  gap, width = listener(windows, False)
  assert not gap.any() and (width == 1).all()

"""What other people's implementations of networks are compared on: inputs, and what they gave.

The weights are `random_weights`, and Whisper's those that the repository carries. What the others
gave is stored next to the tests, `tests/models/goldens/`, where `make.py` made it.
"""

import pathlib

import numpy as np
import random_weights

GOLDENS = pathlib.Path(__file__).resolve().parents[1] / 'models' / 'goldens'
# Crops of `images` (rows, columns): even sides, and odd ones, of which poolings leave a line out.
LPIPS_CUTS = ((16, 24), (19, 17))
# Pictures for DINOv2: of the stored positions' own size, and larger and smaller ones.
DINOV2_SHAPES = ((12, 12), (20, 12), (8, 8))
DINOV2_REGISTERS = (0, 2)
DINOV2_EMBEDDING = 3e-3  # tokens so small that the epsilon of the first norm counts
SOUNDS = (30, 7.3)  # seconds
MEL_BINS = (80, 128)
SPOKEN = 2.305  # seconds, of the cepstra: their last frame is filled up
# Of long results every so many are stored: columns of the spectrogram; channels of VGG16's taps;
# times and channels of Whisper's states, whose every channel depends on all of those before; the
# numbers of SyncNet's vectors.
COLUMNS, CHANNELS, TIMES, STATES, NUMBERS = 130, 16, 125, 16, 4


def golden(name):
  """A dict of what was stored of a network."""
  with np.load(GOLDENS / f'{name}.npz') as stored:
    return dict(stored)


def images(height, width):
  """Two random pictures in [-1, 1], float32 [2, H, W, 3]."""
  return random_weights.uniform(np.random.PCG64(1), 2, height, width, 3, low=-1, high=1)


def clips():
  """Two random clips in [-1, 1], float32 [2, F, H, W, 3].

  Sides are odd, so that padding is uneven everywhere; they are longer than 16 frames, so that there
  is something to average over time.
  """
  return random_weights.uniform(np.random.PCG64(1), 2, 25, 45, 38, 3, low=-1, high=1)


def faces():
  """Two random windows as SyncNet sees them, float32 [2, 5, 224, 224, 3] from 0 to 255."""
  return np.round(random_weights.uniform(np.random.PCG64(1), 2, 5, 224, 224, 3, low=0, high=255))


def vectors():
  """Random vectors of a mouth and of a sound that is 4 frames late, float32 [30, 8] each."""
  bits = np.random.PCG64(2)
  mouth = random_weights.uniform(bits, 30, 8)
  return mouth, np.roll(mouth, 4, 0) + np.float32(0.1) * random_weights.uniform(bits, 30, 8)


def voice(seconds, rate=16_000):
  """A voiced buzz with a moving pitch, pauses and a little noise, float32."""
  time = np.arange(round(seconds * rate)) / rate
  phase = 2 * np.pi * np.cumsum(140 + 40 * np.sin(2.1 * time)) / rate
  buzz = sum(np.sin(k * phase) / k for k in range(1, 20))
  syllables = np.maximum(np.sin(2 * np.pi * 3.1 * time), 0) * (np.sin(0.9 * time) > -0.7)
  noise = random_weights.uniform(np.random.PCG64(0), time.size)
  return (0.2 * buzz * syllables + 1e-3 * noise).astype(np.float32)

"""SyncNet (Chung and Zisserman, 2016, "Out of time: automated lip sync in the wild"), version 2.

The network whose distances are reported as LSE-D and LSE-C, for inference: batch normalisation is
folded into the convolutions. Its weights are not part of this package. Layers and their names are
those of the authors' PyTorch code (joonson/syncnet_python), so that a file of its state dict is
read as it is.

It looks at 5 frames of a face, 224 x 224 pixels in the order blue, green, red and from 0 to 255,
and hears the 20 cepstra of the same fifth of a second.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from vidregen_jax.models import mfcc, pretrained

RATE = 25  # frames a second
FRAMES = 5  # that it looks at
COLUMNS = 4 * FRAMES  # cepstra that it hears
SIZE = 224
WIDTH = 1024  # of its vectors

# Convolutions: index in the authors' nn.Sequential, channels in and out, kernel, strides, padding.
_MOUTH = (
  (0, 3, 96, (5, 7, 7), (1, 2, 2), 0), (4, 96, 256, (1, 5, 5), (1, 2, 2), 1),
  (8, 256, 256, (1, 3, 3), (1, 1, 1), 1), (11, 256, 256, (1, 3, 3), (1, 1, 1), 1),
  (14, 256, 256, (1, 3, 3), (1, 1, 1), 1), (18, 256, 512, (1, 6, 6), (1, 1, 1), 0))
_SOUND = (
  (0, 1, 64, (3, 3), (1, 1), 1), (4, 64, 192, (3, 3), (1, 1), 1),
  (8, 192, 384, (3, 3), (1, 1), 1), (11, 384, 256, (3, 3), (1, 1), 1),
  (14, 256, 256, (3, 3), (1, 1), 1), (18, 256, 512, (5, 4), (1, 1), 0))
# Maxima after a convolution, by its index: window, strides, padding of height and width.
_MOUTH_POOLS = {0: ((3, 3), (2, 2), 0), 4: ((3, 3), (2, 2), 1), 14: ((3, 3), (2, 2), 0)}
_SOUND_POOLS = {4: ((3, 3), (1, 2), 0), 14: ((3, 3), (2, 2), 0)}
_HIDDEN = 512
_EPSILON = 1e-5  # of the batch normalisation


def units():
  """All layers with batch normalisation, by name of the layer and of its normalisation.

  Yields:
    (name, name of the normalisation, shape of the kernel as PyTorch has it).
  """
  for branch, convolutions in (('netcnnlip', _MOUTH), ('netcnnaud', _SOUND)):
    for index, c_in, c_out, kernel, _, _ in convolutions:
      yield f'{branch}.{index}', f'{branch}.{index + 1}', (c_out, c_in, *kernel)
  for branch in ('netfclip', 'netfcaud'):
    yield f'{branch}.0', f'{branch}.1', (_HIDDEN, _HIDDEN)


def load(source) -> dict:
  """Reads the network.

  Args:
    source: a folder with model.safetensors, as `python -m bench.convert_syncnet` writes it.

  Returns:
    Dict of (kernel, bias) by the names of `units`, and 'netfclip.3' and 'netfcaud.3'.

  Raises:
    UserError: no such folder, or something is missing in it.
  """
  folder = pretrained.locate(source, 'SyncNet', 'name/syncnet')
  tensors = pretrained.read_tensors(folder, 'SyncNet', _wanted)
  taken = pretrained.Tensors(tensors, folder, 'SyncNet of version 2')
  params = {}
  for name, normalisation, shape in units():
    weight, bias = taken.take(f'{name}.weight', *shape), taken.take(f'{name}.bias', shape[0])
    gain, shift, mean, variance = (taken.take(f'{normalisation}.{part}', shape[0]) for part in
                                   ('weight', 'bias', 'running_mean', 'running_var'))
    gain = gain / np.sqrt(variance + _EPSILON)
    kernel = np.moveaxis(weight, (0, 1), (-1, -2))
    params[name] = (np.ascontiguousarray(kernel * gain), shift + (bias - mean) * gain)
  for name in ('netfclip.3', 'netfcaud.3'):
    params[name] = (taken.take(f'{name}.weight', WIDTH, _HIDDEN).T, taken.take(f'{name}.bias',
                                                                               WIDTH))
  taken.check()
  return params


def _wanted(name):
  return name if name.startswith('net') and not name.endswith('num_batches_tracked') else None


def _pool(x, window, strides, padding):
  """Maxima over height and width, the last axes but one."""
  lead = x.ndim - 3
  return lax.reduce_window(x, -jnp.inf, lax.max, (*(1,) * lead, *window, 1),
                           (*(1,) * lead, *strides, 1),
                           (*((0, 0),) * lead, *((padding, padding),) * 2, (0, 0)))


def _run(params, branch, convolutions, pools, x):
  dims = ('NDHWC', 'DHWIO', 'NDHWC') if x.ndim == 5 else ('NHWC', 'HWIO', 'NHWC')
  for index, _, _, kernel, strides, padding in convolutions:
    weight, bias = params[f'{branch}.{index}']
    edges = ((0, 0),) * (len(kernel) - 2) + ((padding, padding),) * 2
    x = jax.nn.relu(lax.conv_general_dilated(x, weight, strides, edges, dimension_numbers=dims)
                    + bias)
    if index in pools:
      x = _pool(x, *pools[index])
  return x.reshape(len(x), -1)


def _head(params, branch, x):
  (hidden, first), (out, second) = params[f'{branch}.0'], params[f'{branch}.3']
  return jax.nn.relu(x @ hidden + first) @ out + second


def embed_mouth(params, frames):
  """Vectors of faces.

  Args:
    params: of `load`.
    frames: [N, 5, 224, 224, 3], blue, green, red from 0 to 255.

  Returns:
    [N, 1024]; not of unit length.
  """
  x = _run(params, 'netcnnlip', _MOUTH, _MOUTH_POOLS, frames.astype(jnp.float32))
  return _head(params, 'netfclip', x)


def embed_sound(params, cepstra):
  """Vectors of sounds.

  Args:
    params: of `load`.
    cepstra: [N, 20, 13] of `mfcc.mfcc`, beginning with the first of the 5 frames.

  Returns:
    [N, 1024].
  """
  x = jnp.swapaxes(cepstra.astype(jnp.float32), 1, 2)[..., None]
  x = _run(params, 'netcnnaud', _SOUND, _SOUND_POOLS, x)
  return _head(params, 'netfcaud', x)


def windows(samples) -> np.ndarray:
  """The cepstra of each frame's fifth of a second, float32 [F, 20, 13].

  Args:
    samples: float32 [n] in [-1, 1], mono, 16 kHz; heard as 16-bit integers, as the authors do.
  """
  whole = np.clip(np.rint(np.asarray(samples, np.float64) * 32768), -32768, 32767)
  cepstra = mfcc.mfcc(whole).astype(np.float32)
  starts = np.arange(0, len(cepstra) - COLUMNS + 1, COLUMNS // FRAMES)
  return cepstra[starts[:, None] + np.arange(COLUMNS)] if len(starts) else np.zeros(
    (0, COLUMNS, mfcc.COEFFICIENTS), np.float32)

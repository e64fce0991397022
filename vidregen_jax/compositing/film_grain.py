"""Synthesises grain that matches the picture, where pasting has removed the original grain.

A generated mouth is softer than the footage around it, and the old mouth takes the footage's noise
and pores with it: a clean patch shows in a grainy picture. So grain is synthesised to match smooth
skin of the same face: of the same strength in each colour, the same coarseness, and the same
share that stays fixed from frame to frame.
"""

import cv2
import numpy as np

_TILES = 8  # patches along a face in which grain is measured
_LEAST = 12  # pixels of a tile's side
_KERNEL = 7  # pixels over which grain is correlated
# The calmest share of the tiles, which holds no hair, pores or edges, and up to how many times its
# energy, a mean square, others are taken for grain too.
_CALM, _ALIKE = .1, 2.
_NOISE = 512  # pixels; the period of the noise
_MEMORY = .8  # weight of earlier frames in the estimate of the fixed share


class Grain:
  """Synthesises grain for frame after frame, in the memory of one face.

  Args:
    seed: of all noise; a frame's grain is a function of it, the frame's number and the footage.
  """

  def __init__(self, seed: int):
    self._seed = seed
    white = np.random.default_rng(seed).standard_normal((_NOISE, _NOISE, 3), np.float32)
    self._white = np.tile(white, (2, 2, 1))  # so that a whole period can be sliced from any offset
    self.restart()

  def restart(self) -> None:
    """Forgets the previous frame, as the next one does not follow it."""
    self._before, self._share = None, None

  def __call__(self, index: int, detail: np.ndarray, usable: np.ndarray,
               centre: np.ndarray) -> np.ndarray:
    """Grain for a part of a frame.

    Args:
      index: the frame's number.
      detail: float32 [H, W, 3], the part minus what a crop can represent of it.
      usable: bool [H, W], where the detail is the footage's own skin, and is kept.
      centre: of the face in the part, x and y in pixels: the fixed share of grain moves with it.

    Returns:
      float32 [H, W, 3], of mean 0; all 0 if too little is usable to measure grain.
    """
    if min(usable.shape) < _LEAST:
      return np.zeros_like(detail)
    tiles, energy = _tiles(detail, usable)
    if not len(tiles):
      return np.zeros_like(detail)
    calm = energy <= _ALIKE * np.quantile(energy, _CALM)
    kernel, mix = _statistics(tiles[calm])
    share = self._standing(detail, usable, centre, np.sqrt(energy[calm].max()))
    anywhere = np.random.default_rng((self._seed, index)).integers(_NOISE, size=2)
    white = cv2.addWeighted(self._noise(detail.shape, np.rint(centre).astype(int)), np.sqrt(share),
                            self._noise(detail.shape, anywhere), np.sqrt(1 - share), 0)
    return cv2.transform(cv2.filter2D(white, -1, kernel, borderType=cv2.BORDER_REFLECT), mix)

  def _noise(self, shape, at):
    """White noise of a shape [H, W, 3], with its origin at the point `at` (x, y)."""
    left, top = (-at % _NOISE).tolist()
    period = self._white[top:top + _NOISE, left:left + _NOISE]
    times = [-(-length // _NOISE) for length in shape[:2]]
    return (np.tile(period, (*times, 1)) if max(times) > 1 else period)[:shape[0], :shape[1]]

  def _standing(self, detail, usable, centre, level):
    """The share of the grain's variance that stays fixed on the face from the previous frame."""
    now = cv2.transform(detail, np.full((1, 3), 1 / 3))
    calm = usable & (cv2.blur(np.abs(np.where(usable, now, 0)), (5, 5)) < 2 * level)
    now = np.where(calm, now, np.nan)
    here = np.rint(centre).astype(int)
    if self._before is not None:
      before, there = self._before
      one, other = _overlap(now, here, before, there)
      both = np.isfinite(one) & np.isfinite(other)
      if both.sum() > _LEAST**2:
        a, b = one[both], other[both]
        cosine = (a * b).sum() / max(np.sqrt((a * a).sum() * (b * b).sum()), 1e-9)
        correlation, memory = float(np.clip(cosine, 0, 1)), 0. if self._share is None else _MEMORY
        self._share = memory * (self._share or 0.) + (1 - memory) * correlation
    self._before = now, here
    return self._share or 0.


def _tiles(detail, usable):
  """Usable tiles [T, N, N, 3] of mean 0, and the mean square of each, [T]."""
  side = max(min(usable.shape) // _TILES // 4 * 4, _LEAST)  # a multiple of 4, for a fast FFT
  down, across = (length // side for length in usable.shape)

  def cut(picture):
    whole = picture[:down * side, :across * side].reshape(down, side, across, side, -1)
    return whole.swapaxes(1, 2).reshape(down * across, side, side, -1)
  tiles = cut(detail)[cut(usable).all((1, 2, 3))]
  tiles -= tiles.mean((1, 2), keepdims=True)
  return tiles, (tiles * tiles).mean((1, 2, 3))


def _statistics(tiles):
  """The kernel [K, K] and colour mix [3, 3] that turn white noise into grain like these tiles."""
  window = np.hanning(tiles.shape[1])
  window = np.outer(window, window)
  power = (np.abs(np.fft.fft2(tiles.mean(-1) * window)) ** 2).mean(0)
  around = np.fft.fftshift(np.fft.ifft2(np.sqrt(power)).real)
  middle, reach = tiles.shape[1] // 2, _KERNEL // 2
  kernel = around[middle - reach:middle + reach + 1, middle - reach:middle + reach + 1]
  kernel = kernel / max(np.sqrt((kernel * kernel).sum()), 1e-9)
  colours = tiles.reshape(-1, 3)
  values, vectors = np.linalg.eigh(colours.T.astype(np.float64) @ colours / len(colours))
  mix = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
  return kernel.astype(np.float32), mix.astype(np.float32)


def _overlap(one, at, other, there):
  """The overlapping parts of two pictures [H, W] when their given points are aligned."""
  low = np.maximum(-at, -there)
  high = np.minimum(np.array(one.shape[::-1]) - at, np.array(other.shape[::-1]) - there)
  cut = lambda picture, point: picture[max(low[1] + point[1], 0):max(high[1] + point[1], 0),
                                       max(low[0] + point[0], 0):max(high[0] + point[0], 0)]
  return cut(one, at), cut(other, there)

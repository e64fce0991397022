"""Corrects a decoder for one video, by a ridge regression of its errors on that video's own frames.

A small codec that was trained on other people loses what makes a face this person's: skin, beard,
teeth, and everything finer than its crops. But the video shows what it loses: for each real frame
there is the crop at its own size, and what the codec makes of it. So the error of a generated crop
is predicted as a weighted sum of the errors on real ones, by kernel ridge regression (Saunders,
Gammerman and Vovk, 1998) in overlapping windows, from the decoded picture in the window. Weights
blend smoothly from window to window, so that no seam shows. It is all in closed form.

Of the decoded picture the luma is kept and only its error is predicted: where the frames do not
tell, the prediction shrinks to the mean error, and the motion of the mouth remains the generator's.
The chroma is predicted as a whole: it is always the video's own, whatever colour the generator
gives the lips. It fades with the luma, as an open mouth is dark and has no colour. Where a decoded
picture is unlike all that was fitted, it is left as it is.
"""

import dataclasses

import cv2
import numpy as np

_WINDOWS = 6  # steps between window centres along a crop's side; a window is two steps wide
_TOP = 2  # first row of window centres: the correction fades in over the step above it
_PIXELS = 8  # of the decoded picture in a step, of which the weights are computed
_WEIGHT = .6  # standard deviation of a pixel's weight around the window's centre, in steps
# Candidates for the ridge penalty, in mean eigenvalues of the kernel matrix.
_PENALTIES = (.01, .03, .1, .3, 1., 3., 10.)
_BLOCKS = 8  # of neighbouring frames, left out together when the penalty is chosen
# Grey levels by which a picture may differ from what the fitted frames explain of it, before the
# correction starts to fade out, and at which it is gone. On three real people, held-out frames
# differ by 3 to 18, generated ones by 6 to 16, and other people by 18 to 42.
_NEAR, _FAR = 16., 28.
_DARK = 8.  # grey levels: what is expected to be darker has little colour to lose
_LUMA = np.array((.299, .587, .114), np.float32)
_CENTRES = [(row, column) for row in range(_TOP, _WINDOWS + 1) for column in range(_WINDOWS + 1)]


@dataclasses.dataclass(frozen=True)
class Window:
  """The regression in one window, on the n frames that it is fitted to.

  Attributes:
    mean: [D], of the inputs.
    project: [D, n], to coordinates in which what is explained has its length.
    solve: [n, n], from these to weights.
    limit: the largest norm of weights that a fitted frame has.
    penalty: of _PENALTIES.
  """

  mean: np.ndarray
  project: np.ndarray
  solve: np.ndarray
  limit: float
  penalty: float

  def weights(self, inputs):
    """Weights [K, n] of the fitted frames' errors, and trust [K] from 0 to 1, for inputs [K, D]."""
    away = inputs - self.mean
    place = away @ self.project
    weights = place @ self.solve
    unexplained = (away * away).sum(1) - (place * place).sum(1)
    norm = np.linalg.norm(weights, axis=1)
    weights = weights * np.minimum(1, self.limit / np.maximum(norm, 1e-12))[:, None]
    levels = np.sqrt(np.maximum(unexplained, 0) / _ENERGY)
    trust = np.clip((_FAR - levels) / (_FAR - _NEAR), 0, 1)
    return weights + 1 / len(self.solve), trust


@dataclasses.dataclass(frozen=True, eq=False)
class Regression:
  """A regression in all windows.

  Attributes:
    kept: bool [N], the frames that it is fitted to; others have no influence.
    windows: by centre.
  """

  kept: np.ndarray
  windows: dict[tuple[int, int], Window]


class Fit:
  """Real crops of one person, and regressions on them.

  Args:
    decoded: uint8 [N, S, S, 3], what the codec makes of real crops; in order of time.
    native: uint8 [N, F, F, 3], the same crops at the size that is to be made.
  """

  def __init__(self, decoded, native):
    self.size = native.shape[1]
    self._inputs = _inputs(decoded)
    self._edges = np.rint(np.arange(_WINDOWS + 1) * self.size / _WINDOWS).astype(int)
    self._blocks, self._grams = {}, {}
    for row in range(_TOP - 1, _WINDOWS):
      strip = slice(self._edges[row], self._edges[row + 1])
      errors = native[:, strip] - np.stack(
        [_grey(_enlarged(each, self.size)[strip]) for each in decoded])
      for column in range(_WINDOWS):
        part = (slice(None), slice(None), slice(*self._edges[column:column + 2]))
        block = errors[part].reshape(len(errors), -1)
        self._grams[row, column] = block @ block.T
        light = _grey(native[:, strip][part].astype(np.float32))
        # Colours first: what is done to each pixel then takes a third of the time.
        self._blocks[row, column] = np.moveaxis(np.concatenate(
          [errors[part], light], 3), 3, 1).reshape(len(errors), -1)

  def __len__(self):
    return len(self._inputs)

  def regression(self, kept) -> Regression:
    """The regression on some of the frames, bool [N]; at least two."""
    blocks = np.arange(kept.sum()) * _BLOCKS // kept.sum()
    return Regression(kept, {
      centre: _fitted(_window(self._inputs[kept], centre),
                      self._gram(centre)[np.ix_(kept, kept)], blocks) for centre in _CENTRES})

  def _gram(self, centre):
    """Products [N, N] of the errors around a window's centre."""
    return sum(self._grams[row, column] for row in (centre[0] - 1, centre[0])
               for column in (centre[1] - 1, centre[1]) if (row, column) in self._grams)

  def corrected(self, decoded, mixture):
    """Decoded crops at the native size, less their expected errors.

    Args:
      decoded: uint8 [K, S, S, 3].
      mixture: (share, Regression) of each that takes part; shares sum to 1.

    Returns:
      uint8 [K, F, F, 3].
    """
    inputs, weights, trusts = _inputs(decoded), {}, {}
    for centre in _CENTRES:
      weights[centre] = np.zeros((len(decoded), len(self)), np.float32)
      trusts[centre] = np.zeros((len(decoded), 1, 1, 1), np.float32)
      for share, regression in mixture:
        each, trust = regression.windows[centre].weights(_window(inputs, centre))
        weights[centre][:, regression.kept] += share * each
        trusts[centre][:, 0, 0, 0] += share * trust
    made = np.stack([np.moveaxis(_enlarged(each, self.size), 2, 0) for each in decoded])
    for (row, column), errors in self._blocks.items():
      top, bottom = self._edges[row:row + 2]
      left, right = self._edges[column:column + 2]
      down, across = _fade(bottom - top), _fade(right - left)
      block = made[:, :, top:bottom, left:right]
      around = [((y, x), np.outer(vertical, horizontal))
                for y, vertical in ((row, down[::-1]), (row + 1, down)) if y >= _TOP
                for x, horizontal in ((column, across[::-1]), (column + 1, across))]
      fades = np.stack([fade for _, fade in around])[:, None, None]
      share = sum(fade * trusts[centre] for (centre, _), fade in zip(around, fades, strict=True))
      # One product for all, as reading the errors takes long.
      expected = np.concatenate([weights[centre] for centre, _ in around]) @ errors
      expected = expected.reshape(len(around), len(block), 4, *block.shape[2:])
      expected *= fades / fades.sum(0)
      mean = expected.sum(0)
      error, light = mean[:, :3], mean[:, 3:]
      change = np.einsum('c,kcyx->kyx', _LUMA, error)[:, None]
      grey = np.einsum('c,kcyx->kyx', _LUMA, block)[:, None] + change
      colour = (error - change) * np.clip(grey / np.maximum(light, _DARK), 0, 1)
      block += share * (grey + colour - block)
    return _rounded(np.moveaxis(made, 1, 3))


def _fitted(inputs, gram, blocks) -> Window:
  """Fits a window: inputs [n, D], products of errors [n, n], and blocks [n] to leave out together.

  The penalty minimises the error on blocks left out, in closed form: with the hat matrix H, the
  residuals of a block are (I - H_bb)^-1 times those of the fit to all.
  """
  count = len(inputs)
  mean = inputs.mean(0)
  away = inputs - mean
  kernel = (away @ away.T).astype(np.float64)
  values, vectors = np.linalg.eigh(kernel)
  values = np.maximum(values, 0)
  gram = gram.astype(np.float64)
  scale = max(values.mean(), 1e-9)

  def left_out(penalty):
    hat = (vectors * (values / (values + penalty * scale))) @ vectors.T + 1 / count
    rest = np.eye(count) - hat
    for block in np.unique(blocks):
      of = blocks == block
      rest[of] = np.linalg.solve(rest[np.ix_(of, of)] + 1e-9 * np.eye(of.sum()), rest[of])
    return float(((rest @ gram) * rest).sum())

  penalty = min(_PENALTIES, key=left_out)
  ridge = values + penalty * scale
  hat = (vectors * (values / ridge)) @ vectors.T
  vectors = (vectors / np.sqrt(ridge)).astype(np.float32)
  return Window(mean, away.T @ vectors, vectors.T.copy(),
                float(np.linalg.norm(hat, axis=1).max()), penalty)


def enlarged(crops, size):
  """Crops uint8 [N, S, S, 3] at another size, uint8 [N, size, size, 3]."""
  return _rounded(np.stack([_enlarged(each, size) for each in crops]))


def _rounded(values):
  return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _enlarged(crop, size):
  """A crop uint8 [S, S, 3] at another size, float32 [size, size, 3]."""
  return cv2.resize(crop.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)


def _grey(image):
  """The luma [..., 1] of an image [..., 3]."""
  return (image @ _LUMA)[..., None]


def _inputs(decoded):
  """Decoded crops uint8 [N, S, S, 3], small and with an edge of one step: float32 [N, s, s, 3]."""
  side = _WINDOWS * _PIXELS
  small = np.stack([cv2.resize(each, (side, side), interpolation=cv2.INTER_AREA)
                    for each in decoded])
  edge = (_PIXELS, _PIXELS)
  return np.pad(small, ((0, 0), edge, edge, (0, 0)), mode='edge').astype(np.float32)


def _window(inputs, centre):
  """The part of `_inputs` around a centre, weighted towards it: [N, D]."""
  y, x = (at * _PIXELS for at in centre)
  part = inputs[:, y:y + 2 * _PIXELS, x:x + 2 * _PIXELS]
  return (part * _WEIGHTS[..., None]).reshape(len(part), -1)


def _weights():
  from_centre = (np.arange(2 * _PIXELS) + .5) / _PIXELS - 1
  weight = np.exp(-.5 * (from_centre / _WEIGHT)**2).astype(np.float32)
  return np.outer(weight, weight)


_WEIGHTS = _weights()
_ENERGY = 3 * float((_WEIGHTS**2).sum())  # of inputs that differ by one grey level everywhere


def _fade(length):
  """float32 [length] from 0 to 1; with its reverse it sums to 1."""
  return (np.sin(np.pi / 2 * (np.arange(length) + .5) / length)**2).astype(np.float32)

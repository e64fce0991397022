"""Reads from latents how open a mouth is: training scores its own samples with it.

A ridge regression on true latents (`models.lip_readout`) tells well enough whether samples follow
the sound. Final figures come from the face tracker on written videos (`evaluate`).
"""

import dataclasses

import numpy as np

from vidregen_jax.datasets import windows
from vidregen_jax.models import linear_prior, lip_readout

_RIDGE = 0.1  # weight of the penalty, in variances of an input


@dataclasses.dataclass(frozen=True)
class Reader:
  """Reads whole lower faces: `readout`, of the residual of the prior `guess`."""

  guess: linear_prior.Expectation
  readout: lip_readout.Readout

  def __call__(self, target, context, references, reference_valid):
    """The lip gap, in eye distances.

    Args:
      target: [B, T, H*W, C] latents of the frames that are read, normalised.
      context: [B, T, H*W, C] latents of the same frames, their lower face hidden.
      references, reference_valid: [B, R, H*W, C] and [B, R], as in `windows.cut`.

    Returns:
      [B, 4T].
    """
    x = _residual(self.guess, target, context, references, reference_valid)
    return self.readout(x).reshape(len(x), -1)


def _residual(guess, target, context, references, valid):
  """The residual of the linear prior's guess, [B, T, M, C]."""
  target, context, references = (
    np.asarray(x, np.float32) for x in (target, context, references))
  reference = linear_prior.mean_reference(references, np.asarray(valid))
  face = target[:, :, np.asarray(guess.region)]
  return np.asarray(guess.residual(face, context, reference))


def fit(clips, shape: windows.WindowShape, guess: linear_prior.Expectation, draws: int) -> Reader:
  """Fits a reader to clips whose lip gap is known.

  Args:
    clips: sequence of records of `latent_dataset`.
    shape: what a window holds.
    guess: the linear prior of a lower face.
    draws: windows of each clip.
  """
  inputs, gaps = [], []
  for cut in windows.draw(clips, shape, draws):
    parts = (cut[name][None] for name in ('target', 'context', 'references', 'reference_valid'))
    inputs.append(_residual(guess, *parts)[0].reshape(shape.frames, -1))
    gaps.append(cut['lip_gap'].reshape(shape.frames, -1))
  x, y = (np.concatenate(part).astype(np.float64) for part in (inputs, gaps))
  kernel, bias = linear_prior.ridge_regression(x, y, _RIDGE * x.var(0))
  return Reader(guess, lip_readout.Readout(kernel.astype(np.float32), bias.astype(np.float32)))


def correlation(a, b):
  """Pearson's, over the places where both are numbers; nan if one does not vary."""
  known = np.isfinite(a) & np.isfinite(b)
  if known.sum() < 3 or a[known].std() < 1e-6 or b[known].std() < 1e-6:
    return float('nan')
  return float(np.corrcoef(a[known], b[known])[0, 1])


def median_correlation(a, b):
  """The median over clips [B, F] of `correlation`."""
  return float(np.nanmedian([correlation(x, y) for x, y in zip(a, b, strict=True)]))

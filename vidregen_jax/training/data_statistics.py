"""Fitted to the clips before training: the linear prior, and statistics of audio features."""

import numpy as np

from vidregen_jax.datasets import windows
from vidregen_jax.models import linear_prior


def feature_statistics(clips, count):
  """Mean and standard deviation of Whisper states over some clips, each [layers, channels]."""
  states = [np.asarray(clips[i]['audio'], np.float64)
            for i in np.linspace(0, len(clips) - 1, min(count, len(clips))).astype(int)]
  states = np.concatenate(states)
  return states.mean(0).astype(np.float32), states.std(0).astype(np.float32)


def fit_expectation(clips, shape: windows.WindowShape, draws: int,
                    ridge: float) -> linear_prior.Expectation:
  """Fits the linear prior to training clips, each with several windows and sets of references.

  Args:
    clips: sequence of records of `latent_dataset`.
    shape: what a window holds.
    draws: windows of each clip.
    ridge: penalty, in the squared units of a normalised latent.
  """
  inputs, targets, region = [], [], np.asarray(shape.region)
  for cut in windows.draw(clips, shape, draws):
    stills = cut['references'][cut['reference_valid']].astype(np.float32)
    reference = stills.mean(0) if len(stills) else np.zeros_like(cut['references'][0], np.float32)
    inputs.append((cut['context'] - reference).reshape(shape.frames, -1))
    targets.append((cut['target'] - reference)[:, region].reshape(shape.frames, -1))
  x, y = (np.concatenate(part).astype(np.float64) for part in (inputs, targets))
  kernel, bias = linear_prior.ridge_regression(x, y, np.full(x.shape[1], ridge))
  error = (y - x @ kernel - bias).reshape(len(y), len(region), -1)
  scale = np.sqrt(np.mean(error**2, axis=(0, 2)))
  return linear_prior.Expectation(kernel.astype(np.float32), bias.astype(np.float32),
                                  scale.astype(np.float32), region.astype(np.int32))

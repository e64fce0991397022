"""How well a mouth and a sound fit: confidence, distance and offset, over a clip or a part of it.

Both are embedded 25 times a second, and the distance of each frame's mouth to the sounds up to 15
frames earlier and later is a row of `distances`. The mean row says it all (Chung and Zisserman,
2016, "Out of time", section 4; the same sums as in Prajwal et al., 2020, arXiv 2008.10010, who
call the first two LSE-D and LSE-C):

  distance     the least of the row. In an honest recording it is small.
  confidence   the row's median minus that: near 0, the mouth fits no better than chance.
  offset       where the least is, in frames: positive where the sound comes too late. The field's
               "AV offset" has the other sign.

The least may be anywhere. What is asked of an edit is that the mouth fits where it is, so for that
there is

  fit          by how many deviations of the row the mouth is nearer to its own sound than to sound
               that is noticeably early or late. It has no unit, and so means the same for other
               people, other cameras and another scorer: chance is around 0.
"""

import dataclasses

import numpy as np

REACH = 15  # frames of offset to both sides that are tried
# Frames of offset up to which picture and sound may count as in sync: sound that is 45 ms early or
# 125 ms late is just noticed (ITU-R BT.1359).
_UNNOTICED = 2
_FEWEST = 8  # offsets beyond these, without which there is no deviation to speak of


@dataclasses.dataclass(frozen=True)
class Score:
  """What the mean row of distances says.

  Attributes:
    confidence, distance, offset, fit: see above; nan, and offset 0, where nothing is known.
    frames: over how many frames.
  """

  confidence: float
  distance: float
  offset: int
  fit: float
  frames: int


def distances(mouth, sound, known=None, lead: int = 0, padded: bool = False) -> np.ndarray:
  """The distances of each frame's mouth to the sounds around it.

  Args:
    mouth: [F, E], a vector each 25th of a second; nan where nothing is known.
    sound: [A, E], likewise.
    known: bool [F], where the mouth is known; None for everywhere.
    lead: number of the sound that belongs to the first mouth.
    padded: whether the sound is continued by zero vectors, as the authors of SyncNet do; otherwise
      nothing is known there.

  Returns:
    float64 [F, 31], in column REACH + o the distance to the sound o frames later; nan where there
    is no sound, or no mouth.
  """
  mouth, sound = (np.asarray(x, np.float64) for x in (mouth, sound))
  around = np.full((len(mouth) + 2 * REACH, mouth.shape[1]), 0.0 if padded else np.nan)
  first = lead - REACH
  here = sound[max(first, 0):max(first + len(around), 0)]
  around[max(-first, 0):max(-first, 0) + len(here)] = here
  rows = np.stack([np.linalg.norm(mouth - around[column:column + len(mouth)], axis=1)
                   for column in range(2 * REACH + 1)], -1)
  return rows if known is None else np.where(known[:, None], rows, np.nan)


def score(rows: np.ndarray) -> Score:
  """The score of some frames, of `distances` [F, 31].

  An offset that is nan in `mean_row` is not judged.
  """
  mean, frames = mean_row(rows)
  if not np.isfinite(mean).any():
    return Score(np.nan, np.nan, 0, np.nan, 0)
  best = int(np.nanargmin(mean))
  median = float(np.nanmedian(mean))
  return Score(median - float(mean[best]), float(mean[best]), best - REACH,
               _fit(mean, REACH), frames)


def _fit(mean, at):
  """`fit` at a column of a mean row; nan where too few others are known."""
  others = mean[np.isfinite(mean) & (np.abs(np.arange(len(mean)) - at) > _UNNOTICED)]
  if len(others) < _FEWEST or not others.std():
    return np.nan
  return float((others.mean() - mean[at]) / others.std())


def mean_row(rows: np.ndarray) -> tuple[np.ndarray, int]:
  """The mean of some rows of `distances`, and of how many frames it is.

  Returns:
    float64 [31], nan at offsets at which fewer than half of the known frames have a sound; and the
    number of known frames.
  """
  there = np.isfinite(rows)
  counts, frames = there.sum(0), int(there.any(1).sum())
  sums = np.where(there, rows, 0).sum(0)
  enough = (counts > 0) & (2 * counts >= frames)
  return np.where(enough, sums / np.maximum(counts, 1), np.nan), frames


def by_frame(rows: np.ndarray, width: int = 9) -> np.ndarray:
  """How much nearer a mouth is to its own sound than to others, around each frame.

  It is for parts that are too short for an offset of their own: where it drops to 0, the mouth does
  not say what is heard.

  Args:
    rows: of `distances`.
    width: odd number of frames that a value is the mean over.

  Returns:
    [F], in units of distance: the median minus the value at offset 0; nan where nothing is known.
  """
  half, found = width // 2, []
  for i in range(len(rows)):
    mean, _ = mean_row(rows[max(i - half, 0):i + half + 1])
    found.append(np.nanmedian(mean) - mean[REACH] if np.isfinite(mean).any() else np.nan)
  return np.array(found)


def spread(rows: np.ndarray) -> tuple[float, np.ndarray]:
  """How well a clip fits as it is, and as it were with its sound moved so far that it is noticed.

  Returns:
    `fit`, and the same for each of the offsets beyond two frames, as far as they are known.
  """
  mean, _ = mean_row(rows)
  fits = np.array([_fit(mean, at) for at in range(2 * REACH + 1)])
  moved = np.abs(np.arange(-REACH, REACH + 1)) > _UNNOTICED
  return float(fits[REACH]), fits[moved & np.isfinite(fits)]


def threshold(fits, moved) -> tuple[float, float]:
  """The `fit` that best tells clips in sync from others, and how often it is right.

  Args:
    fits: of clips in sync, [N].
    moved: of the same with other sound, [M].

  Returns:
    (the threshold, the mean of the shares of both kinds that are told rightly).
  """
  fits, moved = np.sort(fits), np.sort(moved)
  values = np.sort(np.concatenate([fits, moved]))
  between = (values[1:] + values[:-1]) / 2
  right = (1 - np.searchsorted(fits, between) / len(fits)
           + np.searchsorted(moved, between) / len(moved)) / 2
  best = np.flatnonzero(right == right.max())
  return float(between[best[len(best) // 2]]), float(right.max())


def told_apart(fits, moved, limit: float) -> float:
  """The mean of the shares of clips in sync above the limit, and of others below it."""
  return float((np.mean(np.asarray(fits) > limit) + np.mean(np.asarray(moved) <= limit)) / 2)

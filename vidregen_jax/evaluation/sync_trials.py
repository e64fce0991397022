"""How often a scorer of lip sync is right, on rendered clips, whose sound is known to be in sync.

Each clip is heard as it is, with its sound moved by chance, and with the next clip's sound. The
faces are found in the written videos by the bundled tracker, so that the figures hold for videos
and not for crops.

  offset   the sound is moved by up to .4 s: the share of clips, and of seconds of them, in which
           the offset that is found is within one frame (40 ms) of the true one.
  told     the sound is moved by .12 to .6 s, or is another clip's: the mean of the shares of these
           below the scorer's limit and of the clips as they are above it; also for single seconds.
"""

import numpy as np

from vidregen_jax import terminal
from vidregen_jax.evaluation import sync_score, sync_scorer
from vidregen_jax.models import sync

_MOST_MOVED, _NOTICED, _FAR = 0.4, 0.12, 0.6  # seconds
_DRAWS = 4  # of both kinds of moved sound, a clip
_SECOND = sync.RATE  # frames


def run(scorer, clips, seed: int = 0) -> list[dict]:
  """Tries a scorer on clips.

  Args:
    scorer: of `sync_scorer`.
    clips: two or more paths of videos in sync.
    seed: of the moves.

  Returns:
    A dict a clip: 'fits': one, as it is; 'confidence'; 'moved' and 'found': seconds by which its
    sound was moved, and by which it was found to be; 'others': the fits with sound that does not
    belong there; and 'seconds': fits, found and others of each of its seconds.
  """
  rows = []
  for number, clip in enumerate(terminal.progress(clips, 'clip', 'scoring')):
    rng = np.random.default_rng([seed, number])
    mouth = sync_scorer.look(scorer, clip)
    samples, begin = sync_scorer.read_sound(clip)
    foreign = sync_scorer.read_sound(clips[(number + 1) % len(clips)])
    moved = rng.uniform(-_MOST_MOVED, _MOST_MOVED, _DRAWS)
    away = rng.uniform(_NOTICED, _FAR, _DRAWS) * rng.choice((-1, 1), _DRAWS)
    as_is, *heard = (sync_scorer.hear(scorer, mouth, samples, begin + late)
                     for late in (0, *moved))
    others = [sync_scorer.hear(scorer, mouth, *sound)
              for sound in (*((samples, begin + late) for late in away), foreign)]
    rows.append(_figures(as_is, heard, others, lambda x: [x.values]) | {
      'clip': str(clip), 'moved': moved.tolist(), 'confidence': as_is.score().confidence,
      'seconds': _figures(as_is, heard, others, _seconds)})
  return rows


def _figures(as_is, heard, others, parts):
  return {
    'fits': [sync_score.score(part).fit for part in parts(as_is)],
    'found': [[sync_score.score(part).offset / sync.RATE for part in parts(x)] for x in heard],
    'others': [sync_score.score(part).fit for x in others for part in parts(x)]}


def _seconds(rows):
  """The distances of each whole second, half a second apart."""
  return [rows.values[start:start + _SECOND]
          for start in range(0, max(len(rows.values) - _SECOND, 0) + 1, _SECOND // 2)]


def summary(rows: list[dict], limit: float | None) -> dict:
  """The shares that the module's text describes, of whole clips and of seconds.

  Args:
    rows: of `run`.
    limit: the scorer's; None to take the one that suits these very clips best.
  """
  def shares(of):
    right = [abs(found - moved) <= 1 / sync.RATE + 1e-9 for row, each in zip(rows, of, strict=True)
             for moved, parts in zip(row['moved'], each['found'], strict=True) for found in parts]
    fits, others = (np.array([x for each in of for x in each[name]]) for name in ('fits', 'others'))
    fits, others = (x[np.isfinite(x)] for x in (fits, others))  # with too little sound for one
    told = (sync_score.threshold(fits, others)[1] if limit is None else
            sync_score.told_apart(fits, others, limit))
    return {'offset': round(float(np.mean(right)), 3), 'told': round(told, 3),
            'offsets': len(right), 'in_sync': len(fits), 'not_in_sync': len(others)}

  return {'clips': len(rows), 'whole': shares(rows),
          'seconds': shares([row['seconds'] for row in rows])}

"""Does a mouth follow new sound: clips edited with *another* clip's sound, and read again.

Each edit is a real video, and the mouth in it is read with the bundled tracker. A mouth that
listens correlates with the new sound's truth, and no more with the old one than the two truths do
with each other. Clips begin and end with closed lips, which correlates by itself, so the middle of
each clip is measured too. The tracker's reading of real footage, against its truth, stands beside
as the ceiling.
"""

import dataclasses
import pathlib

import numpy as np
import tqdm

from vidregen_jax import regenerate
from vidregen_jax.errors import UserError
from vidregen_jax.lip_reading import correlation
from vidregen_jax.media import faces

_EDGE_SECONDS = 0.5  # left out at both ends for the middle


@dataclasses.dataclass(frozen=True)
class Clip:
  """A rendered clip: its film, and when its mouth was how open (eye distances)."""

  path: pathlib.Path
  times: np.ndarray
  lip_gap: np.ndarray
  tracked_gap: np.ndarray

  @property
  def seconds(self):
    return float(self.times[-1] + self.times[1] - self.times[0])

  def truth(self, times):
    """The lip gap at other times."""
    return np.interp(times, self.times, self.lip_gap)


def read_truth(path):
  """The clip whose truth is in an .npz beside its .mp4."""
  with np.load(path) as arrays:
    return Clip(path.with_suffix('.mp4'), arrays['times'], arrays['lip_gap'],
                arrays['tracked_gap'])


def read_clips(pack, split):
  """The clips of a split, by name.

  Raises:
    UserError: there are none.
  """
  clips = [read_truth(path) for path in sorted((pathlib.Path(pack) / split).glob('*.npz'))]
  if len(clips) < 2:
    raise UserError(f'{pack} has no clips of split {split!r}: render a pack with '
                    'python -m data.talkers.make_pack, or name another --pack')
  return clips


def pair(clips):
  """For each clip the next one that is at least as long, else the longest other: (clip, other)."""
  pairs = []
  for i, clip in enumerate(clips):
    others = clips[i + 1:] + clips[:i]
    enough = [other for other in others if other.seconds >= clip.seconds]
    pairs.append((clip, enough[0] if enough else max(others, key=lambda c: c.seconds)))
  return pairs


def listening(machine, pairs, seed, overrides, folder):
  """Edits each clip with the other's sound and reads the mouth.

  Args:
    machine: system.System.
    pairs: list of (clip, other).
    seed: of the noise.
    overrides: SamplerConfig fields to change, (name, value) pairs.
    folder: for the edited videos.

  Returns:
    A list of dicts, one a clip, of correlations over the whole edit and over its middle.
  """
  rows = []
  for clip, other in tqdm.tqdm(pairs, unit='clip', desc='listening'):
    stop = min(clip.seconds, other.seconds)
    whole = other.seconds >= clip.seconds
    out = pathlib.Path(folder) / clip.path.name
    edit = regenerate.Edit(str(clip.path), str(other.path),
                           () if whole else ((0.0, stop - 1e-3),), 'rendered people', str(out),
                           seed, overrides)
    said = regenerate.regenerate(edit, machine, show=False)
    seen = faces.track_file(out)
    inside = seen.times < stop - 1e-3
    times, gap = seen.times[inside], seen.lip_gap[inside]
    new, old = other.truth(times), clip.truth(times)
    row = {'clip': clip.path.stem, 'audio': other.path.stem, 'frames': int(inside.sum()),
           'lost_faces': int((~np.isfinite(gap)).sum()), 'seconds': said['seconds'],
           'stages': said['stages'], 'peak_memory_mb': said['peak_memory_mb']}
    middle = (times >= _EDGE_SECONDS) & (times < stop - _EDGE_SECONDS)
    for name, part in (('whole', np.ones(len(times), bool)), ('middle', middle)):
      row[name] = {
        'new': correlation(gap[part], new[part]),
        'old': correlation(gap[part], old[part]),
        'truths': correlation(new[part], old[part]),
        'tracker_on_truth': correlation(other.tracked_gap, other.lip_gap),
        'opening': float(np.nanstd(gap[part]) / max(new[part].std(), 1e-6)),
      }
    rows.append(row)
  return rows


def medians(rows):
  """By part, the median of each figure over the clips."""
  return {part: {name: round(float(np.nanmedian([row[part][name] for row in rows])), 3)
                 for name in rows[0][part]} for part in ('whole', 'middle')}

"""Reference stills: frames of the video that show the generator what the person looks like."""

import math

import numpy as np
from scipy import ndimage

from vidregen_jax.errors import UserError

_STRIDE = 3  # frames between candidates
_DISTANCE = 4  # frames between a span and a reference
# A frame outside the spans counts if it is at least this share as good as the best of the video.
_GOOD = 0.5
_TURNED = 45.0  # degrees from the pose in the spans at which a frame shows nothing of it
_SHARP = 0.7  # of the 90th percentile of the candidates' sharpness: less counts as blurred


def choose(track, in_spans, count):
  """Chooses references: good frames, varied in mouth and pose, outside the spans if possible.

  A frame is good if it shows the pose that the spans show, is sharp and large. If fewer than
  `count` frames outside the spans are, frames inside are candidates too.

  Args:
    track: face_track.Track.
    in_spans: bool [F], the frames to be regenerated.
    count: references R.

  Returns:
    At most `count` frame numbers, ascending. If every frame is regenerated, they are taken from the
    whole video.
  """
  candidates = _usable(track, in_spans, count * _STRIDE)[::_STRIDE]
  if not len(candidates):
    return candidates
  sharp = track.sharpness[candidates]
  candidates = candidates[sharp >= _SHARP * np.percentile(sharp, 90)]
  features = np.stack([track.lip_gap, track.mouth_width, np.radians(track.yaw)], 1)[candidates]
  features = (features - features.mean(0)) / (features.std(0) + 1e-6)
  picks = [int(np.argmin(np.abs(features).sum(1)))]  # the most typical, then the farthest
  while len(picks) < min(count, len(candidates)):
    distance = np.linalg.norm(features[:, None] - features[picks][None], axis=-1).min(1)
    picks.append(int(np.argmax(distance)))
  return np.sort(candidates[picks])


def doubts(stills, in_spans) -> list[str]:
  """What to say of stills, by person frame numbers, that lie inside the spans, bool [F]."""
  if in_spans.all() or not any(in_spans[frames].any() for frames in stills.values()):
    return []
  return ['outside the spans the face is not seen as well as inside: stills of it are taken from '
          'inside too']


def variety(track, in_spans, count):
  """Frames that show how the person's face varies: evenly spaced among the good ones of `choose`.

  Args:
    track, in_spans, count: as in `choose`.

  Returns:
    At most `count` frame numbers, ascending, as in `choose`.
  """
  usable = _usable(track, in_spans, count)
  return usable[np.unique(np.linspace(0, len(usable) - 1, min(count, len(usable))).astype(int))]


def check(seconds, times, in_spans) -> None:
  """Refuses times that are past the video's ends or inside a span.

  Args:
    seconds: of each reference.
    times: [F] seconds of the video's frames.
    in_spans: bool [F], the frames to be regenerated.

  Raises:
    UserError: names the time.
  """
  for second in seconds:
    frame = _nearest(second, times)
    if in_spans[frame] and not in_spans.all():
      raise UserError(f'--references {second:g} s is inside a span, whose mouth is to be made '
                      'anew: choose a time outside')


def _nearest(second, times) -> int:
  frame = int(np.abs(times - second).argmin())
  if abs(times[frame] - second) > 0.5:
    raise UserError(f'--references {second:g} s is not in the video, which is from '
                    f'{times[0]:.2f} to {times[-1]:.2f} s')
  return frame


def at(seconds, track, in_spans, count):
  """The frames at the times that the user asked for.

  Args:
    seconds: of each reference.
    track, in_spans, count: as in `choose`.

  Returns:
    Frame numbers, ascending.

  Raises:
    UserError: too many times, no face at one of them, or as in `check`.
  """
  if len(seconds) > count:
    raise UserError(f'--references names {len(seconds)} times and the model takes {count}: name '
                    'fewer')
  check(seconds, track.times, in_spans)
  frames = []
  for second in seconds:
    frame = _nearest(second, track.times)
    if not track.valid[frame] or track.filled[frame]:
      raise UserError(f'--references {second:g} s: no face is found there; choose another time')
    frames.append(frame)
  return np.unique(frames)


def _usable(track, in_spans, count):
  """Frames that show the face well: outside the spans, unless fewer than `count` do there."""
  seen = track.valid & ~track.filled
  near = ndimage.binary_dilation(in_spans, iterations=_DISTANCE)
  if not seen.any():
    return np.flatnonzero(seen)
  quality = _quality(track, in_spans, seen)
  good = seen & (quality >= _GOOD * quality.max())
  outside = good & ~near
  return np.flatnonzero(outside if outside.sum() >= min(count, good.sum()) else good)


def _quality(track, in_spans, seen):
  """How well each frame shows the face as it is in the spans, [F] from 0 to 1."""
  spans = in_spans & seen if (in_spans & seen).any() else seen
  side = np.hypot(track.affine[:, 0, 0], track.affine[:, 1, 0])
  of = lambda values, usual: np.clip(values / max(usual, 1e-6), 0, 1)
  apart = np.abs(track.yaw - np.median(track.yaw[spans]))
  quality = ((1 - of(apart, _TURNED)) * of(side, np.median(side[spans]))
             * of(track.sharpness, np.percentile(track.sharpness[seen], 90)))
  return np.where(seen, quality, 0)


def parse(text):
  """Parses seconds such as '0.5,3.2'.

  Raises:
    UserError: the text is not a list of numbers.
  """
  try:
    seconds = tuple(float(part) for part in text.split(',')) if text else ()
  except ValueError:
    seconds = (math.nan, )
  if not all(map(math.isfinite, seconds)):
    raise UserError(f'--references {text!r} is no list of seconds such as 0.5,3.2')
  return seconds

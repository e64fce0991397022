"""What is kept: bounds, and the measures that are compared with them. All pure."""

import dataclasses

import cv2
import numpy as np
from scipy import ndimage

from vidregen_jax.errors import UserError
from vidregen_jax.faces import face_track
from vidregen_jax.media.audio import waveform

# Every reason for which anything is left out.
REASONS = (
  'unreadable', 'no pictures', 'no sound', 'beyond the sound', 'sound unreadable', 'music only',
  'no face', 'too small', 'profile', 'out of frame', 'mouth covered', 'too short',
  'no lips move with the sound', 'who speaks is undecided', 'another person speaks',
  'offset unsure', 'blurred', 'too dark', 'too bright', 'still picture', 'ended its worker',
)
_MEASURED = 128  # pixels of the crop that blur, light and motion are measured on
_BLOCK = 25  # frames that are measured at most, evenly over a clip
_HOP, _SECOND = waveform.MODEL_RATE // 50, 50  # samples of a moment, and moments of a second
# The least of the 264 rendered clips is .32, of eight real ones .53; chords on a piano have .13.
_LEAST_QUIET = 0.2


@dataclasses.dataclass(frozen=True)
class Bounds:
  """What a clip must have. Lengths are in seconds, sides in pixels of the source.

  Attributes:
    min_seconds, max_seconds: of a clip; longer stretches are cut into equal parts.
    least_side: of the canonical crop, some three times the distance of the eyes.
    most_yaw: degrees by which the head may be turned.
    least_sharpness: of `sharpness`; rendered clips and eight real ones have .046 to .105, and .026
      to .053 after a blur of 2 of their 256 pixels.
    darkest, brightest: mean luma of the crop, 0 to 255.
    keep_unsure: whether clips whose offset cannot be told are kept, as they are and marked.
  """

  min_seconds: float = 2.0
  max_seconds: float = 8.0
  least_side: float = 64.0
  most_yaw: float = 45.0
  least_sharpness: float = 0.03
  darkest: float = 25.0
  brightest: float = 235.0
  keep_unsure: bool = True

  def __post_init__(self):
    if not 0 < self.min_seconds <= self.max_seconds:
      raise UserError(f'clips of {self.min_seconds:g} to {self.max_seconds:g} s cannot be: give '
                      '--min_seconds below --max_seconds')


# Reasons of a track, in the words used here.
_OF_TRACK = {
  face_track.NO_FACE: 'no face', face_track.PROFILE: 'profile', face_track.TOO_SMALL: 'too small',
  face_track.OUT_OF_FRAME: 'out of frame', face_track.ANOTHER: 'another person speaks',
  face_track.NOT_LOOKED_AT: 'no face', face_track.COVERED: 'mouth covered'}


def usable(track: face_track.Track, bounds: Bounds) -> np.ndarray:
  """The reason why each frame of a face cannot be used, as an index into REASONS; -1 if it can.

  Returns:
    int8 [F].
  """
  why = np.full(len(track), -1, np.int8)
  with np.errstate(invalid='ignore'):
    side = np.hypot(track.affine[:, 0, 0], track.affine[:, 1, 0])
    why[side < bounds.least_side] = REASONS.index('too small')
    why[np.abs(track.yaw) > bounds.most_yaw] = REASONS.index('profile')
    why[track.cover > 1] = REASONS.index('mouth covered')
  for number, reason in _OF_TRACK.items():
    why[track.reason == number] = REASONS.index(reason)
  return why


def is_music(samples: np.ndarray) -> bool:
  """Whether sound lacks the pauses of speech.

  Measures how many moments are quieter than half of the second around them, as Scheirer and Slaney
  do (1997, doi 10.1109/ICASSP.1997.596192).

  Args:
    samples: int16 or float32 [n] at 16 kHz, of some seconds.
  """
  power = np.square(np.asarray(samples, np.float64))
  power = power[:len(power) // _HOP * _HOP].reshape(-1, _HOP).mean(1)
  around = ndimage.uniform_filter1d(power, _SECOND)
  return len(power) >= _SECOND and float((power < 0.5 * around).mean()) < _LEAST_QUIET


def some(count: int) -> np.ndarray:
  """Which of a clip's frames are measured, evenly over it."""
  return np.unique(np.linspace(0, count - 1, min(count, _BLOCK)).round().astype(int))


def of_crops(crops: np.ndarray, bounds: Bounds) -> tuple[str, str] | None:
  """Why a clip cannot be used by its look: (reason, measure), or None if it can.

  Args:
    crops: uint8 [N, S, S, 3], those of `some`.
  """
  luma = np.stack([cv2.cvtColor(cv2.resize(each, (_MEASURED, _MEASURED),
                                           interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
                   for each in crops]).astype(np.float32)
  light = float(luma.mean())
  if light < bounds.darkest:
    return 'too dark', f'mean luma {light:.0f}'
  if light > bounds.brightest:
    return 'too bright', f'mean luma {light:.0f}'
  # A median, as each key frame of a still's coding is a small jump.
  if len(luma) > 1 and float(np.median(np.abs(np.diff(luma, axis=0)).mean((1, 2)))) < _STILL:
    return 'still picture', 'the face does not change from frame to frame'
  sharp = float(np.median([sharpness(each) for each in luma]))
  if sharp < bounds.least_sharpness:
    return 'blurred', f'sharpness {sharp:.4f}'
  return None


_STILL = 0.25  # grey levels of difference; stills have .04, live faces 2.4 or more


def sharpness(luma: np.ndarray) -> float:
  """Share of a crop's contrast that is finer than two of 128 pixels: no unit, grain aside.

  Args:
    luma: float32 [128, 128].
  """
  fine = luma - cv2.GaussianBlur(luma, (0, 0), 1.5)
  # Grain and blocks of a codec are as strong on bare skin; edges of eyes and lips are not.
  edges = np.percentile(np.abs(fine), 98)
  return float(edges / max(float(luma.std()), 1.0) / 10)

"""Faces along a video: one face in a shot, all faces, and one face from end to end."""

import dataclasses
from collections.abc import Iterable

import numpy as np

from vidregen_jax.faces import landmarks

MAX_YAW = 60.  # degrees
_LARGE = 95  # percentile of a person's mouths
MIN_SIDE = 48.  # pixels of the canonical crop's side, some three times the eyes' distance

# Why a face cannot be regenerated in a frame, by number; 0 if it can.
REASONS = ('', 'no face', 'profile', 'too small', 'out of frame', 'another person',
           'not looked at', 'something hides the mouth')
NO_FACE, PROFILE, TOO_SMALL, OUT_OF_FRAME, ANOTHER, NOT_LOOKED_AT, COVERED = range(1, len(REASONS))


@dataclasses.dataclass(frozen=True, eq=False)
class Track:
  """One face through a video of F frames: a value, whose arrays cannot be written to.

  Attributes:
    times: float64 [F] seconds.
    affine: float32 [F, 2, 3], crop fraction to image pixel, smoothed in time; nan where not valid.
      For a file, to stored pixels; the crop is square as displayed.
    valid: bool [F]; whether the face can be regenerated: it was found or filled in, is not turned
      away by more than MAX_YAW degrees nor smaller than MIN_SIDE, and its lips are in the image.
    filled: bool [F]; no face was found, but one was so shortly before and after that the frame's
      values are interpolated. These frames are valid.
    score: float32 [F] of the mesh network; 0 where no face was found.
    yaw: float32 [F] degrees by which the head is turned, positive to the image's right.
    mouth_box: float32 [F, 4] crop fractions x0, y0, x1, y1 around the lips, padded.
    jaw: float32 [F, 23, 2] crop fractions of the outline of the face, `landmarks.JAW`.
    lip_gap: float32 [F], see `landmarks.lip_gap`.
    mouth_width: float32 [F], see `landmarks.mouth_width`.
    sharpness: float32 [F], mean absolute Laplacian of the crop's luma; only comparable within one
      video.
    confidence: float32 [F] from 0, where not valid, to 1: how well the face can be regenerated. The
      score times factors for yaw, size, sharpness and distance from the smoothed place; half as
      much where filled.
    cover: float32 [F], `mouth_cover.cover`, the median over nearby frames: above 1 a mask or the
      like hides the mouth. Such frames are still valid; see `uncovered`.
    reason: int8 [F], why a frame is not valid, an index into REASONS.
    shot: int32 [F], the number of the continuous stretch that a frame belongs to: frames of one
      face between two cuts. A frame may only be regenerated from frames of the same number. -1
      where the video was not searched.
    person: int32 [F], whose face it is: frames of one number show one person; -1 for nobody.
    landmarks: float32 [F, 468, 2] image pixels, as found (not smoothed), or None if not kept.

  Values are nan where there is no face. Lengths are in displayed pixels.
  """

  times: np.ndarray
  affine: np.ndarray
  valid: np.ndarray
  filled: np.ndarray
  score: np.ndarray
  yaw: np.ndarray
  mouth_box: np.ndarray
  jaw: np.ndarray
  lip_gap: np.ndarray
  mouth_width: np.ndarray
  sharpness: np.ndarray
  confidence: np.ndarray
  cover: np.ndarray
  reason: np.ndarray
  shot: np.ndarray
  person: np.ndarray
  landmarks: np.ndarray | None

  def __len__(self) -> int:
    return len(self.valid)

  def __post_init__(self):
    for field in dataclasses.fields(self):
      if (values := getattr(self, field.name)) is not None:
        view = values.view()
        view.flags.writeable = False
        object.__setattr__(self, field.name, view)

  def at(self, frames) -> 'Track':
    """The track of some frames, in any order."""
    values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    return Track(**{name: None if x is None else x[frames] for name, x in values.items()})


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
  """One face in one shot, from the first frame in which it was found to the last.

  Attributes:
    start: the first frame.
    track: of the N consecutive frames from there on, all of one shot.
    box: float32 [N, 4], x0, y0, x1, y1 of the canonical crop's middle two thirds in image pixels,
      roughly the face; nan where it was not found.
    descriptors: [K, C], see `reidentify.descriptor`, of a few frames.
  """

  start: int
  track: Track
  box: np.ndarray
  descriptors: np.ndarray

  @property
  def stop(self) -> int:
    return self.start + len(self.track)

  @property
  def shot(self) -> int:
    return int(self.track.shot[0])

  @property
  def area(self) -> np.ndarray:
    """Area of the face in square pixels [N]; 0 where it was not found."""
    sides = self.box[:, 2:] - self.box[:, :2]
    return np.nan_to_num(sides.prod(1))

  def part(self, start: int, stop: int, person: int) -> 'Piece':
    """The frames from `start` to `stop`, numbered as in the video, assigned to a person."""
    inside = slice(start - self.start, stop - self.start)
    track = self.track.at(inside)
    track = dataclasses.replace(track, person=np.full(len(track), person, np.int32))
    return Piece(start, track, self.box[inside], self.descriptors)


@dataclasses.dataclass(frozen=True, eq=False)
class FaceTracks:
  """All faces that were found in a video of F frames.

  Attributes:
    times: float64 [F] seconds.
    shot: int32 [F], the number of each frame's shot; -1 where it was not searched.
    pieces: ordered by start.
    size: (width, height) of the images, as displayed but before rotation.
    turns: clockwise quarter turns by which players rotate the image.
  """

  times: np.ndarray
  shot: np.ndarray
  pieces: list[Piece]
  size: tuple[int, int]
  turns: int = 0

  def track(self, pieces: Iterable[Piece], others: np.ndarray | None = None,
            keep_landmarks: bool = False) -> Track:
    """Joins pieces into a track of the whole video.

    Args:
      pieces: that do not overlap.
      others: bool [F], frames in which somebody else is visible: the reason given where there is no
        piece. None for no such frames.
      keep_landmarks: whether the track has landmarks; then all pieces must have them.
    """
    values = _of_nobody(self.times, self.shot, keep_landmarks)
    if others is not None:
      values['reason'][others] = ANOTHER
    for piece in pieces:
      for name, whole in values.items():
        if name not in ('times', 'shot'):
          whole[piece.start:piece.stop] = getattr(piece.track, name)
    return Track(**{'landmarks': None} | values)


def _of_nobody(times, shot, keep_landmarks) -> dict[str, np.ndarray]:
  """The arrays of a track without any face."""
  count = len(times)
  nothing = lambda *shape: np.full((count, *shape), np.nan, np.float32)
  return dict(
    times=np.array(times, np.float64), affine=nothing(2, 3), valid=np.zeros(count, bool),
    filled=np.zeros(count, bool), score=np.zeros(count, np.float32), yaw=nothing(),
    mouth_box=nothing(4), jaw=nothing(len(landmarks.JAW), 2), lip_gap=nothing(),
    mouth_width=nothing(), sharpness=nothing(), confidence=np.zeros(count, np.float32),
    cover=nothing(),
    reason=np.where(shot < 0, NOT_LOOKED_AT, NO_FACE).astype(np.int8),
    shot=np.array(shot, np.int32), person=np.full(count, -1, np.int32),
    **{'landmarks': nothing(468, 2)} if keep_landmarks else {})


def uncovered(track: Track) -> Track:
  """The track, with frames in which a mask or the like hides the mouth marked as not valid."""
  covered = track.valid & (track.cover > 1)
  valid = track.valid & ~covered
  affine, box, jaw = track.affine.copy(), track.mouth_box.copy(), track.jaw.copy()
  for values in (affine, box, jaw):
    values[covered] = np.nan
  return dataclasses.replace(
    track, affine=affine, mouth_box=box, jaw=jaw, valid=valid, filled=track.filled & valid,
    confidence=np.where(valid, track.confidence, 0),
    reason=np.where(covered, COVERED, track.reason).astype(np.int8))


def largest_mouths(track: Track) -> np.ndarray:
  """Boxes, in crop fractions, of the largest mouth to expect in each frame, float32 [F, 4].

  It is as wide and as high as the person's own larger ones, since another sound may open the mouth
  wider than it is. Boxes widen evenly and grow downwards; nan where the track is not valid.
  """
  x0, y0, x1, y1 = track.mouth_box.T.copy()
  width, height = x1 - x0, y1 - y0
  for person in np.unique(track.person[track.valid]):
    of = track.valid & (track.person == person)
    for size in (width, height):
      size[of] = np.maximum(size[of], np.percentile(size[of], _LARGE))
  middle = (x0 + x1) / 2
  return np.stack([middle - width / 2, y0, middle + width / 2, y0 + height], -1)

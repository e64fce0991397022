"""Re-identification: which faces in different shots belong to the same person.

There is no face recognition network here. Two faces are compared by the upper half of their
canonical crops: its normalised luma and its mean colour. That distinguishes most people, and is
stable for one person as long as light and camera stay the same; if these change, nothing is
certain, and the report says so.
"""

import dataclasses
import math

import cv2
import numpy as np

from vidregen_jax.faces import landmarks

_SIDE = 32  # pixels of the crop that is compared
_ROWS, _COLUMNS = slice(2, 17), slice(4, 28)  # without the mouth, and with little background
_PER_COLOUR = .02  # likeness lost per unit of CIE Lab's a and b
SAME, SAME_PLACE, DIFFERENT, STAYS = .95, .85, .7, .9  # likeness
_NEAR_SECONDS = 2.0
_AT_ONCE = 1.0  # seconds; faces that appear within them in one shot appear together


def descriptor(image: np.ndarray, affine: np.ndarray) -> np.ndarray:
  """A face's descriptor, for comparison: float32 [C], of which the last two are colour.

  Args:
    image: uint8 [H, W, 3] RGB.
    affine: [2, 3], crop fraction to image pixel.
  """
  crop = landmarks.warp(image, landmarks.pixel_affine(affine, _SIDE),
                        _SIDE).astype(np.float32) / 255
  lab = cv2.cvtColor(crop, cv2.COLOR_RGB2Lab)
  luma = cv2.GaussianBlur(lab[_ROWS, _COLUMNS, 0], (0, 0), 1).ravel()
  luma = luma - luma.mean()
  colour = lab[_ROWS, _COLUMNS, 1:].mean((0, 1))
  return np.r_[luma / max(float(np.linalg.norm(luma)), 1e-6), colour].astype(np.float32)


def likeness(descriptors: np.ndarray, others: np.ndarray) -> float:
  """Likeness of the closest pair among descriptors [K, C] and [L, C]: 1 if equal, else less.

  Two halves of one clip have at least .977; clips of two people .49 in the median, and .88 in one
  of a hundred pairs (48 rendered people). Five people filmed by one camera have at most .87.
  """
  if not len(descriptors) or not len(others):
    return 0.0
  luma = descriptors[:, :-2] @ others[:, :-2].T
  colour = np.linalg.norm(descriptors[:, None, -2:] - others[None, :, -2:], axis=-1)
  return float((luma - _PER_COLOUR * colour).max())


def displayed(points: np.ndarray, size: tuple[int, int], turns: int) -> np.ndarray:
  """Image pixels [..., 2] as fractions of the displayed picture, after clockwise quarter turns."""
  x, y = np.moveaxis(np.asarray(points, np.float64) / size, -1, 0)
  for _ in range(turns % 4):
    x, y = 1 - y, x
  return np.stack([x, y], -1)


def displayed_box(box: np.ndarray, size: tuple[int, int], turns: int) -> np.ndarray:
  """x0, y0, x1, y1 [..., 4] in image pixels as fractions of the displayed picture."""
  corners = np.stack([displayed(box[..., part], size, turns) for part in ([0, 1], [2, 3])], -2)
  return np.concatenate([corners.min(-2), corners.max(-2)], -1)


@dataclasses.dataclass(frozen=True)
class Appearance:
  """Where and when a person is seen in a video.

  Attributes:
    id: the person's number, from 1.
    first, last: seconds at which the face is first and last seen.
    box: mean x0, y0, x1, y1 around the face, in fractions of the displayed picture.
    size: mean width of the face in pixels.
    share: of the frames that were searched, the share with the face, 0 to 1.
  """

  id: int
  first: float
  last: float
  box: tuple[float, ...]
  size: float
  share: float


@dataclasses.dataclass
class Person:
  """All pieces that belong to one person.

  Attributes:
    number: from 1, in order of appearance; people who appear together count from the left.
    pieces: face_track.Piece, ordered by start.
  """

  number: int
  pieces: list

  @property
  def descriptors(self) -> np.ndarray:
    return np.concatenate([piece.descriptors for piece in self.pieces])

  def area(self, weights: np.ndarray) -> float:
    """The area of the face, summed over frames with weights [F]."""
    return float(sum(piece.area @ weights[piece.start:piece.stop] for piece in self.pieces))

  def at(self, frame: int):
    """The Piece that contains a frame, or None."""
    return next((piece for piece in self.pieces if piece.start <= frame < piece.stop), None)

  def within(self, shot: int) -> list:
    """The pieces in a shot."""
    return [piece for piece in self.pieces if piece.shot == shot]

  def boxes(self, size: tuple[int, int], turns: int) -> np.ndarray:
    """x0, y0, x1, y1 in fractions of the shown picture, [N, 4], of all frames with the face."""
    box = np.concatenate([piece.box for piece in self.pieces])
    return displayed_box(box[np.isfinite(box).all(1)], size, turns)

  def appearance(self, faces) -> Appearance:
    """Where and when the person is seen in face_track.FaceTracks."""
    times, count = faces.times, sum(int((piece.track.score > 0).sum()) for piece in self.pieces)
    side = np.concatenate([piece.box[:, 2] - piece.box[:, 0] for piece in self.pieces])
    return Appearance(
      id=self.number, first=round(float(times[self.pieces[0].start]), 3),
      last=round(float(times[max(piece.stop for piece in self.pieces) - 1]), 3),
      box=tuple(self.boxes(faces.size, faces.turns).mean(0).round(3).tolist()),
      size=round(float(np.nanmean(side)), 1),
      share=round(count / max(int((faces.shot >= 0).sum()), 1), 3))


def tell_apart(faces) -> list[Person]:
  """The people in face_track.FaceTracks, by number.

  A piece is assigned to the person that it resembles most, if that is certain and the person is not
  elsewhere in the same frames; otherwise to a new person.
  """
  people: list[Person] = []
  for piece in faces.pieces:
    free = [person for person in people
            if not any(p.start < piece.stop and piece.start < p.stop for p in person.pieces)]
    alike = {person.number: likeness(piece.descriptors, person.descriptors)
             + (SAME - SAME_PLACE) * _follows(person.pieces[-1], piece, faces.times)
             for person in free}
    best = max(alike, key=alike.get, default=None)
    if best is None or alike[best] < SAME:
      people.append(Person(len(people), [piece]))
    else:
      people[best].pieces.append(piece)
  return _numbered(people, faces)


def _follows(before, after, times) -> bool:
  """Whether a piece begins soon after another has ended, and in the same place."""
  if times[after.start] - times[before.stop - 1] > _NEAR_SECONDS:
    return False
  one, other = before.box[-1], after.box[0]
  sides = one[2] - one[0], other[2] - other[0]
  return bool(math.dist(one[:2] + one[2:], other[:2] + other[2:]) < max(sides)
              and max(sides) < 1.3 * min(sides))


def _numbered(people, faces):
  """The same people, numbered; they are given in the order of their first pieces."""
  together: list[list[Person]] = []
  for person in people:
    piece, first = person.pieces[0], together[-1][0].pieces[0] if together else None
    if (first and piece.shot == first.shot
        and faces.times[piece.start] - faces.times[first.start] <= _AT_ONCE):
      together[-1].append(person)
    else:
      together.append([person])
  left = lambda person: float(person.boxes(faces.size, faces.turns)[0, 0])
  order = [person for group in together for person in sorted(group, key=left)]
  return [Person(number, person.pieces) for number, person in enumerate(order, start=1)]


"""What is known about a rendered clip, in one small .npz beside its .mp4; and a pack's index."""

import dataclasses
import hashlib
import json
import os
import pathlib
import zipfile

import numpy as np

from vidregen_jax import errors, outputs

POINT_STEP = 1 / 32  # pixels; the grid on which landmarks are stored
INDEX = 'index.json'


@dataclasses.dataclass(frozen=True, eq=False)
class Truth:
  """The truth of a clip of F frames, and the bundled tracker's reading of the encoded file.

  Attributes:
    plan: the drawing the clip was made from, as JSON: language, voice, sentence, identity, seeds.
    times: float64 [F] seconds from the clip's start.
    points68: float32 [F, 68, 2] pixels; an integer is a pixel's centre.
    phonemes: (IPA symbol, start, stop) in seconds.
    lip_gap: float32 [F], opening of the lips in eye distances; mouth_width: float32 [F], likewise.
    affine: float32 [F, 2, 3], the tracker's smoothed transform from crop fractions to pixels.
    valid: bool [F], the tracker found a face.
    mouth_box: float32 [F, 4], the tracker's, in crop fractions x0, y0, x1, y1.
    tracked_gap: float32 [F], lip gap as the tracker sees it.
  """

  plan: str
  times: np.ndarray
  points68: np.ndarray
  phonemes: tuple[tuple[str, float, float], ...]
  lip_gap: np.ndarray
  mouth_width: np.ndarray
  affine: np.ndarray
  valid: np.ndarray
  mouth_box: np.ndarray
  tracked_gap: np.ndarray

  def __getitem__(self, name: str):
    """A field of the plan: truth['voice']."""
    return json.loads(self.plan)[name]

  @property
  def agreement(self) -> float:
    """Correlation of the tracker's lip gap with the truth."""
    seen = self.valid & np.isfinite(self.tracked_gap)
    if seen.sum() < 3:
      return 0.0
    return float(np.corrcoef(self.lip_gap[seen], self.tracked_gap[seen])[0, 1])

  def save(self, path: str | os.PathLike) -> None:
    """Writes the file whole or not at all. Landmarks keep 1/32 pixel, as steps between frames."""
    path = pathlib.Path(path)
    grid = np.round(self.points68 / POINT_STEP).astype(np.int16)
    arrays = dict(
      plan=np.array(self.plan),
      times=self.times,
      point_steps=np.diff(grid, axis=0, prepend=np.zeros_like(grid[:1])),
      symbols=np.array([symbol for symbol, _, _ in self.phonemes]),
      spans=np.array([span for _, *span in self.phonemes], np.float32).reshape(-1, 2),
      valid=self.valid,
    )
    for name in ('lip_gap', 'mouth_width', 'affine', 'mouth_box', 'tracked_gap'):
      arrays[name] = getattr(self, name).astype(np.float32)
    with outputs.whole_file(path) as part:
      np.savez_compressed(part, **arrays)

  @classmethod
  def load(cls, path: str | os.PathLike) -> 'Truth':
    """Reads what `save` wrote; raises UserError if it is missing or broken."""
    try:
      with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
      grid = np.cumsum(arrays.pop('point_steps'), axis=0, dtype=np.int16)
      spans = zip(arrays.pop('symbols'), arrays.pop('spans').tolist(), strict=True)
      return cls(
        plan=str(arrays.pop('plan')), points68=grid.astype(np.float32) * np.float32(POINT_STEP),
        phonemes=tuple((str(symbol), *span) for symbol, span in spans), **arrays,
      )  # fmt: skip
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
      raise errors.UserError(f'{path}: no readable truth of a clip ({error})') from error


def read_index(pack: str | os.PathLike) -> dict:
  """The index of a pack folder: {'size', 'seed', 'crop', 'clips': [...]}; the first had no 'crop'.

  Raises:
    UserError: the folder has none.
  """
  path = pathlib.Path(pack) / INDEX
  if not path.is_file():
    raise errors.UserError(f'{path}: no such file; make it with python -m data.talkers.make_pack')
  try:
    return json.loads(path.read_text())
  except json.JSONDecodeError as error:
    raise errors.UserError(f'{path}: broken index ({error}); make the pack again') from error


def checksum(path: str | os.PathLike) -> str:
  """The first 16 hex digits of a file's SHA-256."""
  return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()[:16]

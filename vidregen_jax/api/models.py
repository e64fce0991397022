"""Models, loaded once for any number of edits."""

import dataclasses
import os
import pathlib

from vidregen_jax.api import compiled
from vidregen_jax.errors import UserError
from vidregen_jax.exports import pipeline

BUNDLED = 'talkers'  # found by its name


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Model:
  """A model that is loaded; any number of edits can share it, one at a time.

  Attributes:
    folder: that it was read from.
    system: its parts.
  """

  folder: pathlib.Path
  system: pipeline.System

  @property
  def is_student(self) -> bool:
    """Whether frames are made by the student, in few steps and one branch."""
    return 'student' in self.system.digests

  @property
  def size(self) -> int:
    """Pixels of the side of the face crops that it makes."""
    return self.system.models.codec.size

  def __repr__(self):
    maker = 'student' if self.is_student else 'generator'
    return f'Model({str(self.folder)!r}: {maker}, {self.size} px)'


def load(checkpoint: str | os.PathLike, *, teacher: bool = False,
         compile_cache: bool = True) -> Model:
  """Loads a model.

  Args:
    checkpoint: a folder that a training or `vidregen_jax.export` wrote; or 'talkers', the bundled
      model, wherever it is.
    teacher: whether to make frames with the generator even if there is a student, which is several
      times faster, in the folder.
    compile_cache: whether to keep compiled programs in the user's cache folder, for this and later
      processes, unless JAX has a cache already.

  Raises:
    UserError: there is no such folder, or something in it is missing, damaged or does not fit
      together.
  """
  folder = find(checkpoint)
  if compile_cache:
    compiled.begin()
  return Model(folder, pipeline.load(folder, teacher))


def find(checkpoint: str | os.PathLike) -> pathlib.Path:
  """The folder of a checkpoint, given by its path or, if it is the bundled one, by its name.

  Raises:
    UserError: the bundled one is asked for, and not there.
  """
  folder = pathlib.Path(checkpoint)
  if os.fspath(checkpoint) != BUNDLED or folder.is_dir():
    return folder
  data = pathlib.Path(os.environ.get('XDG_DATA_HOME') or os.path.expanduser('~/.local/share'))
  places = (pathlib.Path(__file__).parents[2] / 'checkpoints' / BUNDLED,  # of a checkout
            data / 'vidregen_jax' / 'checkpoints' / BUNDLED)
  for place in places:
    if place.is_dir():
      return place
  raise UserError(f'the bundled model {BUNDLED} is not installed: copy the folders checkpoints/'
                  f'{BUNDLED} and checkpoints/whisper-base of the repository to '
                  f'{places[-1].parent}, or give the path of a checkpoint')

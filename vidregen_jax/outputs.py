"""Files and folders that appear whole or not at all: every result on disk gets its name here.

  with outputs.whole_file(path) as part:                  # one file
    part.write_bytes(data)

  with outputs.whole_folder(path) as part:                # a folder, whatever is in it
    (part / 'config.json').write_bytes(data)

  with outputs.Outputs([path, path.with_suffix('.json')], replace=False) as files:
    files.part(path).write_bytes(film)                    # several that appear together
    files.part(path.with_suffix('.json')).write_bytes(report)

They are written in a `ScratchFolder` beside their names, and renamed when the block ends well.
"""

import contextlib
import errno
import functools
import os
import pathlib
import stat
from collections.abc import Iterable, Iterator

from vidregen_jax import interrupts, scratch_folder
from vidregen_jax.errors import UserError

# What disks without hard links say, where one is asked for.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)


@contextlib.contextmanager
def whole_file(path: str | os.PathLike, replace: bool = True) -> Iterator[pathlib.Path]:
  """A path to write to, which becomes `path` when the `with` block ends well.

  Otherwise what was at `path` stays. Several processes may write the same file at once.

  Args:
    path: of the file, in a folder that exists.
    replace: whether to replace a file that is there.

  Raises:
    FileExistsError: `replace` is False and a file is there in the end.
    OSError: the disk refuses.
  """
  path = pathlib.Path(path)
  with scratch_folder.ScratchFolder(path.parent) as folder:
    part = folder / f'part{path.suffix}'
    yield part
    with interrupts.held():
      (os.replace if replace else _put_new)(part, path)


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike) -> Iterator[pathlib.Path]:
  """A new folder to fill, which takes the place of `path` when the `with` block ends well.

  Otherwise what was there stays. Folders above it are made. From the folder that is yielded, `..`
  is what it will be from `path`.

  Raises:
    UserError: nothing can be written there.
  """
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  with contextlib.ExitStack() as stack:
    with _writable(path.parent):
      scratch = stack.enter_context(scratch_folder.ScratchFolder(path.parent))
    new, old = scratch_folder.sibling(scratch), scratch / 'old'
    new.mkdir()
    yield new
    with interrupts.held():
      existed = path.exists()
      if existed:
        path.rename(old)
      try:
        new.rename(path)
      except BaseException:
        if existed:
          old.rename(path)
        raise


class Outputs:
  """Files that get their names together when a `with` block ends well; otherwise none is left.

  Args:
    paths: of all files that may be written, in one folder.
    replace: whether to replace existing files. Those of `paths` that were not written again are
      then removed, as they would describe something else.

  Raises:
    UserError: when entered: nothing can be written there, another process is making one of the
      files, a name is too long, or it is taken by something that must not be replaced. When left:
      the same, found out only then, or the disk refuses; everything is then as it was before.

  Attributes:
    published: whether they have their names.
  """

  def __init__(self, paths: Iterable[str | os.PathLike], replace: bool):
    self._paths, self._replace = [pathlib.Path(path) for path in paths], replace
    self.published = False
    self._scratch = scratch_folder.ScratchFolder(self._paths[0].parent,
                                                 [path.name for path in self._paths])
    self._parts: dict[pathlib.Path, pathlib.Path] = {}

  def __enter__(self) -> 'Outputs':
    check(self._paths, self._replace)
    with _writable(self._paths[0].parent):
      self._folder = self._scratch.__enter__()
    return self

  def part(self, path: str | os.PathLike) -> pathlib.Path:
    """Where to write what will be `path`."""
    path = pathlib.Path(path)
    # A short name of its own: with anything added a long one may be too long.
    self._parts[path] = self._folder / f'part{self._paths.index(path)}{path.suffix}'
    return self._parts[path]

  def rehearsal(self, path: str | os.PathLike) -> pathlib.Path:
    """Where to try out how `path` is written; a file there is never published."""
    return self._folder / f'rehearsal{pathlib.Path(path).suffix}'

  def __exit__(self, kind, error, trace) -> None:
    try:
      if kind is None:
        with interrupts.held():
          self._publish()
          self.published = True
    finally:
      self._scratch.__exit__()

  def _publish(self):
    undo = []
    try:
      check(self._paths, self._replace)
      # The first is what the others describe: it appears when they are there.
      for number, path in reversed(list(enumerate(self._paths))):
        part, old = self._parts.get(path), self._folder / f'old{number}'
        if not self._replace:
          if part is not None:
            _put_new(part, path)
            undo.append(path.unlink)
          continue
        existed = _set_aside(path, old, stays=part is not None)
        if existed:
          undo.append(functools.partial(os.replace, old, path))
        if part is not None:
          os.replace(part, path)
          if not existed:
            undo.append(path.unlink)
    except BaseException as error:
      for step in reversed(undo):
        with contextlib.suppress(OSError):
          step()
      if isinstance(error, FileExistsError):
        raise UserError(f'{path}: has come to be meanwhile and stays as it is, and nothing was '
                        'written: give another name, or --overwrite') from error
      if isinstance(error, OSError):
        raise refused(path, error) from error
      raise


def check(paths: Iterable[pathlib.Path], replace: bool) -> None:
  """Refuses names that files cannot get.

  Raises:
    UserError: there is no such folder, a name is too long, something is there, or what is there is
      no file.
  """
  for path in paths:
    if not os.path.isdir(path.parent):
      raise UserError(f'{path.parent}: no such folder; make it first')
    try:
      status = os.lstat(path)
    except FileNotFoundError:
      continue
    except (OSError, ValueError) as error:  # a name with a zero in it is a ValueError
      raise UserError(f'{path}: cannot be written ({getattr(error, "strerror", error)}): give '
                      'another name') from error
    if not replace:
      raise UserError(f'the result would replace {path}: give another name, or --overwrite')
    is_file = stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)
    if path.is_dir() or not is_file:
      raise UserError(f'the result would replace {path}, which is '
                      f'{"a folder" if path.is_dir() else "no file"}: give another name')


@contextlib.contextmanager
def _writable(folder) -> Iterator[None]:
  """Turns the refusal to make a scratch folder into a `UserError`."""
  try:
    yield
  except OSError as error:
    raise UserError(f'{folder}: cannot be written to ({error.strerror}): give another place'
                    ) from error


@contextlib.contextmanager
def disk_errors(path) -> Iterator[None]:
  """Turns the disk's refusal to write a file into a `UserError`, as `refused` words it."""
  try:
    yield
  except OSError as error:
    raise refused(path, error) from error


def refused(path, error: OSError) -> UserError:
  """The disk's refusal to write a file, in one line."""
  return UserError(f'{path}: cannot be written ({error.strerror}); nothing was left there')


def _put_new(part, path) -> None:
  """Gives a finished file its name, if that is still free.

  Raises:
    FileExistsError: it is not.
    OSError: the disk refuses.
  """
  try:
    os.link(part, path)
  except OSError as error:
    if error.errno not in _NO_LINKS:
      raise
    # Of two processes that want the name, one makes this empty file, and may then replace it.
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    try:
      os.replace(part, path)
    except BaseException:
      os.unlink(path)
      raise


def _set_aside(path, old, stays: bool) -> bool:
  """Keeps what is at a path, so that it can be put back; returns whether there is anything.

  Args:
    stays: whether it is also left where it is, if the disk has links, so that readers always find
      a file there.
  """
  try:
    if stays:
      try:
        os.link(path, old, follow_symlinks=False)
        return True
      except OSError as error:
        if error.errno not in _NO_LINKS:
          raise
    os.rename(path, old)
  except FileNotFoundError:
    return False
  return True

"""Files that appear together, whole, or not at all; and what is swept up after who was killed.

  with outputs.Outputs([path, path.with_suffix('.json')], replace=False) as made:
    made.part(path).write_bytes(film)         # in a hidden folder beside them
    made.part(path.with_suffix('.json')).write_bytes(report)

They are made in a `Room`: a hidden folder beside where they shall be, so that they need only be
renamed, and that nothing else has to be found when it is removed.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import pathlib
import platform
import secrets
import shutil
import stat
import time
from collections.abc import Iterable, Iterator

from vidregen_jax import interrupts
from vidregen_jax.errors import UserError

_PREFIX, _SUFFIX, _LOCK = '.vidregen-', '.part', 'lock'
# Of rooms of other computers, and of this one before it was started anew, not all disks say whether
# their owners live: they are dead if nothing was written for so many seconds.
_ABANDONED = 7 * 24 * 3600.0
_TURN = 2.0  # seconds to wait for others who just now look around in a folder
# What disks without hard links say, where one is asked for.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EINVAL)


class Room:
  """A hidden folder to make files in, gone when the `with` block is left; `with` gives its path.

  Its owner holds a lock in it for as long as the process lives, however that ends. Whoever makes a
  room beside it later removes those of the dead: his own user's, whose lock is free.

  Args:
    folder: where to make it; there already.
    names: what is to become of it there. Two who make the same at once would lose the work of one.

  Raises:
    UserError: nothing can be written in the folder, or somebody is making one of the names.
  """

  def __init__(self, folder: str | os.PathLike, names: Iterable[str] = ()):
    self._folder, self._names = pathlib.Path(folder), list(names)
    self._path, self._lock = None, None

  def __enter__(self) -> pathlib.Path:
    try:
      with interrupts.held(), _alone_in(self._folder):
        self._refuse_twice(_sweep(self._folder))
        while self._lock is None:
          self._make()
    except OSError as error:
      self._remove()
      raise UserError(f'{self._folder}: cannot be written to ({error.strerror}): give another '
                      'place') from error
    except BaseException:
      self._remove()
      raise
    return self._path

  def __exit__(self, *_) -> None:
    self._remove()

  def _refuse_twice(self, taken):
    for name in self._names:
      if os.fsencode(name) in taken:
        raise UserError(f'{self._folder / name}: is being made by another run at this moment: wait '
                        'for its end, or give another name')

  def _make(self):
    """Makes the room, unless somebody takes it for a dead one's before it is locked."""
    self._path = self._folder / f'{_PREFIX}{_computer()}-{secrets.token_hex(6)}{_SUFFIX}'
    self._path.mkdir(mode=0o700)
    try:
      lock = os.open(self._path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileNotFoundError:
      return
    try:
      os.write(lock, b'\0'.join(map(os.fsencode, self._names)))
      _take(lock)
      os.stat(self._path / _LOCK)
    except (BlockingIOError, FileNotFoundError):
      os.close(lock)
    except OSError:
      os.close(lock)
      raise
    else:
      self._lock = lock

  def _remove(self):
    with interrupts.held():
      if self._path is not None:
        _clear(self._path)
        self._path = None
      if self._lock is not None:
        os.close(self._lock)
        self._lock = None


def _take(lock: int) -> None:
  """Locks; a disk without locks has none, and then nobody else has any there either.

  Raises:
    BlockingIOError: another process holds it.
  """
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    raise
  except OSError:
    pass


@functools.cache
def _computer() -> str:
  """The computer, since it was started: locks of the same are always seen."""
  try:
    name = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text()
  except OSError:
    name = platform.node()
  return hashlib.sha256(name.encode()).hexdigest()[:8]


@contextlib.contextmanager
def _alone_in(folder) -> Iterator[None]:
  """Only one process at a time looks around in a folder; where it cannot be locked, each does."""
  try:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
  except OSError:
    yield
    return
  try:
    deadline = time.monotonic() + _TURN
    while time.monotonic() < deadline:
      try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        break
      except BlockingIOError:
        time.sleep(.01)
      except OSError:
        break
    yield
  finally:
    os.close(lock)


def _sweep(folder) -> set[bytes]:
  """Removes rooms of the dead; returns the names that the living are making."""
  taken, names = set(), []
  with contextlib.suppress(PermissionError):  # one may write to a folder and not read it
    names = os.listdir(folder)
  for name in names:
    room = pathlib.Path(folder, name)
    if not (name.startswith(_PREFIX) and name.endswith(_SUFFIX)) or not _is_mine(room):
      continue
    try:
      lock = os.open(room / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
      with contextlib.suppress(OSError):
        os.rmdir(room)  # who makes it at this moment makes another
      continue
    except OSError:
      continue
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      taken |= set(os.read(lock, 2**16).split(b'\0'))
    except OSError:
      pass  # no locks here: nobody knows
    else:
      if _computer() in name or _quiet(room):
        _clear(room)
    finally:
      os.close(lock)
  return taken


def _is_mine(room) -> bool:
  """Whether it is a folder, no link to one, and this user's."""
  try:
    found = os.lstat(room)
  except OSError:
    return False
  return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _quiet(room) -> bool:
  """Whether nothing in a room was written for long."""
  try:
    latest = max(os.lstat(path).st_mtime for path in (room, *room.rglob('*')))
  except OSError:
    return False
  return time.time() - latest > _ABANDONED


def sibling(room: pathlib.Path) -> pathlib.Path:
  """A folder that may be made beside a room and goes with it, for what looks out of itself."""
  return room.with_suffix('.new')


def _clear(room) -> None:
  """Removes a room, the lock last: what is left when this is broken off is still known as dead."""
  shutil.rmtree(sibling(room), ignore_errors=True)
  with contextlib.suppress(OSError):
    for path in room.iterdir():
      if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
      elif path.name != _LOCK:
        path.unlink()
  with contextlib.suppress(OSError):
    (room / _LOCK).unlink()
  with contextlib.suppress(OSError):
    room.rmdir()


class Outputs:
  """Files that get their names together when a `with` block ends well, and else are not left.

  Args:
    paths: of all that may come to be, in one folder.
    replace: whether to replace what is there; then what is there of `paths` and was not made anew
      goes too, for it would tell of something else.

  Raises:
    UserError: when entered: as `Room`, a name is too long, or one is taken and by nothing that may
      be replaced. When left: the same, found out only then, or the disk refuses; all is then as it
      was before.

  Attributes:
    published: whether they have their names.
  """

  def __init__(self, paths: Iterable[str | os.PathLike], replace: bool):
    self._paths, self._replace = [pathlib.Path(path) for path in paths], replace
    self.published = False
    self._room = Room(self._paths[0].parent, [path.name for path in self._paths])
    self._parts: dict[pathlib.Path, pathlib.Path] = {}

  def __enter__(self) -> 'Outputs':
    check(self._paths, self._replace)
    self._folder = self._room.__enter__()
    return self

  def part(self, path: str | os.PathLike) -> pathlib.Path:
    """Where to write what will be `path`."""
    path = pathlib.Path(path)
    # A short name of its own: with anything added a long one may be too long.
    self._parts[path] = self._folder / f'part{self._paths.index(path)}{path.suffix}'
    return self._parts[path]

  def rehearsal(self, path: str | os.PathLike) -> pathlib.Path:
    """Where to try out how `path` is written; nothing there gets a name."""
    return self._folder / f'rehearsal{pathlib.Path(path).suffix}'

  def __exit__(self, kind, error, trace) -> None:
    try:
      if kind is None:
        with interrupts.held():
          self._publish()
          self.published = True
    finally:
      self._room.__exit__()

  def _publish(self):
    undo = []
    try:
      check(self._paths, self._replace)
      # The first is what the others tell of, and comes when they are there.
      for number, path in reversed(list(enumerate(self._paths))):
        part, old = self._parts.get(path), self._folder / f'old{number}'
        if not self._replace:
          if part is not None:
            put_new(part, path)
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
      found = os.lstat(path)
    except FileNotFoundError:
      continue
    except (OSError, ValueError) as error:  # a name with a zero in it is a ValueError
      raise UserError(f'{path}: cannot be written ({getattr(error, "strerror", error)}): give '
                      'another name') from error
    if not replace:
      raise UserError(f'the result would replace {path}: give another name, or --overwrite')
    is_file = stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)
    if path.is_dir() or not is_file:
      raise UserError(f'the result would replace {path}, which is '
                      f'{"a folder" if path.is_dir() else "no file"}: give another name')


@contextlib.contextmanager
def told(path) -> Iterator[None]:
  """What the disk refuses of a file, as `refused`."""
  try:
    yield
  except OSError as error:
    raise refused(path, error) from error


def refused(path, error: OSError) -> UserError:
  """What the disk refused, by cause, not by where in the code it came up."""
  return UserError(f'{path}: cannot be written ({error.strerror}); nothing was left there')


def put_new(part, path) -> None:
  """Gives a finished file its name, which nobody else may have got meanwhile.

  Raises:
    FileExistsError: somebody has.
    OSError: the disk refuses.
  """
  try:
    os.link(part, path)
  except OSError as error:
    if error.errno not in _NO_LINKS:
      raise
    # Of two who want the name one makes this empty file, and may then replace it.
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    try:
      os.replace(part, path)
    except BaseException:
      os.unlink(path)
      raise


def _set_aside(path, old, stays: bool) -> bool:
  """Keeps what is at a path, so that it can be put back; returns whether there is anything.

  Args:
    stays: whether it is also left where it is, if the disk has links, so that nobody finds nothing.
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

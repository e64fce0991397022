"""Hidden folders to make files in, beside where the files will be, and their removal.

Files made here need only be renamed, and all that is left of a process that was killed lies in one
place, where the next process finds and removes it.
"""

import contextlib
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
# Not all disks show the locks of other computers, or of this one before it was restarted: scratch
# folders made there are abandoned if nothing was written in them for this many seconds.
_ABANDONED = 7 * 24 * 3600.0
_TURN = 2.0  # seconds to wait for another process that sweeps the same folder


class ScratchFolder:
  """A hidden folder to make files in; a context manager that gives its path and removes it.

  Its process holds a lock in it until it ends, in whatever way. Whoever later makes another in the
  same place removes those of this user whose lock is free.

  Args:
    parent: folder to make it in, which exists.
    names: of what will be moved from here into `parent`. Of two processes that made the same at
      once, one would lose its work, so the second is refused.

  Raises:
    OSError: nothing can be written in `parent`.
    UserError: another process is making one of the names.
  """

  def __init__(self, parent: str | os.PathLike, names: Iterable[str] = ()):
    self._parent, self._names = pathlib.Path(parent), list(names)
    self._path, self._lock = None, None

  def __enter__(self) -> pathlib.Path:
    try:
      with interrupts.held(), _locked(self._parent):
        self._refuse_twice(_sweep(self._parent))
        while self._lock is None:
          self._make()
    except BaseException:
      self._remove()
      raise
    return self._path

  def __exit__(self, *_) -> None:
    self._remove()

  def _refuse_twice(self, busy):
    for name in self._names:
      if os.fsencode(name) in busy:
        raise UserError(f'{self._parent / name}: is being made by another run at this moment: wait '
                        'for its end, or give another name')

  def _make(self):
    """Makes the folder, unless another process takes it for abandoned before it is locked."""
    self._path = self._parent / f'{_PREFIX}{_computer()}-{secrets.token_hex(6)}{_SUFFIX}'
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
  """Takes a lock, on disks that have locks; on others no process has one.

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
  """Names this computer since it was started: within that, all see each other's locks."""
  try:
    name = pathlib.Path('/proc/sys/kernel/random/boot_id').read_text()
  except OSError:
    name = platform.node()
  return hashlib.sha256(name.encode()).hexdigest()[:8]


@contextlib.contextmanager
def _locked(folder) -> Iterator[None]:
  """Lets one process at a time sweep a folder; after a while, or without locks, all of them."""
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
  """Removes abandoned scratch folders; returns the names that running processes are making."""
  busy, names = set(), []
  with contextlib.suppress(PermissionError):  # one may write to a folder and not read it
    names = os.listdir(folder)
  for name in names:
    scratch = pathlib.Path(folder, name)
    if not (name.startswith(_PREFIX) and name.endswith(_SUFFIX)) or not _is_mine(scratch):
      continue
    try:
      lock = os.open(scratch / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
      with contextlib.suppress(OSError):
        os.rmdir(scratch)  # if its process is just making it, that makes another
      continue
    except OSError:
      continue
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      busy |= set(os.read(lock, 2**16).split(b'\0'))
    except OSError:
      pass  # no locks on this disk, so nothing is known
    else:
      if _computer() in name or _quiet(scratch):
        _clear(scratch)
    finally:
      os.close(lock)
  return busy


def _is_mine(scratch) -> bool:
  """Whether it is a folder, no link to one, and this user's."""
  try:
    found = os.lstat(scratch)
  except OSError:
    return False
  return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _quiet(scratch) -> bool:
  """Whether nothing in a scratch folder has been written for long."""
  try:
    latest = max(os.lstat(path).st_mtime for path in (scratch, *scratch.rglob('*')))
  except OSError:
    return False
  return time.time() - latest > _ABANDONED


def sibling(scratch: pathlib.Path) -> pathlib.Path:
  """A folder that may be made beside a scratch folder and is removed with it.

  From it `..` is what it will be when it has been renamed.
  """
  return scratch.with_suffix('.new')


def _clear(scratch) -> None:
  """Removes a scratch folder, its lock last: what an interruption leaves can still be swept."""
  shutil.rmtree(sibling(scratch), ignore_errors=True)
  with contextlib.suppress(OSError):
    for path in scratch.iterdir():
      if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
      elif path.name != _LOCK:
        path.unlink()
  with contextlib.suppress(OSError):
    (scratch / _LOCK).unlink()
  with contextlib.suppress(OSError):
    scratch.rmdir()

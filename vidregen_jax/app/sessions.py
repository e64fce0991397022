"""Sessions: what one open page of the app holds, in a folder that goes when the page is closed."""

import contextlib
import dataclasses
import os
import pathlib
import re
import secrets
import shutil
import threading

from vidregen_jax.app import job_queue
from vidregen_jax.errors import UserError

_LONGEST = 120  # bytes of a file's name that are kept; folders and suffixes are added to it


@dataclasses.dataclass(eq=False)
class Session:
  """One open page.

  Attributes:
    token: unguessable; it is the address of the session's files.
    folder: of all files of the session.
    video: path of the video; None until there is one.
    sound: path of the whole new soundtrack; None until there is one.
    transcript: path of the words of the video's sound; None until there is one.
    pieces: paths of pieces of new sound, by what identifies them.
    is_new: whether files have come since the last look at them.
    known: what the last look at these files has found; None before that.
    job: the last one that was asked for; None before that.
    closed: whether the page was closed.
  """

  token: str
  folder: pathlib.Path
  video: pathlib.Path | None = None
  sound: pathlib.Path | None = None
  transcript: pathlib.Path | None = None
  pieces: dict[str, pathlib.Path] = dataclasses.field(default_factory=dict)
  is_new: bool = False
  known: object = None
  job: job_queue.Job | None = None
  closed: bool = False

  @property
  def is_busy(self) -> bool:
    return self.job is not None and not self.job.has_ended

  def keep(self, upload: str | os.PathLike) -> pathlib.Path:
    """Moves an uploaded file into the session's folder; returns its path there.

    Raises:
      UserError: it is no longer there.
    """
    upload = pathlib.Path(upload)
    suffix = upload.suffix[-20:]
    stem = os.fsencode(upload.stem)[:_LONGEST].decode(errors='ignore')
    place = self.folder / 'uploads' / secrets.token_hex(4)
    place.mkdir(parents=True)
    path = place / f'{stem}{suffix}'
    try:
      upload.replace(path)
    except OSError as error:
      place.rmdir()
      raise UserError(f'{upload.name} did not arrive: give it again') from error
    with contextlib.suppress(OSError):
      upload.parent.rmdir()  # which is named by the digest of what was in it
    return path

  def drop(self, path: pathlib.Path | None) -> None:
    """Removes a file that `keep` returned; None for nothing."""
    if path is not None:
      shutil.rmtree(path.parent, ignore_errors=True)

  def place(self, name: str) -> pathlib.Path:
    """A new, empty folder for what is made."""
    folder = self.folder / 'made' / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder

  def line(self, error: UserError | str) -> str:
    """A mistake in one line, with names for the session's files, and no flag before them."""
    named = re.sub(rf'{re.escape(str(self.folder))}/\w+/\w+/', '', str(error))
    return ' '.join(re.sub(r'^--\w+ ', '', named).split())


class Sessions:
  """The sessions of all open pages, by the keys that their browsers were given.

  Args:
    folder: to make the sessions' folders in.
  """

  def __init__(self, folder: pathlib.Path):
    self._folder, self._open = folder, {}
    self._lock = threading.Lock()

  def of(self, key: str) -> Session:
    """The session with a key, which begins with the first question for it."""
    with self._lock:
      if key not in self._open:
        token = secrets.token_urlsafe(18)
        session = Session(token, self._folder / token)
        session.folder.mkdir(mode=0o700)
        self._open[key] = session
      return self._open[key]

  def close(self, key: str) -> None:
    """Ends a session: its job is cancelled, and when that has ended, its folder is removed."""
    with self._lock:
      session = self._open.pop(key, None)
    if session is None:
      return
    session.closed = True
    remove = lambda: shutil.rmtree(session.folder, ignore_errors=True)
    if session.job is None:
      remove()
      return
    session.job.cancel()
    session.job.afterwards(remove)

  def file(self, token: str, name: str) -> pathlib.Path | None:
    """The path of a file of an open session, by its path within the session's folder; or None."""
    with self._lock:
      session = next((one for one in self._open.values() if one.token == token), None)
    if session is None:
      return None
    path = (session.folder / name).resolve()
    inside = path.is_relative_to(session.folder.resolve())
    hidden = any(part.startswith('.') for part in pathlib.PurePosixPath(name).parts)
    return path if inside and not hidden and path.is_file() else None

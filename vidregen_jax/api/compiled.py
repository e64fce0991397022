"""Compiled programs, kept on disk between runs: most of a short edit is compiling.

They lie in `vidregen_jax/compiled` of the user's cache folder ($XDG_CACHE_HOME or ~/.cache), by
version of JAX and kind of processor; JAX's key of a program tells all else apart. JAX writes its
entries in place, so that a process that is killed leaves half a program behind, and another reads
it. So each process has a folder of its own, in which the shared entries are linked, and shares what
it has compiled after an edit that ended well.

A cache that the user has given to JAX is left alone (JAX_COMPILATION_CACHE_DIR), and so is JAX if
the user has turned caches off (JAX_ENABLE_COMPILATION_CACHE=false).
"""

import atexit
import contextlib
import hashlib
import os
import pathlib
import platform
import stat

import jax
from jax.experimental.compilation_cache import compilation_cache

from vidregen_jax import scratch_folder

_LEAST_SECONDS = .1  # of compiling; what takes less is compiled anew
_MOST_BYTES = 1_000_000_000  # of the shared entries; the oldest are removed
_ENTRIES = '*-cache'  # JAX's names

_own: pathlib.Path | None = None  # this process's folder, once there is one


def begin() -> None:
  """Lets JAX use the cache from now on, if the user's folder can be written to."""
  global _own
  if _own or jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache:
    return
  try:
    folder = shared()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_private(folder):
      return  # others could put programs there, which would be run
    scratch = scratch_folder.ScratchFolder(folder)
    own = scratch.__enter__()
  except OSError:
    return  # everything is compiled, as on the first run
  atexit.register(scratch.__exit__)
  for entry in folder.glob(_ENTRIES):
    with contextlib.suppress(OSError):
      os.link(entry, own / entry.name)
  jax.config.update('jax_compilation_cache_dir', str(own))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', _LEAST_SECONDS)
  # XLA's own caches would be in the same place, and the place then part of JAX's keys.
  jax.config.update('jax_persistent_cache_enable_xla_caches', 'none')
  compilation_cache.reset_cache()  # JAX decides on its first program whether there is a cache
  _own = own


def share() -> None:
  """Gives other processes what this one has compiled; all of it must be whole."""
  if _own is None:
    return
  folder = shared()
  for entry in _new_entries():
    with contextlib.suppress(OSError):  # another process was first, or the disk has no links
      os.link(entry, folder / entry.name)
  _tidy(folder)


def forget() -> None:
  """Removes what this process has compiled: it was interrupted, and the last may be half."""
  if _own is not None:
    for entry in _new_entries():
      entry.unlink(missing_ok=True)


def shared() -> pathlib.Path:
  """The folder of the entries that all of the user's processes share."""
  cache = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  except OSError:
    lines = [platform.processor()]
  kind = sorted({line for line in lines if line.startswith(('flags', 'Features', 'model name'))})
  digest = hashlib.sha256('\n'.join([platform.machine(), *kind]).encode()).hexdigest()
  return pathlib.Path(cache, 'vidregen_jax', 'compiled', f'jax-{jax.__version__}-{digest[:12]}')


def _new_entries():
  return [entry for entry in _own.glob(_ENTRIES) if entry.stat().st_nlink == 1]


def _is_private(folder) -> bool:
  """Whether a folder is the user's and no other may write to it."""
  status = os.stat(folder)
  return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _tidy(folder):
  """Removes the oldest shared entries, down to the most that are kept."""
  entries = []
  for entry in folder.glob(_ENTRIES):
    with contextlib.suppress(OSError):
      status = entry.stat()
      entries.append((status.st_mtime, status.st_size, entry))
  total = sum(size for _, size, _ in entries)
  for _, size, entry in sorted(entries):
    if total <= _MOST_BYTES:
      return
    entry.unlink(missing_ok=True)
    total -= size

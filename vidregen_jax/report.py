"""What an edit says of itself: times by stage, digests, and a JSON file that is whole or absent."""

import array
import contextlib
import hashlib
import json
import os
import time
import uuid

import numpy as np

from vidregen_jax.errors import UserError


class Clock:
  """Seconds spent by stage; each stage's are taken by one thread. Stages of several overlap."""

  def __init__(self):
    self._stages = {}

  @contextlib.contextmanager
  def __call__(self, stage, frames=0):
    start = time.perf_counter()
    yield
    self.add(stage, time.perf_counter() - start, frames)

  def add(self, stage, seconds, frames=0):
    """Notes a call of a stage: 12 bytes, for a long video has a million."""
    times, counts = self._stages.setdefault(stage, (array.array('d'), array.array('i')))
    times.append(seconds)
    counts.append(frames)

  def report(self):
    """By stage: seconds in all, frames, and the median milliseconds a frame over the calls.

    The first call of a compiled stage includes its compilation, which the median leaves out.
    """
    rows = {}
    for stage, (seconds, counts) in self._stages.items():
      rows[stage] = {'seconds': round(sum(seconds), 3), 'frames': sum(counts)}
      per_frame = [1e3 * spent / count for spent, count in zip(seconds, counts, strict=True)
                   if count]
      if per_frame:
        rows[stage]['ms_per_frame_median'] = round(float(np.median(per_frame)), 3)
    return rows


def digest(path):
  """sha256 of a file."""
  with open(path, 'rb') as file:
    return hashlib.file_digest(file, 'sha256').hexdigest()


def as_json(value):
  """Bytes of a JSON value, as people can read it."""
  return (json.dumps(value, indent=2) + '\n').encode()


def write_json(path, value, put=os.replace):
  """Writes a JSON file that appears whole or not at all.

  Args:
    path: pathlib.Path.
    value: JSON value.
    put: os.replace, or os.link where an earlier file must stay.

  Raises:
    FileExistsError: os.link found a file there.
    UserError: it cannot be written.
  """
  part = beside(path)
  try:
    part.write_bytes(as_json(value))
    put(part, path)
  except FileExistsError:
    raise
  except OSError as error:
    raise UserError(f'{path}: cannot be written ({error.strerror}): give another place') from error
  finally:
    part.unlink(missing_ok=True)


def beside(path):
  """A new name beside a path, for what is renamed to it when it is whole.

  It is random: in containers on two hosts, numbers of processes are often equal.
  """
  return path.with_name(f'{path.name}.part.{uuid.uuid4().hex}')

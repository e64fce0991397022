"""Batches for training: a sequence that the seed alone fixes, for any number of processes.

Row r of batch n is example g = n * batch_size + r. Its clip comes from the shuffle of the epoch
that g is in, its window from random numbers seeded by (seed, g). So a process reads just the rows
of its own devices, wherever the run began, and the position in the sequence is a count of batches.
A record that cannot be read is replaced by the next one that can, in whichever process.
"""

import functools
import os
import sys
import threading
import time

import grain
import numpy as np

from vidregen_jax import terminal
from vidregen_jax.errors import BadRecord, UserError

START = {'batches': 0, 'bad_records': []}  # the place before the first batch


class Batches:
  """An endless iterator over put(batch), from a given place on; `close` ends its threads.

  Attributes:
    seed: what fixes the sequence.
  """

  def __init__(self, clips, window, seed, batch_size, rows, put, num_workers=0, max_bad_records=0,
               place=START, tell=terminal.tell):
    """Shuffles the clips anew each epoch and cuts one random window from each.

    Args:
      clips: grain.MapDataset of clips; reading one may raise BadRecord.
      window: function (clip, numpy Generator) -> dict of equally shaped arrays.
      seed: int.
      batch_size: examples of a batch, over all processes.
      rows: which of them this process reads, ints.
      put: function from its part of a batch to device arrays; runs ahead in a thread.
      num_workers: processes that read and cut; 0 for threads of this one.
      max_bad_records: how many unreadable records are replaced before the run ends.
      place: where to begin, a `place` of another run; default: at the first batch.
      tell: called with a line about each bad record, once.
    """
    self.seed = seed
    self._batches, self._bad = place['batches'], set(place['bad_records'])
    self._limit, self._tell = max_bad_records, tell
    examples = grain.MapDataset.source(_Mended(clips, max_bad_records))
    examples = examples.seed(seed).shuffle().repeat().random_map(
      lambda found, rng: (window(found[0], rng), found[1]))
    dataset = grain.MapDataset.source(_Parts(examples, batch_size, rows))[self._batches:]
    # A batch is large: only a few are prefetched.
    dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=4))
    if num_workers:
      dataset = dataset.mp_prefetch(
        grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2),
        functools.partial(_end_with, os.getpid()))
    dataset = dataset.map(lambda found: (put(found[0]), found[1]))
    self._ahead = iter(grain.experimental.ThreadPrefetchIterDataset(
      dataset, prefetch_buffer_size=2))

  def __iter__(self):
    return self

  def __next__(self):
    """The next batch.

    Raises:
      UserError: a clip cannot be used, or more records are bad than allowed.
    """
    batch, bad = next(self._ahead)
    for index in sorted(bad.keys() - self._bad):
      self._tell(f'left out: {terminal.printable(bad[index])}')
    self.learn(bad)
    self._batches += 1
    return batch

  @property
  def bad_records(self):
    """Indices of the records that are known to be bad."""
    return frozenset(self._bad)

  @property
  def place(self):
    """The position of the next batch, in plain values that a checkpoint keeps."""
    return {'batches': self._batches, 'bad_records': sorted(self._bad)}

  def learn(self, bad_records):
    """Count records that were found to be bad, here or by another process; each counts once.

    Args:
      bad_records: their indices in the split.

    Raises:
      UserError: there are more than allowed.
    """
    self._bad |= set(bad_records)
    if len(self._bad) > self._limit:
      raise UserError(_too_many(len(self._bad), self._limit))

  def close(self):
    """End the threads and processes that read ahead."""
    self._ahead.close()


def _end_with(parent, *_):
  """Ends a worker once the process that reads from it is gone, even if that was killed."""
  def watch():
    while os.getppid() == parent:
      time.sleep(1)
    os._exit(1)

  threading.Thread(target=watch, daemon=True).start()


def mended(clips, max_bad_records):
  """Clips as a grain.MapDataset in which the next good one stands in for a bad one.

  Raises:
    UserError: on reading a clip, if it and so many after it are bad.
  """
  return grain.MapDataset.source(_Mended(clips, max_bad_records)).map(lambda found: found[0])


class _Mended:
  """Clips, each with the bad ones skipped on the way to it: (clip, {index: what is wrong})."""

  def __init__(self, clips, limit):
    self._clips, self._limit = clips, limit

  def __len__(self):
    return len(self._clips)

  def __getitem__(self, index):
    bad = {}
    for step in range(len(self._clips)):
      at = (index + step) % len(self._clips)
      try:
        return self._clips[at], bad
      except BadRecord as error:
        if not self._limit:
          raise
        bad[at] = str(error)
        if len(bad) > self._limit:
          break
    raise UserError(_too_many(len(bad), self._limit))


class _Parts:
  """The rows that one process reads of each batch, stacked, and what was bad among them."""

  def __init__(self, examples, batch_size, rows):
    self._examples, self._batch_size = examples, batch_size
    self._rows = [int(row) for row in rows]

  def __len__(self):
    return sys.maxsize // self._batch_size

  def __getitem__(self, index):
    found = [self._examples[index * self._batch_size + row] for row in self._rows]
    bad = {at: line for _, passed in found for at, line in passed.items()}
    return {name: np.stack([example[name] for example, _ in found]) for name in found[0][0]}, bad


def _too_many(count, limit):
  return (f'{count} records cannot be trained on, and config.max_bad_records is {limit}: build the '
          'dataset again, or allow more by --config.max_bad_records')

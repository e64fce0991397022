"""Soundtracks of files, decoded in pieces, only where they are read."""

import functools
import itertools
import os
from fractions import Fraction

import numpy as np

from vidregen_jax import errors
from vidregen_jax.media.audio import channels, lazy, waveform

# Seconds that are decoded before the wanted samples, as decoders carry state: overlapping windows,
# a bit reservoir, filters. Opus needs .08 s, an MP3 frame looks back .24 s at most.
_RUN_UP = 0.5
# Containers in which seeking by time finds the exact packet. In others FFmpeg guesses, and so they
# are decoded from the start.
_SOUGHT = {'mp4', 'matroska', 'wav'}


class Recording(lazy.Blocks):
  """A file's first soundtrack: the samples of `waveform.read`, in pieces.

  It holds 16 bytes a packet and a minute of samples. Where times are counted in samples and packets
  follow each other, as in mp4 and wav, opening decodes only the first packet.

  Attributes:
    path: the file.
    start: seconds, from where the file starts, of the first sample.
    places_are_said: whether the file gives the positions of its channels, or has at most two.

  Raises:
    UserError: as `waveform.read`.
  """

  def __init__(self, path: str | os.PathLike):
    self.path = os.fspath(path)
    container, stream = waveform.open_sound(path)
    with container:
      names = set(container.format.name.split(','))
      first = next(waveform.decode(container, stream, path), None)
      if first is None:
        raise errors.UserError(f'{path}: its soundtrack is empty')
      self.start = waveform.start_of(container, first)
      self.places_are_said = len(first.places) < 3 or channels.are_said(stream.layout)
      self._pts, self._at, count = (_by_packets(path, first)
                                     or _by_decoding(self.path, _state(path)))
    rises = bool((np.diff(self._pts) > 0).all())
    self._sought = bool(names & _SOUGHT) and rises
    self._coming, self._over, self._next = None, [], 0  # for decoding from the start
    super().__init__(first.rate, first.places, count)

  def _make(self, first, last):
    begin = max(int(np.searchsorted(self._at, first, 'right')) - 1, 0)
    begin = max(int(np.searchsorted(self._at, self._at[begin] - _RUN_UP * self.rate)) - 1, 0)
    if self._sought and begin:
      block, last_piece = self._collect(self._from(begin), first, last)
      if block is not None and last_piece:
        return block
    if self._coming is None or self._next > first:
      self._coming, self._over = self._from_start(), []
    block, self._over = self._collect(itertools.chain(self._over, self._coming), first, last)
    self._next = last
    return block

  def _collect(self, placed, first, last):
    """Samples of placed pieces, with silence between, and the last piece, which may reach beyond.

    None instead of the samples if the place of a piece is unknown.
    """
    block, over = np.zeros((self.shape[0], last - first), np.float32), []
    for at, samples in placed:
      if at is None:
        return None, []
      a, b = max(at, first), min(at + samples.shape[1], last)
      if a < b:
        block[:, a - first:b - first] = samples[:, a - at:b - at]
      over = [(at, samples)]
      if at + samples.shape[1] >= last:
        break
    return block, over

  def _from(self, packet):
    """Yields (place, samples) from a packet on, by the packets' times.

    The place is None if it is unknown, or the file was entered too late.
    """
    container, stream = waveform.open_sound(self.path)
    with container:
      container.seek(int(self._pts[packet]), stream=stream)
      late = True
      for piece in waveform.decode(container, stream, self.path):
        known = piece.pts is not None and piece.pts <= self._pts[-1]
        k = int(np.searchsorted(self._pts, piece.pts)) if known else 0
        late = late and k > packet
        known = known and self._pts[k] == piece.pts and not late
        yield int(self._at[k]) if known else None, piece.samples

  def _from_start(self):
    """Yields (place, samples) of the whole file."""
    container, stream = waveform.open_sound(self.path)
    with container:
      for at, piece in waveform.place(waveform.decode(container, stream, self.path)):
        yield at, piece.samples


def _by_packets(path, first):
  """(pts, places, count of samples) from packets alone; None if decoding might differ."""
  container, stream = waveform.open_sound(path)
  with container:
    context = stream.codec_context
    # Only the decoder knows how much of an MP3's last packet is sound.
    if stream.time_base != Fraction(1, first.rate) or context.name.startswith('mp3'):
      return None
    rows = [(packet.pts, packet.duration) for packet in container.demux(stream) if packet.size]
    even = context.frame_size > 0
  if any(None in row for row in rows):
    return None
  pts, duration = np.array(rows, np.int64).T
  if first.pts is None or (pts[:-1] + duration[:-1] != pts[1:]).any() or (duration <= 0).any():
    return None
  at, lengths = pts, duration[:-1]
  if even and (lengths != duration[0]).any():
    if (abs(lengths - duration[0]) > 1).any():
      return None
    # All packets have one length, but some claim another: their times were rounded.
    at = waveform.in_line(pts, int(np.median(duration)), first.rate)
  end = int(at[-1] + duration[-1])
  keep = pts + duration > first.pts
  return (np.maximum(pts[keep], first.pts), np.maximum(at[keep], first.pts) - first.pts,
          end - first.pts)


def _state(path):
  """A key of the file's content: it changes with the file."""
  status = os.stat(path)
  return status.st_mtime_ns, status.st_size, status.st_ino


@functools.lru_cache(maxsize=8)  # an edit opens each of its files several times
def _by_decoding(path, state):
  """The same, by decoding everything; `state` is a key of the cache."""
  rows, end = [], 0
  container, stream = waveform.open_sound(path)
  with container:
    for at, piece in waveform.place(waveform.decode(container, stream, path)):
      count = piece.samples.shape[1]
      end = at + count - (piece.padding if piece.padding < count else 0)
      rows.append((-1 if piece.pts is None else piece.pts, at))
  pts, at = np.array(rows, np.int64).T
  return pts, at, end

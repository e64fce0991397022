"""Containers being written: video from a subclass, a soundtrack, and what is kept of a source.

The file appears whole or not at all. Further soundtracks, subtitles, chapters, covers, attachments
and metadata of the source are copied packet by packet, with their times.
"""

import contextlib
import dataclasses
import math
import os
import pathlib
from collections.abc import Iterable, Iterator
from fractions import Fraction

import av

from vidregen_jax import errors, outputs
from vidregen_jax.media import containers, encoders, opening, video
from vidregen_jax.media.audio import aac, packet_splice

Sound = str | os.PathLike | aac.Soundtrack | packet_splice.Patched | None

_MAX_TIMESCALE = 2**31 - 1
_RUN_UP = 'the run-up of the sound before its start'
# By codec of a cover picture: the suffix of such a file, and its media type.
_PICTURES = {'mjpeg': ('jpg', 'image/jpeg'), 'png': ('png', 'image/png')}
# Metadata of the muxer that wrote the source, and of transparency, which is not written here.
_OWN_METADATA = ('encoder', 'major_brand', 'minor_version', 'compatible_brands', 'alpha_mode')


class _Rehearsed(Exception):
  """Leaves a rehearsal without finishing the file."""


class Muxer:
  """A file being written, with its sound; a subclass adds the pictures.

  The file is made in a hidden folder beside `path` and renamed when the `with` block ends well; on
  any exception, KeyboardInterrupt too, it is removed and an earlier file at `path` is left as it
  was.

  Args:
    path: Where to write; of the kinds in `containers`.
    time_base: Seconds per unit of the frame times.
    audio: A file whose sound (with `keep`, its first track) is copied packet by packet, a
      `aac.Soundtrack` to be encoded (as Opus in WebM, else as AAC), or a `packet_splice.Patched`.
    keep: A file whose further soundtracks (all but the first), subtitles, chapters, title, cover
      and other metadata are kept.
    part: Where to write it, if the caller publishes it; None to have it appear at `path`, in place
      of an earlier file.
    begins: Seconds on the new file's clock at which its source files start.

  Attributes:
    left_out: After opening: what of `keep` the output cannot hold, in words; at the end, also what
      was attached to pictures that were encoded anew.
  """

  def __init__(self, path: str | os.PathLike, time_base: Fraction,
               audio: Sound = None,
               keep: str | os.PathLike | None = None,
               part: pathlib.Path | None = None, begins: Fraction = Fraction(0)):
    self.path = pathlib.Path(path)
    self._time_base, self._audio, self._keep = time_base, audio, keep
    self._begins = begins
    self.left_out: list[str] = []
    self._kind = containers.of(path)
    if not os.path.isdir(self.path.parent):
      raise errors.UserError(f'{self.path.parent}: no such folder; make it first')
    self._part, self._ending = part, contextlib.ExitStack()
    self._sources: list[av.container.InputContainer] = []

  def _add_pictures(self) -> None:
    """Adds the video stream to `self._container`, as `self._stream`."""
    raise NotImplementedError

  def _finish_pictures(self) -> None:
    """Muxes the remaining pictures."""
    raise NotImplementedError

  def _check(self, path: pathlib.Path) -> None:
    """Checks the finished file before it gets its name."""

  @contextlib.contextmanager
  def _disk_errors(self) -> Iterator[None]:
    """Turns errors of the disk and of FFmpeg into a `UserError` with the cause."""
    try:
      yield
    except (av.error.FFmpegError, OSError) as error:
      raise outputs.refused(self.path, error) from error

  def __enter__(self) -> 'Muxer':
    with contextlib.ExitStack() as opened:
      if self._part is None:
        results = opened.enter_context(outputs.Outputs([self.path], replace=True))
        self._part = results.part(self.path)
      opened.callback(self._close)
      with self._disk_errors():
        self._open()
      self._ending = opened.pop_all()
    return self

  def rehearse(self) -> None:
    """Writes the header of a file, which needs a `part`, and removes it again.

    Raises:
      UserError: the file cannot hold something; without this, that is found only after the work.
    """
    try:
      with self:
        with self._disk_errors(), encoders.scheduled_as_before():
          self._container.start_encoding()
        raise _Rehearsed
    except _Rehearsed:
      pass
    finally:
      self._part.unlink(missing_ok=True)

  def _open(self) -> None:
    rates, sound, source = [], None, None
    if isinstance(self._audio, aac.Soundtrack):
      rates = [aac.rate_of(self._audio, self._kind.sound)]
    elif self._audio is not None:
      patched = isinstance(self._audio, packet_splice.Patched)
      sound = self._opened(self._audio.path if patched else self._audio)
      rates = [stream.rate for stream in sound.streams.audio]
    if self._keep is not None:
      source = self._opened(self._keep)
      rates += [stream.rate for stream in source.streams.audio[1:]]
    metadata = {} if source is None else {
      key: value for key, value in source.metadata.items() if key not in _OWN_METADATA}
    options = {}
    if self._kind.muxer == 'mp4':
      # Keys with a dot are QuickTime's, which go into another box.
      flags = '+faststart' + '+use_metadata_tags' * any('.' in key for key in metadata)
      # The tracks' start times are stored in the movie's time scale, a millisecond by default:
      # one that every track's own scale divides keeps a late first frame exactly where it is.
      scale = self._time_base.denominator
      movie_scale = math.lcm(scale, *rates)
      options = dict(movflags=flags, video_track_timescale=str(scale),
                     movie_timescale=str(movie_scale if movie_scale <= _MAX_TIMESCALE else scale))
    self._container = opening.open_output(self._part, self._kind.muxer, options)
    self._container.metadata.update(metadata)
    if self._kind.step and self._time_base % self._kind.step:
      self.left_out.append('frame times finer than a millisecond')
    self._add_pictures()
    if source is not None:
      tags = video.video_stream(source, self._keep).metadata
      self._stream.metadata.update({k: v for k, v in tags.items() if k not in _OWN_METADATA})
      if tags.get('alpha_mode') == '1' and 'transparency' not in self.left_out:
        self.left_out.append('transparency')
    self._beside = [self._sound_packets(sound)]
    if source is not None:
      self._container.set_chapters(self._chapters(source))
      self._beside += [self._kept_packets(source), self._covers()]
    self._waiting = [next(packets, None) for packets in self._beside]

  def _opened(self, path) -> av.container.InputContainer:
    self._sources.append(opening.open_input(path))
    return self._sources[-1]

  def _mux_beside(self, until: Fraction | float) -> None:
    """Muxes the other tracks up to a time, so that no track waits in memory for another."""
    for i, packets in enumerate(self._beside):
      while (packet := self._waiting[i]) is not None:
        if packet.dts is not None and packet.dts * packet.time_base > until:
          break
        self._container.mux(packet)
        self._waiting[i] = next(packets, None)

  def _sound_packets(self, source) -> Iterator[av.Packet]:
    if isinstance(self._audio, aac.Soundtrack):
      self.left_out += aac.lost(self._audio, self._kind.sound)
      track = dataclasses.replace(self._audio, start=self._audio.start + self._begins)
      return aac.encoded(track, aac.add_stream(self._container, track, self._kind.sound),
                         self._begins)
    if source is None:
      return iter(())
    patched, streams = isinstance(self._audio, packet_splice.Patched), {}
    for stream in source.streams.audio[:1 if patched or self._keep is not None else None]:
      copy = self._copy_of(stream)
      if copy is None:
        raise errors.UserError(
          f'{self._audio}: {stream.codec_context.name} sound cannot be copied into '
          f'{self.path.suffix}; give its samples to have them encoded')
      streams[stream.index] = copy
    if patched:
      exact = not self._kind.step
      return self._audible(source, self._audio.packets(source, *streams.values(), exact))
    return self._copied(source, streams)

  def _copy_of(self, stream):
    """A stream to copy another's packets into; None if this kind of file cannot hold them."""
    if stream.codec_context is None:
      return None
    try:
      copy = self._container.add_stream_from_template(stream, opaque=True)
    except ValueError:
      return None
    copy.metadata.update(stream.metadata)
    copy.disposition = stream.disposition
    return copy

  def _kept_packets(self, source) -> Iterator[av.Packet]:
    streams, watched = {}, video.video_stream(source, self._keep)
    cover = av.stream.Disposition.attached_pic
    for stream in (*source.streams.audio[1:], *source.streams.subtitles, *source.streams.video):
      if stream is watched or stream.disposition & cover:
        continue
      copy = self._copy_of(stream)
      if copy is None:
        codec = stream.codec_context.name if stream.codec_context else 'unknown'
        self.left_out.append(f'{stream.type} track {stream.index} ({codec})')
      else:
        streams[stream.index] = copy
    for stream in source.streams.data:
      chapters = stream.discard == av.stream.Discard.all  # they are read already elsewhere
      made_again = self._kind.muxer == 'mp4' and 'timecode' in stream.metadata
      if not chapters and not made_again:
        self.left_out.append(f'data track {stream.index}')
    return self._copied(source, streams)

  def _covers(self) -> Iterator[av.Packet]:
    """Packets of the kept file's cover pictures; attachments are added on the way."""
    source, attaches = self._opened(self._keep), self._kind.muxer == 'matroska'
    for stream in source.streams.attachments:
      if attaches:
        self._container.add_attachment(stream.name or '', stream.mimetype or '', stream.data)
      else:
        self.left_out.append(f'attachment {stream.name}')
    streams = {stream.index: stream for stream in source.streams.video
               if stream.disposition & av.stream.Disposition.attached_pic}
    pictures = []
    for packet in source.demux(list(streams.values())) if streams else ():
      index, name = packet.stream_index, packet.stream.codec_context.name
      if not packet.size or index not in streams:
        continue
      stream = streams.pop(index)
      if attaches and name in _PICTURES:
        suffix, kind = _PICTURES[name]
        self._container.add_attachment(f'cover.{suffix}', kind, bytes(packet))
      elif self._kind.muxer == 'mp4' and (copy := self._copy_of(stream)):
        packet.stream, packet.pts, packet.dts = copy, 0, 0
        pictures.append(packet)
      else:
        self.left_out.append(f'cover picture {index} ({name})')
      if not streams:
        break
    return iter(pictures)

  def _copied(self, source, streams: dict) -> Iterator[av.Packet]:
    if not streams:
      return
    packets = source.demux([source.streams[index] for index in streams])
    for packet in self._audible(source, packets):
      if packet.dts is not None:
        packet.stream = streams[packet.stream_index]
        yield packet

  def _moved(self, source, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
    """Packets of a source with their times in this file."""
    later = self._begins - opening.origin(source)
    for packet in packets:
      if later and packet.dts is not None:
        ticks = round(later / Fraction(packet.time_base))
        packet.dts += ticks
        packet.pts = None if packet.pts is None else packet.pts + ticks
      yield packet

  def _chapters(self, source) -> list[dict]:
    """A source's chapters, with their times in this file."""
    later = self._begins - opening.origin(source)
    return [row | {key: max(row[key] + round(later / Fraction(row['time_base'])), 0)
                   for key in ('start', 'end')} for row in source.chapters()]

  def _audible(self, source, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
    """`_moved`, without packets before time 0, which would delay all tracks, pictures too."""
    # Opus and Matroska say how much of the sound is priming; in mp4 an edit list hides it.
    listed = 'mp4' in source.format.name.split(',')
    for packet in self._moved(source, packets):
      early = packet.pts is not None and packet.pts < 0 and not self._kind.hides
      if early and listed and packet.stream.codec_context.codec.canonical_name != 'opus':
        if _RUN_UP not in self.left_out:
          self.left_out.append(_RUN_UP)
      else:
        yield packet

  def __exit__(self, kind, error, trace) -> None:
    if kind is not None:
      self._ending.__exit__(kind, error, trace)
      return
    with self._ending, self._disk_errors():
      self._finish_pictures()
      self._mux_beside(math.inf)
      self._container.close()
      self._check(self._part)

  def _close(self) -> None:
    try:
      if hasattr(self, '_container'):
        self._container.close()
    except (av.error.FFmpegError, OSError):
      pass  # What could not be finished is about to be removed.
    finally:
      for source in self._sources:
        source.close()

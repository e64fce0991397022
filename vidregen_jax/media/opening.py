"""How media files are opened to read and write: FFmpeg may touch only the file that was named.

FFmpeg reads playlists, follows what they list, and takes names with a colon for URLs. But the
pictures and sound of an edit must be those that its signature names. So only containers that hold
all of their media themselves are opened, and only from disk.
"""

import os
from fractions import Fraction

import av

from vidregen_jax import errors, files

# FFmpeg's demuxers for recordings. Those that lead to other files or machines (hls, dash, concat,
# sdp, rtp, imf, image sequences, filters) are left out, and those for anything but recordings of
# people (stills, GIF, subtitles, games): what is not enabled cannot be attacked.
DEMUXERS = (
  'mov', 'matroska', 'avi', 'mpegts', 'mpeg', 'mxf', 'asf', 'flv', 'nut', 'dv', 'gxf',
  'ivf', 'h264', 'hevc', 'obu', 'mpegvideo', 'yuv4mpegpipe',
  'wav', 'w64', 'aiff', 'au', 'caf', 'flac', 'ogg', 'mp3', 'aac', 'loas', 'ac3', 'eac3', 'dts',
  'truehd', 'amr', 'wv',
)
_LIMITS = {'format_whitelist': ','.join(DEMUXERS), 'protocol_whitelist': 'file'}
# Titles in an old or broken encoding pass through as bytes; PyAV 19 does that by itself.
_TITLES = ({'metadata_errors': 'surrogateescape'} if int(av.__version__.split('.')[0]) < 19 else {})
_FILE = 'file:'
# FFmpeg searches all metadata for each entry that it adds, at every opening: quadratic time.
_MOST_METADATA = 4096
# First bytes of files that only name others.
_PLAYLISTS = {b'#EXTM3U': 'hls', b'ffconcat': 'ffconcat', b'<MPD': 'dash', b'v=0': 'sdp',
              b'[playlist]': 'pls', b'<SmoothStreamingMedia': 'smooth streaming', b'<asx': 'asx',
              b'<smil': 'smil', b'[Reference]': 'asx'}


def open_input(path: str | os.PathLike) -> av.container.InputContainer:
  """Opens a media file to read it.

  Raises:
    UserError: no such file, one that cannot be read, a playlist, no recording, or more metadata
      than any real file has.
  """
  files.check_readable(path)
  try:
    container = av.open(_named(path), container_options=_LIMITS, **_TITLES)
  except MemoryError as error:
    raise errors.UserError(f'{path}: cannot be opened: there is not enough memory') from error
  except (av.error.FFmpegError, OSError) as error:
    if playlist := _playlist(path):
      raise errors.UserError(f'{path}: is a playlist ({playlist}), which names other files: give '
                             'the media file itself') from error
    if isinstance(error, av.error.ArgumentError):  # FFmpeg's answer to a format that is not allowed
      raise errors.UserError(f'{path}: not a media file of a kind that is read here: convert it '
                             'to mp4, or sound to wav') from error
    raise errors.UserError(f'{path}: not a media file that FFmpeg can open ({error.strerror})'
                           ) from error
  count = len(container.metadata)
  if count > _MOST_METADATA:
    container.close()
    raise errors.UserError(f'{path}: holds {count:,} pieces of metadata, of which '
                           f'{_MOST_METADATA:,} are read at most: make a copy without them')
  return container


def open_output(path: str | os.PathLike, muxer: str,
                options: dict[str, str]) -> av.container.OutputContainer:
  """Opens a file to write media into; FFmpeg's own errors are not converted.

  Args:
    path: where.
    muxer: FFmpeg's name of it.
    options: of the muxer.
  """
  return av.open(_named(path), 'w', format=muxer, options=options, **_TITLES)


def origin(container: av.container.InputContainer) -> Fraction:
  """Seconds on a file's own clock at which it starts: time 0 in players, and everywhere here.

  A broadcast's clock runs on from file to file, and MPEG-TS conventionally starts at 1.4 s. The
  times of an mp4 are presentation times already, and an empty edit at the start is an intended
  pause; so an mp4 starts at 0, unless it is fragmented, that is, cut out of a stream. What lies
  before 0 only primes a decoder and is never shown or heard.

  The origin is a whole number of ticks of the video stream, so that frame times stay integers.
  """
  if 'mp4' in container.format.name.split(',') and not _in_fragments(container.name):
    return Fraction(0)
  cover = av.stream.Disposition.attached_pic
  watched = [s for s in container.streams.video if not s.disposition & cover]
  starts = [s.start_time * Fraction(s.time_base) for s in (*watched, *container.streams.audio)
            if s.start_time is not None]
  start = max(min(starts, default=Fraction(0)), Fraction(0))
  tick = Fraction(watched[0].time_base) if watched else None
  return start // tick * tick if tick else start


def _named(path) -> str:
  """A path for FFmpeg, in which a colon is only a colon, and `http:/x` a file in a folder."""
  return f'{_FILE}{os.fspath(path)}'


def _in_fragments(name) -> bool:
  """Whether an mp4 is fragmented (ISO 14496-12), by its outermost boxes."""
  with open(name.removeprefix(_FILE), 'rb') as file:
    while len(head := file.read(16)) >= 8:
      length, kind = int.from_bytes(head[:4]), head[4:8]
      if kind == b'moof':
        return True
      if length == 1:
        length = int.from_bytes(head[8:])
      if length < 8:  # 0: it reaches to the end
        return False
      file.seek(length - len(head), os.SEEK_CUR)
  return False


def _playlist(path) -> str | None:
  """The kind of playlist that a file is, by its first kilobyte; None if it is none."""
  with open(path, 'rb') as file:
    start = file.read(1024).removeprefix(b'\xef\xbb\xbf').lstrip()
  if start.startswith(b'<?xml'):
    return next((name for mark, name in _PLAYLISTS.items()
                 if mark.startswith(b'<') and mark in start), None)
  return next((name for mark, name in _PLAYLISTS.items() if start.startswith(mark)), None)

"""How media files are opened, in and out: FFmpeg is held to the very file that was named.

FFmpeg reads playlists, follows what stands in them, and takes names with a colon for addresses.
Whose pictures and sound an edit is made of must be what its signature says. So only containers are
opened that hold all of their media themselves, and only from disk.
"""

import os
from fractions import Fraction

import av

from vidregen_jax import errors, files

# FFmpeg's demuxers of recordings. Left out are all that lead to other files or machines (hls, dash,
# concat, sdp, rtp, imf, image sequences, filters), and all that are no recording of somebody who
# talks (stills, GIF, subtitles, games): what is not needed cannot be attacked.
DEMUXERS = (
  'mov', 'matroska', 'avi', 'mpegts', 'mpeg', 'mxf', 'asf', 'flv', 'nut', 'dv', 'gxf',
  'ivf', 'h264', 'hevc', 'obu', 'mpegvideo', 'yuv4mpegpipe',
  'wav', 'w64', 'aiff', 'au', 'caf', 'flac', 'ogg', 'mp3', 'aac', 'loas', 'ac3', 'eac3', 'dts',
  'truehd', 'amr', 'wv',
)
_LIMITS = {'format_whitelist': ','.join(DEMUXERS), 'protocol_whitelist': 'file'}
# Titles in an old encoding, or broken, go through as the bytes they are; PyAV 19 sees to it itself.
_TITLES = ({'metadata_errors': 'surrogateescape'} if int(av.__version__.split('.')[0]) < 19 else {})
_FILE = 'file:'
# FFmpeg looks through all pieces of metadata for each one that it adds, at every opening.
_MOST_METADATA = 4096
# How files begin that only name others.
_PLAYLISTS = {b'#EXTM3U': 'hls', b'ffconcat': 'ffconcat', b'<MPD': 'dash', b'v=0': 'sdp',
              b'[playlist]': 'pls', b'<SmoothStreamingMedia': 'smooth streaming', b'<asx': 'asx',
              b'<smil': 'smil', b'[Reference]': 'asx'}


def open_input(path: str | os.PathLike) -> av.container.InputContainer:
  """Opens a media file to read it.

  Raises:
    UserError: no such file, none that can be read, a playlist, no recording, or one with more said
      about it than anybody would say.
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
    if isinstance(error, av.error.ArgumentError):  # how FFmpeg says that it may not
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
  """Opens a file to write media into it; FFmpeg's own errors are let through.

  Args:
    path: where.
    muxer: FFmpeg's name of it.
    options: of the muxer.
  """
  return av.open(_named(path), 'w', format=muxer, options=options, **_TITLES)


def origin(container: av.container.InputContainer) -> Fraction:
  """Seconds on a file's clock at which it starts: what players call 0, and so do all times here.

  A broadcast's clock runs on from file to file, and MPEG-TS begins at 1.4 s by custom. An mp4's
  times are those of its presentation already, where an empty edit at the start is a pause that was
  meant; so it starts at 0, unless it is in fragments, cut out of a stream. What lies before 0 is a
  decoder's run-up, and never shown or heard.

  It is a whole number of the pictures' ticks, so that their times stay whole ones.
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
  """A path as FFmpeg takes it: a colon in it is then a colon, and `http:/x` a folder's file."""
  return f'{_FILE}{os.fspath(path)}'


def _in_fragments(name) -> bool:
  """Whether an mp4's packets are told of in fragments (ISO 14496-12), by its outermost boxes."""
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
  """What kind of playlist a file is, by its first kilobyte; None if none."""
  with open(path, 'rb') as file:
    start = file.read(1024).removeprefix(b'\xef\xbb\xbf').lstrip()
  if start.startswith(b'<?xml'):
    return next((name for mark, name in _PLAYLISTS.items()
                 if mark.startswith(b'<') and mark in start), None)
  return next((name for mark, name in _PLAYLISTS.items() if start.startswith(mark)), None)

"""Edit lists from the timelines of editing programs.

The clips of one audio track are pieces of new sound: each is heard, and the mouth follows it, where
it lies on the timeline, which begins where the video does. It is the track named "vidregen", or
else the last audio track. Clips that play the edited video itself are no edits.

OpenTimelineIO reads .otio, .otioz, .fcpxml and .xml (extra `otio`). An .edl of CMX 3600 is read
here, as its adapter loses at what time of the programme the first event begins; a programme begins
at a full hour.
"""

import importlib.util
import os
import pathlib
import re
import urllib.parse

from vidregen_jax import files
from vidregen_jax.editing import edit_list, soundtrack
from vidregen_jax.errors import UserError

SUFFIXES = ('.otio', '.otioz', '.fcpxml', '.xml', '.edl')
_TRACK = 'vidregen'
_MOST_BYTES = 2**26
_TIME = r'(\d\d):(\d\d):(\d\d)([:;])(\d\d)'
_EVENT = re.compile(rf'\s*\d+\s+\S+\s+(\S+)\s+(\S+).*?\s{_TIME}\s+{_TIME}\s+{_TIME}\s+{_TIME}\s*$')
_FILE = re.compile(r'\*\s*(?:FROM CLIP NAME|SOURCE FILE)\s*:\s*(.+?)\s*$', re.IGNORECASE)


def read(path: str | os.PathLike, source: str | os.PathLike, rate: float) -> edit_list.EditList:
  """Reads a timeline; names of media are relative to its folder.

  Args:
    path: of the file.
    source: the video that is edited.
    rate: of it, frames a second, by which the time codes of an EDL count.

  Raises:
    UserError: it cannot be read, or has no pieces of sound.
  """
  path = pathlib.Path(path)
  files.check_readable(path, '--edits')
  pieces = _edl(path, rate) if path.suffix.lower() == '.edl' else _timeline(path)
  patches = []
  for start, stop, begin, name, options in sorted(pieces, key=lambda piece: piece[:2]):
    media = _media(path, name)
    if media.name == pathlib.Path(source).name:
      continue
    patches.append((soundtrack.Patch(start, stop, str(media), begin), options))
  if not patches:
    raise UserError(f'{path}: no audio track holds pieces of new sound')
  options = tuple(options for _, options in patches)
  return edit_list.EditList('', (), tuple(patch for patch, _ in patches), options
                            if any(one != edit_list.EditOptions() for one in options) else ())


def _media(path, name) -> pathlib.Path:
  """The file that a clip plays, by its URL or its name."""
  url = urllib.parse.urlparse(name)
  if url.scheme not in ('', 'file') and len(url.scheme) > 1:  # one letter is a drive
    raise UserError(f'{path}: {name} is not a file on this computer')
  return path.parent / (urllib.parse.unquote(url.path) if url.scheme == 'file' else
                        urllib.parse.unquote(name))


def _timeline(path):
  """Yields (start, stop, begin in its file, file, options) of the clips, seconds."""
  if not importlib.util.find_spec('opentimelineio'):
    raise UserError(f"--edits {path}: pip install 'vidregen_jax[otio]', which reads timelines")
  import opentimelineio as otio
  try:
    timeline = otio.adapters.read_from_file(str(path))
  # Adapters raise whatever their parsers do.
  except Exception as error:  # noqa: BLE001
    raise UserError(f'{path}: is no timeline that OpenTimelineIO reads ({error})') from error
  if not isinstance(timeline, otio.schema.Timeline):
    found = next(iter(timeline.find_children(descended_from_type=otio.schema.Timeline)), None
                 ) if hasattr(timeline, 'find_children') else None
    if found is None:
      raise UserError(f'{path}: holds no timeline')
    timeline = found
  tracks = [track for track in timeline.tracks if track.kind == otio.schema.TrackKind.Audio]
  named = [track for track in tracks if track.name.casefold() == _TRACK]
  for track in (named or tracks)[-1:]:
    for clip in track.find_clips():
      place = clip.transformed_time_range(clip.trimmed_range(), timeline.tracks)
      media = clip.media_reference
      name = getattr(media, 'target_url', None) or clip.name
      first = clip.trimmed_range().start_time.to_seconds()
      if media is not None and media.available_range is not None:
        first -= media.available_range.start_time.to_seconds()
      own = edit_list.options(path, dict(clip.metadata.get(_TRACK, {})), f'clip {clip.name}')
      yield (place.start_time.to_seconds(), place.end_time_exclusive().to_seconds(), max(first, 0.),
             name, own)


def _edl(path, rate):
  """The same of a CMX 3600 edit decision list."""
  text = files.read_bytes(path, '--edits', _MOST_BYTES).decode('utf-8', 'replace')
  events = []
  for line in text.splitlines():
    if match := _EVENT.match(line):
      kind, groups = match[1], match.groups()[2:]
      times = [_seconds(groups[i:i + 5], rate) for i in range(0, 20, 5)]
      events.append([kind, times, ''])
    elif (named := _FILE.match(line)) and events and not events[-1][2]:
      events[-1][2] = named[1]
  if not events:
    raise UserError(f'{path}: is no EDL of CMX 3600: it has no events')
  sound = [event for event in events if 'A' in event[0].upper() or event[0].upper() == 'NONE']
  programme = min(times[2] for _, times, _ in events) // 3600 * 3600
  for kind, (first, _, start, stop), name in sound:
    if not name:
      raise UserError(f'{path}: the event of {kind} at {start:.2f} s names no file: export it with '
                      'clip names')
    yield start - programme, stop - programme, first, name, edit_list.EditOptions()


def _seconds(code, rate) -> float:
  """A time code's time; drop-frame codes leave out two numbers a minute, but every tenth."""
  hours, minutes, seconds, mark, frame = (int(x) if x.isdigit() else x for x in code)
  count = round(rate)
  frames = ((hours * 60 + minutes) * 60 + seconds) * count + frame
  if mark == ';':
    passed = hours * 60 + minutes
    frames -= count // 15 * (passed - passed // 10)
  return frames / rate

"""What the page shows of files, of what was found in them, of a job, and of what was made."""

import dataclasses

from markupsafe import Markup

from vidregen_jax.app import edits
from vidregen_jax.media.timeline import transcripts

_STAGES = {
  'listen': 'Listening to both sounds', 'compare the sounds': 'Comparing the sounds',
  'track faces': 'Following the faces', 'load the generator': 'Loading the generator',
  'fit to the video': 'Learning how this face looks', 'regenerate': 'Making the frames',
}
# Stages before whose first frame the model is compiled.
_COMPILED = ('fit to the video', 'regenerate')
_KINDS = {'.json': 'report', '.html': 'page', '.c2pa': 'credentials'}  # and the video


@dataclasses.dataclass(frozen=True)
class Known:
  """What was found out about a session's files.

  Attributes:
    sounds: both sounds.
    faces: around their spans; empty if they could not be found.
    why_no_faces: the reason; else ''.
  """

  sounds: edits.Sounds
  faces: list[edits.Face]
  why_no_faces: str = ''


def address(session, path) -> str:
  """Where the browser finds a file of the session; new whenever the file is."""
  name = path.relative_to(session.folder).as_posix()
  return f'/files/{session.token}/{path.stat().st_mtime_ns}/{name}'


def paragraph(words) -> str:
  return Markup('<p class="quiet">{}</p>').format(words)


def alert(mistake) -> str:
  """A mistake in one line; '' for none."""
  return Markup('<p class="mistake" role="alert">{}</p>').format(mistake) if mistake else ''


def given(session, mistake='') -> str:
  """The files that there are, and the mistake in the last one."""
  rows = []
  if session.video is not None:
    info = edits.probed(session.video)
    rows.append(('Video', session.video.name, f'{float(info.duration):.2f} s, {info.width} × '
                 f'{info.height}, {float(info.rate):.5g} frames a second'))
  if session.sound is not None:
    rows.append(('New sound', session.sound.name, f'{edits.seconds(session.sound):.2f} s'))
  rows += [('Piece', path.name, f'{edits.seconds(path):.2f} s')
           for path in session.pieces.values()]
  if session.transcript is not None:
    count = len(transcripts.read(session.transcript).words)
    rows.append(('Transcript', session.transcript.name, f'{count} words'))
  if not rows:
    return alert(mistake)
  listed = Markup('').join(
    Markup('<dt>{}</dt><dd>{} <span class="quiet">{}</span></dd>').format(*row) for row in rows)
  return Markup('{}<dl>{}</dl>').format(alert(mistake), listed)


def wave(session, sounds: edits.Sounds, number: int) -> dict:
  """The value of waveform.js; `number` tells it from those before it."""
  return dataclasses.asdict(sounds) | {
    'id': number, 'spans': [span._asdict() for span in sounds.spans],
    'said': [word._asdict() for word in sounds.said],
    'video': address(session, session.video),
    'sound': address(session, session.sound) if sounds.new else None,
    'pieces': None if sounds.new else {
      key: path.name for key, path in session.pieces.items()}}


def faces(known: Known, number: int) -> dict | None:
  """The value of faces.js; `number` tells it from those before it."""
  if not known.faces:
    return None
  return {'id': number, 'faces': [face.shown() for face in known.faces], 'chosen': None}


def choice(known: Known) -> str:
  """What there is to choose of faces, in words."""
  if known.why_no_faces:
    return known.why_no_faces
  if not known.faces:
    return 'No face was found there.'
  if len(known.faces) == 1:
    return 'There is one face, and it will change.'
  return 'The largest will change, unless you choose another.'


def job(running, before: int) -> dict:
  """The value of job.js while a job has not ended; `before` it are so many others."""
  if running.is_cancelled:
    return {'words': 'Cancelling, at the next frame', 'running': True}
  if before:
    return {'words': f'Waiting: {before} {"job is" if before == 1 else "jobs are"} before this one',
            'running': True}
  seen = running.seen
  if seen is None:
    return {'words': 'Beginning', 'running': True}
  numbers = f'{seen.done} of {seen.total} frames' if seen.total else ''
  if seen.left is not None:
    numbers += f', about {seen.left:.0f} s left'
  elif seen.stage in _COMPILED:
    numbers = 'Compiling the model for this computer, which takes a minute at first'
  return {'words': _STAGES.get(seen.stage, seen.stage), 'numbers': numbers, 'running': True,
          'done': seen.done, 'total': seen.total, 'picture': seen.picture}


def stills(session, sheet, count: int) -> Markup:
  """A sheet of stills of so many stretches."""
  return Markup('<h3>Stills</h3><p class="quiet">{}</p><a href="{}" target="_blank"><img src="{}" '
                'alt="Stills of the beginning of each span: source above, edit below"></a>').format(
    f'The beginning of {count} {"stretch" if count == 1 else "stretches"}, source above, edit '
    'below.', *[address(session, sheet)] * 2)


def draft(session, folder, report) -> Markup:
  """A draft that was made in a folder."""
  out = next(path for path in folder.iterdir() if path.suffix in edits.SUFFIXES)
  return Markup('<h3>Draft</h3><p class="quiet">Made fast. The final has the same spans, face and '
                'seed, and its own page.</p><video controls playsinline src="{}" '
                'aria-label="The draft"></video>{}').format(
    address(session, out), _written(session, folder, report))


def final(session, folder, report) -> Markup:
  """A final that was made in a folder, with its page."""
  page = next(folder.glob('*.html'))
  return Markup('<h3>Final</h3>{}<iframe src="{}" title="Source and edit, with Reveal and Wipe">'
                '</iframe>').format(_written(session, folder, report), address(session, page))


def _written(session, folder, report) -> Markup:
  """The files that were made, to download, and what the report says."""
  links = Markup(' ').join(
    Markup('<a class="file" href="{}" download="{}">{} <span class="quiet">{}</span></a>').format(
      address(session, path), path.name, _KINDS.get(path.suffix, 'video'), path.name)
    for path in sorted(folder.iterdir(), key=lambda path: path.suffix in _KINDS))
  lines = Markup('').join(
    Markup('<li>{}</li>').format(session.line(line)) for line in report.lines())
  return Markup('<p>{}</p><p class="files" role="group" aria-label="Downloads">{}</p><details>'
                '<summary>Report</summary><ul>{}</ul></details>').format(
    f'{report.summary} · {report.seconds:.1f} s', links, lines)

"""The page: what is dropped, what changes, whose mouth, with whose consent; and what is made of it.

Every handler gets the request of its browser, whose session holds the files. What takes long is a
job, which the page follows while it waits and runs.
"""

import asyncio
import dataclasses
import itertools
from importlib import resources

import gradio as gr
from markupsafe import Markup

from vidregen_jax.app import edits, job_queue, look, sessions
from vidregen_jax.errors import UserError

_WHOLE, _PIECES = 'One new soundtrack', 'Pieces that replace words'
_GLANCE = .15  # seconds between two looks at a job
_STAGES = {
  'listen': 'Listening to both sounds', 'compare the sounds': 'Comparing the sounds',
  'track faces': 'Following the faces', 'load the generator': 'Loading the generator',
  'fit to the video': 'Learning how this face looks', 'regenerate': 'Making the frames',
}
# Stages before whose first frame the model is compiled.
_COMPILED = ('fit to the video', 'regenerate')


def _own(name) -> str:
  return resources.files('vidregen_jax.app').joinpath(name).read_text(encoding='utf-8')


def _drop(**options) -> gr.File:
  """A place to drop files, whose handlers get their paths."""
  place = gr.File(height=150, **options)
  # Gradio's own makes an empty file for each, and leaves it. (Of a subclass it would write a stub
  # beside this module.)
  place.preprocess = lambda payload: (
    payload.path if place.file_count == 'single' else [one.path for one in payload.root])
  return place


@dataclasses.dataclass(frozen=True)
class _Known:
  """What was found out about a session's files.

  Attributes:
    sounds: both sounds.
    faces: around their spans; empty if they could not be found.
    why_no_faces: the reason; else ''.
  """

  sounds: edits.Sounds
  faces: list[edits.Face]
  why_no_faces: str = ''


class Page:
  """The page of the app.

  Args:
    studio: makes the edits.
    opened: the sessions.
    queue: of the jobs.
    max_mb: megabytes that a file may have; said on the page.

  Attributes:
    blocks: what Gradio shows.
  """

  def __init__(self, studio: edits.Studio, opened: sessions.Sessions, queue: job_queue.Queue,
               max_mb: int):
    self._studio, self._sessions, self._queue = studio, opened, queue
    self._numbers = itertools.count(1)
    # What Gradio keeps of uploads that no handler came to take goes after an hour.
    with gr.Blocks(title='Edit what is said', analytics_enabled=False,
                   delete_cache=(600, 3600)) as self.blocks:
      self._lay_out(max_mb)
      self._connect()

  def _lay_out(self, max_mb):
    gr.HTML('<header><h1>Edit what is said</h1><p>Give a video and its new sound: where they '
            'differ, the mouth is made anew. Everything stays on this computer, and goes when you '
            'close this page.</p></header>')
    with gr.Column(elem_classes='part'):
      gr.HTML(f'<h2>Video and new sound</h2><p class="quiet">Up to {max_mb} MB each.</p>')
      self.way = gr.Radio([_WHOLE, _PIECES], value=_WHOLE, label='The new sound is',
                          elem_id='way')
      with gr.Row():
        self.video = _drop(label='Video', elem_id='video')
        self.sound = _drop(label='New sound, as long as the video', elem_id='sound')
        self.pieces = _drop(label='Pieces of new sound', file_count='multiple', elem_id='pieces',
                            visible=False)
      self.given = gr.HTML(elem_id='given')
    with gr.Column(elem_classes='part'):
      gr.HTML('<h2>What changes</h2>')
      self.note = gr.HTML('<p class="quiet">Nothing to see before there are a video and a '
                          'sound.</p>', elem_id='note')
      self.wave = gr.HTML(None, html_template=_own('waveform.html'), elem_id='wave',
                          js_on_load=_own('waveform.js'))
    with gr.Column(elem_classes='part'):
      gr.HTML('<h2>Whose mouth</h2>')
      self.face_note = gr.HTML('<p class="quiet">The faces around the spans.</p>',
                               elem_id='face-note')
      self.faces = gr.HTML(
        None, elem_id='faces', js_on_load=_own('faces.js'),
        html_template='<div class="faces" role="radiogroup" aria-label="Whose mouth" hidden></div>')
    with gr.Column(elem_classes='part'):
      gr.HTML('<h2>Consent</h2>')
      self.consent = gr.Textbox(
        label='Who is shown, who agreed, and on what basis', lines=2, elem_id='consent',
        placeholder='Ann Lee, who is shown, agreed on 2026-05-01',
        info='Nothing is made without it. It is signed into the video and its report.')
    with gr.Column(elem_classes='part'):
      gr.HTML('<h2>Make</h2>')
      with gr.Row():
        self.seed = gr.Number(0, label='Seed', precision=0, minimum=0, elem_id='seed',
                              info='The same for a draft and its final.', min_width=160)
        self.teacher = gr.Checkbox(False, label='Final by the generator, several times slower',
                                   elem_id='teacher', visible=self._studio.has_student,
                                   min_width=240)
      with gr.Row():
        self.preview = gr.Button('Preview stills', elem_id='preview', min_width=120)
        self.draft = gr.Button('Draft', elem_id='draft', min_width=120)
        self.final = gr.Button('Final', variant='primary', elem_id='final', min_width=120)
        self.cancel = gr.Button('Cancel', interactive=False, elem_id='cancel', min_width=120)
      self.job = gr.HTML(
        None, elem_id='job', js_on_load=_own('job.js'),
        html_template='<div class="job" hidden><p role="status"></p><progress aria-label="Progress"'
                      ' hidden></progress><p class="job-numbers quiet"></p>'
                      '<img alt="The newest frame" hidden></div>')
      self.alert = gr.HTML(elem_id='alert')
      self.result = gr.HTML(elem_id='result')

  def _connect(self):
    often = dict(show_progress='hidden', api_visibility='private', concurrency_limit=None)
    known = [self.note, self.wave, self.face_note, self.faces, self.given, self.job, self.cancel]
    for file, take in ((self.video, self._take_video), (self.sound, self._take_sound),
                       (self.pieces, self._take_pieces)):
      file.upload(take, [file], [file, self.given, self.alert], **often).success(
        self._look, [self.way, self.wave], known, **often)
    self.way.change(self._choose_way, [self.way], [self.sound, self.pieces], **often).then(
      self._look, [self.way, self.wave], known, **often)
    asked = [self.way, self.wave, self.faces, self.consent, self.seed, self.teacher]
    shown = [self.job, self.alert, self.result, self.cancel]
    for button, make in ((self.preview, self._preview), (self.draft, self._draft),
                         (self.final, self._final)):
      button.click(make, asked, shown, **often)
    self.cancel.click(self._cancel, None, None, **often)
    self.blocks.unload(self._close)

  # ----------------------------------------------------------------------------------------------
  # What is given.
  # ----------------------------------------------------------------------------------------------

  def _take_video(self, upload, request: gr.Request):
    session = self._sessions.of(request.session_hash)
    return {self.video: None, **self._taken(session, 'video', upload, edits.probed)}

  def _take_sound(self, upload, request: gr.Request):
    session = self._sessions.of(request.session_hash)
    return {self.sound: None, **self._taken(session, 'sound', upload, edits.seconds)}

  def _taken(self, session, what, upload, check):
    """Keeps an upload if it is what it should be, in the place of the one before."""
    path = None
    try:
      path = session.keep(upload)
      check(path)
    except UserError as error:
      session.drop(path)
      return {self.given: self._files(session, session.line(error))}
    session.drop(getattr(session, what))
    setattr(session, what, path)
    if what == 'video':
      session.known = None
    return {self.given: self._files(session), self.alert: ''}

  def _take_pieces(self, uploads, request: gr.Request):
    session = self._sessions.of(request.session_hash)
    kept = []
    try:
      for upload in uploads:
        kept.append(session.keep(upload))
        edits.seconds(kept[-1])
    except UserError as error:
      for path in kept:
        session.drop(path)
      return {self.pieces: None, self.given: self._files(session, session.line(error))}
    session.pieces |= {path.parent.name: path for path in kept}
    return {self.pieces: None, self.given: self._files(session), self.alert: ''}

  def _choose_way(self, way):
    return {self.sound: gr.File(visible=way == _WHOLE), self.pieces: gr.File(visible=way != _WHOLE)}

  def _files(self, session, mistake='') -> str:
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
    listed = Markup('').join(
      Markup('<dt>{}</dt><dd>{} <span class="quiet">{}</span></dd>').format(*row) for row in rows)
    return Markup('{}<dl>{}</dl>').format(_alert(mistake), listed) if rows else _alert(mistake)

  # ----------------------------------------------------------------------------------------------
  # What is found in it.
  # ----------------------------------------------------------------------------------------------

  async def _look(self, way, wave, request: gr.Request):
    """Compares the sounds and finds the faces, once there are a video and a sound."""
    session = self._sessions.of(request.session_hash)
    sound = session.sound if way == _WHOLE else None
    placed = _placed(session, wave)
    pieces = {} if way == _WHOLE else dict(session.pieces)
    if session.video is None or not (sound or pieces):
      yield {self.wave: None, self.faces: None}
      return
    if session.job is not None:
      session.job.cancel()  # it was about other files
    video = session.video

    def work(job):
      sounds = edits.compared(video, sound, pieces, placed, job.show)
      if not sounds.spans:
        return _Known(sounds, [], 'Nobody is looked for before there is a span.')
      try:
        return _Known(sounds, edits.faces(_request(session, sounds.spans, sound), job.show))
      except UserError as error:
        return _Known(sounds, [], session.line(error))

    job = session.job = self._queue.put(work)
    async for view in self._follow(job):
      yield view
    if job.result is None:
      yield {self.job: None, self.given: self._files(session, session.line(job.mistake))}
      return
    session.known = job.result
    yield {self.job: None, **self._shown(session, job.result)}

  def _shown(self, session, known):
    sounds = known.sounds
    wave = dataclasses.asdict(sounds) | {
      'id': next(self._numbers), 'spans': [span._asdict() for span in sounds.spans],
      'video': _address(session, session.video),
      'sound': _address(session, session.sound) if sounds.new else None,
      'pieces': None if sounds.new else {
        key: path.name for key, path in session.pieces.items()}}
    faces = [face.shown() for face in known.faces]
    count = len(faces)
    words = known.why_no_faces or (
      'No face was found there.' if not count else 'There is one face, and it will change.'
      if count == 1 else 'The largest will change, unless you choose another.')
    return {
      self.note: _paragraph(sounds.note), self.wave: wave,
      self.face_note: _paragraph(words),
      self.faces: {'id': next(self._numbers), 'faces': faces, 'chosen': None} if faces else None}

  # ----------------------------------------------------------------------------------------------
  # What is made.
  # ----------------------------------------------------------------------------------------------

  async def _preview(self, way, wave, faces, consent, seed, teacher, request: gr.Request):
    def make(session, asked, folder, show):
      sheet, count = self._studio.preview(asked, folder, show)
      return Markup('<h3>Stills</h3><p class="quiet">{}</p><a href="{}" target="_blank"><img '
                    'src="{}" alt="Stills of the beginning of each span: source above, edit below">'
                    '</a>').format(
        f'The beginning of {count} {"stretch" if count == 1 else "stretches"}, source above, edit '
        'below.', *[_address(session, sheet)] * 2)

    async for view in self._make('stills', make, way, wave, faces, consent, seed, teacher, request):
      yield view

  async def _draft(self, way, wave, faces, consent, seed, teacher, request: gr.Request):
    def make(session, asked, folder, show):
      report = self._studio.draft(asked, folder, show)
      out = next(path for path in folder.iterdir() if path.suffix in edits.SUFFIXES)
      film = Markup('<video controls playsinline src="{}" aria-label="The draft"></video>').format(
        _address(session, out))
      return Markup('<h3>Draft</h3><p class="quiet">Made fast. The final has the same spans, face '
                    'and seed, and its own page.</p>{}{}').format(
        film, _written(session, folder, report))

    async for view in self._make('draft', make, way, wave, faces, consent, seed, teacher, request):
      yield view

  async def _final(self, way, wave, faces, consent, seed, teacher, request: gr.Request):
    def make(session, asked, folder, show):
      report = self._studio.final(asked, folder, show)
      page = next(folder.glob('*.html'))
      frame = Markup('<iframe src="{}" title="Source and edit, with Reveal and Wipe"></iframe>'
                     ).format(_address(session, page))
      return Markup('<h3>Final</h3>{}{}').format(_written(session, folder, report), frame)

    async for view in self._make('final', make, way, wave, faces, consent, seed, teacher, request):
      yield view

  async def _make(self, name, make, way, wave, faces, consent, seed, teacher, request):
    """Makes something as a job; `make(session, asked, folder, show)` returns what is shown."""
    session = self._sessions.of(request.session_hash)
    try:
      asked = self._asked(session, way, wave, faces, consent, seed, teacher)
    except UserError as error:
      yield {self.alert: _alert(session.line(error))}
      return
    known = session.known

    def work(job):
      exact = edits.with_known_face(asked, known.sounds.spans, known.faces, job.show)
      return make(session, exact, session.place(name), job.show)

    job = session.job = self._queue.put(work)
    yield {self.alert: '', self.result: ''}
    async for view in self._follow(job):
      yield view
    if job.result is not None:
      yield {self.job: None, self.result: job.result}
    else:
      told = ('Cancelled: nothing of it was kept.' if job.was_cancelled else '')
      yield {self.job: {'words': told} if told else None,
             self.alert: _alert(session.line(job.mistake))}

  def _asked(self, session, way, wave, faces, consent, seed, teacher) -> edits.Request:
    """The request that the page's controls make.

    Raises:
      UserError: something is missing.
    """
    if session.is_busy:
      raise UserError('A job of this page is not done: wait for it, or cancel it.')
    if session.known is None or not wave:
      raise UserError('Give a video and its new sound first.')
    if not wave['spans']:
      raise UserError('There is no span: add one where the mouth should change.')
    if not (consent or '').strip():
      raise UserError('State consent first: who is shown, who agreed, and on what basis.')
    spans = tuple(edits.Span(float(span['start']), float(span['stop']), span.get('piece', ''))
                  for span in wave['spans'])
    sound = session.sound if way == _WHOLE else None
    return dataclasses.replace(
      _request(session, spans, sound), face=faces['chosen'] if faces else None, consent=consent,
      seed=int(seed or 0), teacher=bool(teacher))

  def _cancel(self, request: gr.Request):
    job = self._sessions.of(request.session_hash).job
    if job is not None:
      job.cancel()

  def _close(self, request: gr.Request):
    self._sessions.close(request.session_hash)

  async def _follow(self, job):
    """Yields what is shown of a job until it has ended."""
    before = None
    yield {self.cancel: gr.Button(interactive=True)}
    while not job.has_ended:
      view = _job(job, self._queue.before(job))
      if view != before:
        yield {self.job: view}
      before = view
      await asyncio.sleep(_GLANCE)
    yield {self.cancel: gr.Button(interactive=False)}


def _request(session, spans, sound) -> edits.Request:
  """The request for some spans, each piece by its path."""
  return edits.Request(session.video, sound, tuple(
    span._replace(piece=str(session.pieces[span.piece])) if span.piece in session.pieces else span
    for span in spans))


def _placed(session, wave) -> dict[str, tuple[float, float]]:
  """Where the user has put the pieces of the session's video; those that were removed are dropped.
  """
  if session.known is None or not wave or not wave['pieces']:
    return {}
  placed = {span['piece']: (span['start'], span['stop']) for span in wave['spans']}
  for key in set(wave['pieces']) & set(session.pieces) - set(placed):
    session.drop(session.pieces.pop(key))
  return placed


def _address(session, path) -> str:
  """Where the browser finds a file of the session; new whenever the file is."""
  name = path.relative_to(session.folder).as_posix()
  return f'/files/{session.token}/{path.stat().st_mtime_ns}/{name}'


def _paragraph(words) -> str:
  return Markup('<p class="quiet">{}</p>').format(words)


def _alert(mistake) -> str:
  return Markup('<p class="mistake" role="alert">{}</p>').format(mistake) if mistake else ''


def _job(job, before) -> dict:
  """What is shown of a job that has not ended."""
  if job.is_cancelled:
    return {'words': 'Cancelling, at the next frame', 'running': True}
  if before:
    return {'words': f'Waiting: {before} {"job is" if before == 1 else "jobs are"} before this one',
            'running': True}
  seen = job.seen
  if seen is None:
    return {'words': 'Beginning', 'running': True}
  numbers = f'{seen.done} of {seen.total} frames' if seen.total else ''
  if seen.left is not None:
    numbers += f', about {seen.left:.0f} s left'
  elif seen.stage in _COMPILED:
    numbers = 'Compiling the model for this computer, half a minute at first'
  return {'words': _STAGES.get(seen.stage, seen.stage), 'numbers': numbers, 'running': True,
          'done': seen.done, 'total': seen.total, 'picture': seen.picture}


def _written(session, folder, report) -> Markup:
  """The files that were made, to download, and what the report says."""
  kinds = {'.json': 'report', '.html': 'page', '.c2pa': 'credentials'}
  links = Markup(' ').join(
    Markup('<a class="file" href="{}" download="{}">{} <span class="quiet">{}</span></a>').format(
      _address(session, path), path.name, kinds.get(path.suffix, 'video'), path.name)
    for path in sorted(folder.iterdir(), key=lambda path: path.suffix in kinds))
  lines = Markup('').join(
    Markup('<li>{}</li>').format(session.line(line)) for line in report.lines())
  return Markup('<p>{}</p><p class="files" aria-label="Downloads">{}</p><details><summary>Report'
                '</summary><ul>{}</ul></details>').format(
    f'{report.summary} · {report.seconds:.1f} s', links, lines)


def mount(app, page: Page, max_mb: int):
  """Puts the page at the root of a FastAPI app; returns what ends the streams of open pages."""
  gr.mount_gradio_app(
    app, page.blocks, '/', theme=look.theme(), css=_own('app.css'),
    js=_own('names.js'), footer_links=[], run_history=False,
    max_file_size=f'{max_mb}mb', ssr_mode=False, pwa=False, mcp_server=False)
  return app.routes[-1].app.stop_event.set

"""The page: what is dropped, what changes, whose mouth, with whose consent; and what is made of it.

Every handler gets the request of its browser, whose session holds the files. What takes long is a
job, which the page follows while it waits and runs.
"""

import asyncio
import dataclasses
import itertools
from importlib import resources

import gradio as gr

from vidregen_jax.app import edits, job_queue, look, sessions, views
from vidregen_jax.errors import UserError
from vidregen_jax.media.timeline import transcripts

_WHOLE, _PIECES = 'One new soundtrack', 'Pieces that replace words'
_GLANCE = .15  # seconds between two looks at a job


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
        self.transcript = _drop(label='Transcript of the video, if there is one',
                                elem_id='transcript')
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
                       (self.pieces, self._take_pieces),
                       (self.transcript, self._take_transcript)):
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

  def _take_transcript(self, upload, request: gr.Request):
    session = self._sessions.of(request.session_hash)
    return {self.transcript: None,
            **self._taken(session, 'transcript', upload, transcripts.read)}

  def _taken(self, session, what, upload, check):
    """Keeps an upload if it is what it should be, in the place of the one before."""
    path = None
    try:
      path = session.keep(upload)
      check(path)
    except UserError as error:
      session.drop(path)
      return {self.given: views.given(session, session.line(error))}
    session.drop(getattr(session, what))
    setattr(session, what, path)
    session.is_new = True
    if what == 'video':
      session.known = None
    return {self.given: views.given(session), self.alert: ''}

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
      return {self.pieces: None, self.given: views.given(session, session.line(error))}
    session.is_new = True
    session.pieces |= {path.parent.name: path for path in kept}
    return {self.pieces: None, self.given: views.given(session), self.alert: ''}

  def _choose_way(self, way, request: gr.Request):
    self._sessions.of(request.session_hash).is_new = True
    return {self.sound: gr.File(visible=way == _WHOLE), self.pieces: gr.File(visible=way != _WHOLE)}

  # ----------------------------------------------------------------------------------------------
  # What is found in it.
  # ----------------------------------------------------------------------------------------------

  async def _look(self, way, wave, request: gr.Request):
    """Compares the sounds and finds the faces, once there are a video and a sound."""
    session = self._sessions.of(request.session_hash)
    if not session.is_new:  # what came was no such file
      yield {self.note: gr.skip()}  # Gradio empties all if nothing is yielded
      return
    session.is_new = False
    sound = session.sound if way == _WHOLE else None
    placed = _placed(session, wave)
    pieces = {} if way == _WHOLE else dict(session.pieces)
    if session.video is None or not (sound or pieces):
      yield {self.wave: None, self.faces: None}
      return
    if session.job is not None:
      session.job.cancel()  # it was about other files
    video, transcript = session.video, session.transcript

    def work(job):
      sounds = edits.compared(video, sound, pieces, placed, transcript, job.show)
      if not sounds.spans:
        return views.Known(sounds, [], 'Nobody is looked for before there is a span.')
      try:
        return views.Known(sounds, edits.faces(_request(session, sounds.spans, sound), job.show))
      except UserError as error:
        return views.Known(sounds, [], session.line(error))

    job = session.job = self._queue.put(work)
    async for view in self._follow(job):
      yield view
    if job.result is None:
      yield {self.job: None, self.given: views.given(session, session.line(job.mistake))}
      return
    session.known = job.result
    yield {self.job: None, **self._shown(session, job.result)}

  def _shown(self, session, known):
    return {
      self.note: views.paragraph(known.sounds.note),
      self.wave: views.wave(session, known.sounds, next(self._numbers)),
      self.face_note: views.paragraph(views.choice(known)),
      self.faces: views.faces(known, next(self._numbers))}

  # ----------------------------------------------------------------------------------------------
  # What is made.
  # ----------------------------------------------------------------------------------------------

  async def _preview(self, way, wave, faces, consent, seed, teacher, request: gr.Request):
    def make(session, asked, folder, show):
      return views.stills(session, *self._studio.preview(asked, folder, show))

    async for view in self._make('stills', make, way, wave, faces, consent, seed, teacher, request):
      yield view

  async def _draft(self, way, wave, faces, consent, seed, teacher, request: gr.Request):
    def make(session, asked, folder, show):
      return views.draft(session, folder, self._studio.draft(asked, folder, show))

    async for view in self._make('draft', make, way, wave, faces, consent, seed, teacher, request):
      yield view

  async def _final(self, way, wave, faces, consent, seed, teacher, request: gr.Request):
    def make(session, asked, folder, show):
      return views.final(session, folder, self._studio.final(asked, folder, show))

    async for view in self._make('final', make, way, wave, faces, consent, seed, teacher, request):
      yield view

  async def _make(self, name, make, way, wave, faces, consent, seed, teacher, request):
    """Makes something as a job; `make(session, asked, folder, show)` returns what is shown."""
    session = self._sessions.of(request.session_hash)
    try:
      asked = self._asked(session, way, wave, faces, consent, seed, teacher)
    except UserError as error:
      yield {self.alert: views.alert(session.line(error))}
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
             self.alert: views.alert(session.line(job.mistake))}

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
      view = views.job(job, self._queue.before(job))
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


def mount(app, page: Page, max_mb: int):
  """Puts the page at the root of a FastAPI app; returns what ends the streams of open pages."""
  gr.mount_gradio_app(
    app, page.blocks, '/', theme=look.theme(), css=_own('app.css'),
    js=_own('names.js'), footer_links=[], run_history=False,
    max_file_size=f'{max_mb}mb', ssr_mode=False, pwa=False, mcp_server=False)
  return app.routes[-1].app.stop_event.set

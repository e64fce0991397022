"""Translations of many videos: a list of jobs, carried out by several processes, and resumed.

Each line of a job list is a JSON object,

  {"source": "one.mp4", "audio": "one_de.wav", "fit": "retime", "consent": "Ann Lee agreed ..."}

with paths relative to the list's folder. The output folder holds the videos and what lies beside
them, `jobs.jsonl` with a line for every job that has ended, and at the end `summary.json`. A run
that was stopped, in whatever way, goes on where it was; a job's mistake ends that job alone.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from vidregen_jax import cli, documents, files, interrupts, outputs, scratch_folder, terminal
from vidregen_jax.api import edits, models
from vidregen_jax.compositing import crossfade
from vidregen_jax.errors import UserError
from vidregen_jax.inference import mouth_opening
from vidregen_jax.media import containers
from vidregen_jax.media.timeline import retiming
from vidregen_jax.reporting.edit_report import EditReport

STATE, SUMMARY = 'jobs.jsonl', 'summary.json'
_MOST_BYTES = 2**26
_LEAVE = 20.0  # seconds for a process to end an edit when it is asked to
_TEXT = documents.text(10_000)


def _face(value, where):
  """Checks `face` as `vidregen_jax.edit` takes it."""
  if isinstance(value, list):
    return documents.row(documents.number(0, 1), 2, 2)(value, where)
  return documents.whole(1, 10_000)(value, where) if isinstance(value, int) else _TEXT(value, where)


_JOB = documents.record(
  {'source': _TEXT, 'audio': _TEXT},
  {'id': documents.text(200), 'out': documents.text(200), 'fit': documents.choice(*retiming.FITS),
   'consent': _TEXT, 'consent_file': _TEXT, 'face': _face, 'seed': documents.whole(0, 2**32 - 1),
   'fade': documents.number(0, crossfade.LONGEST), 'keep_occluders': documents.flag,
   'fit_face': documents.flag,
   'opening': documents.number(0, mouth_opening.FURTHEST), 'strict': documents.flag,
   'reencode': documents.flag, 'lossless': documents.flag, 'page': documents.flag})


@dataclasses.dataclass(frozen=True)
class Job:
  """One translation.

  Attributes:
    id: its name in the state and in messages.
    out: the name of its video in the output folder.
    arguments: of `vidregen_jax.translate`.
  """

  id: str
  out: str
  arguments: dict

  @property
  def digest(self) -> str:
    """sha256 of all that makes it this job."""
    made_of = {name: value for name, value in self.arguments.items() if name != 'compile_cache'}
    text = json.dumps([self.out, made_of], sort_keys=True, default=os.fspath)
    return hashlib.sha256(text.encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class Ended:
  """How a job ended, a line of the state.

  Attributes:
    id: of the job.
    state: 'done' or 'failed'.
    seconds: that it took.
    job: digest of the job.
    out, sha256: of the video; None if it failed.
    error: why it failed; None if it did not.
  """

  id: str
  state: str
  seconds: float
  job: str
  out: str | None = None
  sha256: str | None = None
  error: str | None = None


@dataclasses.dataclass(frozen=True)
class Summary:
  """How all jobs ended.

  Attributes:
    jobs: Ended of each, in the order of the list.
    seconds: that this run took; those of the jobs add up over all runs.
  """

  jobs: tuple[Ended, ...]
  seconds: float

  @property
  def failed(self) -> tuple[Ended, ...]:
    return tuple(job for job in self.jobs if job.state == 'failed')

  def to_json(self) -> dict:
    """What `summary.json` holds."""
    return {'done': len(self.jobs) - len(self.failed), 'failed': len(self.failed),
            'seconds': round(self.seconds, 1),
            'seconds_of_jobs': round(sum(job.seconds for job in self.jobs), 1),
            'failures': {job.id: job.error for job in self.failed}}


def read(path: str | os.PathLike) -> list[Job]:
  """Reads a job list.

  Raises:
    UserError: it cannot be read, or a line is no job; the line is named.
  """
  path = pathlib.Path(path)
  jobs = []
  for number, line in enumerate(files.read_bytes(path, '--jobs', _MOST_BYTES).splitlines(), 1):
    if not line.strip():
      continue
    where = f'{path}:{number}'
    row = _JOB(documents.parse(line, where), where)
    name = row.pop('id', pathlib.PurePath(row['source']).stem)
    out = row.pop('out', f'{name}.mp4')
    if pathlib.PurePath(out).name != out:
      raise UserError(f'{where}: "out" is {out!r}: give the name of a video in the output folder')
    containers.of(out)
    for field in ('source', 'audio', 'consent_file'):
      if field in row:
        row[field] = str(path.parent / row[field])
    jobs.append(Job(name, out, row))
  if not jobs:
    raise UserError(f'--jobs {path}: holds no job')
  for what, values in (('id', [job.id for job in jobs]),
                       ('output', [pathlib.PurePath(job.out).stem for job in jobs])):
    if twice := [value for value in values if values.count(value) > 1]:
      raise UserError(f'--jobs {path}: two jobs have the {what} {twice[0]!r}: give them an "id" or '
                      '"out" of their own')
  return jobs


def translate_all(jobs: Iterable[Job], out: str | os.PathLike, *, model: str | os.PathLike,
                  processes: int = 1, retry: bool = False, beam: list[str] | None = None,
                  ended: Callable[[Ended], None] | None = None, **options) -> Summary:
  """Carries out the jobs that have not ended yet.

  Args:
    jobs: from `read`.
    out: folder of the outputs, which is made if it is not there.
    model: a checkpoint, which each process loads once.
    processes: how many work at once.
    retry: whether to try those again that failed.
    beam: options of Apache Beam, such as '--runner=DataflowRunner', whose machines then carry out
      the jobs; None for this machine's processes.
    ended: called with each Ended of this run; of Beam's, once all have ended.
    **options: of all jobs that do not say otherwise, as of `vidregen_jax.edit`.

  Raises:
    UserError: a job has no consent, or was changed since it was done; the folder cannot be written
      to, or another run works in it; Beam is not installed, or has given up a job.
  """
  began, out, jobs = time.monotonic(), pathlib.Path(out), list(jobs)
  carried_out = functools.partial(_carried_out, processes=processes) if beam is None else _by_beam(
    beam)
  models.find(model)
  jobs = [_with_options(job, options) for job in jobs]
  if silent := [job.id for job in jobs if not (
      job.arguments.get('consent') or job.arguments.get('consent_file'))]:
    raise UserError(f'the job {silent[0]} has no consent: give it a "consent" or a "consent_file", '
                    'or --consent for all')
  with contextlib.ExitStack() as stack:
    with outputs.disk_errors(out):
      out.mkdir(parents=True, exist_ok=True)
      stack.enter_context(scratch_folder.ScratchFolder(out, [STATE]))
    states = _read_states(out / STATE)
    for job in jobs:
      if job.id in states and states[job.id].job != job.digest:
        raise UserError(f'the job {job.id} is another than the one that ended in {out}: give it '
                        'another "id", or another --out')
    waiting = [job for job in jobs if job.id not in states
               or (retry and states[job.id].state == 'failed')]
    for end in carried_out(waiting, out, model):
      with outputs.disk_errors(out / STATE), open(out / STATE, 'ab', buffering=0) as state:
        state.write(json.dumps(dataclasses.asdict(end)).encode() + b'\n')
        os.fsync(state.fileno())
      states[end.id] = end
      if ended is not None:
        ended(end)
    summary = Summary(tuple(states[job.id] for job in jobs), time.monotonic() - began)
    files.write_json(out / SUMMARY, summary.to_json())
  return summary


def _by_beam(options):
  """Function of (jobs, out, model) that yields how each ended on Beam's machines."""
  try:
    from vidregen_jax.api import beam_jobs
  except ImportError as error:
    raise UserError("--beam_pipeline_options needs Apache Beam: pip install 'vidregen_jax[beam]'"
                    ) from error
  return functools.partial(beam_jobs.carried_out, options=options)


def _with_options(job, options) -> Job:
  """A job with what all jobs share; its own consent replaces theirs, in whatever form."""
  if {'consent', 'consent_file'} & set(job.arguments):
    options = options | {'consent': None, 'consent_file': None}
  return dataclasses.replace(job, arguments=options | job.arguments)


def _read_states(path) -> dict[str, Ended]:
  """How jobs ended in earlier runs, by id; a line that was cut off is removed."""
  if not path.exists():
    return {}
  data = files.read_bytes(path)
  if whole := data[:data.rfind(b'\n') + 1]:
    rows = [documents.parse(line, str(path)) for line in whole.splitlines()]
  else:
    rows = []
  if len(whole) < len(data):
    os.truncate(path, len(whole))
  try:
    return {row['id']: Ended(**row) for row in rows}
  except (KeyError, TypeError) as error:
    raise UserError(f'{path} is not the state of translations: give another --out') from error


# --------------------------------------------------------------------------------------------------
# Processes
# --------------------------------------------------------------------------------------------------


class Worker:
  """A process that carries out one job after another, and the job that it has.

  Args:
    out, model: as of `translate_all`.
  """

  def __init__(self, out: str | os.PathLike, model: str | os.PathLike):
    context = multiprocessing.get_context('spawn')
    self.pipe, theirs = context.Pipe()
    self.process = context.Process(target=_work, args=(theirs, str(out), str(model)))
    self.process.start()
    theirs.close()
    self.job, self.began = None, 0.0

  def give(self, job: Job) -> None:
    """Has it carry out a job; `ended` is to be called before the next."""
    self.job, self.began = job, time.monotonic()
    self.pipe.send(job)

  def ended(self) -> Ended:
    """How its job ended, which is waited for; without an answer, its process did."""
    job, self.job = self.job, None
    try:
      return self.pipe.recv()
    except (EOFError, ConnectionResetError):
      self.process.join()
      code = self.process.exitcode
      how = signal.Signals(-code).name if code < 0 else f'status {code}'
      return Ended(job.id, 'failed', round(time.monotonic() - self.began, 2), job.digest,
                   error=f'its process ended with {how}')

  def leave(self) -> None:
    """Ends the process, and whatever it does."""
    self.pipe.close()
    if self.job is not None:
      self.process.terminate()
    self.process.join(_LEAVE)
    if self.process.is_alive():
      self.process.kill()
      self.process.join()


def _carried_out(jobs, out, model, processes) -> Iterator[Ended]:
  """Carries out jobs in processes of this machine, and yields how each ended."""
  waiting, workers = list(reversed(jobs)), []
  with contextlib.ExitStack() as stack:
    stack.callback(lambda: [worker.leave() for worker in workers])
    for _ in range(min(processes, len(jobs))):
      workers.append(Worker(out, model))
      workers[-1].give(waiting.pop())
    while busy := [worker for worker in workers if worker.job is not None]:
      ready = multiprocessing.connection.wait([worker.pipe for worker in busy])
      for worker in [worker for worker in busy if worker.pipe in ready]:
        yield worker.ended()
        if not waiting:
          continue
        if worker.process.exitcode is not None:
          workers[workers.index(worker)] = worker = Worker(out, model)
        worker.give(waiting.pop())


def _work(pipe, out, checkpoint):
  """A process's life: jobs come through the pipe, and how they ended goes back."""
  terminal.begin()
  parent = multiprocessing.parent_process()
  threading.Thread(target=_end_with, args=(parent, ), daemon=True).start()
  model = None
  with interrupts.heard(), contextlib.suppress(KeyboardInterrupt, EOFError):
    while True:
      job = pipe.recv()
      began = time.monotonic()
      error, made = None, None
      try:
        with cli.memory_told():
          model = model or _loaded(checkpoint, job)
          made = _translated(job, pathlib.Path(out), model)
      except UserError as mistake:
        error = str(mistake)
      pipe.send(Ended(job.id, 'failed' if error else 'done', round(time.monotonic() - began, 2),
                      job.digest, made and job.out, made and made.sha256, error))


def _end_with(parent):
  """Ends this process when its parent has ended, which then works for nobody."""
  multiprocessing.connection.wait([parent.sentinel])
  os.kill(os.getpid(), signal.SIGTERM)


def _loaded(checkpoint, job):
  return models.load(checkpoint, **{name: job.arguments[name] for name in ('teacher',
                     'compile_cache') if name in job.arguments})


def _translated(job, out, model) -> EditReport:
  """Carries out a job, unless a run that was killed has just done so.

  Raises:
    UserError: it cannot be carried out.
  """
  path = out / job.out
  if path.exists() and (report := _report_of(job, path)):
    return report
  arguments = dict(job.arguments)
  return edits.translate(arguments.pop('source'), model=model, out=path, **arguments)


def _report_of(job, path) -> EditReport | None:
  """The report of a video that is there, if it is what the job would make."""
  with contextlib.suppress(UserError):
    report = EditReport.from_json(documents.read(path.with_suffix('.json'), most=_MOST_BYTES))
    inputs = [report.source, *report.audio.files]
    wanted = [files.digest(job.arguments[name]) for name in ('source', 'audio')]
    if [file.sha256 for file in inputs] == wanted and report.sha256 == files.digest(path) and (
        report.seed == job.arguments.get('seed', 0)):
      return report
  return None

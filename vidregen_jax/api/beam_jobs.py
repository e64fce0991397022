"""Lists of translations carried out by Apache Beam, on as many machines as its runner has.

Every machine must see the videos, the checkpoint and the output folder by the same paths: a network
file system, or a bucket that is mounted. What a worker does with a job is what `api.jobs` does on
one machine, in a process of its own, so the results are the same.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
from collections.abc import Iterator

import apache_beam as beam

from vidregen_jax import documents, files
from vidregen_jax.api import jobs
from vidregen_jax.distributed import beam_pipeline
from vidregen_jax.errors import UserError

ENDED = 'ended'  # folder in the output folder: how jobs ended, until the run has noted it


class _Translate(beam.DoFn):
  """Carries out jobs, one at a time, and leaves a file that says how each ended."""

  def __init__(self, out, model):
    self._out, self._model, self._folder = out, model, os.getcwd()

  def setup(self):
    self._worker = None

  def process(self, job):
    path = _ended(self._out, job)
    if not path.exists():  # a runner may try again what had been done
      if self._worker is None or self._worker.process.exitcode is not None:
        with contextlib.chdir(self._folder):  # paths of jobs may be relative
          self._worker = jobs.Worker(self._out, self._model)
      self._worker.give(job)
      files.write_json(path, dataclasses.asdict(self._worker.ended()))
    yield job.id

  def teardown(self):
    if self._worker is not None:
      self._worker.leave()


def pipeline(waiting: list[jobs.Job], out: str | os.PathLike, model: str | os.PathLike,
             options: list[str]) -> beam.Pipeline:
  """A pipeline that carries out jobs; it is not run yet.

  Args:
    waiting: the jobs.
    out, model: as of `jobs.translate_all`.
    options: of Beam, such as '--runner=DataflowRunner'.

  Raises:
    UserError: Beam does not take them.
  """
  made = beam_pipeline.begin(options)
  _ = (made | 'jobs' >> beam.Create(waiting)
       | 'share out' >> beam.Reshuffle()
       | 'translate' >> beam.ParDo(_Translate(os.path.abspath(out), os.fspath(model))))
  return made


def carried_out(waiting: list[jobs.Job], out: pathlib.Path, model: str | os.PathLike,
                options: list[str]) -> Iterator[jobs.Ended]:
  """Runs the pipeline to its end, and yields how each job ended.

  Raises:
    UserError: as `pipeline`; or the runner has given up a job.
  """
  (out / ENDED).mkdir(exist_ok=True)
  if missing := [job for job in waiting if not _ended(out, job).exists()]:
    pipeline(missing, out, model, options).run().wait_until_finish()
  for job in waiting:
    path = _ended(out, job)
    if not path.exists():
      raise UserError(f'the runner has given up the job {job.id}: its own log says why; what is '
                      'done stays, and the same command goes on')
    yield jobs.Ended(**documents.read(path))
  shutil.rmtree(out / ENDED)


def _ended(out, job) -> pathlib.Path:
  return pathlib.Path(out, ENDED, f'{job.digest}.json')

"""Command lines of edits: flags become arguments of `vidregen_jax.api`, results become lines."""

import contextlib
from collections.abc import Callable

from vidregen_jax import cli, terminal
from vidregen_jax.api import edits
from vidregen_jax.api import jobs as job_lists
from vidregen_jax.reporting import sidecars
from vidregen_jax.reporting.progress import Progress


class Bars:
  """Shows the progress of an edit, a bar for each stage; a context manager to call with it."""

  def __init__(self):
    self._stage, self._done, self._open = None, 0, contextlib.ExitStack()

  def __enter__(self) -> 'Bars':
    return self

  def __exit__(self, *error) -> None:
    self._open.close()

  def __call__(self, progress: Progress) -> None:
    if progress.note:
      (terminal.tell if progress.warning else terminal.say)(progress.note)
      return
    if progress.stage != self._stage:
      self._open.close()
      self._stage, self._done = progress.stage, 0
      self._bar = self._open.enter_context(
        terminal.Progress(progress.total, 'frame', progress.stage))
    self._bar.update(progress.done - self._done)
    self._done = progress.done


def run(read: Callable[[], tuple[Callable, dict]]) -> int:
  """Runs the command line of an edit or of many, and returns its exit status.

  Args:
    read: function that reads the flags, and returns a function and its arguments: of `api.edits`,
      or `translate_all`.
  """
  failed, begun = [], []

  def work():
    cli.check_room()
    function, arguments = read()
    if function is translate_all:
      begun.append(arguments['jobs'])
      failed.extend(translate_all(**arguments).failed)
      return
    with Bars() as bars:
      made = function(**arguments, progress=bars)
    for line in _lines(made, arguments['out']):
      terminal.say(line)

  status = cli.guarded(work, lambda: (
    'what is done stays, and the same command goes on' if begun else 'nothing was written'))
  return status or bool(failed)


def translate_all(jobs, out, **arguments) -> job_lists.Summary:
  """Carries out a list of jobs, and prints how each ended; as `api.jobs.translate_all`."""
  listed = job_lists.read(jobs)
  with terminal.Progress(len(listed), 'job', 'translate') as bar:
    def ended(end):
      terminal.say(f'{end.state} {end.id} in {end.seconds:.1f} s' + (
        f': {end.error}' if end.error else f': {out}/{end.out}'))
      bar.update()

    summary = job_lists.translate_all(listed, out, ended=ended, **arguments)
  found = summary.to_json()
  terminal.say(f'{found["done"]} done, {found["failed"]} failed in {found["seconds"]} s: {out}/'
               f'{job_lists.SUMMARY}')
  return summary


def _lines(made, out):
  """Yields what is printed of an edit that was made."""
  if isinstance(made, edits.Preview):
    yield f'wrote {made.path}, the beginning of {made.stretches} stretches and no video'
    return
  yield from made.lines()
  written = ', '.join(str(path) for path in sidecars.paths(out) if path.exists())
  yield f'wrote {written}; signed by {made.content_credentials.signer}'

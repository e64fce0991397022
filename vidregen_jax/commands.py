"""Command lines of edits: flags become arguments of `vidregen_jax.api`, results become lines."""

import contextlib
from collections.abc import Callable

from vidregen_jax import cli, terminal
from vidregen_jax.api import edits
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
      terminal.say(progress.note)
      return
    if progress.stage != self._stage:
      self._open.close()
      self._stage, self._done = progress.stage, 0
      self._bar = self._open.enter_context(
        terminal.Progress(progress.total, 'frame', progress.stage))
    self._bar.update(progress.done - self._done)
    self._done = progress.done


def edit(read: Callable[[], tuple[Callable, dict]]) -> int:
  """Runs an edit's command line, and returns its exit status.

  Args:
    read: function that reads the flags, and returns a function of `api.edits` and its arguments.
  """
  def run():
    cli.check_room()
    function, arguments = read()
    with Bars() as bars:
      made = function(**arguments, progress=bars)
    for line in _lines(made, arguments['out']):
      terminal.say(line)

  return cli.guarded(run, 'nothing was written')


def _lines(made, out):
  """Yields what is printed of an edit that was made."""
  if isinstance(made, edits.Preview):
    yield f'wrote {made.path}, the beginning of {made.stretches} stretches and no video'
    return
  yield from made.lines()
  written = ', '.join(str(path) for path in sidecars.paths(out) if path.exists())
  yield f'wrote {written}; signed by {made.content_credentials.signer}'

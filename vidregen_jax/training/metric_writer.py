"""What a training run reports: JSON lines, TensorBoard, a progress line, sheets of pictures."""

import json
import math
import pathlib
import time

import numpy as np
from clu import metrics, parameter_overview
from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

from vidregen_jax import terminal
from vidregen_jax.errors import UserError
from vidregen_jax.media import image_grid

_PLAIN_SECONDS = 10  # between progress lines where there is no terminal
_RECENT = 0.2  # weight of the newest speed in the moving average that is displayed


def due(step, every, last):
  """Whether something is due after `step` that is done every `every` steps and at the last."""
  return step % every == 0 or step == last


def check_finite(fetched, last, order=()):
  """Stop a run whose numbers are no longer finite, before it is saved.

  Args:
    fetched: measurements of consecutive steps, dicts of numbers; the newest are of step `last`.
    order: names of terms, each of which can spoil the next; the others follow by name.

  Raises:
    UserError: a number is not finite; names the first step and the first term where it was so.
  """
  for step, measured in enumerate(fetched, last - len(fetched) + 1):
    for name in [*order, *sorted(measured)]:
      if name in measured and not math.isfinite(measured[name]):
        raise UserError(
          f'step {step}: {name} became {float(measured[name])}: lower config.learning_rate, '
          "config.clip_norm or that term's weight; the last checkpoint is whole"
        )


def averages(fetched):
  """The mean of each term over consecutive steps; of the learning rate, the last value.

  Args:
    fetched: dicts of numbers by name. A term that some lack is averaged over the others.

  Returns:
    Dict of floats.
  """
  totals = {}
  for measured in fetched:
    for name, x in measured.items():
      one = (metrics.LastValue if name == 'lr' else metrics.Average)(total=x, count=1)
      totals[name] = totals[name].merge(one) if name in totals else one
  return {name: float(total.compute()) for name, total in totals.items()}


class MetricWriter:
  """Writes scalars and pictures to a workdir; a context manager.

  Values are Python floats: the caller fetches them from the devices, at the steps it logs. Give
  `active=False` on all processes but the first: then nothing is written or shown.
  """

  def __init__(self, workdir, num_steps, first_step=0, active=True):
    self._active = active
    self._num_steps = num_steps
    self._speed = None
    self._seen = (first_step, time.monotonic())
    self._line_time = -np.inf
    self._live = terminal.live()
    if active:
      self._folder = pathlib.Path(workdir)
      self._folder.mkdir(parents=True, exist_ok=True)
      self._lines = _whole_lines(self._folder / 'metrics.jsonl')
      (self._folder / 'tensorboard').mkdir(exist_ok=True)
      # Not its usual writer: on a full disk its thread dies in silence, and then blocks this one.
      self._board = event_file_writer.EventsWriter(str(self._folder / 'tensorboard' / 'events'))

  def __enter__(self):
    return self

  def __exit__(self, *_):
    if self._active:
      if self._live:
        terminal.tell_text('\n')
      self._lines.close()
      self._board.close()

  def write(self, step, values):
    """Record a dict of floats, by names such as 'train/loss', at a step."""
    if not self._active:
      return
    self._lines.write((json.dumps({'step': step} | values) + '\n').encode())
    self._lines.flush()
    self._show(step, *(summary.scalar(name, value) for name, value in values.items()))

  def _show(self, step, *summaries):
    for value in summaries:
      self._board.write_event(event_pb2.Event(wall_time=time.time(), step=step, summary=value))
    self._board.flush()

  def progress(self, step, loss):
    """Show where the run is: step, loss, steps a second, time left."""
    if not self._active:
      return
    now = time.monotonic()
    seen_step, seen_time = self._seen
    if step > seen_step:
      speed = (step - seen_step) / max(now - seen_time, 1e-9)
      self._speed = speed if self._speed is None else (
        (1 - _RECENT) * self._speed + _RECENT * speed
      )
      self._seen = (step, now)
    if not self._live and now - self._line_time < _PLAIN_SECONDS and step < self._num_steps:
      return
    self._line_time = now
    line = f'step {step}/{self._num_steps}  loss {loss:.4f}'
    if self._speed:
      left = duration((self._num_steps - step) / self._speed)
      line += f'  {self._speed:.2f} steps/s  {left} left'
    terminal.tell_text(f'\r\033[K{line}' if self._live else f'{line}\n')

  def say(self, line):
    """Print a line of its own, above the line of progress."""
    if self._active:
      self.warn(line)

  def warn(self, line):
    """Print a line on any process, also where `active` is False."""
    terminal.tell(line, before='\r\033[K' if self._live else '')

  def save_parameters(self, params):
    """Write workdir/parameters.txt: of each array of a tree its shape, size and sharding."""
    if self._active:
      overview = parameter_overview.get_parameter_overview(params, include_stats='sharding')
      (self._folder / 'parameters.txt').write_text(overview + '\n')

  def save_grid(self, step, name, rows):
    """Save rows of pictures as one PNG, workdir/samples/<name>_<step>.png.

    Args:
      step: int.
      name: str.
      rows: list of rows, each a list of uint8 [H, W, 3] of one size.
    """
    if not self._active:
      return
    folder = self._folder / 'samples'
    folder.mkdir(exist_ok=True)
    sheet = image_grid.join(rows)
    image_grid.write(folder / f'{name}_{step:08d}.png', sheet)
    self._show(step, summary.image(f'samples/{name}', sheet, dataformats='HWC'))


def _whole_lines(path):
  """A file of lines, opened for appending, without the unfinished line of a run that died."""
  lines = path.open('a+b')
  lines.seek(0)
  lines.truncate(lines.read().rfind(b'\n') + 1)
  return lines


def duration(seconds):
  """Seconds as '42s', '3m05s' or '1h02m'."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  if hours:
    return f'{hours}h{minutes:02d}m'
  return f'{minutes}m{seconds:02d}s' if minutes else f'{seconds}s'

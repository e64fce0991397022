"""Stops a training run at a step, and reads what it logged."""

import contextlib
import json

import jax
import pytest

from vidregen_jax.training import metric_writer


@contextlib.contextmanager
def stopped_at(step, monkeypatch):
  """Raises KeyboardInterrupt at a step of the training inside the `with`, and expects it back."""
  def progress(self, at, loss):
    if at == step:
      raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(metric_writer.MetricWriter, 'progress', progress)
    with pytest.raises(KeyboardInterrupt):
      yield


def logged(workdir):
  """The lines of training metrics, dicts in the order of steps."""
  lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
  return [line for line in lines if 'train/loss' in line]


def losses(workdir):
  """Training losses, {step: loss}."""
  return {line['step']: line['train/loss'] for line in logged(workdir)}


def traced(folder):
  """The step numbers in the only trace in a folder."""
  (path,) = folder.rglob('*.xplane.pb')
  planes = jax.profiler.ProfileData.from_file(str(path)).planes
  return [dict(event.stats)['step_num'] for plane in planes for line in plane.lines
          for event in line.events if event.name == 'train']

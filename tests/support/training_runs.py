"""Stopping a training at a step, and reading what it logged."""

import contextlib
import json

import jax
import pytest

from vidregen_jax.training import metric_writer


@contextlib.contextmanager
def stopped_at(step, monkeypatch):
  """Ctrl-C at a step of the training inside the `with`."""
  def progress(self, at, loss):
    if at == step:
      raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(metric_writer.MetricWriter, 'progress', progress)
    with pytest.raises(KeyboardInterrupt):
      yield


def logged(workdir):
  """What was measured in training, dicts in the order of steps."""
  lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
  return [line for line in lines if 'train/loss' in line]


def losses(workdir):
  """Training losses by step."""
  return {line['step']: line['train/loss'] for line in logged(workdir)}


def traced(folder):
  """Numbers of the steps in a folder's only trace."""
  (path,) = folder.rglob('*.xplane.pb')
  planes = jax.profiler.ProfileData.from_file(str(path)).planes
  return [dict(event.stats)['step_num'] for plane in planes for line in plane.lines
          for event in line.events if event.name == 'train']

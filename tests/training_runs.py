"""Stopping a training at a step, and reading what it logged."""

import contextlib
import json

import pytest

from vidregen_jax import metrics


@contextlib.contextmanager
def stopped_at(step, monkeypatch):
  """Ctrl-C at a step of the training inside the `with`."""
  def progress(self, at, loss):
    if at == step:
      raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(metrics.MetricWriter, 'progress', progress)
    with pytest.raises(KeyboardInterrupt):
      yield


def losses(workdir):
  """Training losses by step."""
  lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
  return {line['step']: line['train/loss'] for line in lines if 'train/loss' in line}

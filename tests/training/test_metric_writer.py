import json
import re
import types

import cv2
import jax
import numpy as np
import pytest

from vidregen_jax.distributed import sharding
from vidregen_jax.errors import UserError
from vidregen_jax.training import metric_writer


def test_scalars_and_pictures_are_where_they_are_looked_for(tmp_path, capsys):
  with metric_writer.MetricWriter(tmp_path, num_steps=10) as writer:
    writer.write(5, {'train/loss': 0.5})
    writer.progress(5, 0.5)
    red = np.zeros((8, 8, 3), np.uint8) + np.uint8([255, 0, 0])
    writer.save_grid(5, 'pictures', [[red, 0 * red], [0 * red, red]])
  assert json.loads((tmp_path / 'metrics.jsonl').read_text()) == {'step': 5, 'train/loss': 0.5}
  sheet = cv2.imread(str(tmp_path / 'samples' / 'pictures_00000005.png'))[:, :, ::-1]
  assert sheet.shape == (16, 16, 3)
  np.testing.assert_array_equal(sheet[:8, :8], red)
  np.testing.assert_array_equal(sheet[:8, 8:], 0)
  assert list((tmp_path / 'tensorboard').iterdir())
  assert 'step 5/10  loss 0.5000' in capsys.readouterr().err


def test_a_resumed_run_appends_and_tells_the_time_left(tmp_path, capsys, monkeypatch):
  clock = iter([0.0, 2.0, 20.0])
  monkeypatch.setattr(metric_writer, 'time', types.SimpleNamespace(monotonic=lambda: next(clock)))
  (tmp_path / 'metrics.jsonl').write_text('{"step": 1}\n')
  with metric_writer.MetricWriter(tmp_path, num_steps=100, first_step=10) as writer:
    writer.write(20, {})
    writer.progress(20, 1.0)
    writer.progress(100, 1.0)
  assert len((tmp_path / 'metrics.jsonl').read_text().splitlines()) == 2
  assert '5.00 steps/s  16s left' in capsys.readouterr().err


def test_terms_are_averaged_over_the_steps_that_have_them():
  steps = [{'loss': np.float32(1), 'lr': np.float32(.1)},
           {'loss': np.float32(2), 'lr': np.float32(.2), 'gan': np.float32(5)},
           {'loss': np.float32(6), 'lr': np.float32(.3), 'gan': np.float32(6)}]
  assert metric_writer.averages(steps) == {'loss': 3, 'lr': np.float32(.3), 'gan': 5.5}
  # One step alone is told to the last bit.
  assert metric_writer.averages([{'loss': np.float32(.1)}]) == {'loss': float(np.float32(.1))}


def test_parameters_are_listed_with_how_they_lie(tmp_path):
  mesh = sharding.make_mesh()
  params = {'encoder': {'w': jax.device_put(np.zeros((3, 4), np.float32),
                                            sharding.replicated(mesh))}}
  with metric_writer.MetricWriter(tmp_path, num_steps=10) as writer:
    writer.save_parameters(params)
  told = (tmp_path / 'parameters.txt').read_text()
  assert re.search(r'encoder/w +\| \(3, 4\) \| float32 +\| 12 ', told), told
  assert 'Total: 12' in told


def test_other_processes_write_nothing(tmp_path, capsys):
  with metric_writer.MetricWriter(tmp_path, num_steps=10, active=False) as writer:
    writer.write(1, {'a': 1.0})
    writer.progress(1, 1.0)
    writer.say('hello')
    writer.save_grid(1, 'x', [])
  assert not list(tmp_path.iterdir()) and not capsys.readouterr().err


def test_durations_read_well():
  assert [metric_writer.duration(s) for s in (42, 185, 3720)] == ['42s', '3m05s', '1h02m']


def test_the_first_step_and_term_that_are_lost_are_named():
  steps = [{'a': 1.0, 'loss': 2.0}, {'a': np.inf, 'gan': np.nan, 'loss': np.nan}, {'a': np.nan}]
  metric_writer.check_finite(steps[:1], 5)
  with pytest.raises(UserError, match='^step 6: gan became nan: lower'):
    metric_writer.check_finite(steps, 7, order=('l1', 'gan'))

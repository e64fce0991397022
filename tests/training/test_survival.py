"""Real processes of one run: what survives a kill, a preemption, another machine, a full disk."""

import json
import pathlib
import resource
import shutil
import signal
import socket
import time
import types

import fake_talkers
import numpy as np
import pytest
import runs
import training_runs

from vidregen_jax.distributed import watchdog
from vidregen_jax.exports import model_folder

# Sums over a batch are ordered by who holds which rows. That is 1e-7 of a sum, and a dozen steps of
# Adam, which divides by roots of small sums, make 1e-5 of it.
REORDERED = dict(rtol=1e-4, atol=1e-5)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  return fake_talkers.build(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='module')
def server():
  with runs.Server() as started:
    yield started


@pytest.fixture(scope='module')
def whole(server, dataset, tmp_path_factory):
  """The workdir of a run on two hosts that nothing disturbed."""
  workdir = tmp_path_factory.mktemp('whole')
  server.run(dataset, workdir, hosts=2)
  return workdir


@pytest.fixture(scope='module')
def killed(server, dataset, tmp_path_factory):
  """The workdir of a run on two hosts, one of which was killed at step 5."""
  workdir = tmp_path_factory.mktemp('killed')
  first, second = server.start(dataset, workdir, hosts=2, hold=5)
  runs.wait_for(lambda: logged(workdir) == 5 and (workdir / 'checkpoints' / '3').exists())
  second.kill(signal.SIGKILL)
  (workdir / 'go').touch()
  assert second.wait() == -signal.SIGKILL
  assert first.wait() not in (0, None), 'the other went on without it'
  (workdir / 'go').unlink()
  return workdir


def logged(workdir):
  return max(training_runs.losses(workdir), default=0) if (
    workdir / 'metrics.jsonl').exists() else 0


def running(pid):
  try:
    return pathlib.Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
  except FileNotFoundError:
    return False


def exported(workdir):
  return model_folder.load_export(workdir / 'export', 'codec')


def assert_close(workdir, whole):
  one, other = training_runs.losses(workdir), training_runs.losses(whole)
  assert sorted(one) == sorted(other) == list(range(1, 13))
  np.testing.assert_allclose(list(one.values()), list(other.values()), **REORDERED)
  for part in ('encoder', 'decoder'):
    np.testing.assert_allclose(exported(workdir).params[part]['w'],
                               exported(whole).params[part]['w'], **REORDERED)


def test_killed_then_preempted_then_resumed_two_hosts_make_the_same_export(
    server, dataset, killed, whole, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(killed, workdir)
  processes = server.start(dataset, workdir, hosts=2, hold=8)
  runs.wait_for(lambda: logged(workdir) == 8)
  processes[1].kill(signal.SIGTERM)  # one host hears that it will be taken away
  time.sleep(3)  # JAX looks for the signal once a second; four steps may take less
  (workdir / 'go').touch()
  assert [process.wait() for process in processes] == [0, 0], processes[0].said()
  said = processes[0].said()
  assert 'resuming from step 3' in said and 'there is no export yet; the same command' in said
  saved = max(int(path.name) for path in (workdir / 'checkpoints').iterdir())
  assert 8 <= saved < 12 and f'step {saved} is saved' in said
  assert not (workdir / 'export').exists()

  server.run(dataset, workdir, hosts=2)
  assert training_runs.losses(workdir) == training_runs.losses(whole)
  assert exported(workdir).digest == exported(whole).digest


def test_one_host_goes_on_with_what_two_began(server, dataset, killed, whole, tmp_path):
  shutil.copytree(killed, tmp_path / 'run')
  server.run(dataset, tmp_path / 'run')
  assert_close(tmp_path / 'run', whole)


def test_preempted_on_one_mesh_and_resumed_on_another(server, dataset, whole, tmp_path):
  process, = server.start(dataset, tmp_path, devices=8, hold=5)
  runs.wait_for(lambda: logged(tmp_path) == 5)
  process.kill(signal.SIGTERM)
  (tmp_path / 'go').touch()
  assert process.wait() == 0
  assert '8 cpu (data 8 x fsdp 1' in process.said() and 'step 6 is saved' in process.said()
  assert not (tmp_path / 'export').exists()

  process, = server.start(dataset, tmp_path, devices=8, fsdp=4)
  assert process.wait() == 0
  assert '8 cpu (data 2 x fsdp 4' in process.said()
  assert_close(tmp_path, whole)


@pytest.fixture(scope='module')
def damaged(dataset, tmp_path_factory):
  """The dataset with a record that cannot be read."""
  folder = tmp_path_factory.mktemp('damaged') / 'data'
  shutil.copytree(dataset, folder)
  shard = next(folder.glob('*-train.array_record-*'))
  data = shard.read_bytes()
  shard.write_bytes(data[:1000] + bytes(40) + data[1040:])
  return folder


def test_bad_records_are_counted_over_all_hosts(server, damaged, tmp_path):
  processes = server.start(damaged, tmp_path, hosts=2, max_bad_records=1)
  assert [process.wait() for process in processes] == [0, 0], processes[0].said()
  lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
  assert [line['train/bad_records'] for line in lines if 'train/loss' in line][-1] == 1
  told = ''.join(process.said() for process in processes).count('left out: record')
  assert 1 <= told <= 2, 'a host tells once of a record, unless it has heard of it'


def test_what_reads_for_a_killed_process_ends_too(server, dataset, tmp_path):
  process, = server.start(dataset, tmp_path, num_workers=1, hold=1)
  runs.wait_for(lambda: logged(tmp_path) == 1)
  tasks = pathlib.Path(f'/proc/{process.pid}/task').glob('*/children')
  workers = [int(pid) for task in tasks for pid in task.read_text().split()]
  assert workers
  process.kill(signal.SIGKILL)
  process.wait()
  runs.wait_for(lambda: not any(map(running, workers)))


def test_a_mistake_that_one_host_sees_ends_both(server, damaged, tmp_path):
  processes = server.start(damaged, tmp_path / 'run', hosts=2, batch_size=2)
  statuses = [process.wait() for process in processes]
  said = ''.join(process.said() for process in processes)
  assert 0 not in statuses and 2 in statuses
  assert ' cannot be read (Corrupted' in said and not (tmp_path / 'run' / 'export').exists()


def no_more_than(workdir):
  """No file of this process grows beyond 1,500 bytes: what a full disk looks like to it."""
  resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))


def metrics_grow(workdir):
  """The metrics are about to fill the disk, and the checkpoints leave it as it is."""
  with open(f'{workdir}/metrics.jsonl', 'a') as lines:
    lines.write('{"step": 0}\n' * 800)
  resource.setrlimit(resource.RLIMIT_FSIZE, (11_000, 11_000))


@pytest.mark.parametrize('patch', ['no_more_than', 'metrics_grow'])
def test_a_full_disk_is_one_line_and_leaves_the_last_whole_checkpoint(
    server, dataset, killed, patch, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(killed, workdir)
  for path in workdir.glob('tensorboard/*'):
    path.unlink()
  process, = server.start(dataset, workdir, patch=f'test_survival:{patch}', hold=0)
  assert process.wait() == 2, process.said()
  last = process.said().splitlines()[-1]
  assert last.startswith(f'error: writing to {workdir}: File too large: make room there')
  assert 'Traceback' not in process.said()
  assert '3' in [path.name for path in (workdir / 'checkpoints').iterdir()]
  assert not list(workdir.glob('checkpoints/*tmp*')) and not (workdir / 'export').exists()


def hang(workdir):
  """The fifth step never ends."""
  def given(self, step, measured):
    ready = types.SimpleNamespace(is_ready=lambda: step != 5)
    self._running.append((step, ready))
    if step == 5:
      time.sleep(1000)

  watchdog.Watchdog.given = given


def test_a_step_that_hangs_is_named_and_ends_the_process(server, dataset, tmp_path):
  process, = server.start(dataset, tmp_path, patch='test_survival:hang',
                          flags=['--watchdog_seconds=10'])
  assert process.wait() == watchdog.STATUS
  stacks, = tmp_path.glob('hang_*_0.txt')
  assert 'in hang' not in stacks.read_text() and 'train_codec.py' in stacks.read_text()
  last = process.said().splitlines()[-1]
  assert last.startswith(f'error: process 0 of 1 on {socket.gethostname()}: step 5 has not ended')
  assert str(stacks) in last

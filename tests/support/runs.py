"""Runs the training of a tiny codec in processes that tests can kill, one or several per run.

The codec is two matrices (`fake_codec`), so that a run takes seconds; everything else is what
`python -m vidregen_jax.train` runs. Importing takes longer than running, so a server imports
everything once, without initialising a device, and forks a process for each host.
"""

import importlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SETTINGS = dict(
  batch_size=8, num_steps=12, log_every=1, eval_every=100, checkpoint_every=3, warmup_steps=2,
  stats_batches=2, eval_clips=2, learning_rate=1e-2,
)


class Server:
  """Starts processes; a context manager that ends them all when it exits."""

  def __init__(self, **env):
    """Args: **env: environment variables for all runs."""
    # `patch` names functions in the files of tests, which processes import.
    path = [ROOT, *(ROOT / 'tests' / folder for folder in ('support', 'training'))]
    env = os.environ | {'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': ':'.join(map(str, path)),
                        'JAX_DEFAULT_PRNG_IMPL': 'unsafe_rbg'} | env
    self._process = subprocess.Popen([sys.executable, __file__], env=env, text=True,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE)

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._process.stdin.close()
    self._process.wait()

  def ask(self, **order):
    """Sends an order to `_serve` and returns its answer."""
    print(json.dumps(order), file=self._process.stdin, flush=True)
    return json.loads(self._process.stdout.readline())

  def start(self, dataset, workdir, hosts=1, devices=1, hold=0, flags=(), patch=None, **changes):
    """Starts a run.

    Args:
      dataset: its folder.
      workdir: pathlib.Path.
      hosts, devices: number of processes, and of the devices of each.
      hold: step after which it waits until a file `go` is in the workdir.
      flags: further command-line flags.
      patch: 'module:function' that each process calls first, with its workdir as the argument.
      **changes: replace values in SETTINGS.

    Returns:
      list of Process, one per host.
    """
    workdir.mkdir(exist_ok=True)
    arguments = [f'--config={ROOT}/configs/codec.py:tiny', f'--workdir={workdir}',
                 f'--config.dataset={dataset}', '--config.model.size=16', *flags]
    arguments += [f'--config.{name}={value}' for name, value in (SETTINGS | changes).items()]
    if hosts > 1:
      arguments += ['--multihost', f'--coordinator=localhost:{_free_port()}',
                    f'--num_processes={hosts}']
    order = dict(workdir=str(workdir), hold=hold, patch=patch, devices=devices)
    return [Process(self, workdir / f'stderr_{host}', start=arguments + (
      [f'--process_id={host}'] if hosts > 1 else []), **order) for host in range(hosts)]

  def run(self, *args, **options):
    """`start`, then waits for all processes and asserts that they succeed."""
    processes = self.start(*args, **options)
    for process in processes:
      assert process.wait() == 0, process.said()


class Process:
  """One host of a run."""

  def __init__(self, server, errors, **order):
    self._server, self._errors = server, errors
    self.pid = server.ask(errors=str(errors), **order)

  def status(self):
    """Its exit status, negative for the signal that ended it; None while it runs."""
    return self._server.ask(status=self.pid)

  def wait(self, seconds=120):
    """Waits for its end and returns its exit status; fails after so many seconds."""
    return wait_for(lambda: [status] if (status := self.status()) is not None else None, seconds)[0]

  def kill(self, signal):
    """Sends a signal to it."""
    os.kill(self.pid, signal)

  def said(self):
    """What it wrote to stderr."""
    return self._errors.read_text()


def wait_for(what, seconds=120):
  """Polls a function until its result is true, and returns the result."""
  deadline = time.monotonic() + seconds
  while not (found := what()):
    assert time.monotonic() < deadline, f'nothing came within {seconds} s'
    time.sleep(0.05)
  return found


def _free_port():
  with socket.socket() as probe:
    probe.bind(('localhost', 0))
    return probe.getsockname()[1]


# ---------------------------------------------------------------------------------- in the server


def _serve():
  import fake_codec

  from vidregen_jax import cli, train
  from vidregen_jax.training import codec_objective, codec_setup, train_codec

  for module in (train_codec, codec_objective, codec_setup):
    module.codec = fake_codec
  codec_setup.model_config = lambda config: fake_codec.CodecConfig(16, 4)

  started, ended = set(), {}
  for line in sys.stdin:
    order = json.loads(line)
    if 'status' in order:
      pid = order['status']
      if pid not in ended:
        gone, status = os.waitpid(pid, os.WNOHANG)
        if gone:
          ended[pid] = os.waitstatus_to_exitcode(status)
      answer = ended.get(pid)
    else:
      answer = os.fork()
      if not answer:
        os.environ['XLA_FLAGS'] = f'--xla_force_host_platform_device_count={order["devices"]}'
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(order['errors'], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(2, 1)
        sys.argv = ['train', *order['start']]
        _hold(order['hold'], pathlib.Path(order['workdir'], 'go'))
        if order['patch']:
          module, _, function = order['patch'].partition(':')
          getattr(importlib.import_module(module), function)(order['workdir'])
        cli.run(train.run, 'go on')
        return  # not to serve
      started.add(answer)
    print(json.dumps(answer), flush=True)
  for pid in started - ended.keys():
    os.kill(pid, signal.SIGKILL)


def _hold(step, go):
  from vidregen_jax.training import metric_writer

  write = metric_writer.MetricWriter.write

  def hold(self, at, values):
    write(self, at, values)
    if at == step and self._active and 'train/loss' in values:
      wait_for(go.exists)

  metric_writer.MetricWriter.write = hold


if __name__ == '__main__':
  _serve()

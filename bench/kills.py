"""Does a training survive being killed? Kills one at random moments, again and again.

  python -m bench.kills --kills=200

A tiny codec is trained (the tests': two matrices and made-up clips; all else is the real program),
killed by SIGKILL at a random moment of its start, its steps, its checkpoints or its export, and
restarted; after a run has finished another begins, until the number of kills is reached. All are
compared with an undisturbed run: every batch drawn, every loss logged and every export must be the
same to the last bit, and no checkpoint may be damaged.
"""

import collections
import json
import pathlib
import random
import signal
import sys
import tempfile
import time
import zlib

import numpy as np

from vidregen_jax import cli
from vidregen_jax.datasets import batches
from vidregen_jax.exports import model_folder

_STEPS, _EVERY = 120, 5  # steps of a run, and between checkpoints
_SETTINGS = dict(num_steps=_STEPS, checkpoint_every=_EVERY)
_EARLY = 0.2  # of all kills come before the first batch of a process, the others after some
_LATE = 0.5  # seconds at most between the batch that is waited for and the kill


def note_batches(workdir):
  """Makes a training process log the batches that it draws, a line each."""
  draw = batches.Batches.__next__

  def noting(self):
    batch = draw(self)
    crc = 0
    for name in sorted(batch):
      crc = zlib.crc32(np.asarray(batch[name]).tobytes(), crc)
    line = json.dumps({'seed': self.seed, 'batch': self.place['batches'], 'crc': crc})
    with open(f'{workdir}/batches.jsonl', 'a') as lines:
      lines.write(line + '\n')
    return batch

  batches.Batches.__next__ = noting


def kills(count, seed):
  """Kills so many times.

  Returns:
    Dict of what was seen; 'differences' lists all that should not have been.
  """
  sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / 'tests' / 'support'))
  import fake_talkers
  import runs

  rng, seen = random.Random(seed), collections.Counter()
  differences = []
  with tempfile.TemporaryDirectory() as folder, runs.Server() as server:
    folder = pathlib.Path(folder)
    dataset = fake_talkers.build(folder / 'data')
    begin = lambda workdir: server.start(dataset, workdir, patch='bench.kills:note_batches',
                                         **_SETTINGS)[0]
    alone = folder / 'alone'
    began = time.monotonic()
    process = begin(alone)
    runs.wait_for(lambda: _drawn(alone))
    starts = time.monotonic() - began
    assert process.wait(600) == 0, process.said()

    seen['runs'] = 1
    while seen['kills'] < count:
      workdir = folder / f'run_{seen["runs"]}'
      drawn, left = _drawn(workdir), _exports(workdir)
      target = drawn + rng.randint(1, 6 * _EVERY)
      process = begin(workdir)
      if rng.random() < _EARLY:
        time.sleep(rng.uniform(0, starts))
      else:
        while process.status() is None and _drawn(workdir) < target:
          time.sleep(0.01)
        time.sleep(rng.uniform(0, _LATE))
      if (status := process.status()) is None:
        process.kill(signal.SIGKILL)
        status = process.wait()
      output = process.said()
      seen['began at a checkpoint'] += 'resuming from' in output
      if 'damaged' in output or list(workdir.glob('checkpoints/damaged*')):
        differences.append(f'{workdir.name}: a damaged checkpoint: {output}')
      if status == -signal.SIGKILL:
        seen['kills'] += 1
        seen[f'killed {_moment(workdir, drawn, left)}'] += 1
      elif status == 0:
        differences += _compare(workdir, alone)
        seen['runs'] += 1
      else:
        differences.append(f'{workdir.name}: ended with status {status}: {output}')
        break
      print(f'{dict(seen)}, {len(differences)} differences', file=sys.stderr)
    for workdir in folder.glob('run_*'):
      seen['batches drawn'] += len(_lines(workdir / 'batches.jsonl'))
      if not (workdir / 'export').exists():
        differences += _compare(workdir, alone)
  return {'steps of a run': _STEPS, 'steps between checkpoints': _EVERY} | dict(seen) | {
    'differences': differences}


def _moment(workdir, before, left):
  """What a process was doing when killed; `before` batches and exports `left` are older."""
  drawn = _lines(workdir / 'batches.jsonl')[before:]
  if not drawn:
    return 'before its first batch'
  if list(workdir.glob('checkpoints/*tmp*')):
    return 'while saving'
  if _exports(workdir) - left:
    return 'while exporting'
  return 'in the statistics of the export' if drawn[-1]['seed'] else 'between batches'


def _exports(workdir):
  """Unfinished exports, also of processes that were killed."""
  return set(workdir.glob('.vidregen-*.new'))


def _compare(workdir, alone):
  """What differs between a run and the one that was left alone, lines."""
  found = []
  for name, key in (('batches.jsonl', lambda x: (x['seed'], x['batch'])),
                    ('metrics.jsonl', lambda x: (x['step'], *sorted(x)))):
    truth = {key(line): line for line in _lines(alone / name)}
    had = {key(line): line for line in _lines(workdir / name)}
    for line in _lines(workdir / name):
      if line != truth.get(key(line)):
        found.append(f'{workdir.name}: {name}: {line} is {truth.get(key(line))} in the other')
    if (workdir / 'export').exists() and had.keys() != truth.keys():
      found.append(f'{workdir.name}: {name}: {sorted(truth.keys() - had.keys())} are missing')
  if (workdir / 'export').exists():
    digests = [model_folder.load_export(x / 'export', 'codec').digest for x in (workdir, alone)]
    if digests[0] != digests[1]:
      found.append(f'{workdir.name}: another export')
  return found


def _drawn(workdir):
  """How many batches the processes of a run have drawn."""
  path = workdir / 'batches.jsonl'
  return path.read_bytes().count(b'\n') if path.exists() else 0


def _lines(path):
  """What a file of JSON lines says, without the times that things took."""
  if not path.exists():
    return []
  return [{name: x for name, x in json.loads(line).items() if 'seconds' not in name}
          for line in path.read_text().splitlines()]


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.kills', description=__doc__)
  flags.add_argument('--kills', type=int, default=200, help='number of kills (default %(default)s)')
  flags.add_argument('--moments', type=int, default=0,
                     help='seed of the moments (default %(default)s)')
  return flags


def run(flags):
  """Prints what was seen; status 1 if something differed."""
  found = kills(flags.kills, flags.moments)
  print(json.dumps(found, indent=2))
  if found['differences']:
    sys.exit(1)


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was kept'))

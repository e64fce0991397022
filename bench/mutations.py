"""Broken files and wild arguments by the thousand: no traceback, no hang, no half-written file.

  python -m bench.mutations --runs=10000

Each run takes good arguments and good files (those of `good_files`, made from a bundled clip),
breaks one or more of them, and calls `regenerate` or `translate` in a worker process, which is
restarted when it dies. A run is good if it ends in time with status 0 and a whole video and report,
or with status 2, one line that begins with `error: `, and nothing left behind; and if no input has
changed. A playlist never ends in a video. Run i of a seed is always the same: `--only=i,j` repeats
those alone and shows their output.
"""

import contextlib
import dataclasses
import functools
import io
import json
import multiprocessing
import os
import pathlib
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback

import numpy as np
import tqdm

from bench import good_files
from vidregen_jax import cli, files, regenerate
from vidregen_jax.exports import pipeline
from vidregen_jax.media import video
from vidregen_jax.reporting import edit_report
from vidregen_jax.translate import main as translate_main

_SECONDS = 60.0  # within which a run must end
_MEMORY = 16 << 30  # of address space, of which XLA reserves much
_RUNS_OF_A_WORKER = 500
_WORDS = ('', '0', '-1', '1', '0.5', '1e-300', '1e300', 'nan', 'inf', '-inf', '0-1', '0.4-0.8',
          '0.4-0.8=', '0.4-0.8=new.wav', '0.9-0.4', '--', '-', '.', '..', '/', '/dev/null',
          '/proc/self/mem', 'none/out.mp4', 'ünï cödé.mp4', 'x' * 300, 'a\nb', '%s%n', '$(true)',
          "'", '"', '0,1', 'true', '９', '1' * 400, 'edits.json', 'new.wav', 'plain.mp4',
          'caf\udce9.mp4', 'take:2.mp4', 'http:/plain.mp4', 'x' * 215 + '.mp4', 'list.m3u8',
          'concat:plain.mp4|plain.mp4', 'pipe:0', 'http://127.0.0.1/a.mp4', 'folder.mp4', 'fifo')
_FLAGS = ('--audio', '--span', '--patch', '--edits', '--whole', '--consent', '--out',
          '--references', '--fade', '--reencode', '--lossless', '--teacher', '--seed', '--steps',
          '--solver', '--guidance_appearance', '--guidance_audio', '--noise', '--fit', '--help',
          '--margin', '--face', '--no-keep_occluders', '--consent_file', '--certificate', '--key',
          '--preview', '--no_page', '--overwrite', '--nonsense', '--words', '--replace',
          '--transcript', '--original')


# --------------------------------------------------------------------------------------------------
# How files are broken
# --------------------------------------------------------------------------------------------------


def broken(data, rng):
  """Bytes with something wrong."""
  data = bytearray(data)
  # Half of the faults are near an end, where containers keep what they are.
  reach = len(data) if rng.random() < 0.5 else min(len(data), 2_000)
  at = int(rng.integers(reach))
  if rng.random() < 0.3:
    at = len(data) - 1 - at
  length = min(int(2 ** rng.uniform(0, 12)), len(data) - at)
  kind = rng.integers(8)
  if kind == 0:  # single bits
    for place in rng.integers(reach, size=int(2 ** rng.uniform(0, 6))):
      data[place] ^= 1 << int(rng.integers(8))
  elif kind == 1:
    data[at:at + length] = rng.bytes(length)
  elif kind == 2:
    data[at:at + length] = bytes(length)
  elif kind == 3:
    del data[at:at + length]
  elif kind == 4:
    data[at:at] = data[at:at + length]
  elif kind == 5:
    del data[at:]
  elif kind == 6:  # a count, a size or a time that is absurd
    width = int(rng.choice([1, 2, 4, 8]))
    largest = 2 ** (8 * width) - 1
    value = (0, 1, largest // 2, largest // 2 + 1, largest)[int(rng.integers(5))]
    data[at:at + width] = value.to_bytes(width, 'big')
  else:  # a box, a field or a word under another's name
    names = [m.start() for m in re.finditer(rb'[a-zA-Z]{4}', bytes(data[:reach]))]
    if names:
      one, other = rng.choice(names, 2)
      data[one:one + 4] = data[other:other + 4]
  return bytes(data)


@dataclasses.dataclass(frozen=True)
class Case:
  """A call and the files that are broken for it."""

  program: str
  argv: tuple
  faults: dict  # name of a file: its broken bytes


def case(seed, run, contents, checkpoint):
  """The case of a run; `contents` are the good files' bytes by name."""
  rng = np.random.default_rng([seed, run])
  source = str(rng.choice(list(good_files.CONTAINERS)))
  suffix = str(rng.choice(['.mp4', '.mp4', '.mov', '.mkv', '.webm']))
  sound = str(rng.choice(list(good_files.SOUNDS)))
  if rng.random() < 0.03:
    playlist = str(rng.choice(list(good_files.PLAYLISTS)))
    source, sound = [str(name) for name in rng.permutation([playlist, sound])]
  program, arguments = {
    0: ('regenerate', ['--audio', sound, '--span', '0.4-0.8']),
    1: ('regenerate', ['--audio', sound]),
    2: ('regenerate', ['--patch', f'0.4-0.7={sound}']),
    3: ('regenerate', ['--edits', 'edits.json']),
    4: ('translate', ['--audio', sound, '--fit', 'hold']),
  }[int(rng.integers(5))]
  argv = [source, *arguments, '--consent', 'nobody real', '--checkpoint', checkpoint,
          '--steps', '1', '--out', f'made{suffix}']
  faults = {}
  if rng.random() < 0.7:
    used = [source] + [name for name in (*good_files.SOUNDS, 'word.wav', 'edits.json')
                       if any(name in word for word in argv)]
    for name in {str(name) for name in rng.choice(used, int(rng.integers(1, 3)))}:
      data = contents[name]
      for _ in range(int(rng.integers(1, 3))):
        data = broken(data, rng) if data else data
      faults[name] = data
  if not faults or rng.random() < 0.3:
    for _ in range(int(rng.integers(1, 4))):
      argv = _wild(argv, rng)
  return Case(program, tuple(argv), faults)


def _wild(argv, rng):
  """Arguments with one more thing wrong; the folder of weights stays what it is."""
  argv = list(argv)
  kind, at = rng.integers(4), int(rng.integers(len(argv)))
  word = str(rng.choice(_WORDS))
  if kind == 0:
    argv[at] = word
  elif kind == 1:
    del argv[at]
  elif kind == 2:
    argv[at:at] = [str(rng.choice(_FLAGS)), word]
  else:
    argv.append(f'{rng.choice(_FLAGS)}={word}')
  return argv


# --------------------------------------------------------------------------------------------------
# One run
# --------------------------------------------------------------------------------------------------


def judge(trial, good, folder):
  """Runs a case in a folder of its own; returns (what is wrong, '' for nothing; what it printed).

  Args:
    trial: Case.
    good: folder of the good files.
    folder: pathlib.Path, which is made, and removed again.
  """
  shutil.copytree(good, folder)
  os.mkfifo(folder / 'fifo')
  (folder / 'folder.mp4').mkdir()
  for name in ('http:/plain.mp4', 'take:2.mp4', 'caf\udce9.mp4'):
    (folder / name).parent.mkdir(exist_ok=True)
    shutil.copy(good / 'plain.mp4', folder / name)
  try:
    for name, data in trial.faults.items():
      (folder / name).write_bytes(data)
    before = _digests(folder)
    printed = io.StringIO()
    main = {'regenerate': regenerate.main, 'translate': translate_main}[trial.program]
    with contextlib.chdir(folder), contextlib.redirect_stderr(printed), \
        contextlib.redirect_stdout(printed):
      try:
        status = main(list(trial.argv))
      except SystemExit as stop:  # --help
        status = ('help', stop.code)
      except BaseException:  # noqa: BLE001 - whatever it is, it is the finding
        return 'traceback', printed.getvalue() + traceback.format_exc()
    return _wrong(status, folder, before, printed.getvalue()), printed.getvalue()
  finally:
    shutil.rmtree(folder)


def _digests(folder):
  return {path.name: files.digest(path) for path in folder.iterdir() if path.is_file()}


def _wrong(status, folder, before, printed):
  after = _digests(folder)
  new = sorted(set(after) - set(before))
  changed = [name for name in before if after.get(name) != before[name]]
  if changed:
    return f'changed {changed}'
  if status == ('help', 0):
    return f'left {new}' if new else ''
  if status == 2:
    lines = printed.strip().splitlines()
    if not lines or not lines[-1].startswith('error: '):
      return 'status 2 without a line that says why'
    return f'left {new}' if new else ''
  if status != 0:
    return f'status {status}'
  videos = [name for name in new if pathlib.Path(name).suffix in ('.mp4', '.mov', '.mkv', '.webm')]
  if len(videos) != 1 or pathlib.Path(videos[0]).stem + '.json' not in new:
    return f'status 0 and {new}'
  report = edit_report.EditReport.from_json(
    json.loads((folder / videos[0]).with_suffix('.json').read_text()))
  used = [report.source, *report.audio.files]
  if followed := [file.path for file in used
                  if pathlib.Path(file.path).name in good_files.PLAYLISTS]:
    return f'followed {followed}'
  count = sum(1 for _ in video.frames(folder / videos[0]))
  return '' if count == report.frames else f'{count} frames, and {report.frames} said'


def _work(pipe, seed, good, folder, checkpoint):
  """Does the runs whose numbers come through a pipe, until None comes."""
  resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
  resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
  pipeline.load = functools.cache(pipeline.load)
  contents = {path.name: path.read_bytes() for path in sorted(good.iterdir())}
  while (run := pipe.recv()) is not None:
    pipe.send(judge(case(seed, run, contents, checkpoint), good, folder))


class _Worker:
  """A process that does runs, and another when it dies or hangs."""

  def __init__(self, *args):
    self._args, self._process, self._done = args, None, 0

  def __call__(self, run):
    """(What is wrong, what was printed, seconds)."""
    if self._process is None or self._done == _RUNS_OF_A_WORKER:
      self.stop()
      context = multiprocessing.get_context('spawn')
      self._pipe, theirs = context.Pipe()
      self._process, self._done = context.Process(target=_work, args=(theirs, *self._args)), 0
      self._process.start()
      theirs.close()
    self._done += 1
    began = time.monotonic()
    limit = _SECONDS if self._done > 1 else 4 * _SECONDS  # the first one also compiles
    try:
      self._pipe.send(run)
      if not self._pipe.poll(limit):
        self._end()
        return f'no end within {limit:.0f} s', '', limit
      return *self._pipe.recv(), time.monotonic() - began
    except (EOFError, BrokenPipeError):
      self._process.join()
      code = self._process.exitcode
      self._process = None
      return f'died with {code}', '', time.monotonic() - began

  def _end(self):
    self._process.kill()
    self._process.join()
    self._process = None

  def stop(self):
    if self._process is not None:
      self._pipe.send(None)
      self._process.join(10)
      self._end()


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.mutations', description=__doc__)
  flags.add_argument('--runs', type=cli.whole(1), default=10_000,
                     help='number of runs (default %(default)s)')
  flags.add_argument('--seed', type=int, default=0, help='seed of all runs (default %(default)s)')
  flags.add_argument('--first', type=int, default=0,
                     help='first run, to continue an earlier call (default %(default)s)')
  flags.add_argument('--only', type=cli.several(int), default=[],
                     help='do only these runs and show their output')
  flags.add_argument('--checkpoint', default='checkpoints/talkers',
                     help='an exported system (default %(default)s)')
  flags.add_argument('--clip', default='data/talkers/pack/test/test_00000.mp4',
                     help='clip that the files are made of (default %(default)s)')
  flags.add_argument('--json', default='out/mutations.json',
                     help='file of the results (default %(default)s)')
  return flags


def run(flags):
  """Does what the flags say.

  Raises:
    UserError: the results cannot be written.
  """
  path = pathlib.Path(flags.json)
  path.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    good = folder / 'good'
    good.mkdir()
    good_files.make(flags.clip, good)
    checkpoint = str(pathlib.Path(flags.checkpoint).resolve())
    worker = _Worker(flags.seed, good, folder / 'run', checkpoint)
    contents = {each.name: each.read_bytes() for each in good.iterdir()}
    found, slowest, ends = {}, 0.0, {}
    runs = flags.only or range(flags.first, flags.runs)
    for number in tqdm.tqdm(runs, unit='run'):
      wrong, printed, seconds = worker(number)
      if (folder / 'run').exists():
        shutil.rmtree(folder / 'run')
      slowest = max(slowest, seconds)
      last = (printed.strip().splitlines() or ['nothing'])[-1]
      end = 'wrong' if wrong else last.split(':')[0] if last.startswith('error') else 'made'
      ends[end] = ends.get(end, 0) + 1
      trial = case(flags.seed, number, contents, checkpoint)
      if flags.only:
        print(f'{number}: {wrong or "as it should be"}\n{trial.program} {trial.argv}\nbroken: '
              f'{", ".join(sorted(trial.faults)) or "none"}\n{printed}')
      if wrong:
        found[number] = {'wrong': wrong, 'program': trial.program, 'argv': trial.argv,
                         'broken': sorted(trial.faults), 'printed': printed[-3000:]}
        tqdm.tqdm.write(json.dumps({number: wrong}))
        files.write_json(path, found)
    worker.stop()
  print(f'{len(runs)} runs: {ends}; slowest {slowest:.1f} s; what is wrong is in {path}')


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'what was found until now is written'))

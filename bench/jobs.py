"""A list of translations, killed at random moments: is every job done once, and the broken told?

  python -m bench.jobs --jobs=20 --kills=6

A small system with random weights translates rendered clips; one of the files is broken. The
program is killed by SIGKILL and started again, until it ends by itself. Then every job must have
one line, each video must be the one that the line names, none may have been made twice, and nothing
else may lie there.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

from vidregen_jax import cli, files, terminal
from vidregen_jax.api import jobs
from vidregen_jax.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[1]


def write_list(folder, pack, count, seed) -> pathlib.Path:
  """Writes the list, of short clips in turn, the broken one somewhere among them."""
  clips = sorted(sorted((pack / 'test').glob('*.mp4')), key=os.path.getsize)[:4]
  (folder / 'broken.mp4').write_bytes(b'no video')
  rows = [{'id': f'job {i:02d}', 'source': str(clips[i % len(clips)]),
           'audio': str(clips[i % len(clips)]), 'fit_face': False, 'page': False}
          for i in range(count)]
  rows[np.random.default_rng(seed).integers(count)]['source'] = 'broken.mp4'
  path = folder / 'list.jsonl'
  path.write_text('\n'.join(map(json.dumps, rows)))
  return path


def run(flags) -> None:
  """Kills, resumes and judges; prints the counts.

  Raises:
    UserError: a job was done twice or not at all, or a file is there that nobody names.
  """
  sys.path.insert(0, str(ROOT / 'tests' / 'support'))
  import tiny_system

  rng = np.random.default_rng(flags.seed)
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    tiny = tiny_system.write(folder, ROOT / 'checkpoints' / 'whisper-base')
    listed = write_list(folder, ROOT / 'data' / 'talkers' / 'pack', flags.jobs, flags.seed)
    out = folder / 'out'
    command = [sys.executable, '-m', 'vidregen_jax.translate', '--jobs', str(listed), '--out',
               str(out), '--checkpoint', str(tiny), '--consent', 'nobody is shown', '--processes',
               str(flags.processes)]
    made, kills, began = {}, 0, time.monotonic()
    while True:
      process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
      wait = rng.uniform(*flags.between) if kills < flags.kills else None
      try:
        status = process.wait(wait)
      except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        kills += 1
        time.sleep(1)  # its workers see that it has gone
        _same(made, out)
        continue
      break
    _same(made, out)
    judge(out, flags.jobs, status)
    terminal.say(f'{flags.jobs} jobs, killed {kills} times, in {time.monotonic() - began:.0f} s: '
                 'each done once, the broken one told')


def _same(made, out):
  """Refuses a video that was made before and is another now."""
  for path in out.glob('*.mp4') if out.is_dir() else ():
    digest = files.digest(path)
    if made.setdefault(path.name, digest) != digest:
      raise UserError(f'{path.name} was made twice')


def judge(out, count, status):
  """Judges what is left in the end.

  Raises:
    UserError: it is wrong.
  """
  lines = [json.loads(line) for line in (out / jobs.STATE).read_text().splitlines()]
  done = [line for line in lines if line['state'] == 'done']
  failed = [line for line in lines if line['state'] == 'failed']
  wrong = [
    status != 1 and f'status {status}',
    len({line['id'] for line in lines}) != count and 'a job without a line',
    len(lines) != count and 'a job with two lines',
    (len(failed) != 1 or 'broken.mp4' not in failed[0]['error']) and f'failures {failed}',
    any(files.digest(out / line['out']) != line['sha256'] for line in done) and 'another video',
    {path.name for path in out.iterdir()} != {jobs.STATE, jobs.SUMMARY, *(
      name for line in done for name in (line['out'], line['out'][:-4] + '.json'))}
    and f'other files: {sorted(path.name for path in out.iterdir())}']
  if any(wrong):
    raise UserError('; '.join(filter(None, wrong)))


def main():
  parser = cli.Parser(prog='python -m bench.jobs', description=__doc__)
  parser.add_argument('--jobs', type=cli.whole(2), default=20)
  parser.add_argument('--kills', type=cli.whole(0), default=6, help='at most')
  parser.add_argument('--between', type=cli.several(float), default=[15., 60.],
                      metavar='LEAST,MOST',
                      help='seconds after which it is killed (default 15,60)')
  parser.add_argument('--processes', type=cli.whole(1), default=2)
  parser.add_argument('--seed', type=int, default=0)
  return cli.command(parser, run, 'nothing was written')


if __name__ == '__main__':
  sys.exit(main())

"""Runs every command that the documents show, shortened, with only the extras that it asks for.

  python .ci/commands.py            runs them all
  python .ci/commands.py --list     lists them, and how each is run

Every command in README and docs is looked up in `TRIALS`. One that is in no trial is an error, so
that no command is documented without ever being run. The commands run in a copy of the checkout
with a few clips of the pack, in one environment for each set of extras. Standard library only.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
WORK = ROOT / 'build' / 'commands'
DOCUMENTS = ('README.md', 'docs/*.md', 'bench/README.md', 'launch/README.md',
             'data/talkers/README.md')
CLIPS = {'train': 8, 'validation': 3, 'test': 6}  # in each split of the pack in the copy
CORE, TRAIN = '', 'train'
READY = 'ready'  # a file in a finished environment: where packages are that it sees besides its own


@dataclasses.dataclass(frozen=True)
class Trial:
  """How a documented command is run here.

  Attributes:
    shown: how the command begins in the document.
    extras: the extras that its line, or the section around it, installs.
    more: arguments that are added to make it short.
    run: the command that is run instead; None to run what is shown.
    why: the reason why it is not run at all.
  """

  shown: str
  extras: str = CORE
  more: str = ''
  run: str | None = None
  why: str = ''


def _import(*modules):
  return f'python -c "import {", ".join(modules)}"'


_EDIT = '--checkpoint checkpoints/talkers --consent "nobody is shown" --overwrite'
_SHORT = '--config.num_steps=2 --config.eval_clips=2 --config.num_workers=0'
# The app serves until it is ended; here, once it says where.
_SERVED = ('bash -c "python -m vidregen_jax.app --port 0 > log & '
           'for i in $(seq 120); do grep -q \'the app is at\' log && break; sleep 1; done; '
           'kill $!; grep \'the app is at\' log"')
_TRAINING = 'vidregen_jax.train ', 'vidregen_jax.adapt', 'make train-demo'
_LONG = tuple(f'bench.{name}' for name in (
  'adapted', 'appetite', 'attention', 'codec_parts', 'collapse', 'convolutions', 'cycles',
  'edges', 'editing', 'fits', 'guidance', 'hearing', 'jobs', 'kills', 'long', 'moving_picture',
  'own_sound', 'rims', 'rounding', 'sampling', 'splash_blocks', 'streaming', 'variants'))
_RENDERING = tuple(f'data.talkers.{name}' for name in (
  'convert_ict', 'clip', 'make_pack', 'make_speech'))
# In order: later ones use files that earlier ones made.
TRIALS = (
  Trial('make demo'),
  Trial('make train-demo', TRAIN, run='make train-demo TRAINING=--steps=2'),
  Trial('make test', why='.ci/run runs the tests before this'),
  Trial('make lint', why='.ci/run runs the linter before this'),
  Trial('python -m vidregen_jax.regenerate IN.mp4', more='--overwrite'),
  Trial('python -m vidregen_jax.regenerate --help'),
  Trial('vidregen edit', more='--overwrite'),
  Trial('python -m pip wheel', why='a test builds the wheel, and edits with it'),
  Trial('pip install dist/', why='the same'),
  Trial('python -m vidregen_jax.translate IN.mp4',
        run=f'python -m vidregen_jax.translate IN.mp4 --audio DUB.wav --fit retime {_EDIT} '
            '--out OUT.mp4'),
  Trial('python -m vidregen_jax.translate --jobs',
        run=f'python -m vidregen_jax.translate --jobs JOBS.jsonl {_EDIT[:-12]} --out many'),
  Trial('python -m vidregen_jax.translate --jobs JOBS.jsonl --out FOLDER --checkpoint '
        'checkpoints/talkers --consent "The speakers, who are shown, agreed on 2026-05-01" '
        '--beam_pipeline_options', why='a test runs it where Apache Beam is installed'),
  Trial("pip install -e '.[beam]'", why='Apache Beam and all it needs are 300 megabytes'),
  Trial('python -m examples.live', more='--rush'),
  Trial('python -m vidregen_jax.app', 'app', run=_SERVED),
  Trial("pip install -e '.[app]'", why='it is how the environment is made'),
  Trial('python -m vidregen_jax.inspect OUT.mp4'),
  Trial('python -m vidregen_jax.inspect',
        run='python -m vidregen_jax.inspect OUT.mp4'),
  Trial('python -m vidregen_jax.faces.tracks', run='python -m vidregen_jax.faces.tracks IN.mp4'),
  Trial('python -m vidregen_jax.evaluate listening',  # once for all documents: it takes long
        run='python -m vidregen_jax.evaluate listening --checkpoint=checkpoints/talkers '
            '--scorer=checkpoints/sync --fit_face --clips=1 --sounds=new'),
  # The clips that the copy has.
  Trial('python -m vidregen_jax.evaluate sync', more='--clips=2'),
  Trial('python -m vidregen_jax.evaluate sync --syncnet', why="SyncNet's weights are not here"),
  Trial('python -m bench.convert_syncnet', why='PyTorch is gigabytes'),
  Trial("pip install -e '.[parity]'", why='PyTorch is gigabytes'),
  Trial("pip install -e '.[train]'", why='it is how the environment is made'),
  Trial("pip install -e '.[train,tpu]'", why='half a gigabyte of compiler'),
  Trial("pip install -e '.[train,quantized]'", why='qwix is among what tests are run with'),
  Trial("pip install -e '.[export]'", why='it is how the environment is made'),
  Trial("pip install -e '.[otio]'", why='a test reads timelines, and needs it'),
  Trial("pip install -e '.[talkers]'", why='it is how the environment is made'),
  Trial("pip install -e '.[identity]'", why='a hundred megabytes of a network for people'),
  Trial("pip install -e '.[bench]'", why='PyTorch is gigabytes'),
  Trial('pip install libtpu', why='half a gigabyte of compiler'),
  Trial('pip install xpk', why='it makes clusters'),
  Trial('python -m data.talkers.talkers', TRAIN),
  Trial('python -m data.talking_faces.build', TRAIN),
  Trial('python -m data.talking_faces.build --manifest FOOTAGE/manifest.csv --data_dir out --sizes '
        '64 --beam_pipeline_options', why='tests run it where Apache Beam is installed'),
  Trial("pip install -e '.[train,beam]'", why='Apache Beam and all it needs are 300 megabytes'),
  Trial("pip install 'apache-beam[gcp]'", why='it is for a cloud'),
  Trial('python -m vidregen_jax.train --config=configs/codec.py', TRAIN, _SHORT),
  Trial('python -m vidregen_jax.encode_latents', TRAIN),
  Trial('python -m vidregen_jax.train --config=configs/generator.py', TRAIN, _SHORT),
  Trial('python -m vidregen_jax.train --config=configs/generator.py:tiny --config.seed=0',
        why='docs/train.md shows the same without a seed'),
  Trial('python -m vidregen_jax.train --config=configs/student.py', TRAIN, _SHORT),
  Trial('python -m vidregen_jax.train --config=configs/sync.py', TRAIN, _SHORT),
  Trial('python -m data.talking_faces.withdrawals', TRAIN),
  # They need archives of gigabytes; tests run them on small ones.
  *(Trial(f'python -m data.{name}.{name}', TRAIN, run=_import(f'data.{name}.{name}'))
    for name in ('grid', 'crema_d')),
  Trial('python -m vidregen_jax.train --config=configs/pixels.py', TRAIN,
        run='python -m vidregen_jax.train --config=configs/pixels.py:tiny --workdir=out/pixels '
            f'{_SHORT}'),
  Trial('python -m vidregen_jax.train --config=configs/lips.py', TRAIN, _SHORT),
  Trial('python -m vidregen_jax.adapt', TRAIN,
        run='python -m vidregen_jax.adapt --video data/talkers/pack/test --checkpoint '
            'out/student/export --steps 1,1 --consent "nobody is shown" --out out/adapted'),
  Trial('python -m vidregen_jax.train --multihost', why='it wants several hosts'),
  Trial('python -m vidregen_jax.evaluate codec', TRAIN, '--clips=2'),
  Trial('python -m vidregen_jax.export', 'train,export',
        run='python -m vidregen_jax.export --checkpoint=out/student/export '
            '--card=checkpoints/talkers/README.md --licence=LICENSE --stablehlo --out=out/pack'),
  Trial('python -m vidregen_jax.export --checkpoint=out/sync/export', TRAIN,
        run='python -m vidregen_jax.export --checkpoint=out/sync/export '
            '--card=checkpoints/talkers/README.md --licence=LICENSE --out=out/scorer'),
  Trial('python -m vidregen_jax.distributed.libtpu_flags'),
  Trial('python -m vidregen_jax.plan', TRAIN,
        run='python -m vidregen_jax.plan --config=configs/generator.py:tiny --topology=here'),
  *(Trial(f'python -m bench.{name}', TRAIN, run=f'python -m bench.{name} {short}')
    for name, short in (('sizes', ''), ('seams', '--clips=2 --fades=0.2'),
                        ('occluders', '--clips=1'), ('familiarity', '--clips=1'),
                        ('shot_boundaries', '--clips=2'), ('quality', 'IN.mp4'),
                        ('footage', '--out=out/footage_bench --copies=2 --kills=0 --sizes=64'),
                        ('sync_offsets', '--clips=2'),
                        ('crop_coding', '--dataset=out/talkers/64 --clips=1'),
                        ('windows', '--dataset=out/talkers/64 --seconds=1'),
                        ('mutations', '--runs=2'), ('hostile', '--only="pipe as the source"'))),
  # These take minutes to hours, or need weights or a head model that are not here: only their
  # import is tried.
  *(Trial(f'python -m {name}', TRAIN, run=_import(*_LONG)) for name in _LONG),
  Trial('python -m bench.codecs', why='it compares with PyTorch, which is gigabytes'),
  *(Trial(f'python -m {name}', 'train,talkers', run=_import(*_RENDERING))
    for name in _RENDERING),
  Trial('make clean', run='make clean'),
  Trial('launch/', why='it makes clusters; tests run it against programs that write down calls'),
)


# --------------------------------------------------------------------------------------------------
# What the documents show
# --------------------------------------------------------------------------------------------------


def shown():
  """(document, command) for every command in the documents and every make target, each once."""
  found = {}
  for targets in re.findall(r'^\.PHONY: (.*)', (ROOT / 'Makefile').read_text(), re.MULTILINE):
    found |= {f'make {target}': pathlib.Path('Makefile') for target in targets.split()}
  for pattern in DOCUMENTS:
    for path in sorted(ROOT.glob(pattern)):
      for command in commands(path.read_text()):
        found.setdefault(command, path.relative_to(ROOT))
  return [(path, command) for command, path in found.items()]


def commands(text):
  """The commands in a Markdown text, in code blocks and in inline code."""
  blocks = re.findall(r'^```\w*\n(.*?)^```', text, re.MULTILINE | re.DOTALL)
  rest = re.sub(r'^```.*?^```', '', text, flags=re.MULTILINE | re.DOTALL)
  indented = re.findall(r'(?:^ {4}.*\n)+', rest, re.MULTILINE)
  lines = [line for block in (*blocks, *indented)
           for line in block.replace('\\\n', ' ').splitlines()]
  lines += re.findall(r'`([^`]+)`', rest)
  for line in lines:
    line = ' '.join(re.sub(r'\s#\s.*', '', line).split())
    if re.match(r'make [a-z]|python -m [a-z]|pip install |vidregen [a-z]|launch/\w+\.sh', line):
      yield line


def trial_of(command):
  """The trial of a command: the one with the longest match; None without a match."""
  known = [trial for trial in TRIALS if command.startswith(trial.shown)]
  return max(known, key=lambda trial: len(trial.shown), default=None)


def plan():
  """(trial, document, command to run), in the order of TRIALS; the same `run` only once.

  Raises:
    SystemExit: a document shows a command that is in no trial.
  """
  rows, unknown = [], []
  for path, command in shown():
    trial = trial_of(command)
    if trial is None:
      unknown.append(f'{path} shows {command!r}, which no trial in .ci/commands.py runs')
    elif trial.why:
      continue
    elif trial.run is None or all(trial.run != row[0].run for row in rows):
      rows.append((trial, path, trial.run or f'{command} {trial.more}'.strip()))
  if unknown:
    sys.exit('\n'.join(unknown))
  return sorted(rows, key=lambda row: TRIALS.index(row[0]))


# --------------------------------------------------------------------------------------------------
# Trying
# --------------------------------------------------------------------------------------------------


def copy():
  """Makes a copy of the checkout with few clips and the files that the documents name."""
  folder = WORK / 'checkout'
  shutil.rmtree(folder, ignore_errors=True)
  names = subprocess.run(['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'],
                         cwd=ROOT, check=True, capture_output=True, text=True).stdout
  pack = pathlib.Path('data/talkers/pack')
  index = json.loads((ROOT / pack / 'index.json').read_text())
  kept = [clip for split, count in CLIPS.items()
          for clip in [clip for clip in index['clips'] if clip['split'] == split][:count]]
  clips = {clip['clip_id'] for clip in kept}
  for name in filter(None, names.split('\0')):
    path = pathlib.Path(name)
    of_a_clip = path.is_relative_to(pack) and path.parent.name in CLIPS
    if (of_a_clip and path.stem not in clips) or not (ROOT / path).is_file():
      continue
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(ROOT / path, folder / path)
  (folder / pack / 'index.json').write_text(json.dumps(index | {'clips': kept}))
  for name, clip in (('IN.mp4', 'source'), ('NEW.wav', 'truth'), ('DUB.wav', 'truth')):
    shutil.copy(folder / pack / 'twins' / f'{clip}.mp4', folder / name)
  footage = folder / 'FOOTAGE'  # rendered clips in the place of somebody's own
  footage.mkdir()
  rows = ['source,person,basis,date,withdrawn,language']
  for clip in [clip for clip in kept if clip['split'] == 'train']:
    name = f'{clip["clip_id"]}.mp4'
    shutil.copy(folder / pack / clip['split'] / name, footage / name)
    rows.append(f'{name},nobody {clip["identity"]},rendered,2026-05-01,,{clip["language"]}')
  (footage / 'manifest.csv').write_text('\n'.join(rows) + '\n')
  (folder / 'JOBS.jsonl').write_text(json.dumps({'source': 'IN.mp4', 'audio': 'DUB.wav'}))
  shutil.copytree(folder / 'checkpoints' / 'talkers', folder / 'DIR', symlinks=True)
  shutil.copytree(folder / 'checkpoints' / 'whisper-base', folder / 'whisper-base')
  return folder


def location(extras):
  """The folder of the environment with the given extras."""
  return WORK / ('venv-' + (extras.replace(',', '-') or 'core'))


def environment(extras, folder):
  """The folder of an environment with the given extras, made if it is not there yet.

  It sees what is in the environment without the last of them, and only the rest is installed.
  """
  venv = location(extras)
  if (venv / READY).exists():
    return venv
  shutil.rmtree(venv, ignore_errors=True)
  subprocess.run([sys.executable, '-m', 'venv', venv], check=True)
  seen = ''
  if extras:
    fewer = environment(extras.rpartition(',')[0], folder)
    seen = f'{packages(fewer)}\n{(fewer / READY).read_text()}'
    (packages(venv) / 'fewer.pth').write_text(seen)
  subprocess.run([venv / 'bin' / 'python', '-m', 'pip', 'install', '--quiet', '--editable',
                  f'.[{extras}]' if extras else '.'], cwd=folder, check=True)
  (venv / READY).write_text(seen)
  return venv


def packages(venv):
  """Where an environment's packages are."""
  return next((venv / 'lib').glob('python*')) / 'site-packages'


def attempt(command, venv, folder):
  """Runs a command with an environment's `python` and `pip`, and returns its exit status."""
  made = dict(os.environ, VENV=str(venv), VIRTUAL_ENV=str(venv),
              PATH=f'{venv / "bin"}:{os.environ["PATH"]}')
  if any(program in command for program in _TRAINING):
    # Several commands train the same model, and compiling it is most of what a few steps take.
    made.update(JAX_COMPILATION_CACHE_DIR=str(WORK / 'compiled'),
                JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS='2',
                JAX_DISABLE_MOST_OPTIMIZATIONS='true')
  for name in ('PYTHONPATH', 'PYTHONHOME', 'MAKEFLAGS', 'MAKELEVEL'):
    made.pop(name, None)
  words = shlex.split(command)
  if words[0] == 'make':  # its target makes the environment, as in a fresh clone
    made.update(PATH=os.environ['PATH'])
    words += [f'VENV={venv}', f'PYTHON={sys.executable}']
  done = subprocess.run(words, cwd=folder, env=made, check=False, stdout=subprocess.PIPE,
                        stderr=subprocess.STDOUT, text=True, errors='replace')
  if words[0] == 'make':
    shutil.rmtree(folder / 'out', ignore_errors=True)
    if venv.exists() and not done.returncode:
      (venv / READY).write_text('')
  if done.returncode:
    print(done.stdout[-4000:])
  return done.returncode


def main():
  parser = argparse.ArgumentParser(description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--list', action='store_true', help='list what would be run, and run nothing')
  parser.add_argument('--only', default='', help='run only commands that contain this')
  given = parser.parse_args()
  rows = [row for row in plan() if given.only in row[2]]
  if given.list:
    for trial, path, command in rows:
      print(f'[{trial.extras or "core"}] {path}: {command}')
    return 0
  folder, failed = copy(), []
  for trial, path, command in rows:
    make = command.startswith('make ')
    venv = location(trial.extras) if make else environment(trial.extras, folder)
    began = time.monotonic()
    status = attempt(command, venv, folder)
    print(f'{"ok" if status == 0 else f"STATUS {status}":10} {time.monotonic() - began:5.0f} s  '
          f'[{trial.extras or "core"}] {path}: {command}', flush=True)
    if status:
      failed.append(command)
  print(f'{len(rows) - len(failed)} of {len(rows)} commands work as written')
  return bool(failed)


if __name__ == '__main__':
  sys.exit(main())

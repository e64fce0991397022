"""The wheel is the whole package: it edits a video elsewhere, with nothing of the checkout."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from conftest import ROOT

import vidregen_jax

FILES = ('setup.py', 'pyproject.toml', 'LICENSE', 'NOTICE', 'README.md')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
  """Built without network from a copy, as setuptools writes into what it builds."""
  pytest.importorskip('setuptools', minversion='70.1')  # which writes wheels by itself
  folder = tmp_path_factory.mktemp('wheel')
  for name in FILES:
    shutil.copy(ROOT / name, folder)
  shutil.copytree(ROOT / 'vidregen_jax', folder / 'vidregen_jax',
                  ignore=shutil.ignore_patterns('__pycache__'))
  subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-index',
                  '--no-build-isolation', '--wheel-dir', folder, folder], check=True)
  built, = folder.glob('*.whl')
  return built


@pytest.fixture(scope='module')
def run(wheel, tmp_path_factory):
  """Runs a program of the wheel in a folder of its own."""
  home = tmp_path_factory.mktemp('elsewhere')
  with zipfile.ZipFile(wheel) as archive:
    archive.extractall(home / 'installed')

  def do(*words):
    program = ('import sys, vidregen_jax; from vidregen_jax.__main__ import main; '
               f'assert vidregen_jax.__file__.startswith({str(home)!r}); sys.exit(main())')
    return subprocess.run([sys.executable, '-c', program, *words], cwd=home, capture_output=True,
                          text=True, env=os.environ | {'PYTHONPATH': str(home / 'installed')})
  return do


def test_it_holds_what_is_no_python_and_nothing_else_than_the_package(wheel):
  with zipfile.ZipFile(wheel) as archive:
    names = archive.namelist()
    scripts = archive.read(next(name for name in names if name.endswith('entry_points.txt')))
  package = {str(path.relative_to(ROOT)) for path in (ROOT / 'vidregen_jax').rglob('*')
             if path.is_file() and '__pycache__' not in path.parts}
  assert package == {name for name in names if '.dist-info/' not in name}
  assert b'vidregen = vidregen_jax.__main__:main' in scripts


def test_it_edits_a_video(run, pack_folder, tiny_checkpoint, tmp_path):
  clip, out = sorted((pack_folder / 'test').glob('*.mp4'))[0], tmp_path / 'out.mp4'
  done = run('edit', str(clip), '--audio', str(clip), '--span', '0.6-0.8', '--no-fit_face',
             '--checkpoint', str(tiny_checkpoint), '--consent', 'nobody is shown', '--out',
             str(out))
  assert done.returncode == 0, done.stderr
  assert vidregen_jax.inspect(out).valid


def test_the_bundled_model_is_told_of_where_it_is_not_installed(run, pack_folder, tmp_path):
  clip = sorted((pack_folder / 'test').glob('*.mp4'))[0]
  done = run('edit', str(clip), '--audio', str(clip), '--whole', '--checkpoint', 'talkers',
             '--consent', 'nobody is shown', '--out', str(tmp_path / 'out.mp4'))
  assert done.returncode == 2 and 'copy the folders' in done.stderr


@pytest.mark.parametrize(('words', 'status', 'told'), [
  (['--help'], 0, 'encode-latents'), ([], 0, 'encode-latents'),
  (['--version'], 0, vidregen_jax.__version__), (['inspct'], 2, 'is inspect meant?'),
  (['inspect', '--help'], 0, '--trust'), (['inspect'], 2, '--help` says how')])
def test_one_command_runs_all_programs(words, status, told, run):
  done = run(*words)
  assert done.returncode == status and told in done.stdout + done.stderr

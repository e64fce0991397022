"""Nothing leaves the computer: an edit, and the look at it, open no socket and name no host."""

import os
import pathlib
import subprocess
import sys

import pytest
import tiny_system

ROOT = pathlib.Path(__file__).parents[2]
# Python tells its hooks of every socket, look-up of a name and connection, whoever makes it.
_GUARDED = '''
import os, sys
def hook(event, args):
  if event.startswith('socket.'):
    os.write(2, f'SOCKET {event} {args}'.encode())
    os._exit(9)
sys.addaudithook(hook)
'''


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory, whisper_folder):
  return tiny_system.write(tmp_path_factory.mktemp('system'), whisper_folder)


def guarded(program, *argv, expect=0):
  done = subprocess.run([sys.executable, '-c', _GUARDED + program, *map(str, argv)], cwd=ROOT,
                        env=os.environ | {'JAX_PLATFORMS': 'cpu'}, capture_output=True, text=True)
  assert done.returncode == expect, done.stdout + done.stderr
  return done


def test_a_socket_is_noticed():
  guarded('import socket; socket.socket()', expect=9)
  guarded('import urllib.request; urllib.request.urlopen("http://127.0.0.1:9")', expect=9)


def test_an_edit_and_the_look_at_it_open_no_socket(checkpoint, pack_folder, tmp_path):
  clip, other = sorted((pack_folder / 'test').glob('*.mp4'))[:2]
  run = lambda module: f'import runpy; runpy.run_module("vidregen_jax.{module}", {{}}, "__main__")'
  made = tmp_path / 'out.mp4'
  common = ('--checkpoint', checkpoint, '--consent', 'nobody real', '--seed', 1)
  guarded(run('regenerate'), clip, '--audio', other, '--span', '0.4-0.7', '--out', made, *common)
  guarded(run('inspect'), made)
  # A folder that is not there is not looked for either, even if a hub knows such a name.
  missing = guarded(run('regenerate'), clip, '--audio', other, '--out', tmp_path / 'b.mp4',
                    '--checkpoint', 'openai/whisper-base', '--consent', 'nobody', expect=2)
  assert 'no exported generator here' in missing.stderr

"""Scratch folders of killed processes are removed, and those of running ones are not."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT

from vidregen_jax import errors, scratch_folder

HOLDS = '''
import pathlib, sys, time
from vidregen_jax import scratch_folder
folder = pathlib.Path(sys.argv[1])
with scratch_folder.ScratchFolder(folder, ['a']) as scratch:
  (scratch / 'deep').mkdir()
  (scratch / 'deep' / 'half').write_text('half')
  print(scratch, flush=True)
  time.sleep(600)
'''


@pytest.fixture
def killed(tmp_path):
  """A process in its scratch folder, and that folder."""
  process = subprocess.Popen([sys.executable, '-c', HOLDS, str(tmp_path)], cwd=ROOT, text=True,
                             stdout=subprocess.PIPE)
  scratch = pathlib.Path(process.stdout.readline().strip())
  yield process, scratch
  process.kill()
  process.wait()
  process.stdout.close()


def test_abandoned_folders_are_swept_and_those_in_use_stay(killed, tmp_path):
  process, scratch = killed
  (tmp_path / '.vidregen-notes').mkdir()
  (tmp_path / '.vidregen-0-0.part').write_text('a file of somebody')
  with scratch_folder.ScratchFolder(tmp_path):
    assert (scratch / 'deep' / 'half').exists()
  with pytest.raises(errors.UserError, match='a: is being made by another run'):
    scratch_folder.ScratchFolder(tmp_path, ['a']).__enter__()
  process.send_signal(signal.SIGKILL)
  process.wait()
  with scratch_folder.ScratchFolder(tmp_path, ['a']):
    assert not scratch.exists()
  assert {path.name for path in tmp_path.iterdir()} == {'.vidregen-notes', '.vidregen-0-0.part'}


def test_a_folder_of_another_computer_is_left_alone_until_it_is_old(killed, tmp_path):
  process, scratch = killed
  process.kill()
  process.wait()
  # Where locks are not seen from computer to computer it would look as dead as this.
  elsewhere = scratch.rename(tmp_path / f'.vidregen-00000000-{scratch.name.rpartition("-")[2]}')
  with scratch_folder.ScratchFolder(tmp_path):
    pass
  assert (elsewhere / 'deep' / 'half').exists()
  old = time.time() - 8 * 24 * 3600
  for path in [elsewhere, *elsewhere.rglob('*')]:
    os.utime(path, (old, old))
  with scratch_folder.ScratchFolder(tmp_path):
    pass
  assert not list(tmp_path.iterdir())


def test_a_link_in_place_of_a_folder_leads_nowhere(tmp_path):
  (tmp_path / 'precious').mkdir()
  (tmp_path / 'precious' / 'lock').write_text('a file of this name')
  (tmp_path / '.vidregen-0-0.part').symlink_to(tmp_path / 'precious')
  with scratch_folder.ScratchFolder(tmp_path):
    pass
  assert (tmp_path / 'precious' / 'lock').read_text() == 'a file of this name'

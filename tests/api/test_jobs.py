"""A list of translations: every job is done once, whatever happens to the run."""

import json
import os
import subprocess
import sys
import time

import pytest
from conftest import ROOT

import vidregen_jax
from vidregen_jax.api import jobs
from vidregen_jax.errors import UserError
from vidregen_jax.translate import main

CONSENT = 'a rendered person; nobody had to be asked'


@pytest.fixture
def listed(tmp_path, pack_folder):
  """A list of three jobs, of which the second is broken."""
  clip = sorted((pack_folder / 'test').glob('*.mp4'))[0]
  (tmp_path / 'broken.mp4').write_bytes(b'no video')
  rows = [{'id': name, 'source': str(clip), 'audio': str(clip), 'fit_face': False, 'page': False}
          for name in ('one', 'three')]
  rows.insert(1, {'source': 'broken.mp4', 'audio': str(clip)})
  path = tmp_path / 'list.jsonl'
  path.write_text('\n\n'.join(map(json.dumps, rows)))
  return path


def states(folder):
  return [json.loads(line) for line in (folder / jobs.STATE).read_text().splitlines()]


def test_every_job_is_done_once_and_the_broken_one_is_told(listed, tiny_checkpoint, tmp_path,
                                                           capsys):
  out = tmp_path / 'out'
  command = ['--jobs', str(listed), '--checkpoint', str(tiny_checkpoint), '--consent', CONSENT,
             '--out', str(out)]
  process = subprocess.Popen([sys.executable, '-m', 'vidregen_jax.translate', *command], cwd=ROOT,
                             env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  deadline = time.monotonic() + 300
  while time.monotonic() < deadline and process.poll() is None and not (
      out.is_dir() and len(list(out.glob('*.mp4'))) == 1):
    time.sleep(.02)  # until the first video has its name, but perhaps no line yet
  process.kill()
  process.wait()
  assert process.returncode < 0
  first = (out / 'one.mp4').stat().st_mtime_ns
  with open(out / jobs.STATE, 'ab') as file:
    file.write(b'{"id": "thr')  # as if it had been killed while it wrote

  assert main(command) == 1
  assert '2 done, 1 failed' in capsys.readouterr().out
  ends = states(out)
  # Whether the broken one ended before the kill is chance.
  assert ['broken.mp4' in end['error'] for end in ends if end['state'] == 'failed'] == [True]
  assert sorted(end['id'] for end in ends) == ['broken', 'one', 'three']
  assert (out / 'one.mp4').stat().st_mtime_ns == first
  for end in ends:
    if end['state'] == 'done':
      assert vidregen_jax.inspect(out / end['out']).sha256 == end['sha256']
  assert json.loads((out / jobs.SUMMARY).read_text())['failures'].keys() == {'broken'}
  assert {path.suffix for path in out.iterdir()} == {'.mp4', '.json', '.jsonl'}

  assert main(command) == 1 and states(out) == ends  # nothing is left to do
  listed.write_text(listed.read_text().replace('"three"', '"three", "seed": 1'))
  assert main(command) == 2
  assert 'three is another than the one that ended' in capsys.readouterr().err


@pytest.mark.parametrize(('text', 'cause'), [
  ('', 'holds no job'),
  ('{"source": "a.mp4"}', 'list.jsonl:1 lacks the field audio'),
  ('{"source": "a.mp4", "audio": "b.wav"}\n{"source": 1}', 'list.jsonl:2'),
  ('{"source": "a.mp4", "audio": "b.wav", "sorce": "c"}', '"sorce", which means nothing'),
  ('{"source": "a.mp4", "audio": "b.wav", "out": "../c.mp4"}', 'the name of a video in the output'),
  ('{"source": "a.mp4", "audio": "b.wav"}\n{"source": "b/a.mp4", "audio": "b.wav"}',
   "two jobs have the id 'a'"),
])
def test_a_wrong_list_is_refused_before_anything_is_done(text, cause, tmp_path):
  (tmp_path / 'list.jsonl').write_text(text)
  with pytest.raises(UserError, match=cause):
    jobs.read(tmp_path / 'list.jsonl')


def test_without_consent_nothing_is_done(listed, tmp_path, tiny_checkpoint):
  with pytest.raises(UserError, match='the job one has no consent'):
    jobs.translate_all(jobs.read(listed), tmp_path / 'out', model=tiny_checkpoint)
  assert not (tmp_path / 'out').exists()


def test_a_process_that_dies_fails_its_job_alone(listed, tmp_path, tiny_checkpoint, monkeypatch):
  """Here it dies of a checkpoint that breaks it: every job is told so."""
  monkeypatch.setattr(jobs, '_work', os.abort)
  ends = list(jobs._carried_out(jobs.read(listed)[:2], tmp_path, tiny_checkpoint, 2))
  assert [end.state for end in ends] == ['failed'] * 2
  assert all('its process ended with' in end.error for end in ends)

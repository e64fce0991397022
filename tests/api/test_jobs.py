"""A list of translations: every job is done once, whatever happens to the run."""

import importlib.util
import json
import os
import subprocess
import sys
import time

import pytest
from conftest import ROOT

import vidregen_jax
from vidregen_jax import api
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


@pytest.mark.parametrize('flags', [['--processes', '2'], ['--retry'],
                                   ['--beam_pipeline_options', 'runner=DirectRunner']])
def test_flags_of_a_list_without_one_are_refused(flags, capsys):
  command = ['in.mp4', '--audio', 'dub.wav', '--out', 'out.mp4', '--consent', CONSENT,
             '--checkpoint', 'talkers', *flags]
  assert main(command) == 2
  line, = capsys.readouterr().err.strip().splitlines()
  assert f'{flags[0]} is for a list of videos' in line


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


def test_beam_does_every_job_once_and_tells_the_broken_one(listed, tiny_checkpoint, tmp_path,
                                                           monkeypatch, capsys):
  """In processes of another folder than the list's, whose paths are relative."""
  if importlib.util.find_spec('apache_beam') is None:
    pytest.skip('Apache Beam is not installed: jobs are carried out on one machine alone')
  monkeypatch.chdir(tmp_path)
  here, beam = (['--jobs', 'list.jsonl', '--checkpoint', str(tiny_checkpoint), '--consent', CONSENT,
                 '--out', out] for out in ('here', 'beam'))
  beam += ['--beam_pipeline_options',
           'runner=DirectRunner,direct_num_workers=2,direct_running_mode=multi_processing']
  assert main(here) == 1 and main(beam) == 1
  assert '2 done, 1 failed' in capsys.readouterr().out
  summaries = [json.loads((tmp_path / out / jobs.SUMMARY).read_text()) for out in ('here', 'beam')]
  assert summaries[0]['failures'] == summaries[1]['failures']
  assert summaries[0]['failures'].keys() == {'broken'}
  for one, other in zip(states(tmp_path / 'here'), states(tmp_path / 'beam'), strict=True):
    assert [one[name] for name in ('id', 'state', 'job', 'out', 'error')] == [
      other[name] for name in ('id', 'state', 'job', 'out', 'error')]
  for name in ('one', 'three'):
    assert vidregen_jax.inspect(tmp_path / 'beam' / f'{name}.mp4').valid
  assert {path.suffix for path in (tmp_path / 'beam').iterdir()} == {'.mp4', '.json', '.jsonl'}
  ends = states(tmp_path / 'beam')
  assert main(beam) == 1 and states(tmp_path / 'beam') == ends  # nothing is left to do


def test_what_beam_had_done_when_its_run_was_killed_is_not_done_again(listed, tmp_path):
  if importlib.util.find_spec('apache_beam') is None:
    pytest.skip('Apache Beam is not installed: jobs are carried out on one machine alone')
  from vidregen_jax.api import beam_jobs
  waiting, out = jobs.read(listed), tmp_path / 'out'
  (out / beam_jobs.ENDED).mkdir(parents=True)
  for job in waiting:
    end = jobs.Ended(job.id, 'failed', 1.0, job.digest, error='as it was said')
    (out / beam_jobs.ENDED / f'{job.digest}.json').write_text(json.dumps(vars(end)))
  ends = list(beam_jobs.carried_out(waiting, out, 'no checkpoint', []))
  assert [end.id for end in ends] == ['one', 'broken', 'three']
  assert {end.error for end in ends} == {'as it was said'} and list(out.iterdir()) == []
  with pytest.raises(UserError, match='--beam_pipeline_options: Unexpected pipeline runner'):
    list(beam_jobs.carried_out(waiting, out, 'no checkpoint', ['--runner=none']))


def test_without_beam_its_options_are_refused(listed, tiny_checkpoint, tmp_path, monkeypatch,
                                              capsys):
  monkeypatch.setitem(sys.modules, 'apache_beam', None)
  monkeypatch.delitem(sys.modules, 'vidregen_jax.api.beam_jobs', raising=False)
  monkeypatch.delattr(api, 'beam_jobs', raising=False)
  assert main(['--jobs', str(listed), '--checkpoint', str(tiny_checkpoint), '--consent', CONSENT,
               '--out', str(tmp_path / 'out'), '--beam_pipeline_options', 'runner=any']) == 2
  assert 'needs Apache Beam: pip install' in capsys.readouterr().err
  assert not (tmp_path / 'out').exists()

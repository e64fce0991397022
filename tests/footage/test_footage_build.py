"""A folder of footage becomes datasets, the same whatever happened on the way."""

import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import footage
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data.talking_faces import build, plans, report, source_result, talking_faces, withdrawals
from vidregen_jax.datasets import consent_record, input_pipeline
from vidregen_jax.faces import crop_geometry

NAMES = ('test_00000', 'test_00003', 'test_00008')
PEOPLE = ('Ann', 'Ben', 'Cem', 'Dee')


def files_of(root):
  """SHA-256 of all files but those that tell seconds."""
  return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
          for path in sorted(root.rglob('*')) if path.is_file()
          and path.name not in (report.PAGE, report.SECONDS)}


def arguments(folder, out, *more):
  return ['--manifest', str(folder / 'manifest.jsonl'), '--data_dir', str(out), '--sizes', '64',
          '--workers', '1', *more]


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
  """Three clips that are kept, and one that is not; a person each."""
  folder = tmp_path_factory.mktemp('sources')
  for name in NAMES:
    footage.copy(folder, name)
  (folder / 'text.mp4').write_text('no film at all')
  rows = [(f'{name}.mp4', person, {'language': 'en', 'sentence': 'Mama.',
                                   'words': [[0.5, 0.9, 'Mama']]})
          for name, person in zip(NAMES, PEOPLE, strict=False)]
  footage.manifest(folder, [*rows, ('text.mp4', 'Dee', {})])
  return folder


@pytest.fixture(scope='module')
def built(sources, tmp_path_factory):
  out = tmp_path_factory.mktemp('out')
  assert build.main(arguments(sources, out)) == 0
  return out / 'talking_faces'


def test_every_source_is_in_the_counts(built):
  counts = json.loads((built / report.SUMMARY).read_text())
  assert counts['sources'] == {'given': 4, 'kept': 3, 'left out': 1, 'withdrawn': 0}
  assert counts['clips'] == 3 and counts['people'] == 3
  assert counts['left_out']['unreadable'] == {'sources': 1, 'stretches': 1, 'hours': 0.0}
  rows = [json.loads(line) for line in (built / report.LEFT_OUT).read_text().splitlines()]
  assert [row['reason'] for row in rows if row['source'].endswith('text.mp4')] == ['unreadable']
  spent = json.loads((built / report.SECONDS).read_text())
  assert set(spent['processor_seconds']) == set(source_result.STEPS)


def test_records_are_what_codec_and_latents_read(built):
  clips = [clip for split in ('train', 'validation', 'test')
           for clip in input_pipeline.talker_clips(built / '64', split, 64)]
  assert len(clips) == 3 and len({clip['person'] for clip in clips}) == 3
  for clip in clips:
    count = len(clip['frames'])
    assert clip['frames'].shape == (count, 64, 64, 3) and clip['frames'].std() > 10
    assert all(len(clip[name]) == count for name in (
      'times', 'source_times', 'valid', 'confidence', 'mouth_box', 'lip_gap', 'mouth_width'))
    step = np.median(np.diff(clip['times']))
    assert abs(len(clip['audio']) / 16_000 - (clip['times'][-1] + step)) < 1e-3
    np.testing.assert_allclose(np.diff(clip['source_times']) / 1e6, np.diff(clip['times']),
                               atol=1e-5)
    assert clip['basis'].decode() == footage.BASIS and clip['sentence'].decode() == 'Mama.'
    # Words are moved as the sound is, to where the clip begins.
    (begin, end, word), = json.loads(clip['words'].decode())
    start = clip['source_times'][0] / 1e6 + float(clip['offset'])
    assert word == 'Mama' and abs(begin + start - 0.5) < 2e-3 and abs(end + start - 0.9) < 2e-3
  folder = built / '64' / '1.0.0'
  assert tfds.builder_from_directory(folder).info.metadata['crop'] == crop_geometry.CROP
  people = consent_record.read(folder)['datasets'][0]['people']
  assert {person['person'] for person in people} == {clip['person'].decode() for clip in clips}


def test_no_name_is_in_a_dataset(built):
  data = b''.join(path.read_bytes() for path in (built / '64').rglob('*') if path.is_file())
  assert all(name.encode() not in data for name in PEOPLE)


def test_the_same_command_again_changes_nothing(built, sources):
  before = {path: path.stat().st_mtime_ns for path in (built / '64').rglob('*')}
  assert build.main(arguments(sources, built.parent)) == 0
  assert before == {path: path.stat().st_mtime_ns for path in (built / '64').rglob('*')}


def test_a_build_that_was_killed_ends_with_the_same_bytes(built, sources, tmp_path):
  out = tmp_path / 'out'
  command = [sys.executable, '-m', 'data.talking_faces.build', *arguments(sources, out)]
  process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=footage.PACK.parents[2],
                             env=os.environ | {'PYTHONPATH': str(footage.PACK.parents[2])})
  work = out / 'talking_faces' / 'work'
  while process.poll() is None and not list(work.glob(f'*/*/{source_result.ACCOUNT}')):
    time.sleep(0.02)
  process.send_signal(signal.SIGKILL)
  process.wait()
  assert len(list(work.glob(f'*/*/{source_result.ACCOUNT}'))) < 4
  assert build.main(arguments(sources, out)) == 0
  assert files_of(out / 'talking_faces') == files_of(built)


def test_a_source_that_kills_its_worker_is_left_out_alone(sources, tmp_path, monkeypatch):
  # Spawned workers read the environment before anything else.
  (tmp_path / 'sitecustomize.py').write_text(
    'import os, sys\n'
    'class Crash:\n'
    '  def find_spec(self, name, path, target=None):\n'
    '    if name == "data.talking_faces.source_result":\n'
    '      sys.meta_path.remove(self)\n'
    '      from data.talking_faces import probing\n'
    '      look = probing.pictures\n'
    '      def pictures(path):\n'
    f'        if path.name == "{NAMES[1]}.mp4":\n'
    '          os.abort()\n'
    '        return look(path)\n'
    '      probing.pictures = pictures\n'
    'sys.meta_path.insert(0, Crash())\n')
  monkeypatch.setenv('PYTHONPATH', f'{tmp_path}:{footage.PACK.parents[2]}')
  out = tmp_path / 'out'
  assert build.main(arguments(sources, out, '--max_seconds', '2')) == 0
  counts = json.loads((out / 'talking_faces' / report.SUMMARY).read_text())
  assert counts['sources']['kept'] == 2
  assert counts['left_out']['ended its worker']['sources'] == 1


def test_who_withdraws_is_gone_with_the_next_build(sources, built, tmp_path, capsys):
  out, folder = tmp_path / 'out', tmp_path / 'again'
  folder.mkdir()
  for name in NAMES:
    os.link(sources / f'{name}.mp4', folder / f'{name}.mp4')
  rows = [(f'{name}.mp4', person, {}) for name, person in zip(NAMES, PEOPLE, strict=False)]
  manifest = footage.manifest(folder, rows)
  assert build.main(arguments(folder, out, '--max_seconds', '2.5')) == 0
  dataset = out / 'talking_faces' / '64' / '1.0.0'
  footage.manifest(folder, [*rows[:2], (*rows[2][:2], {'withdrawn': 'yes'})])
  with pytest.raises(ValueError, match='withdrawn'):
    input_pipeline.talker_clips(dataset, 'train', 64)
  capsys.readouterr()
  assert withdrawals.main(['--manifest', str(manifest), '--mark', str(dataset)]) == 0
  assert '(Cem) has withdrawn' in capsys.readouterr().out
  assert build.main(arguments(folder, out, '--max_seconds', '2.5')) == 0
  clips = [clip for split in ('train', 'validation', 'test')
           for clip in input_pipeline.talker_clips(dataset, split, 64)]
  assert len({clip['person'] for clip in clips}) == 2
  assert len(list((out / 'talking_faces' / 'work').glob('*/*'))) == 2  # crops of Cem are gone too


def test_nothing_begins_without_a_basis(sources, tmp_path, capsys):
  footage.manifest(tmp_path, [('a.mp4', 'Ann', {}), ('b.mp4', 'Ben', {'basis': ''})])
  assert build.main(arguments(tmp_path, tmp_path / 'out')) == 2
  assert 'line 2 (b.mp4) has no basis of consent' in capsys.readouterr().err
  assert not (tmp_path / 'out').exists()


def test_a_manifest_that_is_not_there_gets_no_salt(tmp_path, capsys):
  folder = tmp_path / 'footage'
  folder.mkdir()
  assert build.main(arguments(folder, tmp_path / 'out')) == 2
  assert 'manifest.jsonl' in capsys.readouterr().err
  assert not list(folder.iterdir()) and not (tmp_path / 'out').exists()


def test_people_are_in_one_split_and_every_split_has_somebody():
  clips = [talking_faces.Clip(f'{person:02d}_{n}', None, n, 50, f'{person * 7919 % 65536:04x}', '')
           for person in range(40) for n in range(3)]
  for few in (clips, clips[:9], clips[:6], clips[:3]):
    chosen = talking_faces.split_people(few)
    assert {clip.split for clip in chosen} == {'train', 'validation', 'test'}
    if len({clip.person for clip in few}) >= 3:
      of = {}
      for clip in chosen:
        assert of.setdefault(clip.person, clip.split) == clip.split


def test_beam_makes_the_same_records(built, sources, tmp_path):
  if importlib.util.find_spec('apache_beam') is None:
    pytest.skip('Apache Beam is not installed: footage is prepared on one machine alone')
  out = tmp_path / 'out'
  assert build.main(arguments(
    sources, out, '--beam_pipeline_options',
    'runner=DirectRunner,direct_num_workers=2,direct_running_mode=multi_processing')) == 0
  assert files_of(out / 'talking_faces') == files_of(built)


def test_a_plan_can_be_sent_to_other_machines(sources, tmp_path):
  if importlib.util.find_spec('apache_beam') is None:
    pytest.skip('Apache Beam is not installed: footage is prepared on one machine alone')
  from data.talking_faces import beam_build, filters
  plan = plans.Plan(sources / 'manifest.jsonl', tmp_path / 'out', (64,), filters.Bounds())
  graph = beam_build.pipeline(plan, ['--runner=FlinkRunner']).to_runner_api()
  names = {each.unique_name for each in graph.components.transforms.values()}
  assert {'sources', 'share out', 'prepare'} <= names
  assert len(graph.SerializeToString()) < 100_000  # whatever the number of sources

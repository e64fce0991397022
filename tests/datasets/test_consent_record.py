"""Nobody is learned from without a basis, or after a withdrawal; cards say whose clips it was."""

import json
import pathlib

import fake_talkers
import footage
import pytest
from ml_collections import ConfigDict

from vidregen_jax.datasets import consent_manifest, consent_record, input_pipeline
from vidregen_jax.errors import UserError

HEADER = 'source,person,basis,date,withdrawn,language\n'


def read(tmp_path, text, name='m.csv'):
  (tmp_path / name).write_text(text)
  return consent_manifest.read(tmp_path / name)


def test_both_kinds_of_manifest_say_the_same(tmp_path):
  of_table = read(tmp_path, HEADER + '"a, b.mp4",Ann,agreed in writing,2026-05-01,,pt-BR\n')
  of_lines = read(tmp_path, json.dumps({
    'source': 'a, b.mp4', 'person': 'Ann', 'basis': 'agreed in writing', 'date': '2026-05-01',
    'language': 'pt-BR'}) + '\n', 'm.jsonl')
  assert of_table[0].path == tmp_path / 'a, b.mp4'
  assert [(row.source, row.person, row.basis, row.date, row.language, row.withdrawn)
          for row in of_table] == [
    (row.source, row.person, row.basis, row.date, row.language, row.withdrawn) for row in of_lines]


@pytest.mark.parametrize(('row', 'words'), [
  ('b.mp4,Ben,,2026-05-01,,', r'line 3 \(b.mp4\) has no basis of consent'),
  ('b.mp4,Ben,  ,2026-05-01,,', r'line 3 \(b.mp4\) has no basis of consent'),
  ('b.mp4,,CC0,2026-05-01,,', r'line 3 \(b.mp4\) has no person'),
  ('b.mp4,Ben,CC0,May,,', r'line 3 \(b.mp4\): its date is "May"'),
  ('b.mp4,Ben,CC0,2026-05-01,perhaps,', r'line 3 \(b.mp4\): its withdrawn is "perhaps"'),
  ('a.mp4,Ben,CC0,2026-05-01,,', 'line 3: a.mp4 is already in line 2'),
  ('b.mp4,Ben,CC0,2026-05-01,,en,more', 'line 3: has more fields than the header'),
])
def test_a_row_that_lacks_what_it_needs_is_named(tmp_path, row, words):
  with pytest.raises(UserError, match=words):
    read(tmp_path, f'{HEADER}a.mp4,Ann,CC0,2026-05-01,,en\n{row}\n')


def test_one_withdrawal_is_of_all_that_shows_the_person(tmp_path):
  rows = read(tmp_path, HEADER + 'a.mp4,Ann,CC0,2026-05-01,,\nb.mp4,Ben,CC0,2026-05-01,,\n'
              'c.mp4,Ann,CC0,2026-05-01,yes,\n')
  assert [row.withdrawn for row in rows] == [True, False, True]


def test_a_hash_needs_the_salt_and_the_salt_stays_private(tmp_path):
  (tmp_path / 'm.csv').write_text(HEADER)
  salt = consent_manifest.read_salt(tmp_path / 'm.csv', make=True)
  assert consent_manifest.read_salt(tmp_path / 'm.csv') == salt
  hashed = consent_manifest.hashed
  assert hashed(salt, 'person', 'Ann') != hashed(b'other', 'person', 'Ann')
  assert hashed(salt, 'person', 'Ann') != hashed(salt, 'source', 'Ann')
  consent_manifest.salt_of(tmp_path / 'm.csv').chmod(0o644)
  with pytest.raises(UserError, match='others can read it'):
    consent_manifest.read_salt(tmp_path / 'm.csv')


@pytest.fixture
def dataset(tmp_path):
  """A dataset of Ann's clips, its manifest, and her hash."""
  folder = pathlib.Path(fake_talkers.build(tmp_path / 'data'))
  version = next(folder.rglob('dataset_info.json')).parent
  manifest = footage.manifest(tmp_path, [('a.mp4', 'Ann', {}), ('b.mp4', 'Ben', {})])
  salt = consent_manifest.read_salt(manifest)
  ann = consent_manifest.hashed(salt, 'person', 'Ann')
  consent_record.write(version, [{
    'name': 'ours', 'note': ['Recorded by us.'], 'manifest': str(manifest), 'people': [
      {'person': ann, 'basis': ['agreed | in writing'], 'dates': ['2026-05-01'],
       'languages': ['en'], 'sources': 1, 'clips': {'train': 5, 'test': 1}, 'hours': 0.5}]}])
  return folder, version, manifest, ann


def test_clips_of_somebody_who_withdrew_are_not_read(dataset, tmp_path):
  folder, version, manifest, ann = dataset
  assert len(input_pipeline.talker_clips(folder, 'train', 16)) == 5
  footage.manifest(tmp_path, [('a.mp4', 'Ann', {}), ('b.mp4', 'Ben', {'withdrawn': 'yes'})])
  assert len(input_pipeline.talker_clips(folder, 'train', 16)) == 5  # Ben is not in it
  footage.manifest(tmp_path, [('a.mp4', 'Ann', {'withdrawn': 'yes'}), ('b.mp4', 'Ben', {})])
  with pytest.raises(UserError, match=f'{ann}, whose consent is withdrawn in .*manifest.jsonl'):
    input_pipeline.talker_clips(folder, 'train', 16)


def test_a_list_beside_the_dataset_does_where_the_manifest_is_not(dataset):
  folder, version, manifest, ann = dataset
  manifest.unlink()
  assert len(input_pipeline.talker_clips(folder, 'train', 16)) == 5
  (version / consent_record.WITHDRAWN).write_text(json.dumps([ann]))
  with pytest.raises(UserError, match=f'{ann}, whose consent is withdrawn in .*withdrawn.json'):
    input_pipeline.talker_clips(folder, 'train', 16)


def test_a_card_lists_basis_counts_hours_languages_and_people(dataset):
  folder, version, manifest, ann = dataset
  card = consent_record.card(consent_record.read(version))
  assert '**ours**: 1 people, 1 sources, 6 clips, 0.50 hours; languages: en.' in card
  assert '| agreed / in writing | 1 | 0.50 |' in card and 'Recorded by us.' in card
  assert f'- `{ann}`: 0.500 hours' in card and 'withdrawal' in card and 'Ann' not in card
  assert input_pipeline.consent(folder) == list(consent_record.read(version)['datasets'])


def test_weights_carry_the_people_of_what_they_began_with_too(dataset, tmp_path):
  folder, version, manifest, ann = dataset
  own = list(consent_record.read(version)['datasets'])
  codec, teacher = tmp_path / 'codec', tmp_path / 'teacher'
  for place, people in ((codec, own), (teacher, [own[0] | {'name': 'older'}])):
    place.mkdir()
    consent_record.write(place, people)
  config = ConfigDict({'start_from': '', 'codec': str(codec), 'teacher': str(teacher)})
  found = consent_record.learned_from(config, input_pipeline.consent(f'{folder}:2,{folder}'))
  assert [each['name'] for each in found] == ['ours', 'older']
  assert consent_record.beginnings(config) == [str(codec), str(teacher)]

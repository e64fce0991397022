"""Edit lists: what they say is what is done, and a mistake in one is one line."""

import json

import pytest

from vidregen_jax.editing import edit_list, soundtrack
from vidregen_jax.errors import UserError
from vidregen_jax.reporting.edit_report import EditOptions


def write(folder, value):
  path = folder / 'edits.json'
  path.write_text(value if isinstance(value, str) else json.dumps(value))
  return path


def test_spans_of_a_new_soundtrack(tmp_path):
  path = write(tmp_path, {'audio': 'new.wav', 'edits': [{'start': 1, 'stop': 2.5},
                                                        {'start': 4.0, 'stop': 4.5}]})
  assert edit_list.read(path) == edit_list.EditList(
      str(tmp_path / 'new.wav'), ((1.0, 2.5), (4.0, 4.5)), ())


def test_pieces_of_sound_with_paths_beside_the_file_and_elsewhere(tmp_path):
  path = write(tmp_path, {'edits': [{'start': 1.2, 'stop': 1.95, 'audio': 'wörd one.wav'},
                                    {'start': 3, 'stop': 4, 'audio': '/sounds/two.wav'}]})
  assert edit_list.read(path).patches == (
      soundtrack.Patch(1.2, 1.95, str(tmp_path / 'wörd one.wav')),
      soundtrack.Patch(3.0, 4.0, '/sounds/two.wav'))


def test_an_edit_may_have_options_of_its_own(tmp_path):
  path = write(tmp_path, {'format': 'vidregen_jax.edits', 'version': 1, 'audio': 'a.wav', 'edits': [
    {'start': 3, 'stop': 4, 'fade': .1, 'guidance': 2, 'offset_ms': -40, 'opening': 1.2},
    {'start': 1, 'stop': 2, 'face': [.25, .4]}]})
  assert edit_list.read(path).options == (
    EditOptions(face=(.25, .4)),
    EditOptions(fade=.1, guidance=2., offset=-.04, opening=1.2))


def test_closed_mouths_need_no_sound_and_words_no_times(tmp_path):
  (tmp_path / 'said.align').write_text('25000 50000 two\n50000 75000 soon\n')
  path = write(tmp_path, {'transcript': 'said.align', 'edits': [{'words': 'Soon', 'mute': True}]})
  assert edit_list.read(path) == edit_list.EditList('', ((2., 3.04), ), (), (
    EditOptions(mute=True), ))


@pytest.mark.parametrize(('value', 'message'), [
    ({'format': 'other', 'edits': []}, '"format" is "other", not "vidregen_jax.edits"'),
    ({'version': 2, 'edits': []}, 'is of version 2, and this program reads 1'),
    ({'audio': 'a.wav', 'edits': [{'start': 0, 'stop': 1, 'fade': 9}]}, 'has 9 for "fade"'),
    ({'audio': 'a.wav', 'edits': [{'start': 0, 'stop': 1, 'mute': 1}]}, 'give true or false'),
    ({'audio': 'a.wav', 'edits': [{'start': 0, 'stop': 1, 'face': 'me'}]}, 'edit 1: --face me is'),
    ({'audio': 'a.wav', 'edits': [{'words': 'two'}]}, 'has no "start"'),
    ({'edits': [{'start': 0, 'stop': 1, 'mute': True}, {'start': 2, 'stop': 3}]},
     'edit 1 has no "audio"'),
    ('{"edits": [', 'not JSON'),
    ('[' * 100_000, 'not JSON'),
    ([], 'not a JSON object'),
    ({'audio': 'a.wav'}, 'has no "edits"'),
    ({'audio': 'a.wav', 'edits': []}, 'at least one edit'),
    ({'audio': 'a.wav', 'edits': {}}, 'at least one edit'),
    ({'audio': 7, 'edits': [{'start': 1, 'stop': 2}]}, 'not the path'),
    ({'edits': [{'start': 1, 'stop': 2}]}, 'edit 1 has no "audio"; or give'),
    ({'edits': [{'start': 1, 'stop': 2, 'audio': ''}]}, 'not the path'),
    ({'audio': 'a.wav', 'edits': [{'start': 1, 'stop': 2, 'audio': 'b.wav'}]}, 'field "audio"'),
    ({'audio': 'a.wav', 'edits': [{'start': 1, 'stopp': 2}]}, 'edit 1 has no "stop"'),
    ({'audio': 'a.wav', 'spans': [], 'edits': [{'start': 1, 'stop': 2}]}, 'field "spans"'),
    ({'audio': 'a.wav', 'edits': [{'start': 2, 'stop': 2}]}, 'give "start" before "stop"'),
    ({'audio': 'a.wav', 'edits': [{'start': 0, 'stop': 1}, {'start': '1', 'stop': 2}]},
     'edit 2 has "1" for a time'),
    ({'audio': 'a.wav', 'edits': [{'start': -1, 'stop': 2}]}, 'has -1 for a time'),
    ({'audio': 'a.wav', 'edits': [{'start': True, 'stop': 2}]}, 'has true for a time'),
    ('{"audio": "a.wav", "edits": [{"start": 0, "stop": Infinity}]}', 'for a time'),
    ('{"audio": "a.wav", "edits": [{"start": 0, "stop": NaN}]}', 'has NaN for a time'),
    ('{"audio": "a.wav", "edits": [{"start": 0, "stop": 1e400}]}', 'for a time'),
    ('{"audio": "a.wav", "edits": [{"start": 0, "stop": 1' + '0' * 1000 + '}]}', 'for a time'),
    ('{"audio": "a.wav", "edits": [{"start": 0, "stop": ' + '9' * 10**6 + '}]}', 'for a time'),
    ('{"audio": "a.wav", "edits": [{"start": ' + '[' * 900 + ']' * 900 + ', "stop": 2}]}',
     'has a list for a time'),
    ('{"audio": "a.wav", "audio": "b.wav", "edits": [{"start": 0, "stop": 1}]}',
     '"audio" appears twice'),
    ('{"audio": "a.wav", "edits": [{"start": 0, "stop": 1, "stop": 2}]}', '"stop" appears twice'),
    ({'audio': 'a.wav', 'edits': [{'start': 0, 'stop': 1}] * 10_001}, 'more than 10000'),
])
def test_a_mistake_is_one_line_that_names_file_and_cause(tmp_path, value, message):
  path = write(tmp_path, value)
  with pytest.raises(UserError, match=message) as error:
    edit_list.read(path)
  assert str(path) in str(error.value) and '\n' not in str(error.value)
  assert len(str(error.value)) < 500 + len(str(path))


def test_a_mark_of_its_encoding_is_no_part_of_a_file(tmp_path):
  path = tmp_path / 'edits.json'
  path.write_text('{"audio": "a.wav", "edits": [{"start": 0, "stop": 1}]}', encoding='utf-8-sig')
  assert edit_list.read(path).spans == ((0.0, 1.0), )


def test_a_file_without_end_is_not_read(tmp_path):
  with open(tmp_path / 'edits.json', 'wb') as file:
    file.truncate(10**12)
  with pytest.raises(UserError, match='edits.json: is larger than'):
    edit_list.read(tmp_path / 'edits.json')


def test_files_that_cannot_be_read(tmp_path):
  with pytest.raises(UserError, match='no such file'):
    edit_list.read(tmp_path / 'none.json')
  (tmp_path / 'latin.json').write_bytes(b'{"audio": "\xe4.wav"}')
  with pytest.raises(UserError, match='not JSON'):
    edit_list.read(tmp_path / 'latin.json')

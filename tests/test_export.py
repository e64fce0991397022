"""What is given away runs, is half as large, says what it is, and shows what was changed."""

import dataclasses
import json
import re
import shutil

import jax
import numpy as np
import pytest
import tiny_system

from vidregen_jax import evaluate, export
from vidregen_jax.datasets import consent_record
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import sync_scorer
from vidregen_jax.exports import checksums, model_folder, pipeline
from vidregen_jax.exports.pack import repack
from vidregen_jax.models import sync


@pytest.fixture(scope='module')
def student(tmp_path_factory, whisper_folder):
  return tiny_system.write_student(tmp_path_factory.mktemp('student'), whisper_folder)


@pytest.fixture
def card(tmp_path):
  path = tmp_path / 'card.md'
  path.write_text('# A model of nobody\n\nIts data are random numbers, whose consent nobody asked.')
  return path


@pytest.fixture
def licence(tmp_path):
  path = tmp_path / 'licence'
  path.write_text('For tests.')
  return path


def weight(folder):
  return sum(path.stat().st_size for path in folder.rglob('*.safetensors'))


def test_a_pack_is_the_system_in_half_precision(student, tmp_path, whisper_folder, card, licence):
  (tmp_path / 'near').symlink_to(whisper_folder)
  repack(student, tmp_path / 'pack', card, licence, '../near')
  assert (tmp_path / 'pack' / 'README.md').read_text() == card.read_text()
  assert (tmp_path / 'pack' / 'LICENSE').read_text() == 'For tests.'
  assert not (tmp_path / 'pack' / 'audio_encoder').exists()
  for part in ('.', 'codec', 'student'):
    assert 0.49 < weight(tmp_path / 'pack' / part) / (
      weight(student / part) - weight(student / 'audio_encoder') * (part == '.')) < 0.55
  for which in (False, True):
    whole, packed = pipeline.load(student, which), pipeline.load(tmp_path / 'pack', which)
    assert whole.models == packed.models and whole.sampler == packed.sampler
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(packed.params), strict=True):
      assert b.dtype == a.dtype
      np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-7)  # 11 bits
  samples = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
  np.testing.assert_array_equal(whole.listen(samples), packed.listen(samples))
  repack(student, tmp_path / 'whole', card, licence)  # with its own copy
  assert (tmp_path / 'whole' / 'audio_encoder' / 'LICENSE').read_text() == (
    whisper_folder / 'LICENSE').read_text()
  np.testing.assert_array_equal(whole.listen(samples), pipeline.load(tmp_path / 'whole').listen(
    samples))


def test_what_cannot_be_given_away_leaves_what_was_there(student, tmp_path, card, licence):
  out = tmp_path / 'pack'
  out.mkdir()
  (out / 'README.md').write_text('kept')

  def refused(cause, source=student, card=card, licence=licence, encoder=None):
    with pytest.raises(UserError, match=cause):
      repack(source, out, card, licence, encoder)

  refused('--card .*no such file: say there what the model is', card=tmp_path / 'none.md')
  refused('--licence .*none: no such file', licence=tmp_path / 'none')
  refused('--card .*: is a folder, and a file is needed', card=tmp_path)
  for word in ('data', 'consent'):
    mute = tmp_path / 'mute.md'
    mute.write_text(card.read_text().replace(word, ''))
    refused(f'does not say a word of {word}', card=mute)
  refused('--audio_encoder is seen from --out', encoder='../nowhere')
  taught, large = model_folder.load_export(student / 'student', 'student'), tmp_path / 'large'
  taught.params['sinks'] += 1e6
  pipeline.export_student(large, student, taught.config, taught.params)
  refused('beyond 65504, which half precision cannot hold', source=large)
  for name in ('LICENSE', 'README.md'):
    (large / 'audio_encoder' / name).unlink()
  refused('has neither LICENSE nor README', source=large)
  assert (out / 'README.md').read_text() == 'kept' and len(list(out.iterdir())) == 1
  (out / 'mine').write_text('not a pack')
  refused('holds other things, which would be lost')
  assert (out / 'mine').exists()


@pytest.fixture
def pack(student, tmp_path, card, licence):
  repack(student, tmp_path / 'pack', card, licence)
  return tmp_path / 'pack'


def test_every_file_is_in_the_manifest_and_a_change_to_any_shows(pack, tmp_path):
  files = [path for path in pack.rglob('*') if path.is_file() and path.name != 'manifest.json']
  assert checksums.check(pack) == len(files) > 8
  for path in files:
    before = path.read_bytes()
    path.write_bytes(before[:-1] + b'?')
    with pytest.raises(UserError, match=f'{path} is not the file that was packed'):
      checksums.check(pack)
    path.unlink()
    with pytest.raises(UserError, match=f'{path} is missing'):
      checksums.check(pack)
    path.write_bytes(before)
  assert checksums.check(pack) == len(files)
  (pack / 'student' / 'more.py').write_text('')
  with pytest.raises(UserError, match='more.py was not packed with the rest'):
    checksums.check(pack)


def test_a_card_lists_the_people_whose_clips_were_learned_from(
  student, tmp_path, card, licence
):
  source = tmp_path / 'source'
  shutil.copytree(student, source)
  consent_record.write(source, [{'name': 'ours', 'note': [], 'manifest': '/nowhere', 'people': [
    {'person': '0123abcd', 'basis': ['agreed'], 'dates': ['2026-05-01'], 'languages': ['pt'],
     'sources': 2, 'clips': {'train': 3}, 'hours': 1.5}]}])
  out = tmp_path / 'pack'
  assert export.main([f'--checkpoint={source}', f'--card={card}', f'--licence={licence}',
                      f'--out={out}']) == 0
  text = (out / 'README.md').read_text()
  assert text.startswith(card.read_text())
  assert '1 people, 2 sources, 3 clips, 1.50 hours; languages: pt.' in text and '0123abcd' in text
  (given,), (kept,) = (consent_record.read(place)['datasets'] for place in (out, source))
  assert kept['manifest'] == '/nowhere' and given == kept | {'manifest': ''}
  checksums.check(out)


def test_weights_that_were_changed_are_not_run(pack):
  """A number that fell over is no other model, to all that a model's shape can say."""
  for name, teacher in (('generator', True), ('student/student', False)):
    path = pack / f'{name}.safetensors'
    before = path.read_bytes()
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    with pytest.raises(UserError, match=f'{name}.safetensors is not the file that was packed'):
      pipeline.load(pack, teacher)
    path.write_bytes(before)
  pipeline.load(pack)


def test_a_manifest_names_an_encoder_that_lies_elsewhere(student, tmp_path, whisper_folder, card,
                                                         licence):
  shutil.copytree(whisper_folder, tmp_path / 'near')
  repack(student, tmp_path / 'pack', card, licence, '../near')
  checksums.check(tmp_path / 'pack')
  (tmp_path / 'near' / 'config.json').write_text('{}')
  with pytest.raises(UserError, match=r'\.\./near/config.json is not the file'):
    checksums.check(tmp_path / 'pack')


def test_what_has_no_manifest_or_a_damaged_one_is_not_verified(student, pack):
  with pytest.raises(UserError, match='was not packed by vidregen_jax.export'):
    checksums.check(student)
  (pack / 'manifest.json').write_text('{}')
  with pytest.raises(UserError, match='manifest.json is damaged'):
    pipeline.load(pack)


def test_the_bundled_checkpoint_is_as_it_was_packed(whisper_folder):
  assert checksums.check(whisper_folder.parent / 'talkers') == 13


def test_a_config_that_was_changed_is_not_run(pack):
  for name in ('config.json', 'codec/config.json', 'audio_encoder/config.json'):
    before = (pack / name).read_bytes()
    (pack / name).write_bytes(before + b' ')
    with pytest.raises(UserError, match=f'{name} is not the file that'):
      pipeline.load(pack)
    (pack / name).write_bytes(before)
  pipeline.load(pack)


@pytest.mark.parametrize('data', ['', '[]', '{"format": 1}', '{"format": 1, "files": {"a": "b"}}',
                                  '[' * 100_000, '{"format": 1, "files": {"/etc/passwd": "%s"}}' % (
                                    '0' * 64)])
def test_a_damaged_manifest_is_one_line(data, pack):
  (pack / 'manifest.json').write_text(data)
  for use in (checksums.check, pipeline.load):
    with pytest.raises(UserError, match='manifest.json is damaged') as caught:
      use(pack)
    assert '\n' not in str(caught.value)


@pytest.fixture
def scorer(tmp_path, card, licence):
  """A packed scorer of lip sync."""
  config = sync.SyncConfig(size=8, stem=2, widths=(4,), audio_width=4, embedding=6, blocks=1)
  model_folder.export(tmp_path / 'sync', 'sync', dataclasses.asdict(config),
                      jax.device_get(sync.init(config, jax.random.key(0))), limit=np.float32(0.1))
  assert export.main([f'--checkpoint={tmp_path / "sync"}', f'--card={card}',
                      f'--licence={licence}', f'--out={tmp_path / "scorer"}']) == 0
  return tmp_path / 'scorer'


def test_a_pack_is_evaluated_by_editing_with_it(pack, pack_folder, scorer, capsys):
  capsys.readouterr()
  evaluate.evaluate(evaluate.make_parser().parse_args([
    'listening', f'--checkpoint={pack}', f'--pack={pack_folder}', '--clips=1',
    f'--scorer={scorer}']))
  out = capsys.readouterr().out
  medians = json.loads(out[out.index('\n{'):])['medians']['new']
  # Beside the score of what was generated stands that of the film whose sound was heard.
  assert medians['scorer'].keys() == {'generated', 'truth'}
  assert medians['scorer']['generated'] != medians['scorer']['truth']
  assert '  scorer: generated confidence ' in out and '; truth confidence ' in out


def test_a_packed_scorer_is_the_same_in_half_precision(scorer, tmp_path):
  whole, packed = sync_scorer.load(tmp_path / 'sync'), sync_scorer.load(scorer)
  assert whole.model == packed.model and abs(whole.limit - packed.limit) < 1e-4
  for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(packed.params), strict=True):
    assert a.shape == b.shape
    np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-7)
  assert checksums.check(scorer) == 4
  with (scorer / 'sync.safetensors').open('r+b') as file:
    file.seek(-2, 2)
    file.write(b'\0\0')
  with pytest.raises(UserError, match='is not the file that was packed'):
    sync_scorer.load(scorer)


def test_a_scorer_is_packed_without_what_systems_have(scorer, card, licence, tmp_path, capsys):
  words = [f'--checkpoint={tmp_path / "sync"}', f'--card={card}', f'--licence={licence}',
           f'--out={tmp_path / "other"}', '--stablehlo']
  assert export.main(words) == 2 and 'is a scorer of lip sync' in capsys.readouterr().err
  (scorer / 'mine.txt').write_text('mine')
  assert export.main([*words[:3], f'--out={scorer}']) == 2
  assert 'holds other things' in capsys.readouterr().err


@pytest.mark.parametrize(('words', 'message'), [
  (['--checkpont=a'], r'unrecognized arguments: --checkpont=a: `.* --help` says how'),
  (['--out'], r'argument --out: expected one argument: .*'),
  (['--checkpoint', 'a', '--out=b'], r'give --checkpoint, --card, --licence and --out; or .*'),
  (['--verify', 'gone'], r'gone has no manifest.json: it was not packed by vidregen_jax.export'),
])
def test_a_mistake_in_the_flags_is_one_line_and_status_2(words, message, capsys):
  assert export.main(words) == 2
  assert re.fullmatch(f'error: {message}\n', capsys.readouterr().err)


def test_flags_are_spelled_with_or_without_an_equals_sign(whisper_folder, capsys):
  folder = str(whisper_folder.parent / 'talkers')
  for words in (['--verify', folder], [f'--verify={folder}']):
    assert export.main(words) == 0
    assert capsys.readouterr().out == f'all 13 files of {folder} are as they were packed\n'

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidregen_jax import scratch_folder
from vidregen_jax.distributed import sharding
from vidregen_jax.errors import UserError
from vidregen_jax.exports import model_folder
from vidregen_jax.faces import crop_geometry
from vidregen_jax.training import checkpoint


def abstract(**shapes):
  where = sharding.replicated(sharding.make_mesh())
  return {k: jax.ShapeDtypeStruct(s, jnp.float32, sharding=where) for k, s in shapes.items()}


def save(folder, *steps, state=None):
  with checkpoint.Checkpoints(folder) as checkpoints:
    for step in steps:
      checkpoints.save(step, state or {'x': jnp.full(300, float(step))}, {'batches': step})


def test_saves_in_quick_succession_are_all_kept_to_the_last_two(tmp_path):
  save(tmp_path, 1, 2, 3, 4, 5)
  assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ['4', '5']
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.latest == 5
    step, restored, place = checkpoints.restore(abstract(x=(300,)))
  assert (step, place) == (5, {'batches': 5})
  np.testing.assert_array_equal(restored['x'], 5)


def test_a_checkpoint_of_another_shape_is_refused_by_name_with_both_shapes(tmp_path):
  save(tmp_path, 3, state={'a': {'w': jnp.zeros((4, 2))}})
  with (
    checkpoint.Checkpoints(tmp_path) as checkpoints,
    pytest.raises(UserError, match=r'a/w is \[4, 2\] there and \[4, 5\] .* choose another') as info,
  ):
    checkpoints.restore({'a': abstract(w=(4, 5))})
  assert '\n' not in str(info.value)


def damaged(path, how):
  """Damages a file; returns what it was."""
  data = path.read_bytes()
  middle = len(data) // 2
  if how == 'gone':
    path.unlink()
  else:
    flipped = data[:middle] + bytes([data[middle] ^ 8]) + data[middle + 1:]
    path.write_bytes({'short': data[:middle], 'zero': bytes(len(data)), 'flipped': flipped}[how])
  return data


# Orbax drops what it was about to read.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning', 'ignore:coroutine')
@pytest.mark.parametrize('how', ['gone', 'short', 'zero', 'flipped'])
def test_damage_to_any_file_is_seen_and_the_checkpoint_before_is_read(tmp_path, how, capsys):
  """Or it does no harm: some files say again what others say."""
  save(tmp_path, 1, 2)
  seen = set()
  for path in sorted(tmp_path.glob('2/**/*')):
    if path.is_dir():
      continue
    kept = damaged(path, how)
    with checkpoint.Checkpoints(tmp_path) as checkpoints:
      step, state, place = checkpoints.restore(abstract(x=(300,)))
      assert checkpoints.latest == step
    np.testing.assert_array_equal(state['x'], step)
    assert place == {'batches': step}
    if step == 1:
      seen.add(path.relative_to(tmp_path).parts[1])
      told = capsys.readouterr().err
      assert 'step 2 is damaged' in told and told.endswith('going on from step 1\n')
      assert told.count('\n') == 1
      (tmp_path / 'damaged_2').rename(tmp_path / '2')
    path.write_bytes(kept)
  assert seen == {'state', 'note'}


def test_a_place_that_is_not_the_one_written_is_damage(tmp_path):
  save(tmp_path, 1, 2)
  note = tmp_path / '2/note/data.json'
  text = note.read_text()
  note.write_text(text.replace('"batches": 2', '"batches": 7'))
  assert note.read_text() != text
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.restore(abstract(x=(300,)))[2] == {'batches': 1}


def test_a_checkpoint_of_another_mask_is_refused(tmp_path, monkeypatch):
  with monkeypatch.context() as patch:
    patch.setattr(crop_geometry, 'MASKED_CROP', crop_geometry.MASKED_CROP | {'top': .4})
    save(tmp_path, 1)
  with checkpoint.Checkpoints(tmp_path) as checkpoints, pytest.raises(
      UserError, match='step 1 in .* top is 0.4, where .* 0.37: choose another --workdir'):
    checkpoints.restore(abstract(x=(300,)))


def test_a_checkpoint_that_records_no_crop_is_of_the_first(tmp_path, monkeypatch):
  save(tmp_path, 1)
  path = tmp_path / '1/note/data.json'
  note = json.loads(path.read_text())
  del note['kept']['crop']
  path.write_text(json.dumps(note | {'crc': checkpoint._crc(note['kept'])}))
  with checkpoint.Checkpoints(tmp_path) as checkpoints:
    assert checkpoints.restore(abstract(x=(300,)))[0] == 1


def test_where_nothing_can_be_read_nothing_is_begun_anew(tmp_path):
  save(tmp_path, 1, 2)
  for step in (1, 2):
    damaged(tmp_path / f'{step}/note/data.json', 'short')
  before = sorted(tmp_path.rglob('*'))
  with (
    checkpoint.Checkpoints(tmp_path) as checkpoints,
    pytest.raises(UserError, match=r'no checkpoint in .* be read \(step 2: .*--workdir') as info,
  ):
    checkpoints.restore(abstract(x=(300,)))
  assert '\n' not in str(info.value)
  assert sorted(tmp_path.rglob('*')) == before


# ------------------------------------------------------------------------------------- exports


def model():
  rng = np.random.default_rng(0)
  return {'encoder': {'in': {'w': rng.normal(size=(2, 3)).astype(np.float32)}}, 'b': np.zeros(4)}


def test_export_round_trip(tmp_path):
  config = {'size': 64, 'widths': (8, (16, 2)), 'norm': 'rms'}
  model_folder.export(tmp_path / 'x', 'codec', config, model(), latent_mean=np.arange(3.0))
  export = model_folder.load_export(tmp_path / 'x', 'codec')
  assert export.config == config and hash(export.config['widths'])
  np.testing.assert_array_equal(export.params['encoder']['in']['w'], model()['encoder']['in']['w'])
  assert list(export.arrays) == ['latent_mean']
  assert [p.name for p in tmp_path.iterdir()] == ['x'], 'parts were left behind'


def test_an_export_of_another_mask_is_refused(tmp_path):
  model_folder.export(tmp_path / 'x', 'codec', {}, model())
  path = tmp_path / 'x' / 'config.json'
  header = json.loads(path.read_text())
  assert header['crop'] == crop_geometry.MASKED_CROP
  header['crop']['grey'] = 127
  path.write_text(json.dumps(header))
  with pytest.raises(UserError, match='grey is 127, where .* 128: train the codec again'):
    model_folder.load_export(tmp_path / 'x', 'codec')
  del header['crop']
  path.write_text(json.dumps(header))
  model_folder.load_export(tmp_path / 'x', 'codec')


def test_exporting_again_replaces_and_the_digest_tells_models_apart(tmp_path):
  model_folder.export(tmp_path / 'x', 'codec', {}, model())
  first = model_folder.load_export(tmp_path / 'x', 'codec').digest
  model_folder.export(tmp_path / 'x', 'codec', {}, model())
  assert model_folder.load_export(tmp_path / 'x', 'codec').digest == first
  model_folder.export(tmp_path / 'x', 'codec', {}, model() | {'b': np.ones(4)})
  assert model_folder.load_export(tmp_path / 'x', 'codec').digest != first


def test_a_failed_export_leaves_the_old_one(tmp_path):
  model_folder.export(tmp_path / 'x', 'codec', {'old': 1}, model())
  with pytest.raises(TypeError):
    model_folder.export(tmp_path / 'x', 'codec', {'new': object()}, model())
  assert model_folder.load_export(tmp_path / 'x', 'codec').config == {'old': 1}
  assert [p.name for p in tmp_path.iterdir()] == ['x']


def test_what_a_killed_process_left_of_an_export_goes_and_what_another_writes_stays(tmp_path):
  with scratch_folder.ScratchFolder(tmp_path) as living:
    dead = tmp_path / f'{living.name[:-5]}0.part'  # of this computer, and nobody holds its lock
    dead.mkdir()
    (scratch_folder.sibling(dead) / 'half').mkdir(parents=True)
    (dead / 'lock').touch()
    model_folder.export(tmp_path / 'x', 'codec', {}, model())
    assert sorted(p.name for p in tmp_path.iterdir()) == [living.name, 'x']


def test_what_is_not_an_export_is_refused_in_one_line(tmp_path):
  model_folder.export(tmp_path / 'x', 'codec', {}, model())
  with pytest.raises(UserError, match='holds a codec, but a generator'):
    model_folder.load_export(tmp_path / 'x', 'generator')
  with pytest.raises(UserError, match='no exported codec here'):
    model_folder.load_export(tmp_path / 'none', 'codec')
  data = (tmp_path / 'x' / 'codec.safetensors').read_bytes()
  (tmp_path / 'x' / 'codec.safetensors').write_bytes(data[:-8])
  with pytest.raises(UserError, match='is damaged'):
    model_folder.load_export(tmp_path / 'x', 'codec')
  (tmp_path / 'x' / 'config.json').write_text(json.dumps({'format': 99}))
  with pytest.raises(UserError, match='not of format'):
    model_folder.load_export(tmp_path / 'x', 'codec')


def test_weights_of_another_model_are_refused_by_name():
  wrong = model() | {'b': np.zeros(5)}
  model_folder.check_shapes(model(), model(), 'it', 'go')
  with pytest.raises(UserError, match=r'it is of another model: b is \[5\] there and \[4\]'):
    model_folder.check_shapes(wrong, model(), 'it', 'go')
  with pytest.raises(UserError, match='encoder/in/w is no such array there'):
    model_folder.check_shapes({'b': np.zeros(4)}, model(), 'it', 'go')

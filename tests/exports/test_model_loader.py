"""Whatever stands in an exported model's files, it runs or the file and the field are told."""

import copy
import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy
import tiny_system

from vidregen_jax import documents
from vidregen_jax.errors import UserError
from vidregen_jax.exports import model_folder, model_loader, pipeline
from vidregen_jax.models import attention, codec, flow_matching, generator, sync, whisper

DEEP = 100_000


@pytest.fixture(scope='module')
def whole(tmp_path_factory, whisper_folder):
  return tiny_system.write_student(tmp_path_factory.mktemp('whole'), whisper_folder)


@pytest.fixture
def folder(whole, tmp_path):
  """A system to damage; what is large is linked by the hard way, and is not written to."""
  return shutil.copytree(whole, tmp_path / 'system', copy_function=shutil.copy)


def outcome(folder):
  """'runs', or the one line that is told."""
  try:
    machine = pipeline.load(folder)
  except UserError as error:
    assert '\n' not in str(error)
    return str(error)
  states = machine.listen(np.zeros(3200, np.float32))
  assert np.isfinite(states).all() and states.shape[1:] == (1, 512)
  return 'runs'


def within(tree, path):
  *parents, last = path.split('.')
  for name in parents:
    tree = tree[name]
  return tree, last


def replaced(path, value):
  def change(said):
    tree, last = within(said, path)
    tree[last] = value
  return change


def dropped(path):
  def change(said):
    tree, last = within(said, path)
    del tree[last]
  return change


MODEL = ('cells', 'latent_channels', 'width', 'heads', 'layers', 'mlp', 'window', 'look_ahead',
         'references', 'sinks', 'audio_layers', 'audio_channels', 'audio_hidden')
VALUES = (0, -1, 10**30, 2.5, True, '16', None, [], {})
MUTATIONS = [
  *(dropped(path) for path in ('format', 'kind', 'config', 'config.model', 'config.sampler',
                               'config.listening', 'config.codec', 'config.audio_encoder')),
  *(dropped(f'config.model.{name}') for name in (*MODEL, 'region', 'sink_logit')),
  *(dropped(f'config.listening.{name}') for name in ('audio_layers', 'window_seconds',
                                                     'margin_seconds')),
  *(dropped(f'config.sampler.{name}') for name in ('steps', 'solver', 'shift')),
  *(replaced(f'config.model.{MODEL[i % len(MODEL)]}', value)
    for i, value in enumerate(VALUES * 3)),
  *(replaced('config.model.region', value) for value in (
    [], [0, 0], [3, 2], [10**9], ['0'], [[0]], {}, 'all', list(range(10**5)))),
  *(replaced(f'config.sampler.{name}', value) for name in ('steps', 'shift', 'solver', 'noise')
    for value in (-1, 1e308, 'x', None)),
  *(replaced(f'config.listening.{name}', value) for name in ('audio_layers', 'window_seconds',
                                                             'margin_seconds')
    for value in (-1, 1e6, 'x', [99], 0.0123)),
  *(replaced('config.audio_encoder', value) for value in (
    '/etc', '..', '../nowhere', 'openai/whisper-base', '', 7, 'a\0b', '\udcff')),
  *(replaced('config.codec', value) for value in ('', 'f' * 64, 64 * 'z', None)),
  *(replaced('config.model.dtype', value) for value in ('float8', 32, None)),
  *(replaced(path, value) for path in ('kind', 'format', 'config', 'config.model')
    for value in (2, 'student', [], None)),
  replaced('config.more', 1), replaced('config.model.more', 1), replaced('more', 1),
  replaced('config.audio_encoder_files', {}), replaced('config.audio_encoder_files', {'a': 'b'}),
  replaced('config.audio_encoder_files', {'config.json': '0' * 64, 'model.safetensors': '0' * 64}),
]


@pytest.mark.parametrize('at', ['.', 'codec', 'student'])
def test_no_config_that_is_text_ends_in_a_traceback(folder, at):
  path = folder / at / 'config.json'
  good = path.read_text()
  for data in (
      b'', b'{', b'\xff\xfe', b'nothing', b'[]', b'7', b'"a"', b'null', b'{}',
      b'[' * DEEP, b'[' * DEEP + b']' * DEEP, b'{"a":' * DEEP + b'1' + b'}' * DEEP,
      good.replace('"config": {', f'"config": {{"a": {"[" * 900}{"]" * 900}, ', 1).encode(),
      good.replace('"config": {', '"config": {"a": NaN, ', 1).encode(),
      good.replace('"config": {', '"config": {"a": 1e999, ', 1).encode(),
      good.replace('"format": 1', '"format": 1, "format": 1').encode(),
      good.replace('"format": 1', f'"format": {"9" * 5000}').encode(),
      good.encode() + b' ' * 2_000_000, good.encode() + b'\0'):
    path.write_bytes(data)
    assert f'{at}/config.json'.removeprefix('./') in outcome(folder), data[:60]
  path.write_text(good)
  assert outcome(folder) == 'runs'


def test_no_field_of_any_value_ends_in_a_traceback(folder):
  path, ends = folder / 'config.json', []
  good = json.loads(path.read_text())
  for change in MUTATIONS:
    said = copy.deepcopy(good)
    change(said)
    path.write_text(json.dumps(said))
    ends.append(outcome(folder))
  assert len(ends) > 100 and len([end for end in ends if end != 'runs']) > 90
  path.write_text(json.dumps(good))
  assert outcome(folder) == 'runs'


def test_every_field_of_a_codec_is_needed_and_of_its_type(folder):
  path = folder / 'codec' / 'config.json'
  good = json.loads(path.read_text())

  def refused(said, cause):
    path.write_text(json.dumps(said))
    with pytest.raises(UserError, match=cause):
      model_loader.load_codec(folder / 'codec')

  for field in dataclasses.fields(codec.CodecConfig):
    for value in (None, 'x', -1, 10**30, [1, 'a'], [-1], {}):
      said = copy.deepcopy(good)
      said['config'][field.name] = value
      refused(said, 'codec/config.json')
    if field.default is dataclasses.MISSING:
      said = copy.deepcopy(good)
      del said['config'][field.name]
      refused(said, f'config lacks the field {field.name}')


def test_the_checks_are_of_the_fields_that_there_are():
  for kind, checks in ((codec.CodecConfig, model_loader.CODEC),
                       (generator.GeneratorConfig, model_loader.GENERATOR),
                       (flow_matching.SamplerConfig, model_loader.SAMPLER)):
    assert {field.name for field in dataclasses.fields(kind)} == set(checks)


@pytest.mark.parametrize('layout', [None, 1, 3])
def test_attention_of_another_layout_is_refused(folder, layout):
  path = folder / 'config.json'
  config = json.loads(path.read_text())
  assert config['config'].pop('attention_layout') == attention.LAYOUT
  if layout:
    config['config']['attention_layout'] = layout
  path.write_text(json.dumps(config))
  assert f'its attention has layout {layout or 1}, where this version' in outcome(folder)


@pytest.mark.parametrize(('name', 'array', 'value'), [
  ('generator', None, np.nan), ('codec/codec', None, np.inf), ('student/student', None, np.nan),
  ('codec/codec', 'latent_std', 0), ('codec/codec', 'latent_mean', np.nan),
  ('generator', 'audio_std', -1), ('generator', 'expected_scale', 0),
  ('generator', 'expected_region', 1)])
def test_numbers_that_are_none_are_refused(folder, name, array, value):
  path = folder / f'{name}.safetensors'
  arrays = {key: x.copy() for key, x in safetensors.numpy.load_file(path).items()}
  chosen = array or next(key for key in sorted(arrays) if key.startswith('params/'))
  arrays[chosen].flat[-1] = value
  safetensors.numpy.save_file(arrays, path)
  kind, at = name.rpartition('/')[2], path.parent
  with pytest.raises(UserError, match=f'{kind}.safetensors.*{chosen}'):
    if kind == 'codec':
      model_loader.load_codec(at)
    else:
      teacher = model_loader.load_generator(folder)
      model_loader.load_student(at, teacher)


def test_a_generator_without_a_readout_of_lips_runs_and_one_with_half_of_it_does_not(folder):
  assert pipeline.load(folder).lips.kernel.shape[1] == codec.TIME_FACTOR
  path = folder / 'generator.safetensors'
  whole = safetensors.numpy.load_file(path)

  def loaded(*missing, **changed):
    kept = {name: x for name, x in whole.items() if name not in missing} | changed
    safetensors.numpy.save_file(kept, path)
    return model_loader.load_generator(folder).export.arrays

  assert pipeline.readout(loaded('lip_kernel', 'lip_bias')) is None
  assert pipeline.readout(loaded()).bias.shape == (codec.TIME_FACTOR, )
  for missing in ('lip_kernel', 'lip_bias'):
    with pytest.raises(UserError, match=f'{missing} is no such array there'):
      loaded(missing)
  with pytest.raises(UserError, match='lip_bias is .3. there and .4. in this config'):
    loaded(lip_bias=np.zeros(3, np.float32))


@pytest.mark.parametrize(('data', 'cause'), [
  (b'', 'damaged'), (b'\xff' * 8, 'damaged'), (b'\x08' + b'\0' * 7 + b'{"a":{}}', 'damaged'),
  (safetensors.numpy.save({'params/a': np.zeros(3, np.uint8)}), 'params/a is U8'),
  (safetensors.numpy.save({'params/a': np.zeros(3), 'params/a/b': np.zeros(3)}),
   'params/a as an array and as what others are in'),
  (safetensors.numpy.save({'/' * DEEP: np.zeros(3)}), 'a name that no model has'),
  (safetensors.numpy.save({'params/a': np.zeros(3)}), 'of another model'),
])
def test_a_file_that_holds_other_things_is_told(folder, data, cause):
  (folder / 'codec' / 'codec.safetensors').write_bytes(data)
  with pytest.raises(UserError, match=cause):
    model_loader.load_codec(folder / 'codec')


# ------------------------------------------------------------------------- the audio encoder


def test_an_exchanged_audio_encoder_is_not_heard_with(folder):
  path = folder / 'audio_encoder' / 'model.safetensors'
  data = bytearray(path.read_bytes())
  data[-1] ^= 1
  path.write_bytes(data)
  assert 'model.safetensors is not the file that the system was exported with' in outcome(folder)
  path.unlink()
  assert 'model.safetensors is missing' in outcome(folder)


def unpinned(folder, encoder):
  path = folder / 'config.json'
  said = json.loads(path.read_text())
  said['config'].pop('audio_encoder_files', None)
  path.write_text(json.dumps(said | {'config': said['config'] | {'audio_encoder': encoder}}))


def test_an_encoder_without_digests_lies_in_the_folder_itself(folder, whisper_folder, tmp_path):
  unpinned(folder, 'audio_encoder')
  assert outcome(folder) == 'runs'  # as exports were before there were digests
  shutil.copytree(whisper_folder, tmp_path / 'near')
  for place in ('../near', str(tmp_path / 'near')):
    unpinned(folder, place)
    assert 'config.json: config.audio_encoder' in outcome(folder)
  shutil.rmtree(folder / 'audio_encoder')
  (folder / 'audio_encoder').symlink_to(tmp_path / 'near')
  unpinned(folder, 'audio_encoder')
  assert 'lies outside' in outcome(folder)


def test_no_hub_is_asked_for_a_folder_that_is_not_there(folder, monkeypatch):
  monkeypatch.setattr(whisper.pretrained.huggingface_hub, 'snapshot_download',
                      lambda *args, **kwargs: pytest.fail('a hub was asked'))
  monkeypatch.chdir(folder.parent)
  shutil.rmtree(folder / 'audio_encoder')
  # Two words and a slash: what a hub's names look like.
  with pytest.raises(UserError, match='nothing is looked for elsewhere'):
    pipeline.load('system')


WHISPER = ('d_model', 'encoder_layers', 'encoder_attention_heads', 'encoder_ffn_dim',
           'num_mel_bins', 'max_source_positions')


def test_no_whisper_config_ends_in_a_traceback(whisper_folder, tmp_path):
  (tmp_path / 'model.safetensors').symlink_to(whisper_folder / 'model.safetensors')
  good, path = json.loads((whisper_folder / 'config.json').read_text()), tmp_path / 'config.json'
  told = 0
  for name in WHISPER:
    for value in (0, -1, 10**30, 65_536, 2.5, True, '512', None, [], {}, [[]] * 3):
      path.write_text(json.dumps(good | {name: value}))
      with pytest.raises(UserError) as caught:
        whisper.read(tmp_path)
      assert '\n' not in str(caught.value)
      told += 1
  for data in (b'', b'[' * DEEP, b'{"a":' * DEEP, b'[]', b'\xff', b'{"d_model": NaN}'):
    path.write_bytes(data)
    with pytest.raises(UserError, match='config.json'):
      whisper.read(tmp_path)
  assert told == 66
  path.write_text(json.dumps(good))
  whisper.read(tmp_path)


def test_an_index_names_files_of_its_own_folder_alone(whisper_folder, tmp_path):
  shutil.copy(whisper_folder / 'config.json', tmp_path)
  for place in ('../model.safetensors', '/etc/passwd', '.', '', 7, None, 'a/b.safetensors'):
    (tmp_path / 'model.safetensors.index.json').write_text(
      json.dumps({'weight_map': {'encoder.conv1.bias': place}}))
    with pytest.raises(UserError, match=r'model.safetensors.index.json: .* is not the name of a'):
      whisper.read(tmp_path)


def test_a_number_is_within_its_limits_and_a_list_is_a_tuple():
  check = documents.record({'a': documents.row(documents.whole(1, 3), 1, 2)})
  assert check({'a': [1, 3]}, 'it') == {'a': (1, 3)}
  with pytest.raises(UserError, match=r'^it: a\[1\] is 4: a whole number from 1 to 3 is needed$'):
    check({'a': [1, 4]}, 'it')


def test_a_scorer_runs_or_is_told(tmp_path):
  config = sync.SyncConfig(size=8, stem=2, widths=(4,), audio_width=4, embedding=6, blocks=1)
  params = jax.device_get(sync.init(config, jax.random.key(0)))
  model_folder.export(tmp_path / 'sync', 'sync', dataclasses.asdict(config), params,
                      limit=np.float32(1))
  assert model_loader.load_sync(tmp_path / 'sync').model == config
  path = tmp_path / 'sync' / 'config.json'
  good = path.read_text()
  for name in dataclasses.asdict(config):
    for value in VALUES:
      said = json.loads(good)
      said['config'][name] = value
      path.write_text(json.dumps(said))
      if (name, value) != ('blocks', 0):  # a model, though not of these weights
        with pytest.raises(UserError, match=f'config.{name}'):
          model_loader.load_sync(tmp_path / 'sync')
  for change, line in (({'size': 9}, 'cannot be divided by 2'), ({'blocks': 2}, 'of another mod'),
                       ({'embedding': 7}, 'is of another model')):
    said = json.loads(good)
    said['config'] |= change
    path.write_text(json.dumps(said))
    with pytest.raises(UserError, match=line):
      model_loader.load_sync(tmp_path / 'sync')
  model_folder.export(tmp_path / 'sync', 'sync', dataclasses.asdict(config), params)
  with pytest.raises(UserError, match='limit is no such array there'):
    model_loader.load_sync(tmp_path / 'sync')


def test_a_streams_seconds_are_heard_in_a_window_of_their_own(whole, monkeypatch):
  """One second is a hundred columns of a spectrogram, and no silence is added to it."""
  heard, encode = [], whisper._encode

  def watched(config, params, mel, layers):
    heard.append(mel.shape[-1])
    return encode(config, params, mel, layers)

  monkeypatch.setattr(whisper, '_encode', watched)
  machine = pipeline.load(whole)
  assert len(machine.listen(np.ones(16_000, np.float32))) == 50 and heard == [100]

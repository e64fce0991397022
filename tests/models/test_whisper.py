"""The Whisper encoder: loading, spectrogram, windows without seams, the video's clock."""

import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from vidregen_jax import errors
from vidregen_jax.models import log_mel, pretrained, whisper

pytestmark = pytest.mark.optimized

TINY = whisper.WhisperConfig(
  width=16, layers=3, heads=2, mlp_width=32, mel_bins=80, positions=100
)


def _noise(seconds, seed=0):
  return 0.1 * np.random.default_rng(seed).standard_normal(
    round(seconds * log_mel.SAMPLE_RATE)
  ).astype(np.float32)


def _tensors(config, prefix='model.encoder.'):
  """Random weights under the names of Hugging Face, in half precision."""
  rng = np.random.default_rng(0)
  width, hidden = config.width, config.mlp_width
  shapes = {
    'conv1.weight': (width, config.mel_bins, 3),
    'conv1.bias': (width,),
    'conv2.weight': (width, width, 3),
    'conv2.bias': (width,),
    'embed_positions.weight': (config.positions, width),
    'layer_norm.weight': (width,),
    'layer_norm.bias': (width,),
  }
  for i in range(config.layers):
    for name in ('q_proj', 'k_proj', 'v_proj', 'out_proj'):
      shapes[f'layers.{i}.self_attn.{name}.weight'] = (width, width)
      if name != 'k_proj':
        shapes[f'layers.{i}.self_attn.{name}.bias'] = (width,)
    for name in ('self_attn_layer_norm', 'final_layer_norm'):
      shapes[f'layers.{i}.{name}.weight'] = shapes[f'layers.{i}.{name}.bias'] = (width,)
    shapes[f'layers.{i}.fc1.weight'] = (hidden, width)
    shapes[f'layers.{i}.fc1.bias'] = (hidden,)
    shapes[f'layers.{i}.fc2.weight'] = (width, hidden)
    shapes[f'layers.{i}.fc2.bias'] = (width,)
  return {
    prefix + name: (0.3 * rng.standard_normal(shape)).astype(np.float16)
    for name, shape in shapes.items()
  }


def _write_config(folder, config, **changes):
  fields = {
    'model_type': 'whisper',
    'd_model': config.width,
    'encoder_layers': config.layers,
    'encoder_attention_heads': config.heads,
    'encoder_ffn_dim': config.mlp_width,
    'num_mel_bins': config.mel_bins,
    'max_source_positions': config.positions,
  }
  (folder / 'config.json').write_text(json.dumps(fields | changes))


@pytest.fixture
def tiny_folder(tmp_path):
  _write_config(tmp_path, TINY)
  safetensors.numpy.save_file(_tensors(TINY), tmp_path / 'model.safetensors')
  return tmp_path


@pytest.fixture(scope='module')
def base(whisper_folder):
  return whisper.load(whisper_folder)


# ------------------------------------------------------------------------------------- loading


def test_shards_bare_names_and_a_decoder_give_the_same_weights(tiny_folder, tmp_path_factory):
  folder = tmp_path_factory.mktemp('sharded')
  _write_config(folder, TINY)
  tensors = _tensors(TINY, prefix='encoder.')
  decoder = {'decoder.conv1.bias': np.ones(3, np.float16)}
  names = sorted(tensors)
  shards = [{name: tensors[name] for name in names[i::2]} for i in range(2)] + [decoder]
  weight_map = {}
  for i, shard in enumerate(shards):
    file = f'model-{i + 1:05}-of-00003.safetensors'
    safetensors.numpy.save_file(shard, folder / file)
    weight_map |= dict.fromkeys(shard, file)
  (folder / 'model.safetensors.index.json').write_text(json.dumps({'weight_map': weight_map}))
  (folder / 'model-00003-of-00003.safetensors').unlink()  # holds no encoder: not needed
  config, whole = whisper.load(tiny_folder)
  assert (config, jax.tree.structure(whole)) == (TINY, jax.tree.structure(whisper.load(folder)[1]))
  jax.tree.map(np.testing.assert_array_equal, whole, whisper.load(folder)[1])
  assert {leaf.dtype for leaf in jax.tree.leaves(whole)} == {np.dtype(np.float32)}


def test_the_bundled_folder_is_whisper_base(base):
  config, params = base
  assert config == whisper.WhisperConfig(512, 6, 8, 2048, 80, 1500)
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 20_590_592


def _is_no_config(folder):
  (folder / 'config.json').unlink()


def _is_broken_json(folder):
  (folder / 'config.json').write_text('{')


def _is_another_model(folder):
  _write_config(folder, TINY, model_type='bert')


def _lacks_a_field(folder):
  path = folder / 'config.json'
  path.write_text(path.read_text().replace('num_mel_bins', 'num_mel_bin'))


def _lacks_weights(folder):
  (folder / 'model.safetensors').unlink()


def _is_cut_short(folder):
  path = folder / 'model.safetensors'
  path.write_bytes(path.read_bytes()[:-100])


def _lacks_a_tensor(folder):
  tensors = _tensors(TINY)
  del tensors['model.encoder.layers.2.fc1.bias']
  safetensors.numpy.save_file(tensors, folder / 'model.safetensors')


def _has_other_shapes(folder):
  _write_config(folder, TINY, num_mel_bins=128)


@pytest.mark.parametrize(
  ('damage', 'told'),
  [
    (_is_no_config, r'config\.json does not exist'),
    (_is_broken_json, r'config\.json is not JSON'),
    (_is_another_model, "does not say model_type 'whisper'"),
    (_lacks_a_field, 'lacks the field num_mel_bins'),
    (_lacks_weights, r'model\.safetensors does not exist'),
    (_is_cut_short, 'not a whole safetensors file'),
    (_lacks_a_tensor, r'layers\.2\.fc1\.bias is missing'),
    (_has_other_shapes, r'conv1\.weight is \(16, 80, 3\), not \(16, 128, 3\)'),
  ],
)
def test_a_damaged_folder_is_told_in_one_line(tiny_folder, damage, told):
  damage(tiny_folder)
  with pytest.raises(errors.UserError, match=told) as caught:
    whisper.load(tiny_folder)
  assert '\n' not in str(caught.value)


def test_neither_folder_nor_hub_names_cause_and_way_out(monkeypatch):
  with pytest.raises(errors.UserError, match='no Whisper folder at ./no/such/folder; give'):
    whisper.load('./no/such/folder')

  def offline(*_, **__):
    raise ConnectionError('name or service not known\nand much more')

  monkeypatch.setattr(pretrained.huggingface_hub, 'snapshot_download', offline)
  with pytest.raises(errors.UserError, match='name or service not known.*into a folder') as caught:
    whisper.load('openai/whisper-base')
  assert '\n' not in str(caught.value)


def test_a_hub_id_downloads_the_config_and_safetensors_only(tiny_folder, monkeypatch):
  asked = {}

  def download(name, allow_patterns):
    asked[name] = allow_patterns
    return str(tiny_folder)

  monkeypatch.setattr(pretrained.huggingface_hub, 'snapshot_download', download)
  assert whisper.load('someone/whisper')[0] == TINY
  assert 'config.json' in asked['someone/whisper']
  assert all(name.endswith(('.json', '.safetensors')) for name in asked['someone/whisper'])


# ------------------------------------------------------------------------------------- encoder


def test_jitted_equals_eager(tiny_folder):
  config, params = whisper.load(tiny_folder)
  mel = log_mel.log_mel(_noise(2))[None]
  jitted = jax.jit(whisper.encode, static_argnames='config')(config, params, mel)
  with jax.disable_jit():
    eager = whisper.encode(config, params, mel)
  assert jitted.shape == (1, 100, 4, 16)
  np.testing.assert_allclose(jitted, eager, atol=2e-5)  # fusing reorders float32 sums


def test_chosen_layers_are_those_of_all_layers(tiny_folder):
  config, params = whisper.load(tiny_folder)
  samples = _noise(1)
  everything = whisper.features(config, params, samples, 1, 0)
  for layers in ((0,), (1, 2), (0, 3)):
    chosen = whisper.features(config, params, samples, 1, 0, layers=layers)
    np.testing.assert_allclose(chosen, everything[:, layers], atol=1e-5)
  last = (everything[:, 3] - params['norm']['bias']) / params['norm']['scale']
  np.testing.assert_allclose(last.var(-1), 1, atol=1e-2)  # the last one alone is normalized
  for layers in ((), (2, 1), (4,), (-1,)):
    with pytest.raises(ValueError, match='must ascend within 0'):
      whisper.features(config, params, samples, 1, 0, layers=layers)


def test_the_spectrogram_must_fit_the_model(tiny_folder):
  config, params = whisper.load(tiny_folder)
  for shape in ((1, 128, 100), (80, 100), (1, 80, 202)):
    with pytest.raises(ValueError, match=r'this model takes \[B, 80, M\] with M at most 200'):
      whisper.encode(config, params, np.zeros(shape, np.float32))


def test_128_mel_bins_as_in_large_v3(tmp_path):
  large = whisper.dataclasses.replace(TINY, mel_bins=128)
  _write_config(tmp_path, large)
  safetensors.numpy.save_file(_tensors(large), tmp_path / 'model.safetensors')
  config, params = whisper.load(tmp_path)
  assert whisper.features(config, params, _noise(1), 2, 0.2).shape == (50, 4, 16)


# ------------------------------------------------------------------------------------- windows


@pytest.mark.parametrize(('seconds', 'batch_size'), [(0.005, 1), (2.01, 1), (5.9, 1), (5.9, 2)])
def test_every_state_comes_from_its_own_time(tiny_folder, seconds, batch_size):
  """The embedding hears 35 ms only, so but for its position it is the same in any window."""
  config, params = whisper.load(tiny_folder)
  samples = _noise(seconds)
  cut = whisper.features(config, params, samples, 2, 0.2, layers=(0,), batch_size=batch_size)
  count = -(-samples.size // 320)
  assert cut.shape == (count, 1, config.width)
  params['positions'] = np.zeros((1000, config.width), np.float32)
  long = whisper.dataclasses.replace(config, positions=1000)
  cut = whisper.features(config, params, samples, 2, 0.2, layers=(0,), batch_size=batch_size)
  whole = whisper.features(long, params, samples, max(2, count / 50), 0, layers=(0,))
  # White noise has no cell 80 dB under the loudest, which alone would tie a state to its window.
  np.testing.assert_allclose(cut, whole, atol=1e-4)


def _speechlike(seconds):
  time = np.arange(round(seconds * log_mel.SAMPLE_RATE)) / log_mel.SAMPLE_RATE
  phase = 2 * np.pi * np.cumsum(140 + 40 * np.sin(2.1 * time)) / log_mel.SAMPLE_RATE
  buzz = sum(np.sin(k * phase) / k for k in range(1, 20))
  syllables = np.maximum(np.sin(2 * np.pi * 3.1 * time + np.sin(7 * time)), 0)
  return (0.2 * buzz * syllables).astype(np.float32) + 0.01 * _noise(seconds)


def test_a_seam_is_no_further_off_than_any_two_windows_that_hold_it(base):
  """Distance: root mean square, each channel in units of its own deviation over time.

  Whisper's states hold their place in the window, so two windows never agree wholly, however deep
  inside both the same sound lies; that is the tolerance.
  """
  config, params = base
  samples = _speechlike(16)
  layers = (3,)
  heard = whisper.features(config, params, samples, 10, 2, layers)
  seam = 8 * 50  # two windows: 0 to 10 s and 6 to 16 s

  def from_window(start, states):
    window = samples[start * 320 : (start + 500) * 320]
    return whisper.features(config, params, window, 10, 0, layers)[states - start]

  def distance(a, b):
    return np.sqrt(np.square((a - b) / heard.std(0)).mean())

  for near in (seam - 90, seam, seam + 90):  # and just inside what the margins threw away
    around = np.arange(near - 10, near + 10)
    centred = from_window(near - 250, around)
    tolerance = 1.2 * distance(from_window(near - 300, around), centred)
    assert distance(heard[around], centred) < tolerance
  # Without margins a seam would be a window's very edge.
  edge = np.arange(300, 310)
  assert distance(from_window(300, edge), from_window(50, edge)) > 1.5 * tolerance


@pytest.mark.parametrize(
  ('window', 'margin', 'batch_size'), [(2.5, 0.2, 1), (0, 0, 1), (2, 1, 1), (2, -0.2, 1), (2, 0, 0)]
)
def test_impossible_windows_are_refused(tiny_folder, window, margin, batch_size):
  config, params = whisper.load(tiny_folder)
  with pytest.raises(ValueError, match='windows are up to 2 s, margins less than half a window'):
    whisper.features(config, params, _noise(1), window, margin, batch_size=batch_size)


def test_impossible_samples_are_refused(tiny_folder):
  config, params = whisper.load(tiny_folder)
  with pytest.raises(ValueError, match='window_seconds is 1.99, not a multiple of 0.02 s'):
    whisper.features(config, params, _noise(1), 1.99, 0.2)
  for samples in (np.zeros(0), np.zeros((2, 100))):
    with pytest.raises(ValueError, match='Whisper hears one channel'):
      whisper.features(config, params, samples, 2, 0.2)

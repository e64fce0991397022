"""Configs of Whisper and DINOv2 are read as transformers reads them; what differs is refused."""

import json
import subprocess
import sys

import pytest
import transformers
from conftest import ROOT

from vidregen_jax.errors import UserError
from vidregen_jax.models import dinov2, whisper
from vidregen_jax.training import pretrained_reference

# The published sizes: width, layers, heads, mel bins.
WHISPERS = [(384, 4, 6, 80), (512, 6, 8, 80), (768, 12, 12, 80), (1024, 24, 16, 80),
            (1280, 32, 20, 80), (1280, 32, 20, 128)]


def whisper_config(size, folder, **changes):
  """Writes a config as transformers writes it, and reads it as this package does."""
  width, layers, heads, mel_bins = size
  transformers.WhisperConfig(d_model=width, encoder_layers=layers, encoder_attention_heads=heads,
                             encoder_ffn_dim=4 * width, num_mel_bins=mel_bins
                             ).save_pretrained(folder)
  change(folder / 'config.json', **changes)
  return whisper._read_config(folder)


def dinov2_config(folder, kind=transformers.Dinov2Config, **changes):
  kind(hidden_size=384, num_attention_heads=6, patch_size=14, image_size=518
       ).save_pretrained(folder)
  change(folder / 'config.json', **changes)
  return dinov2._read_config(folder)


def change(path, **changes):
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize('size', WHISPERS)
def test_every_whisper_is_read_as_transformers_reads_it(size, tmp_path):
  config = whisper_config(size, tmp_path)
  transformers.WhisperFeatureExtractor(feature_size=size[-1]).save_pretrained(tmp_path)
  pretrained_reference.check_whisper(tmp_path, config)
  said = transformers.AutoConfig.from_pretrained(tmp_path)
  assert config == whisper.WhisperConfig(
    said.d_model, said.encoder_layers, said.encoder_attention_heads, said.encoder_ffn_dim,
    said.num_mel_bins, said.max_source_positions)


@pytest.mark.parametrize('kind', ['Dinov2Config', 'Dinov2WithRegistersConfig'])
def test_every_dinov2_is_read_as_transformers_reads_it(kind, tmp_path):
  config = dinov2_config(tmp_path, getattr(transformers, kind))
  pretrained_reference.check_dinov2(tmp_path, config)
  said = transformers.AutoConfig.from_pretrained(tmp_path)
  assert config == dinov2.Dinov2Config(
    said.hidden_size, said.num_hidden_layers, said.num_attention_heads,
    int(said.hidden_size * said.mlp_ratio), said.patch_size, said.image_size // said.patch_size,
    getattr(said, 'num_register_tokens', 0))


@pytest.mark.parametrize('fields', [
  {'hop_length': 200}, {'n_fft': 512}, {'feature_size': 128}, {'chunk_length': 10}, {'dither': 0.5},
  {'sampling_rate': 8000}])
@pytest.mark.filterwarnings('ignore:At least one mel filter')  # of 8 kHz
def test_another_spectrogram_than_the_one_computed_is_refused(fields, tmp_path):
  config = whisper_config(WHISPERS[0], tmp_path)
  transformers.WhisperFeatureExtractor(**fields).save_pretrained(tmp_path)
  with pytest.raises(UserError, match=r'preprocessor_config\.json describes another spectrogram'):
    pretrained_reference.check_whisper(tmp_path, config)


def test_what_is_no_extractor_is_told(tmp_path):
  config = whisper_config(WHISPERS[0], tmp_path)
  path = tmp_path / 'preprocessor_config.json'
  for data in ('', '[]', '{"hop_length": 0}', '{"sampling_rate": "x"}', '{"feature_size": 100000}'):
    path.write_text(data)
    with pytest.raises(UserError, match=r'preprocessor_config\.json'):
      pretrained_reference.check_whisper(tmp_path, config)


@pytest.mark.parametrize(('changes', 'line'), [
  ({'activation_function': 'relu'}, 'activation_function is "relu", where .* with "gelu"'),
  ({'activation_function': 7}, 'config.json cannot be used'),
])
def test_a_whisper_of_another_kind_is_refused(changes, line, tmp_path):
  config = whisper_config(WHISPERS[0], tmp_path, **changes)
  with pytest.raises(UserError, match=line) as caught:
    pretrained_reference.check_whisper(tmp_path, config)
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize(('changes', 'line'), [
  ({'layer_norm_eps': 1e-5}, 'layer_norm_eps is 1e-05, where .* with 1e-06'),
  ({'qkv_bias': False}, 'qkv_bias is false'), ({'hidden_act': 'relu'}, 'hidden_act is "relu"'),
  ({'qkv_bias': 'x'}, 'config.json cannot be used'),
])
def test_a_dinov2_of_another_kind_is_refused(changes, line, tmp_path):
  config = dinov2_config(tmp_path, **changes)
  with pytest.raises(UserError, match=line) as caught:
    pretrained_reference.check_dinov2(tmp_path, config)
  assert '\n' not in str(caught.value)


def test_what_a_folder_names_is_not_run(tmp_path):
  config = whisper_config(WHISPERS[0], tmp_path, auto_map={'AutoConfig': 'harm.Config'})
  (tmp_path / 'harm.py').write_text('raise SystemExit("it ran")')
  pretrained_reference.check_whisper(tmp_path, config)


@pytest.mark.parametrize('use', [
  'import clu.metrics, clu.parameter_overview',
  'import transformers; transformers.AutoConfig, transformers.WhisperFeatureExtractor()'])
def test_tensorflow_does_not_come_along(use):
  program = f'import sys; {use}; print([name for name in ("tensorflow", ) if name in sys.modules])'
  done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True,
                        check=True)
  assert done.stdout.strip() == '[]'

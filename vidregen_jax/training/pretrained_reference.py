"""Checks by transformers that a user's encoder is one which this package computes correctly.

Elsewhere only those fields of a config.json are read that shapes follow from. Here it is read as
transformers reads it, with the defaults of what it leaves out. Trainings check an encoder when they
first use it; an exported system carries one that passed.
"""

import os
import pathlib

import huggingface_hub
import numpy as np

from vidregen_jax import documents
from vidregen_jax.errors import UserError
from vidregen_jax.models import dinov2, log_mel, pretrained, whisper

_EXTRACTOR_FIELDS = {
  'feature_size': documents.whole(1, 1024), 'sampling_rate': documents.whole(1000, 192_000),
  'hop_length': documents.whole(1, 10_000), 'chunk_length': documents.whole(1, 60),
  'n_fft': documents.whole(2, 10_000), 'dither': documents.number(0, 1)}
# Properties of the two encoders that are fixed in this package.
_WHISPER = {'activation_function': 'gelu'}
_DINOV2 = {'hidden_act': 'gelu', 'qkv_bias': True, 'layer_norm_eps': 1e-6, 'use_swiglu_ffn': False}
# Spectrograms span 2. Float32 rounds them by 3e-5; another hop or filter moves them by tenths.
_MEL_TOLERANCE = 1e-2


def check_whisper(folder: pathlib.Path, config: whisper.WhisperConfig) -> None:
  """Compares a Whisper's config, and its feature extractor if any, with this package's encoder.

  Args:
    folder: of the model.
    config: as `whisper.read` read it from there.

  Raises:
    UserError: names the first thing that differs.
  """
  _compare(folder, _WHISPER | {
    'd_model': config.width, 'encoder_layers': config.layers,
    'encoder_attention_heads': config.heads, 'encoder_ffn_dim': config.mlp_width,
    'num_mel_bins': config.mel_bins, 'max_source_positions': config.positions})
  path = folder / pretrained.EXTRACTOR
  if not os.path.lexists(path):
    return
  fields = documents.record({}, _EXTRACTOR_FIELDS, more=True)(
    pretrained.read_json(path, 'Whisper'), str(path))
  extractor = _transformers().WhisperFeatureExtractor(**fields)
  samples = np.random.default_rng(0).normal(0, .1, extractor.sampling_rate).astype(np.float32)
  theirs = extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors='np')
  theirs = theirs.input_features[0]
  ours = log_mel.log_mel(samples, config.mel_bins, window_seconds=config.longest_window)
  if theirs.shape != ours.shape or np.abs(theirs - ours).max() > _MEL_TOLERANCE:
    raise UserError(f'{path} describes another spectrogram than the one that Whisper was trained '
                    'on, which is what is computed here: give a Whisper whose extractor is the '
                    'usual one')


def check_dinov2(folder: pathlib.Path, config: dinov2.Dinov2Config) -> None:
  """Compares a DINOv2's config with this package's encoder; as `check_whisper`."""
  registers = {'num_register_tokens': config.registers} if config.registers else {}
  _compare(folder, _DINOV2 | registers | {
    'hidden_size': config.width, 'num_hidden_layers': config.layers,
    'num_attention_heads': config.heads, 'patch_size': config.patch})


def _transformers():
  # Its import takes half a second, and would warn that there is no PyTorch.
  os.environ.setdefault('TRANSFORMERS_NO_ADVISORY_WARNINGS', '1')
  import transformers

  return transformers


def _compare(folder, expected):
  path = folder / 'config.json'
  fields = pretrained.read_json(path, 'model')
  try:
    # Fields that are not compared are not passed on: transformers need not accept their values.
    config = _transformers().AutoConfig.for_model(
      fields['model_type'], **{name: fields[name] for name in expected if name in fields})
  except huggingface_hub.errors.StrictDataclassError as error:
    cause = ' '.join(str(error).split())
    raise UserError(f'{path} cannot be used ({cause}): copy the model again') from error
  for name, value in expected.items():
    if getattr(config, name) != value:
      raise UserError(f'{path}: {name} is {documents.short(getattr(config, name))}, where this '
                      f'package computes with {documents.short(value)}: give a model of the usual '
                      'kind')

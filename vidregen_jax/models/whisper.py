"""The Whisper audio encoder (Radford et al., 2022), reading Hugging Face weights of any size.

Its hidden states come 50 times a second (`audio_timeline`). The encoder looks both ways over its
whole window; long audio is therefore cut into overlapping windows, and what lies near an inner cut
is thrown away (`features`).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax import documents, errors
from vidregen_jax.models import audio_timeline, log_mel, pretrained

_CLIP_FEATURES = 6.0  # standard deviations; a few Whisper channels spike to hundreds


@dataclasses.dataclass(frozen=True)
class WhisperConfig:
  """Shape of the encoder; the field names are this project's.

  Attributes:
    width: E, channels of a hidden state.
    layers: number of transformer blocks; there are layers + 1 hidden states.
    heads: N, attention heads of size E / N.
    mlp_width: channels inside a block's MLP.
    mel_bins: rows of the spectrogram, 80, or 128 for large-v3.
    positions: hidden states in the longest window, 1500 for 30 s.
  """

  width: int
  layers: int
  heads: int
  mlp_width: int
  mel_bins: int
  positions: int

  @property
  def longest_window(self):
    """Seconds."""
    return self.positions / audio_timeline.RATE


# What the fields are called in Hugging Face's config.json, and what they may be.
_FIELDS = {
  'width': ('d_model', documents.whole(1, 65_536)),
  'layers': ('encoder_layers', documents.whole(1, 256)),
  'heads': ('encoder_attention_heads', documents.whole(1, 1024)),
  'mlp_width': ('encoder_ffn_dim', documents.whole(1, 262_144)),
  'mel_bins': ('num_mel_bins', documents.whole(1, 1024)),
  'positions': ('max_source_positions', documents.whole(1, 65_536)),
}


# ----------------------------------------------------------------------------------- weights

def load(source):
  """Reads an encoder from a folder or the Hugging Face hub.

  Args:
    source: a folder as `read` takes it, or a hub id such as 'openai/whisper-large-v3'. A folder of
      that name wins.

  Returns:
    As `read`.

  Raises:
    UserError: neither a folder nor the hub gives a Whisper encoder.
  """
  return read(locate(source))


def read(folder):
  """Reads an encoder from a folder, and asks nobody else for it.

  Args:
    folder: pathlib.Path of a folder with config.json and model.safetensors (or its shards and their
      index).

  Returns:
    (WhisperConfig, params): params is a nested dict of float32 NumPy arrays, every block's
    weights stacked along a first axis of `layers`.

  Raises:
    UserError: there is no Whisper encoder in it.
  """
  config = _read_config(folder)
  tensors = pretrained.read_tensors(folder, 'Whisper', _encoder_name)
  return config, _arrange(config, tensors, folder)


def locate(source):
  """The folder of an encoder, by its path or its hub id."""
  return pretrained.locate(source, 'Whisper', 'openai/whisper-base')


def _read_config(folder):
  path = folder / 'config.json'
  fields = pretrained.read_json(path, 'Whisper')
  if not isinstance(fields, dict) or fields.get('model_type') != 'whisper':
    raise errors.UserError(f"{path} does not say model_type 'whisper'; give a Whisper model")
  fields = pretrained.read_fields(fields, path, dict(_FIELDS.values()))
  return WhisperConfig(**{name: fields[stored] for name, (stored, _) in _FIELDS.items()})


def _encoder_name(name):
  """'model.encoder.conv1.bias' -> 'conv1.bias'; None for a tensor outside the encoder."""
  head, found, tail = name.removeprefix('model.').partition('encoder.')
  return tail if found and not head else None


def _arrange(config, tensors, folder):
  """Named tensors -> the tree that `encode` takes; all faults are reported together."""
  width, heads, hidden = config.width, config.heads, config.mlp_width
  if width % heads:
    raise errors.UserError(f'{folder}: width {width} is not divisible by {heads} heads')
  split = (heads, width // heads)
  source = pretrained.Tensors(tensors, folder, 'the encoder that its config.json describes')
  take = source.take

  def stack(name, *shape):
    return source.stack([take(f'layers.{i}.{name}', *shape) for i in range(config.layers)])

  def norm(name, taken):
    return {'scale': taken(f'{name}.weight', width), 'bias': taken(f'{name}.bias', width)}

  def convolution(name, channels):  # OIW -> WIO
    return {
      'kernel': take(f'{name}.weight', width, channels, 3).transpose(2, 1, 0),
      'bias': take(f'{name}.bias', width),
    }

  def linear(name, inputs, outputs):  # out, in -> in, out
    return {
      'kernel': stack(f'{name}.weight', outputs, inputs).transpose(0, 2, 1),
      'bias': stack(f'{name}.bias', outputs),
    }

  query, value = (linear(f'self_attn.{name}_proj', width, width) for name in 'qv')
  key = stack('self_attn.k_proj.weight', width, width).transpose(0, 2, 1)
  out = linear('self_attn.out_proj', width, width)
  params = {
    'conv1': convolution('conv1', config.mel_bins),
    'conv2': convolution('conv2', width),
    'positions': take('embed_positions.weight', config.positions, width),
    'blocks': {
      'attention_norm': norm('self_attn_layer_norm', stack),
      'query': {
        'kernel': query['kernel'].reshape(-1, width, *split),
        'bias': query['bias'].reshape(-1, *split),
      },
      'key': {'kernel': key.reshape(-1, width, *split)},  # Whisper's keys have no bias
      'value': {
        'kernel': value['kernel'].reshape(-1, width, *split),
        'bias': value['bias'].reshape(-1, *split),
      },
      'out': {'kernel': out['kernel'].reshape(-1, *split, width), 'bias': out['bias']},
      'mlp_norm': norm('final_layer_norm', stack),
      'mlp_in': linear('fc1', width, hidden),
      'mlp_out': linear('fc2', hidden, width),
    },
    'norm': norm('layer_norm', take),
  }
  source.check()
  return params


# ----------------------------------------------------------------------------------- the encoder


def encode(config, params, mel, layers=None):
  """Hidden states of one batch of windows.

  Args:
    config: WhisperConfig.
    params: what `load` returned.
    mel: float32 [B, mel_bins, M], M at most 2 * config.positions. A window shorter than 30 s uses
      the first positions only.
    layers: which hidden states, ascending; None for all. 0 is the embedding, i the output of
      block i, and the last, config.layers, has gone through the final norm, as in transformers.
      Blocks above the highest requested layer are not run.

  Returns:
    float32 [B, ceil(M / 2), len(layers), E].

  Raises:
    ValueError: the spectrogram or the layers do not fit the model.
  """
  layers = _checked_layers(config, layers)
  if mel.ndim != 3 or mel.shape[1] != config.mel_bins or mel.shape[2] > 2 * config.positions:
    raise ValueError(
      f'mel has shape {mel.shape}; this model takes [B, {config.mel_bins}, M] '
      f'with M at most {2 * config.positions}'
    )
  x = jnp.swapaxes(mel, 1, 2)
  x = _gelu(_convolve(params['conv1'], x, stride=1))
  x = _gelu(_convolve(params['conv2'], x, stride=2))
  x = x + params['positions'][: x.shape[1]]

  # The scan writes a hidden state into its slot as it goes by; one that was not asked for has a
  # slot past the end and is dropped, so only what is returned takes memory.
  depth = layers[-1]
  slots = np.full(depth + 1, len(layers))
  slots[list(layers)] = range(len(layers))
  kept = jnp.zeros((len(layers), *x.shape), x.dtype).at[slots[0]].set(x, mode='drop')

  def step(carry, inputs):
    x, kept = carry
    block, slot = inputs
    x = _block(block, x)
    return (x, kept.at[slot].set(x, mode='drop')), None

  blocks = jax.tree.map(lambda weights: weights[:depth], params['blocks'])
  (x, kept), _ = jax.lax.scan(step, (x, kept), (blocks, jnp.asarray(slots[1:], jnp.int32)))
  if depth == config.layers:
    kept = kept.at[-1].set(_normalize(params['norm'], x))
  return kept.transpose(1, 2, 0, 3)


def check_listening(config, layers, window_seconds, margin_seconds):
  """Refuses settings that `stream` cannot work with, before any sound is read.

  Raises:
    ValueError: the layers, the window or the margin are impossible for this model.
  """
  _checked_layers(config, layers)
  _checked_window(config, window_seconds, margin_seconds)


def _checked_window(config, window_seconds, margin_seconds, batch_size=1):
  """The states in a window and in its margin."""
  window = _states(window_seconds, 'window_seconds')
  margin = _states(margin_seconds, 'margin_seconds')
  if not 0 < window <= config.positions or not 0 <= 2 * margin < window or batch_size < 1:
    raise ValueError(
      f'a window of {window_seconds} s with margins of {margin_seconds} s and batches of '
      f'{batch_size} cannot be: windows are up to {config.longest_window:g} s, margins less than '
      'half a window, batches at least 1'
    )
  return window, margin


def _checked_layers(config, layers):
  chosen = tuple(range(config.layers + 1)) if layers is None else tuple(layers)
  ascending = all(low < high for low, high in zip(chosen, chosen[1:], strict=False))
  if not chosen or not ascending or chosen[0] < 0 or chosen[-1] > config.layers:
    raise ValueError(
      f'layers {chosen} must ascend within 0 (the embedding) to {config.layers} (the last block)'
    )
  return chosen


def _block(params, x):
  y = _normalize(params['attention_norm'], x)
  query = jnp.einsum('BLE,END->BLND', y, params['query']['kernel']) + params['query']['bias']
  key = jnp.einsum('BLE,END->BLND', y, params['key']['kernel'])
  value = jnp.einsum('BLE,END->BLND', y, params['value']['kernel']) + params['value']['bias']
  y = jax.nn.dot_product_attention(query, key, value)
  x = x + jnp.einsum('BLND,NDE->BLE', y, params['out']['kernel']) + params['out']['bias']
  y = _normalize(params['mlp_norm'], x)
  y = _gelu(y @ params['mlp_in']['kernel'] + params['mlp_in']['bias'])
  return x + y @ params['mlp_out']['kernel'] + params['mlp_out']['bias']


def _normalize(params, x):
  centred = x - x.mean(-1, keepdims=True)
  deviation = jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)
  return centred * deviation * params['scale'] + params['bias']


def _convolve(params, x, stride):
  y = jax.lax.conv_general_dilated(
    x, params['kernel'], (stride,), [(1, 1)], dimension_numbers=('NWC', 'WIO', 'NWC')
  )
  return y + params['bias']


def _gelu(x):
  return jax.nn.gelu(x, approximate=False)


# ----------------------------------------------------------------------------------- long audio

_encode = jax.jit(encode, static_argnames=('config', 'layers'))


def features(
  config, params, samples, window_seconds=30.0, margin_seconds=2.0, layers=None, batch_size=1
):
  """Hidden states for audio of any length, with no seam between windows.

  Windows overlap by two margins. At an inner cut each side gives up its margin, so every state
  has at least `margin_seconds` of real sound around it or the end of the audio. The last window is
  moved back to end with the audio; silence is added only to audio shorter than one window. All
  windows have one shape, so one program is compiled per (window_seconds, layers, batch_size).

  Args:
    config: WhisperConfig.
    params: what `load` returned.
    samples: float32 [n], mono, 16 kHz.
    window_seconds: a multiple of .02, up to 30 s (config.longest_window).
    margin_seconds: a multiple of .02, less than half a window.
    layers: which hidden states, see `encode`.
    batch_size: windows run at once; the last batch is filled up with silence.

  Returns:
    float32 [ceil(n / 320), len(layers), E] at 50 Hz; state k is centred on second k / 50.

  Raises:
    ValueError: samples, window, margin, layers or batch size are impossible.
  """
  samples = np.asarray(samples, np.float32)
  if samples.ndim != 1:
    raise ValueError(f'samples have shape {samples.shape}; Whisper hears one channel, [n] with n>0')
  return np.concatenate(list(stream(config, params, samples[None], window_seconds, margin_seconds,
                                    layers, batch_size)))


def stream(
  config, params, samples, window_seconds=30.0, margin_seconds=2.0, layers=None, batch_size=1
):
  """Yields what `features` gives, window by window; memory holds a batch of windows.

  Args:
    config, params, window_seconds, margin_seconds, layers, batch_size: as of `features`.
    samples: [1, n], an array or what is sliced like one, such as a `lazy.Sound`.

  Yields:
    float32 [k, len(layers), E] for some k, in order.

  Raises:
    ValueError: as `features`.
  """
  if samples.shape[0] != 1 or not samples.shape[1]:
    raise ValueError(f'samples have shape {samples.shape}; Whisper hears one channel, [n] with n>0')
  layers = _checked_layers(config, layers)
  window, margin = _checked_window(config, window_seconds, margin_seconds, batch_size)
  per_state = audio_timeline.SAMPLES_PER_STATE
  total = -(-samples.shape[1] // per_state)
  last = max(total - window, 0)
  starts = [*range(0, last, window - 2 * margin), last]
  params = jax.tree.map(jnp.asarray, params)  # to the device once, not once per batch
  done = 0
  for first in range(0, len(starts), batch_size):
    batch = starts[first : first + batch_size]
    mel = np.zeros((batch_size, config.mel_bins, 2 * window), np.float32)
    for row, start in enumerate(batch):
      part = samples[:, start * per_state : (start + window) * per_state][0]
      mel[row] = log_mel.log_mel(part, config.mel_bins, window / audio_timeline.RATE)
    states = np.asarray(_encode(config, params, mel, layers))
    for start, row in zip(batch, states, strict=False):
      stop = total if start == last else start + window - margin
      yield row[done - start : stop - start]
      done = stop


def _states(seconds, name):
  states = round(seconds * audio_timeline.RATE)
  if abs(states - seconds * audio_timeline.RATE) > 1e-6:
    raise ValueError(f'{name} is {seconds}, not a multiple of {1 / audio_timeline.RATE} s')
  return states


def standardize(audio, mean, std):
  """Whisper states [..., layers, channels] to about unit scale; spikes are clipped."""
  return jnp.clip((audio - mean) / std, -_CLIP_FEATURES, _CLIP_FEATURES)

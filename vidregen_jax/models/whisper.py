"""The Whisper audio encoder (Radford et al., 2022), reading Hugging Face weights of any size.

Everything here runs on one clock of 50 Hz: hidden state k of a window is centred 20k ms after the
window's first sample, so index and time convert by a factor and nothing is ever off by half a
step. The encoder looks both ways over its whole window; long audio is therefore cut into
overlapping windows and what lies near an inner cut is thrown away (`features`).
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax import documents, errors
from vidregen_jax.models import pretrained

_CLIP_FEATURES = 6.0  # standard deviations; a few Whisper channels spike to hundreds
SAMPLE_RATE = 16_000
RATE = 50  # hidden states per second
HOP = 160  # samples between two columns of the spectrogram; the second convolution halves them
FFT = 400
SAMPLES_PER_STATE = SAMPLE_RATE // RATE
WINDOW_SAMPLES = 16  # times that `sample_at` reads for one latent frame
CONTEXT_SAMPLES = 4  # of those, how many lie before the latent frame, and how many after it


@dataclasses.dataclass(frozen=True)
class WhisperConfig:
  """What the encoder's shapes follow from; the field names are this project's.

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
    return self.positions / RATE


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
  """Named tensors -> the tree that `encode` takes; all faults are told at once."""
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


# ----------------------------------------------------------------------------------- spectrogram


@functools.cache
def _mel_filters(mel_bins):
  """Triangles on Slaney's mel scale, each of unit area in hertz: [FFT // 2 + 1, mel_bins].

  The scale is linear to 1 kHz (3 mel in 200 Hz) and then logarithmic (27 mel in a factor 6.4), as
  in Slaney's Auditory Toolbox (1998) and librosa's `filters.mel`.
  """
  linear_end, mel_per_hertz, mel_per_octave = 1000.0, 3 / 200, 27 / np.log(6.4)
  knee = linear_end * mel_per_hertz
  top = knee + mel_per_octave * np.log(SAMPLE_RATE / 2 / linear_end)
  mel = np.linspace(0, top, mel_bins + 2)
  edges = np.where(
    mel < knee, mel / mel_per_hertz, linear_end * np.exp((mel - knee) / mel_per_octave)
  )
  hertz = np.linspace(0, SAMPLE_RATE / 2, FFT // 2 + 1)[:, None]
  low, centre, high = edges[:-2], edges[1:-1], edges[2:]
  triangles = np.minimum((hertz - low) / (centre - low), (high - hertz) / (high - centre))
  return (np.maximum(triangles, 0) * 2 / (high - low)).astype(np.float32)


def log_mel(samples, mel_bins=80, window_seconds=None):
  """The log-mel spectrogram that Whisper was trained on; equal to its feature extractor.

  Args:
    samples: float32 [n], mono, 16 kHz, in [-1, 1].
    mel_bins: the model's `mel_bins`.
    window_seconds: if given, the samples are padded with silence to this length. Whisper pads to
      30 s.

  Returns:
    float32 [mel_bins, n // 160], column j centred on sample 160 j. The loudest 8 decades (80 dB)
    are kept, counted from the loudest cell of this call.

  Raises:
    ValueError: the samples are not one channel, are none, or are more than the window.
  """
  samples = np.asarray(samples, np.float32)
  if samples.ndim != 1 or not samples.size:
    raise ValueError(f'samples have shape {samples.shape}; Whisper hears one channel, [n] with n>0')
  if window_seconds is not None:
    padding = round(window_seconds * SAMPLE_RATE) - samples.size
    if padding < 0:
      raise ValueError(
        f'{samples.size} samples are more than a window of {window_seconds} s; use features'
      )
    samples = np.pad(samples, (0, padding))
  # A periodic Hann window over frames that are centred on their time, hence the reflected ends.
  padded = np.pad(samples, FFT // 2, mode='reflect' if samples.size > 1 else 'edge')
  frames = np.lib.stride_tricks.sliding_window_view(padded, FFT)[::HOP][: samples.size // HOP]
  hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FFT, dtype=np.float32) / FFT)
  power = np.abs(np.fft.rfft(frames * hann.astype(np.float32))) ** 2
  log = np.log10(np.maximum(power @ _mel_filters(mel_bins), 1e-10))
  log = np.maximum(log, log.max(initial=-10) - 8)
  return ((log + 4) / 4).T.astype(np.float32)


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
      Blocks above the highest one asked for are not run.

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
  """Refuses what `stream` cannot do, before there is any sound.

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
  total = -(-samples.shape[1] // SAMPLES_PER_STATE)
  last = max(total - window, 0)
  starts = [*range(0, last, window - 2 * margin), last]
  params = jax.tree.map(jnp.asarray, params)  # to the device once, not once per batch
  done = 0
  for first in range(0, len(starts), batch_size):
    batch = starts[first : first + batch_size]
    mel = np.zeros((batch_size, config.mel_bins, 2 * window), np.float32)
    for row, start in enumerate(batch):
      heard = samples[:, start * SAMPLES_PER_STATE : (start + window) * SAMPLES_PER_STATE][0]
      mel[row] = log_mel(heard, config.mel_bins, window / RATE)
    states = np.asarray(_encode(config, params, mel, layers))
    for start, row in zip(batch, states, strict=False):
      stop = total if start == last else start + window - margin
      yield row[done - start : stop - start]
      done = stop


def _states(seconds, name):
  states = round(seconds * RATE)
  if abs(states - seconds * RATE) > 1e-6:
    raise ValueError(f'{name} is {seconds}, not a multiple of {1 / RATE} s')
  return states


# ----------------------------------------------------------------------------------- video's clock


def sample_times(frame_times, durations):
  """When a latent frame listens, for video of any frame rate, constant or not.

  A latent frame is 4 frames. Each is heard at its start and its middle; 4 times 20 ms apart come
  before the first of these 8 and 4 after the last. At 25 fps all 16 are 20 ms apart.

  Args:
    frame_times: [4T], seconds since the first sample of the audio.
    durations: [4T], or one number for all frames, seconds.

  Returns:
    float64 [T, 16], seconds, ascending along the last axis.

  Raises:
    ValueError: the number of frames is not a multiple of 4.
  """
  times = np.asarray(frame_times, np.float64)
  if times.ndim != 1 or times.size % 4:
    raise ValueError(f'{times.shape} frame times; a latent frame is 4 frames, so give [4T]')
  halves = np.broadcast_to(np.asarray(durations, np.float64), times.shape) / 2
  inside = np.stack([times, times + halves], axis=-1).reshape(-1, 8)
  steps = np.arange(1, CONTEXT_SAMPLES + 1) / RATE
  return np.concatenate([inside[:, :1] - steps[::-1], inside, inside[:, -1:] + steps], axis=-1)


def sample_at(features, frame_times, durations):
  """The 16 hidden states that a latent frame listens to, interpolated linearly in time.

  Args:
    features: float32 [n50, layers, C] at 50 Hz, from `features`.
    frame_times: [4T], seconds since the first sample of the audio.
    durations: [4T], or one number for all frames, seconds.

  Returns:
    float32 [T, 16, layers, C], at `sample_times`; before the start and past the end of the audio
    the first and the last state are repeated.

  Raises:
    ValueError: the number of frames is not a multiple of 4, or there are no features.
  """
  if not len(features):
    raise ValueError('there are no audio features to sample')
  return _interpolate(features, *_positions(len(features), frame_times, durations))


def sample_stream(states, count, frame_times, durations):
  """Yields what `sample_at` gives, one latent frame at a time; memory holds a few states.

  Args:
    states: iterator over float32 [k, layers, C], from `stream`; read no further than needed.
    count: samples that they are of.
    frame_times, durations: as of `sample_at`.

  Yields:
    float32 [16, layers, C], T times.

  Raises:
    ValueError: the number of frames is not a multiple of 4.
  """
  held, begin = None, 0
  for low, high, part in zip(
    *_positions(-(-count // SAMPLES_PER_STATE), frame_times, durations), strict=True):
    while held is None or begin + len(held) <= high.max():
      more = next(states)
      kept = 0 if held is None else min(max(low.min() - begin, 0), len(held))
      held = more if held is None else np.concatenate([held[kept:], more])
      begin += kept
    yield _interpolate(held, low - begin, high - begin, part)


def _positions(count, frame_times, durations):
  """Between which two of so many states, and how far, a latent frame's times lie: [T, 16] each."""
  position = np.clip(sample_times(frame_times, durations) * RATE, 0, count - 1)
  low = np.floor(position).astype(np.int64)
  return low, np.minimum(low + 1, count - 1), (position - low).astype(np.float32)


def _interpolate(states, low, high, part):
  part = part[..., None, None]
  return states[low] * (1 - part) + states[high] * part


def standardize(audio, mean, std):
  """Whisper states [..., layers, channels] to about unit scale; spikes are clipped."""
  return jnp.clip((audio - mean) / std, -_CLIP_FEATURES, _CLIP_FEATURES)

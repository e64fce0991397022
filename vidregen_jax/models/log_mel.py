"""The log-mel spectrogram that is Whisper's input."""

import functools

import numpy as np

SAMPLE_RATE = 16_000
HOP = 160  # samples between two columns
FFT = 400


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

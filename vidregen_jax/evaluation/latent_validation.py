"""Validation by sampling: windows of clips, regenerated with their own and with another's sound.

It measures what the training loss does not show: whether generated lips follow the sound. The lip
gap is read from latents (`lip_gap_probe`), and compared with the true one.
"""

import dataclasses

import jax
import numpy as np

from vidregen_jax.datasets import windows
from vidregen_jax.evaluation import lip_gap_probe
from vidregen_jax.inference import sampling, streaming_codec
from vidregen_jax.models import pixels, streams, whisper

_PICTURES = 4  # clips on a sheet of samples


class Rehearsal:
  """Windows of clips to regenerate, and the lip gaps that should be read in them.

  Attributes:
    models: sampling.Models.
    batch: the windows (`windows.cut`), stacked.
    truth: uint8 [B, 4T, S, S, 3], the true latents decoded.
    gaps: {'own': lip gaps [B, 4T], 'new': those of the clips whose sound replaces their own}.
  """

  def __init__(self, exported_codec, models, statistics, reader, batch, seed):
    """Args:
      exported_codec: model_folder.Export of the codec.
      models: sampling.Models.
      statistics: (linear_prior.Expectation, audio mean, audio std) as of `pipeline.statistics`.
      reader: lip_gap_probe.Reader.
      batch: windows, stacked, as from `show_windows`.
      seed: of the noise.
    """
    self.models, self._codec, self._seed = models, exported_codec, seed
    self._guess, self._mean, self._std = statistics
    self._encoder, self._reader = streaming_codec.Encoder.of(exported_codec), reader
    self.batch = batch
    swapped = {name: np.roll(batch[name], 1, 0) for name in
               ('audio', 'audio_valid', 'durations', 'lip_gap')}
    self._batches = {'own': batch, 'new': batch | swapped}
    self.gaps = {sound: each['lip_gap'] for sound, each in self._batches.items()}
    target, cells = np.float32(batch['target']), models.generator.cells
    self.truth = streaming_codec.Decoder.of(exported_codec)(
      target.reshape(*target.shape[:2], cells, cells, -1))

  def begin(self, params, sound):
    """What the sampler needs for the windows.

    Args:
      params: the generator's.
      sound: 'own' or 'new'.

    Returns:
      (sampling.Params, SamplerState, Inputs).
    """
    params = sampling.Params(self._codec.params, params, self._guess,
                             self._codec.arrays['latent_mean'], self._codec.arrays['latent_std'])
    return params, *begin(self.models, params, self._batches[sound], self._mean, self._std,
                          self._seed)

  def make(self, sampler, params, sound):
    """The windows regenerated, uint8 [B, 4T, S, S, 3]; `sampler` is a SamplerConfig."""
    params, start, inputs = self.begin(params, sound)
    return to_frames(sampling.sample(self.models, sampler, params, start, inputs)[1])

  def lips(self, frames):
    """The lip gaps [B, 4T] read in frames of the windows."""
    batch = self.batch
    read = self._encoder.stream(frames).reshape(batch['target'].shape)
    return self._reader(read, batch['context'], batch['references'], batch['reference_valid'])

  def __call__(self, sampler, params):
    """Regenerates the windows with both sounds.

    Returns:
      (figures by name, rows of pictures). Figures are median correlations of lip gaps: with their
      own sound and the truth (own_audio); with another's sound and that one's truth (new_audio) or
      their own (new_audio_old_truth); of the two truths (truths); and of the gap read in true
      latents and the truth (reader). Besides, how widely the gap varies with the new sound, as a
      share of the truth's (opening).
    """
    own, new = (self.make(sampler, params, sound) for sound in ('own', 'new'))
    return self.figures(own, new), sheet(*(x[:_PICTURES] for x in (self.truth, own, new)))

  def figures(self, own, new):
    """The figures of `__call__`, of windows that were regenerated with either sound."""
    own_lips, new_lips, true_lips = (self.lips(frames) for frames in (own, new, self.truth))
    agree = lip_gap_probe.median_correlation
    return {
      'own_audio': agree(own_lips, self.gaps['own']),
      'new_audio': agree(new_lips, self.gaps['new']),
      'new_audio_old_truth': agree(new_lips, self.gaps['own']),
      'truths': agree(self.gaps['own'], self.gaps['new']),
      'opening': float(np.median(new_lips.std(1) / self.gaps['new'].std(1))),
      'reader': agree(true_lips, self.gaps['own']),
    }


def show_windows(clips, shape, count, cut=windows.cut):
  """The middle windows of some clips, stacked; the same ones at every call.

  Clips begin and end with closed lips, which would correlate without any listening.

  Args:
    clips: records of latents.
    shape: windows.WindowShape.
    count: of clips.
    cut: `windows.cut`, or for clips that hold more than it takes another of its kind.
  """
  rng = np.random.default_rng(0)
  picked = [clips[i] for i in np.linspace(0, len(clips) - 1, min(count, len(clips))).astype(int)]
  cuts = [cut(record, max(len(record['target']) - shape.frames, 0) // 2, shape, rng)
          for record in picked]
  return {name: np.stack([each[name] for each in cuts]) for name in cuts[0]}


def begin(models, params, batch, audio_mean, audio_std, seed):
  """What the sampler needs to regenerate windows, with nothing before them.

  Args:
    models: sampling.Models; params: sampling.Params.
    batch: windows (`windows.cut`), stacked.
    audio_mean, audio_std: [layers, channels] of Whisper states.
    seed: of the noise.

  Returns:
    (sampling.SamplerState, streams.Inputs [T, B, ...]).
  """
  conditions = streams.of_windows(batch)
  audio = np.asarray(whisper.standardize(conditions.ahead.audio, audio_mean, audio_std))
  start, inputs = streams.split(models.generator, dataclasses.replace(
    conditions, ahead=dataclasses.replace(conditions.ahead, audio=audio)))
  return sampling.init_state(models, params, jax.random.key(seed), start), inputs


def to_frames(decoded):
  """The sampler's [T, B, 4, S, S, 3] as uint8 [B, 4T, S, S, 3]."""
  decoded = np.moveaxis(np.asarray(decoded), 0, 1)
  return pixels.to_uint8(decoded.reshape(len(decoded), -1, *decoded.shape[3:]))


def sheet(truth, own, swapped):
  """Three rows of uint8 frames per clip: the truth, with its own audio, with the next clip's."""
  at = np.linspace(0, truth.shape[1] - 1, 12).astype(int)
  scale = -(-96 // truth.shape[2])
  return [[x[clip, i].repeat(scale, 0).repeat(scale, 1) for i in at]
          for clip in range(len(truth)) for x in (truth, own, swapped)]

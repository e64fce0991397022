"""Validation that samples: windows of clips, made with their own and with another clip's sound.

What training's loss cannot tell is looked at here: do the lips that are made follow the sound? They
are read from latents (`lip_reading`), beside what is read from the truth.
"""

import dataclasses

import jax
import numpy as np

from vidregen_jax.datasets import windows
from vidregen_jax.evaluation import lip_gap_probe
from vidregen_jax.inference import sampling, streaming_codec
from vidregen_jax.models import pixels, streams, whisper

_PICTURES = 4  # clips that a sheet of samples shows


class Rehearsal:
  """Some windows of clips, and what is read in what a generator makes of them.

  Attributes:
    models: sampling.Models.
    shown: the windows (`windows.cut`), stacked.
    truth: uint8 [B, 4T, S, S, 3], the true latents decoded.
    gaps: {'own': lip gaps [B, 4T], 'new': those of the clips whose sound is heard instead}.
  """

  def __init__(self, exported_codec, models, statistics, reader, shown, seed):
    """Args:
      exported_codec: model_folder.Export of the codec.
      models: sampling.Models.
      statistics: (linear_prior.Expectation, audio mean, audio std) as of `pipeline.statistics`.
      reader: lip_gap_probe.Reader.
      shown: windows, stacked, as of `show_windows`.
      seed: of the noise.
    """
    self.models, self._codec, self._seed = models, exported_codec, seed
    self._guess, self._mean, self._std = statistics
    self._encoder, self._reader = streaming_codec.Encoder.of(exported_codec), reader
    self.shown = shown
    swapped = {name: np.roll(shown[name], 1, 0) for name in
               ('audio', 'audio_valid', 'durations', 'lip_gap')}
    self._heard = {'own': shown, 'new': shown | swapped}
    self.gaps = {sound: windows['lip_gap'] for sound, windows in self._heard.items()}
    target, cells = np.float32(shown['target']), models.generator.cells
    self.truth = streaming_codec.Decoder.of(exported_codec)(
      target.reshape(*target.shape[:2], cells, cells, -1))

  def begin(self, params, sound):
    """The sampler's start for the windows with sound 'own' or 'new'.

    Args:
      params: the generator's.
      sound: whose.

    Returns:
      (sampling.Params, SamplerState, Inputs).
    """
    params = sampling.Params(self._codec.params, params, self._guess,
                             self._codec.arrays['latent_mean'], self._codec.arrays['latent_std'])
    return params, *begin(self.models, params, self._heard[sound], self._mean, self._std,
                          self._seed)

  def make(self, sampler, params, sound):
    """The windows made anew, uint8 [B, 4T, S, S, 3]; `sampler` is a SamplerConfig."""
    params, start, inputs = self.begin(params, sound)
    return to_frames(sampling.sample(self.models, sampler, params, start, inputs)[1])

  def lips(self, frames):
    """The lip gaps [B, 4T] that are read in frames of the windows."""
    shown = self.shown
    read = self._encoder.stream(frames).reshape(shown['target'].shape)
    return self._reader(read, shown['context'], shown['references'], shown['reference_valid'])

  def __call__(self, sampler, params):
    """Makes the windows with both sounds.

    Returns:
      (figures by name, rows of pictures). Figures are median correlations of the lip gap: with its
      truth (own_audio), where another's sound is heard with that one's truth (new_audio) and with
      its own (new_audio_old_truth), of the two truths, and of true latents' reading (reader).
    """
    own, new = (self.make(sampler, params, sound) for sound in ('own', 'new'))
    own_lips, new_lips, true_lips = (self.lips(frames) for frames in (own, new, self.truth))
    agree = lip_gap_probe.median_correlation
    figures = {
      'own_audio': agree(own_lips, self.gaps['own']),
      'new_audio': agree(new_lips, self.gaps['new']),
      'new_audio_old_truth': agree(new_lips, self.gaps['own']),
      'truths': agree(self.gaps['own'], self.gaps['new']),
      'reader': agree(true_lips, self.gaps['own']),
    }
    return figures, sheet(*(x[:_PICTURES] for x in (self.truth, own, new)))


def show_windows(clips, shape, count):
  """The middle windows of some clips, stacked: the same at every call.

  Clips begin and end with closed lips; in the middle, lips that agree have listened.
  """
  rng = np.random.default_rng(0)
  picked = [clips[i] for i in np.linspace(0, len(clips) - 1, min(count, len(clips))).astype(int)]
  cuts = [windows.cut(record, max(len(record['target']) - shape.frames, 0) // 2, shape, rng)
          for record in picked]
  return {name: np.stack([cut[name] for cut in cuts]) for name in cuts[0]}


def begin(models, params, batch, audio_mean, audio_std, seed):
  """What the sampler needs to make the lower faces of windows, with nothing before them.

  Args:
    models, params: what is run.
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


def to_frames(made):
  """The sampler's [T, B, 4, S, S, 3] as uint8 [B, 4T, S, S, 3]."""
  made = np.moveaxis(np.asarray(made), 0, 1)
  return pixels.to_uint8(made.reshape(len(made), -1, *made.shape[3:]))


def sheet(truth, own, swapped):
  """For each clip three rows over time: truth, its own audio, the next clip's audio; uint8."""
  at = np.linspace(0, truth.shape[1] - 1, 12).astype(int)
  scale = -(-96 // truth.shape[2])
  return [[x[clip, i].repeat(scale, 0).repeat(scale, 1) for i in at]
          for clip in range(len(truth)) for x in (truth, own, swapped)]

"""Validation that samples: windows of clips, made with their own and with another clip's sound.

What training's loss cannot tell is looked at here: do the lips that are made follow the sound? They
are read from latents (`lip_reading`), beside what is read from the truth.
"""

import jax
import numpy as np

from vidregen_jax import latents, lip_reading, pixels, sample, system, windows

_PICTURES = 4  # clips that a sheet of samples shows


class Rehearsal:
  """Some windows of validation clips, and what is read in what a generator makes of them."""

  def __init__(self, exported_codec, models, guess, audio_mean, audio_std, clips, validation, shape,
               count, draws, seed):
    """Args:
      exported_codec: weights.Export of the codec.
      models: sample.Models.
      guess: expectation.Expectation.
      audio_mean, audio_std: [layers, channels] of Whisper states.
      clips: records that the lip reader is fitted to; draws: windows of each.
      validation: records that are made anew; count: how many.
      shape: windows.WindowShape.
      seed: of the noise.
    """
    self._codec, self._models, self._guess, self._seed = exported_codec, models, guess, seed
    self._mean, self._std = audio_mean, audio_std
    self._encoder = latents.Encoder.of(exported_codec)
    self._reader = lip_reading.fit(clips, shape, guess, draws)
    self.shown = show_windows(validation, shape, count)
    self._swapped = self.shown | {name: np.roll(self.shown[name], 1, 0) for name in
                                  ('audio', 'audio_valid', 'durations', 'lip_gap')}
    target, cells = np.float32(self.shown['target']), models.generator.cells
    self._truth = latents.Decoder.of(exported_codec)(
      target.reshape(*target.shape[:2], cells, cells, -1))

  def __call__(self, sampler, params):
    """Makes the windows.

    Args:
      sampler: sample.SamplerConfig.
      params: the generator's.

    Returns:
      (figures by name, rows of pictures). Figures are median correlations of the lip gap: with its
      truth (own_audio), where another's sound is heard with that one's truth (new_audio) and with
      its own (new_audio_old_truth), of the two truths, and of true latents' reading (reader).
    """
    params = sample.Params(self._codec.params, params, self._guess,
                           self._codec.arrays['latent_mean'], self._codec.arrays['latent_std'])
    own, new = (pixels.to_uint8(sample_windows(self._models, sampler, params, batch, self._mean,
                                               self._std, self._seed))
                for batch in (self.shown, self._swapped))
    gaps = [batch['lip_gap'] for batch in (self.shown, self._swapped)]
    figures = {
      'own_audio': self._follows(own, gaps[0]),
      'new_audio': self._follows(new, gaps[1]),
      'new_audio_old_truth': self._follows(new, gaps[0]),
      'truths': lip_reading.median_correlation(*gaps),
      'reader': self._follows(self._truth, gaps[0]),
    }
    return figures, sheet(*(x[:_PICTURES] for x in (self._truth, own, new)))

  def _follows(self, frames, gap):
    shown = self.shown
    read = self._encoder.stream(frames).reshape(shown['target'].shape)
    lips = self._reader(read, shown['context'], shown['references'], shown['reference_valid'])
    return lip_reading.median_correlation(lips, gap)


def show_windows(clips, shape, count):
  """The middle windows of some clips, stacked: the same at every call.

  Clips begin and end with closed lips; in the middle, lips that agree have listened.
  """
  rng = np.random.default_rng(0)
  picked = [clips[i] for i in np.linspace(0, len(clips) - 1, min(count, len(clips))).astype(int)]
  cuts = [windows.cut(record, max(len(record['target']) - shape.frames, 0) // 2, shape, rng)
          for record in picked]
  return {name: np.stack([cut[name] for cut in cuts]) for name in cuts[0]}


def sample_windows(models, sampler, params, batch, audio_mean, audio_std, seed):
  """Generate the lower faces of windows (`windows.cut`, stacked) with nothing before them.

  Returns:
    Frames [B, 4T, S, S, 3], about in [-1, 1].
  """
  look, frames = models.generator.look_ahead, batch['target'].shape[1]
  f32 = {name: np.asarray(batch[name], np.float32)
         for name in ('target', 'context', 'references', 'anchor', 'anchor_context', 'durations')}
  audio = np.asarray(batch['audio'], np.float32)
  audio = np.asarray(system.standardize(audio, audio_mean, audio_std))
  first = lambda x: np.moveaxis(x, 1, 0)
  distance = batch['anchor_distance'][None] + np.arange(frames, 0, -1, dtype=np.float32)[:, None]
  inputs = sample.Inputs(
    context=first(f32['context']), outside=first(f32['target']),
    duration=first(f32['durations'][:, :frames]), audio=first(audio[:, look:]),
    audio_valid=first(batch['audio_valid'][:, look:]),
    audio_duration=first(f32['durations'][:, look:]), anchor_distance=distance,
  )
  start = sample.init_state(
    models, params, jax.random.key(seed), f32['references'], batch['reference_valid'],
    f32['anchor'], f32['anchor_context'], batch['anchor_valid'], audio[:, :look],
    batch['audio_valid'][:, :look], f32['durations'][:, :look],
  )
  made = np.asarray(sample.sample(models, sampler, params, start, inputs)[1])  # [T, B, 4, ...]
  return np.moveaxis(made, 0, 1).reshape(made.shape[1], -1, *made.shape[3:])


def sheet(truth, own, swapped):
  """For each clip three rows over time: truth, its own audio, the next clip's audio; uint8."""
  at = np.linspace(0, truth.shape[1] - 1, 12).astype(int)
  scale = -(-96 // truth.shape[2])
  return [[x[clip, i].repeat(scale, 0).repeat(scale, 1) for i in at]
          for clip in range(len(truth)) for x in (truth, own, swapped)]

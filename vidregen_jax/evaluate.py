"""Measure an exported system on rendered clips whose truth is known.

  python -m vidregen_jax.evaluate listening --checkpoint=out/generator/export
  python -m vidregen_jax.evaluate codec --checkpoint=out/codec/export --dataset=out/talkers/64

`listening` edits each clip with *another* clip's sound, writes a real video, and reads the mouth
in it with the bundled tracker. A mouth that listens correlates with the new sound's truth, and no
more with the old one than the two truths do with each other. Clips begin and end with closed lips,
which correlates by itself, so the middle of each clip is measured too. The tracker's reading of
real footage, against its truth, stands beside as the ceiling.
"""

import dataclasses
import json
import pathlib
import tempfile

import jax
import numpy as np
import tqdm
from absl import flags

from vidregen_jax import commands, latents, losses, pixels, regenerate, report, system, weights
from vidregen_jax.errors import UserError
from vidregen_jax.lip_reading import correlation
from vidregen_jax.media import faces
from vidregen_jax.models import codec, perceptual

_CHECKPOINT = flags.DEFINE_string('checkpoint', None, "Folder of a training's export.")
_PACK = flags.DEFINE_string('pack', 'data/talkers/pack', 'Folder of rendered clips.')
_DATASET = flags.DEFINE_string('dataset', None, 'Folder of the dataset of crops (codec only).')
_PERCEPTUAL = flags.DEFINE_string(
  'perceptual', None, 'Folder or hub id of VGG16 with LPIPS heads (codec only); default: no LPIPS.')
_SPLIT = flags.DEFINE_string('split', 'test', 'Which part of it.')
_CLIPS = flags.DEFINE_integer('clips', 0, 'How many clips at most; 0 for all.', lower_bound=0)
_SEED = flags.DEFINE_integer('seed', 0, 'Of the noise.')
_STEPS = flags.DEFINE_integer('steps', None, "Flow steps; default the checkpoint's.")
_APPEARANCE = flags.DEFINE_float('guidance_appearance', None, "Default the checkpoint's.")
_AUDIO = flags.DEFINE_float('guidance_audio', None, "Default the checkpoint's.")
_NOISE = flags.DEFINE_float('noise', None, "Default the checkpoint's.")
_JSON = flags.DEFINE_string('json', None, 'File for all figures.')

_EDGE_SECONDS = 0.5  # left out at both ends for the middle
_PICTURES = 8  # measured at once


@dataclasses.dataclass(frozen=True)
class Clip:
  """A rendered clip: its film, and when its mouth was how open (eye distances)."""

  path: pathlib.Path
  times: np.ndarray
  lip_gap: np.ndarray
  tracked_gap: np.ndarray

  @property
  def seconds(self):
    return float(self.times[-1] + self.times[1] - self.times[0])

  def truth(self, times):
    """The lip gap at other times."""
    return np.interp(times, self.times, self.lip_gap)


def read_truth(path):
  """The clip whose truth is in an .npz beside its .mp4."""
  with np.load(path) as arrays:
    return Clip(path.with_suffix('.mp4'), arrays['times'], arrays['lip_gap'],
                arrays['tracked_gap'])


def read_clips(pack, split):
  """The clips of a split, by name.

  Raises:
    UserError: there are none.
  """
  clips = [read_truth(path) for path in sorted((pathlib.Path(pack) / split).glob('*.npz'))]
  if len(clips) < 2:
    raise UserError(f'{pack} has no clips of split {split!r}: render a pack with '
                    'python -m data.talkers.make_pack, or name another --pack')
  return clips


def pair(clips):
  """For each clip the next one that is at least as long, else the longest other: (clip, other)."""
  pairs = []
  for i, clip in enumerate(clips):
    others = clips[i + 1:] + clips[:i]
    enough = [other for other in others if other.seconds >= clip.seconds]
    pairs.append((clip, enough[0] if enough else max(others, key=lambda c: c.seconds)))
  return pairs


def listening(machine, pairs, seed, overrides, folder):
  """Edits each clip with the other's sound and reads the mouth.

  Args:
    machine: system.System.
    pairs: list of (clip, other).
    seed: of the noise.
    overrides: SamplerConfig fields to change, (name, value) pairs.
    folder: for the edited videos.

  Returns:
    A list of dicts, one a clip, of correlations over the whole edit and over its middle.
  """
  rows = []
  for clip, other in tqdm.tqdm(pairs, unit='clip', desc='listening'):
    stop = min(clip.seconds, other.seconds)
    whole = other.seconds >= clip.seconds
    out = pathlib.Path(folder) / clip.path.name
    edit = regenerate.Edit(str(clip.path), str(other.path),
                           () if whole else ((0.0, stop - 1e-3),), 'rendered people', str(out),
                           seed, overrides)
    said = regenerate.regenerate(edit, machine, show=False)
    seen = faces.track_file(out)
    inside = seen.times < stop - 1e-3
    times, gap = seen.times[inside], seen.lip_gap[inside]
    new, old = other.truth(times), clip.truth(times)
    row = {'clip': clip.path.stem, 'audio': other.path.stem, 'frames': int(inside.sum()),
           'lost_faces': int((~np.isfinite(gap)).sum()), 'seconds': said['seconds'],
           'stages': said['stages'], 'peak_memory_mb': said['peak_memory_mb']}
    middle = (times >= _EDGE_SECONDS) & (times < stop - _EDGE_SECONDS)
    for name, part in (('whole', np.ones(len(times), bool)), ('middle', middle)):
      row[name] = {
        'new': correlation(gap[part], new[part]),
        'old': correlation(gap[part], old[part]),
        'truths': correlation(new[part], old[part]),
        'tracker_on_truth': correlation(other.tracked_gap, other.lip_gap),
        'opening': float(np.nanstd(gap[part]) / max(new[part].std(), 1e-6)),
      }
    rows.append(row)
  return rows


def medians(rows):
  """By part, the median of each figure over the clips."""
  return {part: {name: round(float(np.nanmedian([row[part][name] for row in rows])), 3)
                 for name in rows[0][part]} for part in ('whole', 'middle')}


def codec_quality(export, clips, vgg16=None):
  """How near an exported codec's reconstructions are to whole clips.

  Args:
    export: weights.Export of a codec.
    clips: iterable of dicts with frames uint8 [F, S, S, 3] and mouth_box [F, 4].
    vgg16: parameters of `perceptual.load`, or None to leave LPIPS out.

  Returns:
    Dict of psnr and psnr_mouth in dB, of the mean squared error of all clips, and the same of each
    clip's median; ssim; lpips (0 is best); and flicker, the mean change from frame to frame over
    the source's own (1 is best: less is smear, more is shimmer).
  """
  encoder = latents.Encoder.of(export)
  decode, size = Decoder(export), encoder.model.size
  likeness = jax.jit(losses.ssim)
  distance = jax.jit(perceptual.lpips)
  sums, per_clip, alike, apart = np.zeros(4), [], [], []
  changes = np.zeros(2)
  for clip in tqdm.tqdm(clips, unit='clip', desc='codec'):
    length = len(clip['frames']) // codec.TIME_FACTOR * codec.TIME_FACTOR
    frames = clip['frames'][:length]
    made = decode(encoder.stream(frames[None])[0])
    error = np.square((made.astype(np.float64) - frames) / 127.5)
    mouth = np.asarray(losses.box_mask(clip['mouth_box'][:length], size), np.float64)
    found = np.array([error.sum(), error.size, (error * mouth).sum(), mouth.sum() * 3])
    per_clip.append(_db(found))
    sums += found
    changes += [np.abs(np.diff(x.astype(np.int16), axis=0)).sum() for x in (made, frames)]
    # Every fourth frame: neighbours say nearly the same, and VGG16 is slow on a CPU.
    some = [pixels.to_float(x[::codec.TIME_FACTOR]) for x in (made, frames)]
    for start in range(0, len(some[0]), _PICTURES):
      pair_of = [_padded(x[start:start + _PICTURES]) for x in some]
      count = min(_PICTURES, len(some[0]) - start)
      alike += np.asarray(likeness(*pair_of))[:count].tolist()
      if vgg16 is not None:
        apart += np.asarray(distance(vgg16, *pair_of))[:count].tolist()
  whole, mouth = _db(sums)
  by_clip = np.median(per_clip, axis=0)
  found = {'psnr': round(whole, 2), 'psnr_mouth': round(mouth, 2),
           'psnr_median_of_clips': round(float(by_clip[0]), 2),
           'psnr_mouth_median_of_clips': round(float(by_clip[1]), 2),
           'ssim': round(float(np.mean(alike)), 4),
           'flicker': round(float(changes[0] / changes[1]), 3), 'clips': len(per_clip)}
  return found | ({'lpips': round(float(np.mean(apart)), 4)} if apart else {})


def _padded(x):
  """As many pictures as are measured at once, the last one repeated."""
  return np.pad(x, [(0, _PICTURES - len(x))] + [(0, 0)] * 3, mode='edge')


class Decoder:
  """An exported codec's decoder for normalised latents of whole clips, with one compiled program.

  Called with [T, H, W, C], it returns frames uint8 [4T, S, S, 3].
  """

  _STEP = 4  # latent frames at once; any number gives the same frames

  def __init__(self, export):
    self._model = codec.CodecConfig(**export.config)
    self._params = jax.device_put(export.params)
    self._mean, self._std = export.arrays['latent_mean'], export.arrays['latent_std']
    self._decode = jax.jit(codec.decode, static_argnums=0)

  def __call__(self, z):
    padded = np.pad(z * self._std + self._mean, [(0, -len(z) % self._STEP)] + [(0, 0)] * 3,
                    mode='edge')[None]
    made, cache = [], codec.init_decoder_cache(self._model, 1)
    for start in range(0, padded.shape[1], self._STEP):
      part, cache = self._decode(self._model, self._params, padded[:, start:start + self._STEP],
                                 cache)
      made.append(np.asarray(part[0]))
    return pixels.to_uint8(np.concatenate(made)[:len(z) * codec.TIME_FACTOR])


def _db(sums):
  error, size, mouth_error, mouth_size = sums
  return (float(10 * np.log10(4 * size / error)),
          float(10 * np.log10(4 * mouth_size / mouth_error)))


def run(what):
  """Does what the flags say.

  Raises:
    UserError: a mistake in the flags, or nothing to measure.
  """
  if _CHECKPOINT.value is None:
    raise UserError('--checkpoint is missing: give the export folder of a training')
  if what == 'codec':
    from vidregen_jax import input_pipeline  # needs the train extra, which listening does not

    if _DATASET.value is None:
      raise UserError('--dataset is missing: build one with `python -m data.talkers.talkers`')
    export = weights.load_export(_CHECKPOINT.value, 'codec')
    clips = input_pipeline.talker_clips(_DATASET.value, _SPLIT.value, export.config['size'])
    count = min(_CLIPS.value or len(clips), len(clips))
    vgg16 = perceptual.load(_PERCEPTUAL.value) if _PERCEPTUAL.value else None
    result = codec_quality(export, [clips[i] for i in range(count)], vgg16)
  else:
    pairs = pair(read_clips(_PACK.value, _SPLIT.value))
    pairs = pairs[:_CLIPS.value or len(pairs)]
    overrides = tuple((name, flag.value) for name, flag in (
      ('steps', _STEPS), ('guidance_appearance', _APPEARANCE), ('guidance_audio', _AUDIO),
      ('noise', _NOISE))
      if flag.value is not None)
    machine = system.load(_CHECKPOINT.value)
    with tempfile.TemporaryDirectory() as folder:
      rows = listening(machine, pairs, _SEED.value, overrides, folder)
    result = {'clips': len(rows), 'medians': medians(rows), 'rows': rows}
    for row in rows:
      figures = '  '.join(f'{name} {row["whole"][name]:6.3f}/{row["middle"][name]:6.3f}'
                          for name in ('new', 'old', 'truths'))
      print(f'{row["clip"]} with the sound of {row["audio"]}: {figures}')
    print('correlation of lip gaps, whole/middle; medians:')
  if _JSON.value:
    report.write_json(pathlib.Path(_JSON.value), result)
  print(json.dumps({k: v for k, v in result.items() if k != 'rows'}, indent=2))


if __name__ == '__main__':
  commands.run(run, 'nothing was written', words=('listening', 'codec'))

"""How close an exported codec's reconstructions are to their clips, as a whole and in the mouth.

Every figure is given for the whole crop and for the mouth's box. PSNR is that of the mean squared
error of all pixels; SSIM and LPIPS are means over frames; flicker is the mean change from frame to
frame divided by the source's own (1 is best: less is smear, more is shimmer). The leak is how much
the past changes with the future: 0 for a codec that can stream.
"""

import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax import files, outputs, terminal
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import image_metrics
from vidregen_jax.inference import streaming_codec
from vidregen_jax.media import image_grid, video_writer
from vidregen_jax.models import codec, i3d, perceptual, pixels

SHOWN = 4  # clips on the sheet and in the video
_STRIDE = 5  # SSIM and LPIPS use every fifth frame, and so all four positions within a latent frame
_PICTURES = 8  # measured at once
_FILES = {'scores.json', 'sheet.png', 'video.mp4'}
_DIGITS = {'psnr': 2, 'ssim': 4, 'lpips': 4, 'flicker': 3}


# ------------------------------------------------------------------------------------------------
# Measuring
# ------------------------------------------------------------------------------------------------


def measure(export, clips, vgg16=None, network=None):
  """Encodes and decodes clips, and compares.

  Args:
    export: model_folder.Export of a codec.
    clips: sized iterable of dicts of `input_pipeline.talker_clips`.
    vgg16: parameters of `perceptual.load`, or None to leave LPIPS out.
    network: parameters of `i3d.load`, or None to leave the Frechet video distance out.

  Returns:
    (scores, examples). Scores is a dict of each figure, alone and with _mouth; medians, of the same
    over the clips; leak (see `leak`), the largest of all clips, None where no clip has a past;
    clips, frames, and rows, a dict a clip; with a network also fvd and fvd_windows, the number of
    16-frame windows behind it. A figure that does not exist (a still film does not flicker) is
    None. Examples are a list of (clip, frames uint8 [F, S, S, 3]) of the first clips.

  Raises:
    UserError: no clips, or too few windows for a distance.
  """
  if network is not None:
    check_windows(clips)
  encoder, decoder = streaming_codec.Encoder.of(export), streaming_codec.Decoder.of(export)
  rows, sums, leaks, examples, windows = [], [], [], [], []
  for clip in terminal.progress(clips, 'clip', 'codec'):
    frames = clip['frames']
    z = encoder.stream(frames[None])
    output = decoder(z, len(frames))[0]
    sums.append(_compare(clip, output, vgg16))
    rows.append({'clip': clip['clip_id'].decode(), 'frames': len(frames), **_figures(sums[-1])})
    if z.shape[1] > 1:
      leaks.append(leak(encoder, decoder, frames))
    if network is not None:
      windows += _window_features(network, frames, output)
    if len(examples) < SHOWN:
      examples.append((clip, output))
  if not rows:
    raise UserError('there are no clips to measure: give another --split or --clips')
  names = [name for name in rows[0] if name not in ('clip', 'frames')]
  scores = _figures({name: sum(part[name] for part in sums) for name in sums[0]})
  scores['medians'] = {name: _median(name, [row[name] for row in rows]) for name in names}
  scores['leak'] = dict(zip(('latents', 'frames'), np.max(leaks, 0).tolist(),
                            strict=True)) if leaks else None
  if network is not None:
    scores |= {'fvd': video_distance(np.array(windows)), 'fvd_windows': len(windows)}
  return scores | {'clips': len(rows), 'frames': sum(row['frames'] for row in rows),
                   'rows': rows}, examples


def _compare(clip, output, vgg16):
  """Sums of [whole, mouth], which can be added over clips."""
  frames = clip['frames']
  mouth = np.asarray(pixels.box_mask(clip['mouth_box'], frames.shape[1]))[..., 0]
  inside = mouth > 0
  both = lambda x, mask: np.array([x.sum(), x[mask].sum()], np.float64)
  change = lambda x: np.abs(np.diff(x.astype(np.int16), axis=0)).sum(-1)
  sums = {
    'error': both(np.square(output.astype(np.int32) - frames).sum(-1), inside),
    'values': 3 * both(np.ones(inside.shape), inside),
    # A change belongs to the later frame's mouth.
    'changed_output': both(change(output), inside[1:]),
    'changed_source': both(change(frames), inside[1:]),
  }
  parts = [_compare_pictures(*(x[start : start + _STRIDE * _PICTURES : _STRIDE]
                               for x in (output, frames, mouth)), vgg16)
           for start in range(0, len(frames), _STRIDE * _PICTURES)]
  return sums | {name: sum(part[name] for part in parts) for name in parts[0]}


def _compare_pictures(output, frames, mouth, vgg16):
  """The same of up to `_PICTURES` pictures, padded to as many by repeating the last one."""
  count = len(output)
  pad = lambda x: np.pad(x, [(0, _PICTURES - count)] + [(0, 0)] * (x.ndim - 1), mode='edge')
  output, frames, mouth = pad(pixels.to_float(output)), pad(pixels.to_float(frames)), pad(mouth)
  alike, seen = (np.asarray(x, np.float64)[:count] for x in _likeness(output, frames, mouth))
  # A frame without a mouth counts for the whole only.
  sums = {'ssim': (alike * seen).sum(0), 'pictures': seen.sum(0)}
  if vgg16 is not None:
    apart = np.asarray(_distance(vgg16, output, frames, mouth), np.float64)[:count]
    sums['lpips'] = (apart * seen).sum(0)
  return sums


@jax.jit
def _likeness(output, frames, mouth):
  """SSIM of pictures and of their mouths, and whether these exist: two arrays [N, 2]."""
  index = image_metrics.ssim_map(output, frames)
  edge = (mouth.shape[1] - index.shape[1]) // 2
  near = mouth[:, edge:-edge, edge:-edge]
  mass = near.sum((1, 2))
  inside = (index * near).sum((1, 2)) / jnp.maximum(mass, 1.0)
  return (jnp.stack([index.mean((1, 2)), inside], -1),
          jnp.stack([jnp.ones_like(mass), mass > 0], -1))


@jax.jit
def _distance(vgg16, output, frames, mouth):
  """LPIPS of pictures and of their mouths, [N, 2]; XLA computes their common features once."""
  return jnp.stack([perceptual.lpips(vgg16, output, frames),
                    perceptual.lpips(vgg16, output, frames, mouth)], -1)


def _figures(sums):
  """From sums of [whole, mouth], the figures by name."""
  with np.errstate(divide='ignore', invalid='ignore'):
    found = {'psnr': image_metrics.decibels(sums['error'] / sums['values'], 255),
             'ssim': sums['ssim'] / sums['pictures'],
             'flicker': sums['changed_output'] / sums['changed_source']}
    if 'lpips' in sums:
      found['lpips'] = sums['lpips'] / sums['pictures']
  return {name + part: _rounded(name, value)
          for name, values in found.items()
          for part, value in zip(('', '_mouth'), values, strict=True)}


def _rounded(name, value):
  """A figure rounded to its significant digits; None if it does not exist."""
  return round(float(value), _DIGITS[name]) if np.isfinite(value) else None


def _median(name, values):
  known = [value for value in values if value is not None]
  return _rounded(name.removesuffix('_mouth'), np.median(known)) if known else None


def leak(encoder, decoder, frames):
  """How much the past changes when the second half of a clip becomes its mirror image.

  Args:
    encoder, decoder: streaming_codec.Encoder and streaming_codec.Decoder.
    frames: uint8 [F, S, S, 3], F at least 5.

  Returns:
    The largest change (of an earlier latent, normalised; of an earlier decoded frame's value, which
    span 2). Both are 0.0, exactly, for a causal codec.
  """
  # An odd latent frame is never the first of those that are encoded or decoded at once, where even
  # a codec that leaks has not seen the future.
  first = -(-len(frames) // codec.TIME_FACTOR) // 2 | 1
  past = first * codec.TIME_FACTOR
  other = np.concatenate([frames[:past], frames[past:, :, ::-1]])
  z, other_z = (encoder.stream(x[None]) for x in (frames, other))
  output, other_output = (decoder.stream(x)[:, :past] for x in (z, other_z))
  return (float(np.abs(z[:, :first] - other_z[:, :first]).max()),
          float(np.abs(output - other_output).max()))


_logits = jax.jit(i3d.features)


def _window_features(network, frames, output):
  """Logits of each whole window of 16 frames, of source and output: [2, 400] each."""
  starts = range(0, len(frames) - i3d.FRAMES + 1, i3d.FRAMES)
  return [np.asarray(_logits(network, pixels.to_float(
    np.stack([x[start : start + i3d.FRAMES] for x in (frames, output)])))) for start in starts]


def video_distance(windows):
  """The Frechet distance of windows' logits [N, 2, D], N at least 2, rounded."""
  gaussians = [part for x in np.moveaxis(windows.astype(np.float64), 1, 0)
               for part in (x.mean(0), np.cov(x, rowvar=False))]
  return round(i3d.frechet_distance(*gaussians), 3)


def check_windows(clips):
  """Raises:
    UserError: the clips hold fewer than two windows, and so no covariance.
  """
  count = 0
  for clip in clips:
    count += len(clip['frames']) // i3d.FRAMES
    if count >= 2:
      return
  raise UserError(f'the clips hold {count} windows of {i3d.FRAMES} frames, and a Frechet distance '
                  'needs 2: measure more clips or longer ones, or leave --i3d out')


# ------------------------------------------------------------------------------------------------
# Showing
# ------------------------------------------------------------------------------------------------


def check_folder(folder):
  """Raises:
    UserError: what is in the folder would be lost if `write` took its place.
  """
  folder = pathlib.Path(folder)
  if os.path.exists(folder) and not (
      folder.is_dir() and {path.name for path in folder.iterdir()} <= _FILES):
    raise UserError(f'{folder} holds other things than an evaluation: give a new folder as --out')


def write(folder, scores, examples):
  """Writes scores.json, sheet.png and video.mp4; the folder appears whole or not at all.

  Args:
    folder: where to; an earlier evaluation in it is replaced.
    scores, examples: of `measure`.

  Raises:
    UserError: it cannot be written, or other things are there.
  """
  check_folder(folder)
  try:
    with outputs.whole_folder(folder) as part:
      files.write_json(part / 'scores.json', scores)
      rows = [sheet_row(clip, output) for clip, output in examples]
      image_grid.write(part / 'sheet.png', image_grid.join(rows))
      video_writer.write_clip(part / 'video.mp4', side_by_side(examples), _rate(examples))
  except OSError as error:
    raise UserError(f'{folder}: cannot be written ({error})') from error


def sheet_row(clip, output):
  """The frame with the widest lips: source, reconstruction, 4 x error; and these of the mouth.

  Args:
    clip: dict with frames, mouth_box and lip_gap.
    output: its reconstruction, uint8 [F, S, S, 3].

  Returns:
    List of six uint8 pictures of one size.
  """
  at = int(np.argmax(np.nan_to_num(clip['lip_gap'], nan=-1.0)))
  whole = image_grid.compare(clip['frames'][at], output[at])
  large = [image_grid.enlarge(x) for x in whole]
  return large + [image_grid.square(x, clip['mouth_box'][at], len(large[0])) for x in whole]


def side_by_side(examples):
  """The clips one after the other: an iterator of source | reconstruction."""
  for clip, output in examples:
    for pair in zip(clip['frames'], output, strict=True):
      yield np.concatenate([image_grid.enlarge(x) for x in pair], axis=1)


def _rate(examples):
  """Frames a second: the usual one of the clips."""
  return float(1 / np.median(np.concatenate([np.diff(clip['times']) for clip, _ in examples])))

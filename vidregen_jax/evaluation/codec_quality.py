"""How near an exported codec's reconstructions are to whole clips, and to their mouths.

Every figure stands for the whole crop and for the mouth's box. PSNR is of the mean squared error of
all pixels; SSIM and LPIPS are means over frames; flicker is the mean change from frame to frame
over the source's own (1 is best: less is smear, more is shimmer). A leak is how much the past
changes with the future, 0 for a codec that can stream.
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
_STRIDE = 5  # SSIM and LPIPS are of every fifth frame, so of all four places in a latent frame
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
    (scores, shown). Scores is a dict of each figure, alone and with _mouth; medians, of the same
    over the clips; leak (see `leak`), the largest of all clips, None where no clip has a past;
    clips, frames, and rows, a dict a clip; with a network also fvd and fvd_windows, the number of
    16-frame windows that it is of. A figure that cannot be had (a still film does not flicker) is
    None. Shown is a list of (clip, frames uint8 [F, S, S, 3]) of the first clips.

  Raises:
    UserError: no clips, or too few windows for a distance.
  """
  if network is not None:
    check_windows(clips)
  encoder, decoder = streaming_codec.Encoder.of(export), streaming_codec.Decoder.of(export)
  rows, sums, leaks, shown, windows = [], [], [], [], []
  for clip in terminal.progress(clips, 'clip', 'codec'):
    frames = clip['frames']
    z = encoder.stream(frames[None])
    made = decoder(z, len(frames))[0]
    sums.append(_compare(clip, made, vgg16))
    rows.append({'clip': clip['clip_id'].decode(), 'frames': len(frames), **_figures(sums[-1])})
    if z.shape[1] > 1:
      leaks.append(leak(encoder, decoder, frames))
    if network is not None:
      windows += _window_features(network, frames, made)
    if len(shown) < SHOWN:
      shown.append((clip, made))
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
                   'rows': rows}, shown


def _compare(clip, made, vgg16):
  """Sums of [whole, mouth], which can be added over clips."""
  frames = clip['frames']
  mouth = np.asarray(pixels.box_mask(clip['mouth_box'], frames.shape[1]))[..., 0]
  inside = mouth > 0
  both = lambda x, mask: np.array([x.sum(), x[mask].sum()], np.float64)
  change = lambda x: np.abs(np.diff(x.astype(np.int16), axis=0)).sum(-1)
  sums = {
    'error': both(np.square(made.astype(np.int32) - frames).sum(-1), inside),
    'values': 3 * both(np.ones(inside.shape), inside),
    # A change belongs to the later frame's mouth.
    'changed_made': both(change(made), inside[1:]),
    'changed_source': both(change(frames), inside[1:]),
  }
  parts = [_compare_pictures(*(x[start : start + _STRIDE * _PICTURES : _STRIDE]
                               for x in (made, frames, mouth)), vgg16)
           for start in range(0, len(frames), _STRIDE * _PICTURES)]
  return sums | {name: sum(part[name] for part in parts) for name in parts[0]}


def _compare_pictures(made, frames, mouth, vgg16):
  """The same of at most `_PICTURES` pictures; as many are computed, the last one repeated."""
  count = len(made)
  pad = lambda x: np.pad(x, [(0, _PICTURES - count)] + [(0, 0)] * (x.ndim - 1), mode='edge')
  made, frames, mouth = pad(pixels.to_float(made)), pad(pixels.to_float(frames)), pad(mouth)
  alike, seen = (np.asarray(x, np.float64)[:count] for x in _likeness(made, frames, mouth))
  # A frame without a mouth counts for the whole only.
  sums = {'ssim': (alike * seen).sum(0), 'pictures': seen.sum(0)}
  if vgg16 is not None:
    apart = np.asarray(_distance(vgg16, made, frames, mouth), np.float64)[:count]
    sums['lpips'] = (apart * seen).sum(0)
  return sums


@jax.jit
def _likeness(made, frames, mouth):
  """SSIM of pictures and of their mouths, and whether there is such a thing: twice [N, 2]."""
  index = image_metrics.ssim_map(made, frames)
  edge = (mouth.shape[1] - index.shape[1]) // 2
  near = mouth[:, edge:-edge, edge:-edge]
  mass = near.sum((1, 2))
  inside = (index * near).sum((1, 2)) / jnp.maximum(mass, 1.0)
  return (jnp.stack([index.mean((1, 2)), inside], -1),
          jnp.stack([jnp.ones_like(mass), mass > 0], -1))


@jax.jit
def _distance(vgg16, made, frames, mouth):
  """LPIPS of pictures and of their mouths, [N, 2]; compiled, their features are made once."""
  return jnp.stack([perceptual.lpips(vgg16, made, frames),
                    perceptual.lpips(vgg16, made, frames, mouth)], -1)


def _figures(sums):
  """From sums of [whole, mouth], the figures by name."""
  with np.errstate(divide='ignore', invalid='ignore'):
    found = {'psnr': 10 * np.log10(255**2 * sums['values'] / sums['error']),
             'ssim': sums['ssim'] / sums['pictures'],
             'flicker': sums['changed_made'] / sums['changed_source']}
    if 'lpips' in sums:
      found['lpips'] = sums['lpips'] / sums['pictures']
  return {name + part: _rounded(name, value)
          for name, values in found.items()
          for part, value in zip(('', '_mouth'), values, strict=True)}


def _rounded(name, value):
  """A figure with the digits that mean something; None if there is none."""
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
  made, other_made = (decoder.stream(x)[:, :past] for x in (z, other_z))
  return (float(np.abs(z[:, :first] - other_z[:, :first]).max()),
          float(np.abs(made - other_made).max()))


_logits = jax.jit(i3d.features)


def _window_features(network, frames, made):
  """Logits of each whole window of 16 frames, of the source and of what was made: [2, 400] each."""
  starts = range(0, len(frames) - i3d.FRAMES + 1, i3d.FRAMES)
  return [np.asarray(_logits(network, pixels.to_float(
    np.stack([x[start : start + i3d.FRAMES] for x in (frames, made)])))) for start in starts]


def video_distance(windows):
  """The Frechet distance of windows' logits [N, 2, D], N at least 2, rounded."""
  gaussians = [part for x in np.moveaxis(windows.astype(np.float64), 1, 0)
               for part in (x.mean(0), np.cov(x, rowvar=False))]
  return round(i3d.frechet_distance(*gaussians), 3)


def check_windows(clips):
  """Raises:
    UserError: the clips hold fewer than two windows, and so no covariance.
  """
  held = 0
  for clip in clips:
    held += len(clip['frames']) // i3d.FRAMES
    if held >= 2:
      return
  raise UserError(f'the clips hold {held} windows of {i3d.FRAMES} frames, and a Frechet distance '
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


def write(folder, scores, shown):
  """Writes scores.json, sheet.png and video.mp4; the folder appears whole or not at all.

  Args:
    folder: where to; an earlier evaluation in it is replaced.
    scores, shown: of `measure`.

  Raises:
    UserError: it cannot be written, or other things are there.
  """
  check_folder(folder)
  try:
    with outputs.whole_folder(folder) as part:
      files.write_json(part / 'scores.json', scores)
      rows = [sheet_row(clip, made) for clip, made in shown]
      image_grid.write(part / 'sheet.png', image_grid.join(rows))
      video_writer.write_clip(part / 'video.mp4', side_by_side(shown), _rate(shown))
  except OSError as error:
    raise UserError(f'{folder}: cannot be written ({error})') from error


def sheet_row(clip, made):
  """Where the lips are widest apart: source, reconstruction, 4 x error, and the same of the mouth.

  Args:
    clip: dict with frames, mouth_box and lip_gap.
    made: its reconstruction, uint8 [F, S, S, 3].

  Returns:
    List of six uint8 pictures of one size.
  """
  at = int(np.argmax(np.nan_to_num(clip['lip_gap'], nan=-1.0)))
  whole = image_grid.compare(clip['frames'][at], made[at])
  large = [image_grid.enlarge(x) for x in whole]
  return large + [image_grid.square(x, clip['mouth_box'][at], len(large[0])) for x in whole]


def side_by_side(shown):
  """The clips one after the other: an iterator of source | reconstruction."""
  for clip, made in shown:
    for pair in zip(clip['frames'], made, strict=True):
      yield np.concatenate([image_grid.enlarge(x) for x in pair], axis=1)


def _rate(shown):
  """Frames a second: the usual one of the clips."""
  return float(1 / np.median(np.concatenate([np.diff(clip['times']) for clip, _ in shown])))

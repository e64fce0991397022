"""Is a pasted mouth visible? Colour along its rim, and grain inside it against outside.

  python -m bench.rims --checkpoint=checkpoints/talkers --clips=2
  python -m bench.rims --video=FILE --audio=FILE --span=2-4

Test clips are enlarged and given film grain, the middle of each is edited, and the written frames
are compared with the source's. `codec` pastes the codec's frames of the true face, with no model.

Colour is the CIE 1976 difference of edit and source along the mask's soft edge, with fine detail
blurred away. Grain is the robust deviation (1.48 times the median absolute difference from a blur)
in the skin of the lower face, without lips, over that of the upper face; for the edit and for the
source, in which the two may differ. Their quotient is 1 if nothing is visible.
"""

import pathlib
import sys
import tempfile

import cv2
import numpy as np
import tqdm

from vidregen_jax import cli, files
from vidregen_jax.editing import editor, preparation
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import lip_sync
from vidregen_jax.exports import pipeline
from vidregen_jax.faces import crop_mask, face_track, landmarks, tracks
from vidregen_jax.media import video, video_writer
from vidregen_jax.media.audio import waveform
from vidregen_jax.media.timeline import spans
from vidregen_jax.provenance import consent

_WITHIN = 0.35, 0.65  # of a clip, what is edited
_FINE = 2  # crops that are compared have this many times the model's pixels
_SIGMA = 1.0  # pixels of the image: what is finer is grain


def colour_at_rim(source, edited, affine, jaw, mouth, size=96):
  """CIE 1976 differences along the soft edge, one a pixel of it.

  Args:
    source, edited: uint8 [H, W, 3].
    affine: [2, 3], crop fraction to image pixel.
    jaw, mouth: of `crop_mask.paste_mask`.
    size: S of the model's crop.
  """
  fine = _FINE * size
  one, other = (_lab(cv2.GaussianBlur(landmarks.crop(image, affine, fine), (0, 0), .02 * fine))
                for image in (source, edited))
  soft = crop_mask.paste_mask(fine, jaw, mouth)
  return np.linalg.norm(one - other, axis=-1)[(soft > .02) & (soft < .5)]


def grain_ratio(image, affine, jaw, mouth, mouth_box):
  """Grain of the lower face's skin over that of the upper face, no unit."""
  luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
  fine = np.abs(luma - cv2.GaussianBlur(luma, (0, 0), _SIGMA))
  size = 192
  inside = crop_mask.paste_mask(size, jaw, mouth) > .8
  x0, y0, x1, y1 = np.clip(np.rint(mouth_box * size), 0, size).astype(int)
  inside[y0:y1, x0:x1] = False
  inside[round(.85 * size):] = False
  outside = np.zeros_like(inside)
  outside[round(.05 * size):round(.36 * size), round(.25 * size):round(.75 * size)] = True
  pixels = landmarks.pixel_affine(affine, size)
  where = [cv2.warpAffine(part.astype(np.uint8), pixels, luma.shape[::-1]) > 0
           for part in (inside, outside)]
  return np.median(fine[where[0]]) / max(np.median(fine[where[1]]), 1e-3)


def measure(source, edited, span):
  """Rows of (mean and 95th percentile of colour, edit's and source's grain ratio), one a frame."""
  track = tracks.track_file(source)
  inside = np.flatnonzero(spans.frames([span], track.times) & track.valid)
  first, stop = int(inside[0]), int(inside[-1]) + 1
  mouths, rows = face_track.largest_mouths(track), []
  for one, other in zip(video.frames(source, first, stop), video.frames(edited, first, stop),
                        strict=True):
    where = track.affine[one.index], track.jaw[one.index], mouths[one.index]
    off = colour_at_rim(one.image, other.image, *where)
    box = track.mouth_box[one.index]
    rows.append((off.mean(), np.percentile(off, 95), grain_ratio(other.image, *where, box),
                 grain_ratio(one.image, *where, box)))
  return np.array(rows)


def enlarged(clip, folder, grain, scale):
  """Writes a clip, `scale` times as large and with grain; its path."""
  rng = np.random.default_rng(0)
  path = folder / f'{clip.path.stem}_{grain:g}.mp4'
  samples, rate, _ = waveform.read(clip.path)

  def images():
    for frame in video.frames(clip.path):
      image = cv2.resize(frame.image, None, fx=scale, fy=scale,
                         interpolation=cv2.INTER_CUBIC)
      height, width = (length // 2 * 2 for length in image.shape[:2])
      noise = cv2.GaussianBlur(rng.standard_normal((height, width), np.float32), (0, 0), .7)
      noise *= grain / noise.std()
      yield np.uint8(np.clip(np.rint(image[:height, :width] + noise[..., None]), 0, 255))
  video_writer.write_clip(path, images(), video.probe(clip.path).rate, samples, rate, crf=4)
  return path


def _lab(crop):
  return cv2.cvtColor(crop.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def _jobs(flags, folder):
  """(name, source, new sound, span) of each edit."""
  if flags.video:
    if not (flags.audio and flags.span):
      raise UserError('--video needs --audio and --span')
    return [(pathlib.Path(flags.video).name, flags.video, flags.audio,
             spans.parse(flags.span))]
  clips = lip_sync.read_clips(flags.pack, 'test')
  pairs = [(a, b) for a, b in lip_sync.pair(clips) if b.seconds > _WITHIN[1] * a.seconds]
  return [(f'grain {grain:g}', enlarged(a, folder, grain, flags.scale), b.path,
           tuple(share * a.seconds for share in _WITHIN))
          for grain in flags.grains for a, b in pairs[:flags.clips]]


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.rims', description=__doc__)
  flags.add_argument('--checkpoint', default='checkpoints/talkers',
                     help='an exported system (default %(default)s)')
  flags.add_argument('--pack', default='data/talkers/pack',
                     help='folder of the rendered talkers (default %(default)s)')
  flags.add_argument('--clips', type=cli.whole(1), default=2,
                     help='how many clips at most (default %(default)s)')
  flags.add_argument('--grains', type=cli.several(float), default=[0, 3],
                     help='grain of the clips, grey levels (default 0,3)')
  flags.add_argument('--scale', type=cli.number(1), default=2.5,
                     help='factor by which the clips are enlarged (default %(default)s)')
  flags.add_argument('--video', help='a video to edit instead, as it is')
  flags.add_argument('--audio', help='its new soundtrack')
  flags.add_argument('--span', help='its span, START-END')
  flags.add_argument('--json', help='file for all figures')
  return flags


def run(flags):
  """Prints the table.

  Raises:
    UserError: something is missing.
  """
  machine = pipeline.load(flags.checkpoint)
  rows = {}
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    for at, (what, source, sound, span) in enumerate(tqdm.tqdm(_jobs(flags, folder), unit='clip')):
      for kind in ('codec', 'student'):
        out = folder / f'{at}_{kind}.mp4'
        editor.regenerate(
          preparation.Edit(str(source), consent.of('to be measured'), str(out), str(sound), (span,),
                          reconstruct=kind == 'codec'), machine)
        rows.setdefault(f'{what}, {kind}', []).append(measure(source, out, span))
  print('| footage, made by | rim, mean dE | rim, p95 of dE | grain in/out, edit | source | '
        'quotient |')
  print('|---|---|---|---|---|---|')
  for name, found in rows.items():
    mean, high, made, true = np.median(np.concatenate(found), axis=0)
    print(f'| {name} | {mean:.2f} | {high:.2f} | {made:.2f} | {true:.2f} | {made / true:.2f} |')
  if flags.json:
    files.write_json(pathlib.Path(flags.json),
                      {name: [x.tolist() for x in found] for name, found in rows.items()})


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

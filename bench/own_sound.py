"""How near to the person are mouths that are made with the person's own sound?

  python -m bench.own_sound VIDEO --span=4.2-5.8 --checkpoints=checkpoints/talkers,OUT \
    --perceptual=FOLDER

The span is edited with the video's own sound, by the student of each checkpoint, and the written
frames are compared with the source's: PSNR of the lower face, LPIPS of the mouth, and sharpness of
the mouth as a share of the source's. `codec` pastes the codec's frames of the true face. This says
how a person looks, not whether the mouth listens.
"""

import pathlib
import sys
import tempfile

import numpy as np

from vidregen_jax import cli, files
from vidregen_jax.editing import editor, preparation
from vidregen_jax.evaluation import identity_metrics, mouth_quality
from vidregen_jax.exports import pipeline
from vidregen_jax.faces import landmarks, tracks
from vidregen_jax.media import image_grid, video
from vidregen_jax.media.timeline import spans
from vidregen_jax.models import perceptual
from vidregen_jax.provenance import consent

_SIZE = 288  # side of the crops that are compared, pixels
_SHOWN = 6  # frames on a sheet


def crops(path, track, frames):
  """The crops of some consecutive frames of a video, uint8 [1, F, S, S, 3]."""
  images = video.frames(path, int(frames[0]), int(frames[-1]) + 1)
  return np.stack([landmarks.crop(frame.image, track.affine[frame.index], _SIZE)
                   for frame in images])[None]


def measure(made, true, boxes, vgg16):
  """{'psnr', 'lpips', 'sharpness'} of crops beside the true ones."""
  where = identity_metrics.lower_face(_SIZE)
  figures = mouth_quality.figures({'mouth': made}, true, boxes, vgg16)
  return {'psnr': float(identity_metrics.psnr(made, true, where)[0]),
          **{name.partition('_')[0]: x for name, x in figures.items()}}


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.own_sound', description=__doc__)
  flags.add_argument('video', help='a video of somebody talking')
  flags.add_argument('--span', required=True, help='what is edited, START-END in seconds')
  flags.add_argument('--checkpoints', type=cli.several(str), default=['checkpoints/talkers'],
                     help='exported systems (default checkpoints/talkers)')
  flags.add_argument('--perceptual', help='VGG16 with LPIPS heads; default: no LPIPS')
  flags.add_argument('--sheet', metavar='SHEET.png', help='picture of source and edits')
  flags.add_argument('--json', metavar='FILE', help='file for all figures')
  return flags


def run(flags):
  """Prints the table.

  Raises:
    UserError: something is missing.
  """
  span = spans.parse(flags.span)
  vgg16 = perceptual.load(flags.perceptual) if flags.perceptual else None
  track = tracks.track_file(flags.video)
  frames = np.flatnonzero(spans.frames([span], track.times) & track.valid)
  true, boxes = crops(flags.video, track, frames), track.mouth_box[None, frames]
  rows, shown = {}, [true]
  with tempfile.TemporaryDirectory() as folder:
    for at, checkpoint in enumerate(flags.checkpoints):
      machine = pipeline.load(checkpoint)
      for kind, options in (('codec', {'reconstruct': True, 'fit_face': False}),
                            ('student', {'fit_face': False}), ('student, fitted', {})):
        out = pathlib.Path(folder) / f'{at}_{kind}.mp4'
        editor.regenerate(preparation.Edit(
          flags.video, consent.of('to be measured'), str(out), flags.video, (span, ),
          **options), machine)
        shown.append(crops(out, track, frames))
        rows[f'{checkpoint}, {kind}'] = measure(shown[-1], true, boxes, vgg16)
  print('| checkpoint, made by | PSNR of the lower face | LPIPS of the mouth | sharpness |')
  print('|---|---|---|---|')
  for name, found in rows.items():
    seen = f'{found["lpips"]:.3f}' if vgg16 else '-'
    print(f'| {name} | {found["psnr"]:.1f} dB | {seen} | {found["sharpness"]:.2f} |')
  if flags.sheet:
    at = np.linspace(2, len(frames) - 3, _SHOWN).astype(int)
    half = slice(_SIZE * 3 // 8, None)
    rows_shown = [[x[0, i, half] for i in at] for x in shown]
    image_grid.write(pathlib.Path(flags.sheet), image_grid.join(rows_shown))
  if flags.json:
    files.write_json(pathlib.Path(flags.json), rows)


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

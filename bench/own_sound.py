"""How near to a person are mouths that are made with the person's own sound?

  python -m bench.own_sound VIDEO ... --checkpoints=checkpoints/talkers,OUT --perceptual=FOLDER

A span of each video is edited with the video's own sound, by the student of each checkpoint, and
the written frames are compared with the source's: PSNR of the lower face, LPIPS of the mouth, the
mouth's sharpness as a share of the source's, and delta E of the skin's mean colour. `codec` pastes
the codec's frames of the true face. With --identity, and two people at least, also how far the face
is from the person's own frames outside the span, and from the nearest of the other people's
(`bench.face_embedding`); `source` is how far the true frames are. This says how a person looks, not
whether the mouth listens.
"""

import pathlib
import sys
import tempfile

import numpy as np

from bench import face_embedding
from vidregen_jax import cli, files, terminal
from vidregen_jax.editing import editor, preparation
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import identity_metrics, mouth_quality
from vidregen_jax.exports import pipeline
from vidregen_jax.faces import tracks
from vidregen_jax.media import image_grid
from vidregen_jax.media.timeline import spans
from vidregen_jax.models import perceptual
from vidregen_jax.provenance import consent

_SIZE = 288  # side of the crops that are compared, pixels
_SHOWN = 6  # frames on a sheet
_EMBEDDED = 12  # frames of each person


def measure(made, true, boxes, vgg16):
  """{'psnr', 'lpips', 'sharpness', 'colour'} of crops [1, F, S, S, 3] beside the true ones."""
  where = identity_metrics.lower_face(_SIZE)
  figures = mouth_quality.figures({'mouth': made}, true, boxes, vgg16)
  return {'psnr': float(identity_metrics.psnr(made, true, where)[0]),
          **{name.partition('_')[0]: x for name, x in figures.items()},
          'colour': float(identity_metrics.skin_difference(made, true, boxes)[0])}


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.own_sound', description=__doc__)
  flags.add_argument('videos', nargs='+', metavar='VIDEO', help='a video of somebody talking')
  flags.add_argument('--span', help='what is edited, START-END in seconds; default: the middle '
                                    '1.6 seconds, or of a shorter video its second third')
  flags.add_argument('--checkpoints', type=cli.several(str), default=['checkpoints/talkers'],
                     help='exported systems (default checkpoints/talkers)')
  flags.add_argument('--perceptual', help='VGG16 with LPIPS heads; default: no LPIPS')
  flags.add_argument('--identity', action='store_true', help='embed faces')
  flags.add_argument('--sheets', metavar='DIR', help='folder for pictures of source and edits')
  flags.add_argument('--json', metavar='FILE', help='file for all figures')
  return flags


def _span(times):
  """The middle of a video with frames at these times, [START, STOP)."""
  length = min(1.6, (times[-1] - times[0]) / 3)
  middle = (times[0] + times[-1]) / 2
  return middle - length / 2, middle + length / 2


KINDS = (('codec', {'reconstruct': True, 'fit_face': False}), ('student', {'fit_face': False}),
         ('student, fitted', {}))


def edits(path, span, machines, folder, kinds=KINDS):
  """Frames of a video's span, and of its edits by kind, (name, options of an edit).

  Returns:
    crops by kind, uint8 [1, F, S, S, 3], of which 'source' is the true one; those of the video
    outside the span, uint8 [1, N, S, S, 3]; mouth boxes [1, F, 4].
  """
  track = tracks.track_file(path)
  span = span or _span(track.times)
  inside = spans.frames([span], track.times)
  frames, rest = np.flatnonzero(inside & track.valid), np.flatnonzero(~inside & track.valid)
  if not len(frames) or not len(rest):
    raise UserError(f'{path}: no face is seen within {span[0]:.2f}-{span[1]:.2f} s, or outside; '
                    'name another --span')
  rest = rest[np.linspace(0, len(rest) - 1, min(_EMBEDDED, len(rest))).astype(int)]
  cut = lambda video, of: mouth_quality.crops(video, track, of, _SIZE)
  shown = {'source': cut(path, frames)}
  for name, machine in machines.items():
    for kind, options in kinds:
      out = pathlib.Path(folder) / f'{pathlib.Path(path).stem}_{len(shown)}.mp4'
      editor.regenerate(preparation.Edit(
        path, consent.of('to be measured'), str(out), path, (span, ), **options), machine)
      shown[f'{name}, {kind}'] = cut(out, frames)
      out.unlink()
  return shown, cut(path, rest), track.mouth_box[None, frames]


def identities(embed, people):
  """How far faces are from their person, and from the nearest other person.

  Args:
    embed: of `face_embedding.load`.
    people: by video, what `edits` returns.

  Returns:
    By video and kind, {'own', 'nearest_other'}.
  """
  some = lambda crops: crops[0, np.linspace(0, crops.shape[1] - 1, _EMBEDDED).astype(int)]
  known = {path: embed(some(rest)) for path, (_, rest, _) in people.items()}
  found = {}
  for path, (shown, _, _) in people.items():
    found[path] = {}
    for kind, crops in shown.items():
      seen = embed(some(crops))
      far = {other: face_embedding.distance(seen, of) for other, of in known.items()}
      found[path][kind] = {'own': far.pop(path), 'nearest_other': min(far.values())}
  return found


def run(flags):
  """Prints the table.

  Raises:
    UserError: something is missing.
  """
  if flags.span and len(flags.videos) > 1:
    raise UserError('--span is of one video; leave it out, and the middle of each is edited')
  if flags.identity and len(flags.videos) < 2:
    raise UserError('--identity wants two people at least, one a video')
  span = spans.parse(flags.span) if flags.span else None
  embed = face_embedding.load() if flags.identity else None
  vgg16 = perceptual.load(flags.perceptual) if flags.perceptual else None
  machines = {checkpoint: pipeline.load(checkpoint) for checkpoint in flags.checkpoints}
  if flags.sheets:
    pathlib.Path(flags.sheets).mkdir(parents=True, exist_ok=True)
  people = {}
  with tempfile.TemporaryDirectory() as folder:
    for path in terminal.progress(flags.videos, 'video', 'editing'):
      people[path] = edits(path, span, machines, folder)
  rows = {path: {kind: measure(crops, shown['source'], boxes, vgg16) if kind != 'source' else {}
                 for kind, crops in shown.items()}
          for path, (shown, _, boxes) in people.items()}
  if embed:
    for path, found in identities(embed, people).items():
      for kind, row in found.items():
        rows[path][kind] |= row
  print('| video | checkpoint, made by | PSNR of the lower face | LPIPS of the mouth | sharpness | '
        'colour of the skin, delta E | distance from the person, from the nearest other |')
  print('|---|---|---|---|---|---|---|')
  form = lambda row, name, spec: format(row[name], spec) if name in row else '-'
  for path, kinds in rows.items():
    for kind, row in kinds.items():
      cells = [form(row, name, spec) for name, spec in
               (('psnr', '.1f'), ('lpips', '.3f'), ('sharpness', '.2f'), ('colour', '.1f'))]
      far = ', '.join(form(row, name, '.2f') for name in ('own', 'nearest_other'))
      print(f'| {pathlib.Path(path).name} | {kind} | {" | ".join(cells)} | {far} |')
  if flags.sheets:
    half = slice(_SIZE * 3 // 8, None)
    for path, (shown, _, boxes) in people.items():
      at = np.linspace(2, boxes.shape[1] - 3, _SHOWN).astype(int)
      image_grid.write(pathlib.Path(flags.sheets) / f'{pathlib.Path(path).stem}.png',
                       image_grid.join([[crops[0, i, half] for i in at]
                                        for crops in shown.values()]))
  if flags.json:
    files.write_json(pathlib.Path(flags.json), rows)


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

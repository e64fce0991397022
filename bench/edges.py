"""The right edge of a span: the jump back to real footage, with the anchor and without.

  python -m bench.edges --checkpoint=out/generator/export --dataset=out/latents/64

Windows from the middle of the test split's clips are generated with their own sound, so that the
next frames are known. The jump is the mean absolute change of the lower face's pixels from the last
generated frame to the first real one after it, both decoded; for comparison, the same inside real
footage. The spans are also generated with another clip's sound, after which the mouth must return
from another position.
"""

import pathlib
import sys

import numpy as np

from bench import rehearsals
from vidregen_jax import cli, files
from vidregen_jax.datasets import windows
from vidregen_jax.evaluation import identity_metrics
from vidregen_jax.inference import streaming_codec
from vidregen_jax.models import codec


def cut_spans(opened, count):
  """Windows with a real latent frame right after them, and the true frames of both.

  Returns:
    (windows, stacked; uint8 [B, 4T + 4, S, S, 3]).
  """
  shape, decoder = opened.shape, streaming_codec.Decoder.of(opened.codec)
  rng, cuts, real = np.random.default_rng(0), [], []
  for record in opened.test[:count]:
    start = (len(record['target']) - shape.frames - 1) // 2
    cut = None
    while cut is None or not cut['anchor_valid'] or cut['anchor_time'] > shape.frames:
      cut = windows.cut(record, start, shape, rng)  # half of all draws have the anchor right after
    cuts.append(cut)
    target = record['target'][start:start + shape.frames + 1]
    real.append(decoder(np.float32(target)[None])[0])
  return {name: np.stack([cut[name] for cut in cuts]) for name in cuts[0]}, np.stack(real)


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.edges', description=__doc__)
  rehearsals.add_flags(flags)
  flags.add_argument('--frames', type=cli.whole(2), default=8,
                     help='latent frames per span (default %(default)s)')
  flags.add_argument('--json', help='file for all figures')
  return flags


def run(flags):
  """Prints the table.

  Raises:
    UserError: something is missing.
  """
  opened = rehearsals.open_test(flags, flags.frames, more=1)
  cuts, real = cut_spans(opened, flags.clips)
  span, after = real[:, :-codec.TIME_FACTOR], real[:, -codec.TIME_FACTOR:]
  face = identity_metrics.lower_face(real.shape[2])
  jump = lambda before, after: identity_metrics.difference(after[:, :1], before[:, -1:], face)[:, 0]
  rows = {'inside real footage': identity_metrics.jumps(real, face).ravel(),
          'real footage, at the same place': jump(span, after)}
  for anchored in (True, False):
    rehearse = opened.rehearse(cuts | {'anchor_valid': cuts['anchor_valid'] & anchored})
    for sound in ('own', 'new'):
      frames = rehearse.make(opened.sampler, opened.params, sound)
      rows[f'{sound} sound, {"with" if anchored else "without"} the anchor'] = jump(frames, after)
      if sound == 'own' and anchored:
        rows['own sound, not a jump: from the same real frames'] = identity_metrics.difference(
          frames, span, face).ravel()
  print('| edge | median | mean | 95th percentile |\n|---|---|---|---|')
  for name, x in rows.items():
    print(f'| {name} | {np.median(x):.2f} | {x.mean():.2f} | {np.percentile(x, 95):.2f} |')
  if flags.json:
    files.write_json(pathlib.Path(flags.json), {name: x.tolist() for name, x in rows.items()})


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

"""The right edge of a span: the jump back to real footage, with the anchor and without.

  python -m bench.edges --checkpoint=out/generator/export --dataset=out/latents/64

Windows from the middle of the test split's clips are made with their own sound, so that what comes
after them is known. The jump is the mean absolute change of the lower face's pixels from the last
made frame to the first real one after it, both decoded; beside it the same inside real footage. The
spans are made with another clip's sound too, where the mouth has to come back from elsewhere.
"""

import pathlib

import numpy as np
from absl import flags

from bench import rehearsals
from vidregen_jax import cli, files
from vidregen_jax.datasets import windows
from vidregen_jax.evaluation import identity_metrics
from vidregen_jax.inference import streaming_codec
from vidregen_jax.models import codec

_FRAMES = flags.DEFINE_integer('frames', 8, 'Latent frames of a span.', lower_bound=2)
_JSON = flags.DEFINE_string('json', None, 'File for all figures.')


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


def run():
  """Prints the table.

  Raises:
    UserError: something is missing.
  """
  opened = rehearsals.open_test(_FRAMES.value, more=1)
  shown, real = cut_spans(opened, rehearsals.CLIPS.value)
  span, after = real[:, :-codec.TIME_FACTOR], real[:, -codec.TIME_FACTOR:]
  face = identity_metrics.lower_face(real.shape[2])
  jump = lambda before, after: identity_metrics.difference(after[:, :1], before[:, -1:], face)[:, 0]
  rows = {'inside real footage': identity_metrics.jumps(real, face).ravel(),
          'real footage, at the same place': jump(span, after)}
  for anchored in (True, False):
    rehearse = opened.rehearse(shown | {'anchor_valid': shown['anchor_valid'] & anchored})
    for sound in ('own', 'new'):
      made = rehearse.make(opened.sampler, opened.params, sound)
      rows[f'{sound} sound, {"with" if anchored else "without"} the anchor'] = jump(made, after)
      if sound == 'own' and anchored:
        rows['own sound, not a jump: from the same real frames'] = identity_metrics.difference(
          made, span, face).ravel()
  print('| edge | median | mean | 95th percentile |\n|---|---|---|---|')
  for name, x in rows.items():
    print(f'| {name} | {np.median(x):.2f} | {x.mean():.2f} | {np.percentile(x, 95):.2f} |')
  if _JSON.value:
    files.write_json(pathlib.Path(_JSON.value), {name: x.tolist() for name, x in rows.items()})


if __name__ == '__main__':
  cli.run(run, 'nothing was written')

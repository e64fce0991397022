"""Windows of clips that one core makes in a second, for training the codec: plain and varied.

  python -m bench.windows --dataset=out/talkers/64
  python -m bench.windows --dataset=out/talking_faces/256 --size=256

The clips are read from disk again and again, as in training; the last line is a JSON object.
"""

import json
import sys
import time

import numpy as np

from vidregen_jax import cli, terminal
from vidregen_jax.datasets import input_pipeline

_KINDS = {
  'plain': dict(p_flip=0.0, p_masked=0.0, p_still=0.0, p_rate=0.0, p_look=0.0),
  'of the large configs': dict(p_flip=0.5, p_masked=0.15, p_still=0.15, p_rate=0.3, p_look=0.5),
  'all at another rate and look': dict(p_flip=0.5, p_masked=0.15, p_still=0.15, p_rate=1.0,
                                       p_look=1.0),
}


def speed(clips, frames: int, seconds: float, **kind) -> dict:
  """Windows made in a second of processor time.

  Args:
    clips: of `input_pipeline.talker_clips`.
    frames: of a window.
    seconds: to spend.
    **kind: the probabilities of a codec's config.
  """
  rng, count, began = np.random.default_rng(0), 0, time.process_time()
  while time.process_time() - began < seconds:
    input_pipeline.random_window(clips[count % len(clips)], rng, frames, **kind)
    count += 1
  each = (time.process_time() - began) / count
  return {'windows a second': round(1 / each, 1), 'frames a second': round(frames / each)}


def _run(given):
  clips = input_pipeline.talker_clips(given.dataset, 'train', given.size)
  terminal.say(json.dumps({name: speed(clips, given.frames, given.seconds, **kind)
                           for name, kind in _KINDS.items()}))


def main(argv=None) -> int:
  parser = cli.Parser(prog='python -m bench.windows', description=__doc__)
  parser.add_argument('--dataset', required=True, metavar='DIR')
  parser.add_argument('--size', type=cli.whole(1), default=64, metavar='N',
                      help='side of its crops in pixels (default %(default)d)')
  parser.add_argument('--frames', type=cli.whole(4), default=16, metavar='N',
                      help='of a window (default %(default)d)')
  parser.add_argument('--seconds', type=cli.number(0.1), default=5.0, metavar='S',
                      help='to measure each kind for (default %(default)g)')
  return cli.command(parser, _run, 'nothing was written', argv)


if __name__ == '__main__':
  sys.exit(main())

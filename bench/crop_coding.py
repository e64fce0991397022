"""What crops would take on disk, encoded frame by frame, and what decoding a window would cost.

  python -m bench.crop_coding --dataset=out/talkers/64
  python -m bench.crop_coding --dataset=out/talking_faces/256 --size=256

Crops are stored as they are. Of some clips each frame is encoded by itself, so that any window can
be read alone. Milliseconds are of a processor and of a window; 'stored' reads a whole clip's record
for it, as training does. The last line is a JSON object.
"""

import json
import sys
import time

import cv2
import numpy as np

from vidregen_jax import cli, terminal
from vidregen_jax.datasets import input_pipeline
from vidregen_jax.errors import UserError

_FULL = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
CODINGS = {
  'PNG': ('.png', [cv2.IMWRITE_PNG_COMPRESSION, 1]),
  'WebP, lossless': ('.webp', [cv2.IMWRITE_WEBP_QUALITY, 101]),
  'JPEG 98, 4:4:4': ('.jpg', [cv2.IMWRITE_JPEG_QUALITY, 98, *_FULL]),
  'JPEG 95, 4:4:4': ('.jpg', [cv2.IMWRITE_JPEG_QUALITY, 95, *_FULL]),
}


def coded(frames: np.ndarray, coding: str) -> dict:
  """Bytes and milliseconds of a window, and how exact it is.

  Args:
    frames: uint8 [F, S, S, 3].
    coding: of CODINGS.

  Returns:
    'bytes', 'encode' and 'decode' in milliseconds, 'error': the mean square, 0 if it is lossless.
  """
  ending, options = CODINGS[coding]
  began = time.process_time()
  data = [cv2.imencode(ending, each[..., ::-1], options)[1] for each in frames]
  middle = time.process_time()
  again = np.stack([cv2.imdecode(each, cv2.IMREAD_COLOR)[..., ::-1] for each in data])
  end = time.process_time()
  return {'bytes': sum(map(len, data)), 'encode': 1e3 * (middle - began),
          'decode': 1e3 * (end - middle),
          'error': float(np.mean((again.astype(np.float32) - frames) ** 2))}


def measure(clips, count: int, frames: int) -> dict:
  """Means over a window from the middle of each of some clips, by coding."""
  reading, rows = 0.0, {name: [] for name in CODINGS}
  raw = 0
  for number in np.linspace(0, len(clips) - 1, min(count, len(clips))).astype(int).tolist():
    began = time.process_time()
    whole = clips[number]['frames']
    reading += 1e3 * (time.process_time() - began)
    first = max(len(whole) - frames, 0) // 2
    window = whole[first:first + frames]
    raw += window.nbytes
    for name, found in rows.items():
      found.append(coded(window, name))
  mean = lambda found, what: float(np.mean([row[what] for row in found]))
  out = {'stored': {'read a window, ms': round(reading / len(rows['PNG']), 1)}}
  for name, found in rows.items():
    error = mean(found, 'error')
    out[name] = {'of the bytes': round(sum(row['bytes'] for row in found) / raw, 3),
                 'encode, ms': round(mean(found, 'encode'), 1),
                 'decode, ms': round(mean(found, 'decode'), 1),
                 'PSNR, dB': round(10 * np.log10(255**2 / error), 1) if error else None}
  return out


def _run(given):
  clips = input_pipeline.talker_clips(given.dataset, 'train', given.size)
  if not len(clips):
    raise UserError(f'{given.dataset}: no clips to train on')
  terminal.say(json.dumps(measure(clips, given.clips, given.frames)))


def main(argv=None) -> int:
  parser = cli.Parser(prog='python -m bench.crop_coding', description=__doc__)
  parser.add_argument('--dataset', required=True, metavar='DIR')
  parser.add_argument('--size', type=cli.whole(1), default=64, metavar='N',
                      help='side of its crops in pixels (default %(default)d)')
  parser.add_argument('--clips', type=cli.whole(1), default=10, metavar='N',
                      help='that are measured (default %(default)d)')
  parser.add_argument('--frames', type=cli.whole(1), default=16, metavar='N',
                      help='of a window (default %(default)d)')
  return cli.command(parser, _run, 'nothing was written', argv)


if __name__ == '__main__':
  sys.exit(main())

"""What frames that are encoded anew cost and keep: at the finest factor, and at the source's.

  python -m bench.quality VIDEO ...

A second of each video is encoded from its decoded frames, as a span's surroundings are. Bytes are
of a frame that depends on others; the distance is of all samples from the source's.
"""

import itertools
import sys
import time

import av
import numpy as np
import tqdm

from vidregen_jax import cli, files
from vidregen_jax.media import encoders, opening, source_quality, video

_AT, _FRAMES, _PRESET = 20, 25, 'superfast'


def encoded(info, pictures, factor):
  """Bytes of a frame, dB from the source, and seconds, of pictures that are encoded."""
  name = {'hevc': 'libx265'}.get(info.codec, 'libx264')
  encoder = av.CodecContext.create(name, 'w')
  encoder.width, encoder.height, encoder.pix_fmt = info.width, info.height, info.pix_fmt
  encoder.time_base, encoder.framerate = info.time_base, info.rate
  encoder.options = encoders.settings(name, factor, _PRESET)
  began, packets = time.perf_counter(), []
  for picture in pictures:
    picture.pict_type = 0
    packets += encoder.encode(picture)
  packets += encoder.encode(None)
  seconds = time.perf_counter() - began
  decoder = av.CodecContext.create('hevc' if name == 'libx265' else 'h264', 'r')
  decoder.extradata = encoder.extradata
  made = [frame for packet in (*packets, None) for frame in decoder.decode(packet)]
  apart = [np.mean((a.to_ndarray().astype(float) - b.to_ndarray())**2)
           for a, b in zip(pictures, sorted(made, key=lambda frame: frame.pts), strict=True)]
  size = np.mean([packet.size for packet in packets if not packet.is_keyframe])
  return size, 10 * np.log10(255**2 / np.mean(apart)), seconds


def run(flags):
  """Prints the table."""
  print('| video | source, bytes a frame | rate factor | bytes a frame | times the source | dB | '
        'ms a frame |\n|---|---|---|---|---|---|---|')
  for path in tqdm.tqdm(flags.videos, unit='video'):
    files.check_readable(path)
    info = video.probe(path)
    with opening.open_input(path) as container:
      sizes = [packet.size for packet in container.demux(video.video_stream(container, path))
               if packet.size and not packet.is_keyframe]
    pictures = [frame.source for frame in itertools.islice(
      video.frames(path, _AT, _AT + _FRAMES, stamps=info.stamps), _FRAMES)]
    coder = encoders.Coder({'hevc': 'libx265'}.get(info.codec, 'libx264'), info.pix_fmt, {})
    own = np.mean(sizes)
    for factor in (source_quality.FINEST,
                   source_quality.rate_factor(info, coder, _AT, _PRESET)):
      size, near, seconds = encoded(info, pictures, factor)
      print(f'| {path} | {own:.0f} | {factor:.1f} | {size:.0f} | {size / own:.2f} | {near:.1f} | '
            f'{1000 * seconds / len(pictures):.0f} |')


def main():
  parser = cli.Parser(prog='python -m bench.quality', description=__doc__)
  parser.add_argument('videos', nargs='+', metavar='VIDEO')
  return cli.command(parser, run, 'nothing was written')


if __name__ == '__main__':
  sys.exit(main())

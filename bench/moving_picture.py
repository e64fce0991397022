"""The moving picture of README: source, edit and truth beside each other.

  make demo
  python -m bench.moving_picture
"""

import argparse
import pathlib

from PIL import Image

from vidregen_jax import cli, outputs, terminal
from vidregen_jax.media import video

_EVERY = 2  # frames, of which one is shown
_SIDE = 192  # pixels of one of the three
_QUALITY = 70


def main():
  parser = argparse.ArgumentParser(prog='python -m bench.moving_picture', description=__doc__,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument('--video', default='out/side_by_side.mp4', help='default %(default)s')
  parser.add_argument('--seconds', type=cli.number(0), default=4.0, help='default %(default)g')
  parser.add_argument('--out', default='docs/edit.webp', help='default %(default)s')
  given = parser.parse_args()
  rate = float(video.probe(given.video).rate)
  count = round(given.seconds * rate)
  shown = []
  for frame in video.frames(given.video):
    if frame.index >= count:
      break
    if frame.index % _EVERY == 0:
      picture = Image.fromarray(frame.image)
      shown.append(picture.resize((picture.width * _SIDE // picture.height, _SIDE),
                                  Image.Resampling.LANCZOS))
  out = pathlib.Path(given.out)
  with outputs.whole_file(out) as part:
    shown[0].save(part, 'WEBP', save_all=True, append_images=shown[1:], loop=0, quality=_QUALITY,
                  duration=round(1000 * _EVERY / rate))
  terminal.say(f'wrote {out}, {len(shown)} frames, {out.stat().st_size / 1e3:.0f} kB')


if __name__ == '__main__':
  main()

"""CREMA-D as a dataset of talking faces.

  python -m data.crema_d.crema_d --archives DOWNLOADS --data_dir out --sizes 64

91 actors say twelve sentences in six moods, 480x360 pixels at 30 frames a second, 7,442 clips of
about 2.5 s (Cao, Cooper, Keutmann, Gur, Nenkova, Verma, "CREMA-D: Crowd-sourced emotional
multimodal actors dataset", IEEE Trans. Affective Computing 5, 377, 2014;
doi 10.1109/TAFFC.2014.2336244).

Download by yourself: `git clone https://github.com/CheyneyComputerScience/CREMA-D` with Git LFS
installed, and give its folder; or archives with the videos of its VideoFlash/. Without LFS there
are only pointers in place of videos, and that is said. The pointers hold the SHA-256 of each video:
`git lfs ls-files --long` prints them; written into a file as sha256sum does, --hashes compares.

The data are under the Open Database Licence 1.0. The actors agreed to be recorded, rated and
published for research on emotion; that they agreed to synthesis of their faces is not documented.
The card of whatever is trained on it says so.
"""

import os
import pathlib
import re
import sys

from data.grid import grid
from data.talking_faces import archives, build, talking_faces
from vidregen_jax import cli
from vidregen_jax.errors import UserError

BASIS = ('Open Database Licence 1.0, licence of CREMA-D; no consent to synthesis is documented')
NOTE = ('CREMA-D (Cao et al. 2014, doi 10.1109/TAFFC.2014.2336244), Open Database Licence 1.0. Its '
        'actors agreed to be recorded for research on emotion; consent to synthesis is not '
        'documented.',)
_DATE = '2014-10-01'  # of the paper
_CLIP = re.compile(r'(?:^|/)((\d{4})_([A-Z]{3})_[A-Z]{3}_[A-Z]{2})\.flv$')
# The sentences by the letters in a clip's name.
SENTENCES = {
  'IEO': "It's eleven o'clock.", 'TIE': 'That is exactly what happened.',
  'IOM': "I'm on my way to the meeting.", 'IWW': 'I wonder what this is about.',
  'TAI': 'The airplane is almost full.', 'MTI': 'Maybe tomorrow it will be cold.',
  'IWL': 'I would like a new alarm clock.', 'ITH': "I think I have a doctor's appointment.",
  'DFA': "Don't forget a jacket.", 'ITS': "I think I've seen this before.",
  'TSI': 'The surface is slick.', 'WSI': "We'll stop in a couple of minutes.",
}


class CremaD(talking_faces.TalkingFaces):
  """CREMA-D; see this module."""


def unpack(downloads: pathlib.Path, folder: pathlib.Path) -> list[dict]:
  """Unpacks archives, or finds the videos of a clone; returns the manifest's rows.

  Raises:
    UserError: there is no video, or only Git LFS's pointers.
  """
  found = {}
  for path in sorted(downloads.rglob('*.flv')):
    if clip := _CLIP.search(str(path)):
      found[clip[1]] = os.path.abspath(path)
  for path in sorted(downloads.glob('*')):
    if path.name.endswith(('.zip', '.tar', '.tar.gz', '.tgz')):
      for name, file in archives.members(path):
        if clip := _CLIP.search(name):
          archives.unpack(file, folder / f'{clip[1]}.flv')
          found[clip[1]] = f'{clip[1]}.flv'
  if not found:
    raise UserError(f'--archives {downloads}: no video of CREMA-D is there: clone it with Git LFS')
  for path in found.values():
    if archives.is_pointer(folder / path):
      raise UserError(f'{path} is a pointer of Git LFS, not the video: install Git LFS, and run '
                      '`git lfs pull` in the clone')
  rows = []
  for name, path in sorted(found.items()):
    actor, sentence = name.split('_')[:2]
    rows.append({'source': path, 'person': f'CREMA-D {actor}', 'basis': BASIS, 'date': _DATE,
                 'language': 'en', 'sentence': SENTENCES.get(sentence, '')})
  return rows


def main(argv=None) -> int:
  return cli.command(
    grid.parser('python -m data.crema_d.crema_d', __doc__),
    lambda given: grid.run(given, unpack, CremaD, NOTE, 'CREMA-D'), build.INTERRUPTED, argv)


if __name__ == '__main__':
  sys.exit(main())

"""The GRID corpus as a dataset of talking faces, with its word times.

  python -m data.grid.grid --archives DOWNLOADS --data_dir out --sizes 64

34 people read 1,000 six-word sentences each, 360x288 pixels at 25 frames a second, 3 s a clip
(Cooke, Barker, Cunningham, Shao, "An audio-visual corpus for speech perception and automatic speech
recognition", J. Acoust. Soc. Am. 120, 2421, 2006; doi 10.1121/1.2229005).

Download by yourself, from https://zenodo.org/records/3625687 or from
https://spandh.dcs.shef.ac.uk/gridcorpus, into one folder: the speakers' videos (`s1.zip`, or
`s1.mpg_vcd.zip`; there is none of speaker 21) and the word times (`alignments.zip`, or `s1.tar`).
Zenodo shows the MD5 of each file; written into a file as md5sum does, --hashes compares them.

Zenodo gives the corpus under CC BY 4.0. The speakers agreed to be recorded for research on speech;
that they agreed to synthesis of their faces is not documented. The card of whatever is trained on
it says so.
"""

import json
import pathlib
import re
import sys

from data.talking_faces import archives, build, report, talking_faces
from vidregen_jax import cli, outputs, terminal
from vidregen_jax.errors import UserError

BASIS = 'CC BY 4.0, licence of the GRID corpus; no consent to synthesis is documented'
NOTE = ('GRID corpus (Cooke et al. 2006, doi 10.1121/1.2229005), CC BY 4.0. Its speakers agreed to '
        'be recorded for research on speech; consent to synthesis is not documented.',)
_DATE = '2006-11-01'  # of the paper
_UNIT = 25_000  # of the word times: units a second
_SILENCES = ('sil', 'sp')
_SPEAKER = re.compile(r'(?:^|/)s(\d{1,2})(?:[/._]|$)')
_CLIP = re.compile(r'(?:^|/)([a-z]{4}[\dz][a-z])\.(mpg|align)$')  # bbaf2n: bin blue at f two now


class Grid(talking_faces.TalkingFaces):
  """GRID; see this module."""


def words(text: str, where: str) -> list[list]:
  """A .align file as [[begin, end, word], ...] in seconds, without silences.

  '0 23750 sil' is silence from 0 to .95 s.

  Raises:
    UserError: a line is something else.
  """
  found = []
  for line in text.split('\n'):
    fields = line.split()
    if not fields:
      continue
    if len(fields) != 3 or not fields[0].isdecimal() or not fields[1].isdecimal():
      raise UserError(f'{where}: {line[:40]!r} is no begin, end and word')
    if fields[2] not in _SILENCES:
      found.append([int(fields[0]) / _UNIT, int(fields[1]) / _UNIT, fields[2]])
  return found


def unpack(downloads: pathlib.Path, folder: pathlib.Path) -> list[dict]:
  """Unpacks archives; returns the manifest's rows.

  Args:
    downloads: folder of the archives.
    folder: where the videos go.

  Raises:
    UserError: there is no archive, or no video in any.
  """
  paths = sorted(path for path in downloads.glob('*')
                 if path.name.endswith(('.zip', '.tar', '.tar.gz', '.tgz')))
  if not paths:
    raise UserError(f'--archives {downloads}: no .zip and no .tar there: download GRID first')
  times, videos = {}, set()
  for path in terminal.progress(paths, 'archive', 'unpacking'):
    for name, file in archives.members(path):
      clip = _CLIP.search(name)
      speaker = _SPEAKER.search(name) or _SPEAKER.search(path.name)
      if not clip or not speaker:
        continue
      key = f's{int(speaker[1])}', clip[1]
      if clip[2] == 'mpg':
        archives.unpack(file, folder / key[0] / f'{key[1]}.mpg')
        videos.add(key)
      else:
        times[key] = words(file.read(1_000_000).decode(errors='replace'), f'{path}: {name}')
  if not videos:
    raise UserError(f'--archives {downloads}: no video of GRID is in its archives')
  return [{'source': f'{speaker}/{name}.mpg', 'person': f'GRID {speaker}', 'basis': BASIS,
           'date': _DATE, 'language': 'en', 'words': times.get((speaker, name), []),
           'sentence': ' '.join(word for _, _, word in times.get((speaker, name), []))}
          for speaker, name in sorted(videos)]


def run(given, unpacked, builder, note, name) -> None:
  """Builds a corpus from what was downloaded; of all corpora.

  Args:
    given: flags.
    unpacked: function (folder of downloads, folder to unpack to) -> rows of the manifest.
    builder: class of the dataset.
    note: lines for the card of what is trained on it.
    name: of the corpus.
  """
  downloads = pathlib.Path(given.archives)
  if not downloads.is_dir():
    raise UserError(f'--archives {downloads}: no such folder: download {name} into it first')
  if given.hashes:
    terminal.say(f'{archives.check(downloads, given.hashes)} files are as --hashes lists them')
  folder = pathlib.Path(given.data_dir) / builder.name / 'sources'
  folder.mkdir(parents=True, exist_ok=True)
  rows = unpacked(downloads, folder)
  manifest = folder / 'manifest.jsonl'
  with outputs.whole_file(manifest) as part, open(part, 'w') as out:
    out.writelines(json.dumps(row) + '\n' for row in rows)
  root = build.build(given, manifest, builder, note)
  terminal.say(f'{root}: see {root / report.PAGE}')


def parser(prog, doc) -> cli.Parser:
  """The flags of a corpus's program."""
  made = cli.Parser(prog=prog, description=doc)
  made.add_argument('--archives', required=True, metavar='DIR', help='what was downloaded')
  made.add_argument('--hashes', metavar='FILE', help='hashes, as md5sum writes them')
  build.add_flags(made)
  return made


def main(argv=None) -> int:
  return cli.command(parser('python -m data.grid.grid', __doc__),
                     lambda given: run(given, unpack, Grid, NOTE, 'GRID'), build.INTERRUPTED, argv)


if __name__ == '__main__':
  sys.exit(main())

"""Who has withdrawn, and what it concerns: datasets, latents, trainings and packs.

  python -m data.talking_faces.withdrawals --manifest MANIFEST.csv out/codec/export \
    out/talking_faces/64/1.0.0

prints, for each folder with a consent.json, the people in it who are marked as withdrawn in the
manifest, by hash and by name. With --mark it also writes the hashes of all who have withdrawn into
each folder's withdrawn.json: trainings on machines that cannot see the manifest then refuse it too.
"""

import pathlib
import sys

from vidregen_jax import cli, files, terminal
from vidregen_jax.datasets import consent_manifest, consent_record
from vidregen_jax.errors import UserError


def concerned(manifest, folder) -> dict[str, str]:
  """The people of a folder who have withdrawn: names by hash.

  Raises:
    UserError: the folder has no record, or the manifest cannot be used.
  """
  found = consent_record.read(folder)
  if found is None:
    raise UserError(f'{folder} has no {consent_record.NAME}: name the folder of a dataset\'s '
                    'version, of latents, of an export or of a pack')
  held = {person['person'] for dataset in found['datasets'] for person in dataset['people']}
  return {hashed: name for hashed, name in _withdrawn(manifest).items() if hashed in held}


def _withdrawn(manifest):
  gone = sorted({row.person for row in consent_manifest.read(manifest) if row.withdrawn})
  salt = consent_manifest.read_salt(manifest) if gone else b''
  return {consent_manifest.hashed(salt, 'person', name): name for name in gone}


def _run(given):
  for folder in given.folders:
    people = concerned(given.manifest, folder)
    if not people:
      terminal.say(f'{folder}: nobody in it has withdrawn')
    for hashed, name in people.items():
      terminal.say(f'{folder}: {hashed} ({name}) has withdrawn')
    if given.mark:
      files.write_json(pathlib.Path(folder) / consent_record.WITHDRAWN,
                       sorted(_withdrawn(given.manifest)))


def main(argv=None) -> int:
  parser = cli.Parser(prog='python -m data.talking_faces.withdrawals', description=__doc__)
  parser.add_argument('--manifest', required=True, metavar='FILE', help='a .csv or .jsonl file')
  parser.add_argument('--mark', action='store_true', help='write withdrawn.json into each folder')
  parser.add_argument('folders', nargs='+', metavar='DIR', help='with a consent.json')
  return cli.command(parser, _run, 'what is written stays', argv)


if __name__ == '__main__':
  sys.exit(main())

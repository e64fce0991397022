"""consent.json: whose clips a dataset holds and why it may, carried from clips to trained weights.

It lies in a dataset of clips, in the latents that are encoded from it, and in what is trained on
them, and lists people by salted hash. Where the manifest can still be read, or a `withdrawn.json`
lies beside it (`python -m data.talking_faces.withdrawals` writes it, for machines without the
manifest), a person who has withdrawn since is found, and the dataset refused.
"""

import os
import pathlib

from vidregen_jax import documents, files
from vidregen_jax.datasets import consent_manifest
from vidregen_jax.documents import number, record, row, table, text, whole
from vidregen_jax.errors import UserError


def _place(value, where):
  """Checks for a path; '' in what is given away, as it is a path of somebody's own machine."""
  return value if value == '' else text(10_000)(value, where)


NAME, WITHDRAWN = 'consent.json', 'withdrawn.json'
_MOST_BYTES = 1_000_000_000
_TEXTS = row(text(10_000), 0, 10_000)
_PERSON = record({
  'person': text(64), 'basis': _TEXTS, 'dates': _TEXTS, 'languages': _TEXTS,
  'sources': whole(0, 2**40), 'clips': table(whole(0, 2**40), 8), 'hours': number(0, 1e9)})
_DATASET = record({'name': text(200), 'note': row(text(10_000), 0, 16), 'manifest': _place,
                   'people': row(_PERSON, 0, 10_000_000)})
_RECORD = record({'datasets': row(_DATASET, 1, 1000)})
_HASHES = row(text(64), 0, 10_000_000)
_WAY_OUT = 'build the dataset again, which leaves them out'


def read(folder) -> dict | None:
  """The record in a folder, checked; None if there is none, as for rendered clips.

  Raises:
    UserError: it is damaged.
  """
  path = pathlib.Path(folder) / NAME
  if not os.path.lexists(path):
    return None
  return _RECORD(documents.read(path, most=_MOST_BYTES), str(path))


def check(folder, way_out=_WAY_OUT) -> None:
  """Refuses a dataset that holds clips of somebody who has withdrawn since it was built.

  Args:
    folder: path with or without a record.
    way_out: what to do about it, for the message.

  Raises:
    UserError: names the people by their hashes, and where the withdrawal stands.
  """
  for dataset in (read(folder) or {'datasets': ()})['datasets']:
    held = {person['person'] for person in dataset['people']}
    for where, gone in _withdrawals(pathlib.Path(folder), dataset['manifest']):
      if found := sorted(held & gone):
        more = f' and {len(found) - 1} more' if len(found) > 1 else ''
        raise UserError(f'{folder} holds clips of person {found[0]}{more}, whose consent is '
                        f'withdrawn in {where}: {way_out}')


def _withdrawals(folder, manifest):
  """(file, hashes of those who withdrew in it) of what can be read from here."""
  beside = folder / WITHDRAWN
  if os.path.lexists(beside):
    yield beside, set(_HASHES(documents.read(beside, most=_MOST_BYTES), str(beside)))
  if os.path.exists(manifest):
    yield manifest, withdrawn_people(manifest)


def withdrawn_people(manifest) -> set[str]:
  """The hashes of the people who have withdrawn in a manifest.

  Raises:
    UserError: as `consent_manifest.read` and `read_salt`.
  """
  gone = {row.person for row in consent_manifest.read(manifest) if row.withdrawn}
  salt = consent_manifest.read_salt(manifest) if gone else b''
  return {consent_manifest.hashed(salt, 'person', person) for person in gone}


def beginnings(config) -> list[str]:
  """Folders of weights that a training's config names, besides its dataset."""
  return [config[name] for name in ('start_from', 'codec', 'teacher', 'system')
          if name in config and config[name]]


def learned_from(config, own: list[dict]) -> list[dict]:
  """The datasets that weights have learned from, themselves or by way of others, each once.

  Args:
    config: of their training.
    own: those of its dataset.
  """
  found = list(own)
  for folder in beginnings(config):
    found += (read(folder) or {'datasets': ()})['datasets']
  return [each for number, each in enumerate(found) if each not in found[:number]]


def write(folder, datasets: list[dict]) -> None:
  """Writes the record of one or several datasets, as `_DATASET` describes them."""
  files.write_json(pathlib.Path(folder) / NAME, {'datasets': datasets})


def published(found: dict) -> dict:
  """The record as it is given away: without the places of manifests."""
  return {'datasets': [each | {'manifest': ''} for each in found['datasets']]}


def card(found: dict) -> str:
  """The section of a card on data and consent, in Markdown.

  Args:
    found: of `read`.
  """
  lines = ['## Data and consent', '']
  for dataset in found['datasets']:
    people = dataset['people']
    hours, sources = (sum(person[name] for person in people) for name in ('hours', 'sources'))
    clips = sum(sum(person['clips'].values()) for person in people)
    languages = sorted({each for person in people for each in person['languages']})
    lines += [f'**{dataset["name"]}**: {len(people)} people, {sources} sources, {clips} clips, '
              f'{hours:.2f} hours' + (f'; languages: {", ".join(languages)}' if languages else '')
              + '.', *(['', *dataset['note']] if dataset['note'] else []), '',
              '| basis of consent or licence | people | hours |', '|---|---|---|']
    for basis in sorted({each for person in people for each in person['basis']}):
      of = [person for person in people if basis in person['basis']]
      lines.append(f'| {basis.replace("|", "/")} | {len(of)} | '
                   f'{sum(person["hours"] for person in of):.2f} |')
    lines += ['', 'A later withdrawal of any of these people concerns these weights. People are '
              'listed by a salted hash; whoever holds the manifest and its salt can tell whom a '
              'hash names (`python -m data.talking_faces.withdrawals`).', '',
              *(f'- `{person["person"]}`: {person["hours"]:.3f} hours, '
                f'{", ".join(person["dates"])}' for person in people), '']
  return '\n'.join(lines)

"""The statement that the people shown have agreed to an edit."""

import dataclasses
import hashlib
import json
import pathlib
import unicodedata

from vidregen_jax import files
from vidregen_jax.errors import UserError
from vidregen_jax.terminal import printable

_SAY = ('say who is shown, who agreed and on what basis, such as '
        '--consent "Ann Lee, who is shown, agreed on 2026-05-01"')
_LONGEST = 10_000  # characters; it is repeated in every output
_MOST = 16_000_000  # bytes of a file


@dataclasses.dataclass(frozen=True)
class Consent:
  """A statement of consent, or the file that holds it.

  Words on the command line are repeated in every output. Of a file only the digest is, as it may
  hold signatures and addresses that viewers of the video should not see.

  Attributes:
    sha256: of the statement's UTF-8, or of the file's bytes.
    statement: the words; None if a file holds them.
    file: the file's path; None if there is none.
  """

  sha256: str
  statement: str | None = None
  file: str | None = None


def of(statement: str) -> Consent:
  """Consent in words.

  Raises:
    UserError: there are none or too many, or they contain control characters.
  """
  statement = statement.strip()
  if not statement:
    raise UserError(f'--consent is empty: {_SAY}')
  if len(statement) > _LONGEST:
    raise UserError(f'--consent has {len(statement):,} characters, and {_LONGEST:,} are the most: '
                    'give it in a file, --consent_file, of which the digest is written')
  if odd := [c for c in statement if c not in '\n\t' and unicodedata.category(c) in ('Cc', 'Cs')]:
    raise UserError(f'--consent contains {odd[0]!a}, which is not text: write it in words, in '
                    'UTF-8')
  return Consent(hashlib.sha256(statement.encode()).hexdigest(), statement)


def read(path) -> Consent:
  """Consent in a file, text or JSON.

  Raises:
    UserError: it cannot be read, is empty, or is not text or JSON as its name says.
  """
  data = files.read_bytes(path, '--consent_file', _MOST)
  try:
    text = data.decode()
  except UnicodeDecodeError as error:
    raise UserError(f'--consent_file {path} is not text in UTF-8: save it as text or JSON'
                    ) from error
  content = text.strip()
  if pathlib.Path(path).suffix.lower() == '.json':
    try:
      content = json.loads(text)
    except (ValueError, RecursionError) as error:  # also overlong numbers and deep nesting
      raise UserError(f'--consent_file {path} is not JSON: {error}') from error
  if not content:
    raise UserError(f'--consent_file {path} is empty: it must say who is shown, who agreed and on '
                    'what basis')
  return Consent(hashlib.sha256(data).hexdigest(), file=printable(path))


def told(consent: Consent) -> str:
  """Consent for a card: the words, or of a file its digest."""
  return consent.statement or f'a statement in a file of sha256 {consent.sha256}'


def from_flags(statement, path) -> Consent:
  """The consent that `--consent` or `--consent_file` gives; None for a flag that is absent.

  Raises:
    UserError: as in `of` and `read`, or not exactly one of the two is given.
  """
  if statement is not None and path is not None:
    raise UserError('--consent and --consent_file exclude each other: give one')
  if path is not None:
    return read(path)
  if statement is None:
    raise UserError(f'--consent is missing: {_SAY}; or give a file with --consent_file')
  return of(statement)

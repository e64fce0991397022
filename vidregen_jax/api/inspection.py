"""The proof of what was done to a video: its Content Credentials, read and verified."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Iterator

from cryptography import x509

from vidregen_jax import documents, files
from vidregen_jax.errors import UserError
from vidregen_jax.provenance import certificates, content_credentials
from vidregen_jax.reporting import edit_report

_MOST_PEM, _MOST_PAPER = 1_000_000, 256_000_000  # bytes
_ODD = (AttributeError, KeyError, TypeError, ValueError)  # what facts of unexpected form raise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspection:
  """What a video says of itself, and whether that is so.

  Attributes:
    file, sha256: of the video.
    valid: whether there are credentials and no problems.
    problems: in words.
    state: 'Trusted', 'Valid' or 'Invalid', as of `content_credentials.read`; None if there are no
      credentials.
    vouched_by: 'this computer', 'an authority that --trust names' or None.
    where: 'the file', or the name of the one beside it that holds the credentials.
    signer, issuer, time: of the signature; the time is the signer's own word.
    title, actions: C2PA's.
    ingredients: what the video was made from: title, relationship and problems of each.
    edit: the facts of the edit that were signed; None if another program signed.
    report, page: names of the JSON and the HTML beside the video, or None.
    compared, not_compared: which of their parts are covered by the signature, and which are not.
  """

  file: str
  sha256: str
  valid: bool
  problems: list[str]
  state: str | None
  vouched_by: str | None = None
  where: str | None = None
  signer: str | None = None
  issuer: str | None = None
  time: str | None = None
  title: str | None = None
  actions: list[dict] = dataclasses.field(default_factory=list)
  ingredients: list[dict] = dataclasses.field(default_factory=list)
  edit: dict | None = None
  report: str | None = None
  page: str | None = None
  compared: list[str] = dataclasses.field(default_factory=list)
  not_compared: list[str] = dataclasses.field(default_factory=list)

  def to_json(self) -> dict:
    """The same as JSON values."""
    return dataclasses.asdict(self)

  def lines(self) -> Iterator[tuple[str, str | None]]:
    """Yields (name, text) of what is printed; the text of the first is None."""
    yield self.file, None
    yield 'sha256', self.sha256
    if self.state is not None:
      yield from self._credentials()
    for problem in self.problems:
      yield f'NOT VALID: {problem}', None
    if self.valid:
      yield 'valid: pictures, sound and statement are what was signed', None

  def _credentials(self):
    vouched, edit = self.vouched_by, self.edit
    yield 'credentials', f'in {self.where}'
    if self.signer:
      yield 'signed by', f'{self.signer} ({self.issuer}), ' + (
        f'vouched for by {vouched}' if vouched else
        'for whom no authority vouches that this computer trusts')
    for lines in (lambda: _action_lines(self.actions),
                  lambda: () if edit is None else edit_report.signed_lines(edit)):
      try:
        yield from list(lines())
      except _ODD:
        yield 'edit', 'in a form that this program does not know; --json shows it'
    for row in self.ingredients:
      yield 'made from', row['title']
      for problem in row['problems']:
        yield '', f'whose own credentials were not valid when it was opened: {problem}'
    for name in ('compared', 'not_compared'):
      if parts := getattr(self, name):
        yield name.replace('_', ' '), ', '.join(parts)


def inspect(path: str | os.PathLike, *, trust: Iterable[str | os.PathLike] = ()) -> Inspection:
  """Reads and verifies a video's credentials, and the report and the page beside it.

  Args:
    path: the video.
    trust: paths of PEM files of authorities to believe.

  Raises:
    UserError: a file cannot be read.
  """
  path = pathlib.Path(path)
  files.check_readable(path)
  anchors = [_anchors(name) for name in trust]
  own = certificates.root()
  credentials = content_credentials.read(path, anchors + [own] * bool(own))
  verdict = {'file': str(path), 'sha256': files.digest(path), 'compared': [], 'not_compared': []}
  if credentials is None:
    problems = ['there are no Content Credentials'
                + (f', neither in it nor in {path.with_suffix(".c2pa").name}'
                   if path.suffix.lower() not in content_credentials.EMBEDDED else '')]
    return Inspection(**verdict, state=None, problems=problems, valid=False)
  if credentials['state'] == 'Trusted':
    with_own = not anchors or content_credentials.read(path, anchors)['state'] != 'Trusted'
    verdict['vouched_by'] = 'this computer' if with_own else 'an authority that --trust names'
  problems = list(credentials['problems'])
  if credentials['state'] == 'Invalid' and not problems:
    problems.append('the credentials are not valid')
  if isinstance(credentials['edit'], dict):
    problems += _compare_report(verdict, credentials, path.with_suffix('.json'))
    problems += _compare_page(verdict, credentials, path.with_suffix('.html'))
  return Inspection(**verdict | credentials | {'problems': problems, 'valid': not problems})


def _compare_report(verdict, credentials, path) -> list[str]:
  """Compares the report beside a video with what was signed; updates `verdict`, gives problems."""
  if not os.path.isfile(path):
    return []
  try:
    document = documents.parse(files.read_bytes(path, most=_MOST_PAPER), path.name)
  except UserError as error:
    return [f'{error}: it is not the report that was written']
  if not edit_report.is_report(document):
    return []  # another program's file
  verdict['report'] = path.name
  edit = credentials['edit']
  try:
    names, compared, not_compared = edit_report.differences(
      document, edit, (edit.get('papers') or {}).get('report'), verdict['sha256'],
      credentials['signer'])
  except _ODD:
    return [f'{path.name} differs from what was signed: everything: it is of another program or '
            'version']
  verdict['compared'] += compared
  verdict['not_compared'] += not_compared
  return [f'{path.name} differs from what was signed: {name}' for name in names]


def _compare_page(verdict, credentials, path) -> list[str]:
  """The same for the page."""
  if not os.path.isfile(path):
    return []
  signed_digest = (credentials['edit'].get('papers') or {}).get('page')
  if signed_digest is None:
    verdict['not_compared'].append(path.name)
    return []
  verdict['page'] = path.name
  verdict['compared'].append(path.name)
  data = files.read_bytes(path, most=_MOST_PAPER)
  if content_credentials.page_digest(data, verdict['sha256']) != signed_digest:
    return [f'{path.name} is not the page that was written with the video']
  return []


def _anchors(path) -> bytes:
  data = files.read_bytes(path, '--trust', _MOST_PEM)
  try:
    x509.load_pem_x509_certificates(data)
  except ValueError as error:
    raise UserError(f'--trust {path} holds no certificate in PEM') from error
  return data

def _action_lines(actions):
  for action in actions:
    yield 'action', ' '.join(filter(None, (action['action'], action.get('when'))))
    for change in action.get('changes', ()):
      times = [row['time'] for row in change.get('region', ()) if row.get('type') == 'temporal']
      where = edit_report.first_of([f'{time.get("start")}-{time.get("end")} s' for time in times])
      yield '', f'{change.get("description", "changed")}: {where}'

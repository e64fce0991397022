"""Show and verify the Content Credentials of a video.

  python -m vidregen_jax.inspect OUT.mp4
  python -m vidregen_jax.inspect OUT.mp4 --trust ANCHORS.pem --json

Exit status 0: the credentials are valid, and so are the report and the page beside the video, if
they exist. 1: there are no credentials, or something is damaged or was changed. 2: the command line
is wrong, or a file cannot be read.

"Valid" means that pictures, sound and statement are as they were signed. Whether signers are who
they claim to be is another question: only an authority named by --trust, or this computer, vouches
for that.
"""

import json
import os
import pathlib
import sys

from cryptography import x509

from vidregen_jax import cli, documents, files, terminal
from vidregen_jax.errors import UserError
from vidregen_jax.provenance import certificates, content_credentials
from vidregen_jax.reporting import edit_report

_MOST_PEM, _MOST_PAPER = 1_000_000, 256_000_000  # bytes
_ODD = (AttributeError, KeyError, TypeError, ValueError)  # what facts of unexpected form raise


def verify(path, trust=()) -> dict:
  """Reads and verifies a video's credentials, and the report and the page beside it.

  Args:
    path: the video.
    trust: paths of PEM files of authorities.

  Returns:
    The dict of `content_credentials.read`, or only `state` None if there are no credentials, with
      file, sha256: of the video.
      vouched_by: 'this computer', 'an authority that --trust names' or None.
      report, page: the JSON and the HTML beside the video, or None.
      compared, not_compared: which of their parts are covered by the signature, and which are not.
      valid: whether there are no problems.
      problems: in words.

  Raises:
    UserError: a file cannot be read.
  """
  path = pathlib.Path(path)
  files.check_readable(path)
  anchors = [_anchors(name) for name in trust]
  own = certificates.root()
  credentials = content_credentials.read(path, anchors + [own] * bool(own))
  verdict = {'file': str(path), 'sha256': files.digest(path), 'vouched_by': None, 'report': None,
          'page': None, 'compared': [], 'not_compared': []}
  if credentials is None:
    problems = ['there are no Content Credentials'
                + (f', neither in it nor in {path.with_suffix(".c2pa").name}'
                   if path.suffix.lower() not in content_credentials.EMBEDDED else '')]
    return verdict | {'state': None, 'problems': problems, 'valid': False}
  if credentials['state'] == 'Trusted':
    with_own = not anchors or content_credentials.read(path, anchors)['state'] != 'Trusted'
    verdict['vouched_by'] = 'this computer' if with_own else 'an authority that --trust names'
  problems = list(credentials['problems'])
  if credentials['state'] == 'Invalid' and not problems:
    problems.append('the credentials are not valid')
  if isinstance(credentials['edit'], dict):
    problems += _compare_report(verdict, credentials, path.with_suffix('.json'))
    problems += _compare_page(verdict, credentials, path.with_suffix('.html'))
  return verdict | credentials | {'problems': problems, 'valid': not problems}


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


def _lines(verdict):
  """Yields (name, text) of the lines to print."""
  yield f'{verdict["file"]}', None
  yield 'sha256', verdict['sha256']
  if verdict['state'] is None:
    return
  vouched, edit = verdict['vouched_by'], verdict['edit']
  yield 'credentials', f'in {verdict["where"]}'
  if verdict['signer']:
    yield 'signed by', f'{verdict["signer"]} ({verdict["issuer"]}), ' + (
      f'vouched for by {vouched}' if vouched else
      'for whom no authority vouches that this computer trusts')
  for lines in (lambda: _action_lines(verdict['actions']),
                lambda: () if edit is None else edit_report.signed_lines(edit)):
    try:
      yield from list(lines())
    except _ODD:
      yield 'edit', 'in a form that this program does not know; --json shows it'
  for row in verdict['ingredients']:
    yield 'made from', row['title']
    for problem in row['problems']:
      yield '', f'whose own credentials were not valid when it was opened: {problem}'
  for name in ('compared', 'not_compared'):
    if verdict[name]:
      yield name.replace('_', ' '), ', '.join(verdict[name])


def _action_lines(actions):
  for action in actions:
    yield 'action', ' '.join(filter(None, (action['action'], action.get('when'))))
    for change in action.get('changes', ()):
      times = [row['time'] for row in change.get('region', ()) if row.get('type') == 'temporal']
      where = edit_report.first_of([f'{time.get("start")}-{time.get("end")} s' for time in times])
      yield '', f'{change.get("description", "changed")}: {where}'


def main(argv=None) -> int:
  parser = cli.Parser(prog='python -m vidregen_jax.inspect', description=__doc__)
  parser.add_argument('video', metavar='OUT.mp4')
  parser.add_argument('--trust', action='append', default=[], metavar='ANCHORS.pem',
                      help='certificates of authorities to believe; can be given several times')
  parser.add_argument('--json', action='store_true', help='print one JSON object')
  terminal.begin()
  try:
    options = parser.parse_args(argv)
    verdict = verify(options.video, options.trust)
  except UserError as error:
    terminal.error(error)
    return 2
  if options.json:
    terminal.say_text(json.dumps(verdict, indent=2))
  else:
    for name, value in _lines(verdict):
      terminal.say(name if value is None else f'  {name:<13}{value}')
    for problem in verdict['problems']:
      terminal.say(f'NOT VALID: {problem}')
    if verdict['valid']:
      terminal.say('valid: pictures, sound and statement are what was signed')
  return 0 if verdict['valid'] else 1


if __name__ == '__main__':
  sys.exit(main())

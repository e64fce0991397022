"""Show and verify what a video says of itself: its Content Credentials.

  python -m vidregen_jax.inspect OUT.mp4
  python -m vidregen_jax.inspect OUT.mp4 --trust ANCHORS.pem --json

Exit status 0: sound credentials, and a report and a page beside the video, if there are any, that
are those that were signed. 1: none, damaged or not sound, or other papers. 2: a mistake in what was
asked.

"Sound" says that pictures, sound and statement are what was signed. Whether the signer is who they
say is another matter: only an authority that --trust names, or this computer itself, vouches.
"""

import json
import os
import pathlib
import sys

from cryptography import x509

from vidregen_jax import cli, documents, files, terminal
from vidregen_jax.errors import UserError
from vidregen_jax.provenance import certificates, content_credentials

_MOST_PEM, _MOST_PAPER = 1_000_000, 256_000_000  # bytes
_SHOWN = 20  # spans, or stretches of frames, in a line
_ODD = (AttributeError, KeyError, TypeError, ValueError)  # anybody can sign anything


def look(path, trust=()) -> dict:
  """What is found, and what is wrong with it.

  Args:
    path: the video.
    trust: paths of PEM files of authorities.

  Returns:
    `content_credentials.read`'s dict, or all of its keys that matter as None, with
      file, sha256: of the video.
      vouched_by: 'this computer', 'an authority that --trust names' or None.
      report, page: the JSON and the HTML beside the video, or None.
      compared, not_compared: what of them is as it was signed or is not, and what nothing says.
      valid: whether all is well.
      problems: in words; empty if so.

  Raises:
    UserError: a file cannot be read.
  """
  path = pathlib.Path(path)
  files.check_readable(path)
  given = [_anchors(name) for name in trust]
  own = certificates.root()
  found = content_credentials.read(path, given + [own] * bool(own))
  seen = {'file': str(path), 'sha256': files.digest(path), 'vouched_by': None, 'report': None,
          'page': None, 'compared': [], 'not_compared': []}
  if found is None:
    problems = ['there are no Content Credentials'
                + (f', neither in it nor in {path.with_suffix(".c2pa").name}'
                   if path.suffix.lower() not in content_credentials.EMBEDDED else '')]
    return seen | {'state': None, 'problems': problems, 'valid': False}
  if found['state'] == 'Trusted':
    with_own = not given or content_credentials.read(path, given)['state'] != 'Trusted'
    seen['vouched_by'] = 'this computer' if with_own else 'an authority that --trust names'
  problems = list(found['problems'])
  if found['state'] == 'Invalid' and not problems:
    problems.append('the credentials are not valid')
  if isinstance(found['edit'], dict):
    problems += _compare_report(seen, found, path.with_suffix('.json'))
    problems += _compare_page(seen, found, path.with_suffix('.html'))
  return seen | found | {'problems': problems, 'valid': not problems}


def _compare_report(seen, found, path) -> list[str]:
  """Compares the report beside a video with what was signed; notes it, and gives what differs."""
  if not os.path.isfile(path):
    return []
  try:
    said = documents.parse(files.read_bytes(path, most=_MOST_PAPER), path.name)
  except UserError as error:
    return [f'{error}: it is not the report that was written']
  if not isinstance(said, dict) or 'regenerated_frames' not in said:
    return []  # of another program
  seen['report'] = path.name
  try:
    names = _differences(said, seen, found)
  except _ODD:
    return [f'{path.name} says something else of: everything: it is of another program or version']
  return [f'{path.name} says something else of: {name}' for name in names]


def _differences(said, seen, found) -> list[str]:
  """Where a report differs from the file and from what was signed."""
  facts, edit = content_credentials.signed_facts(said), found['edit']
  names = [name for name in facts if facts[name] != edit.get(name)]
  names += [name for name in ('sha256 of the video',) if said.get('sha256') != seen['sha256']]
  about = said.get('content_credentials') or {}
  if about.get('signer') != found['signer']:
    names.append('content_credentials')
  rest = sorted(set(said) - set(facts) - set(content_credentials.UNSIGNED))
  seen['compared'] += [*facts, 'sha256', 'signer']
  known = (edit.get('papers') or {}).get('report')
  if known is None:
    seen['not_compared'] += rest
  else:
    seen['compared'] += rest
    if not names and known != content_credentials.report_digest(said):
      names.append(f'one of {", ".join(rest)}, or of what lies within the others')
  seen['not_compared'] += ['stages', 'seconds', 'peak_memory_mb']
  return names


def _compare_page(seen, found, path) -> list[str]:
  """The same of the page."""
  if not os.path.isfile(path):
    return []
  known = (found['edit'].get('papers') or {}).get('page')
  if known is None:
    seen['not_compared'].append(path.name)
    return []
  seen['page'] = path.name
  seen['compared'].append(path.name)
  data = files.read_bytes(path, most=_MOST_PAPER)
  if content_credentials.page_digest(data, seen['sha256']) != known:
    return [f'{path.name} is not the page that was written with the video']
  return []


def _anchors(path) -> bytes:
  data = files.read_bytes(path, '--trust', _MOST_PEM)
  try:
    x509.load_pem_x509_certificates(data)
  except ValueError as error:
    raise UserError(f'--trust {path} holds no certificate in PEM') from error
  return data


def _lines(seen):
  """Yields what is found, for people."""
  yield f'{seen["file"]}', None
  yield 'sha256', seen['sha256']
  if seen['state'] is None:
    return
  vouched = seen['vouched_by']
  yield 'credentials', f'in {seen["where"]}'
  if seen['signer']:
    yield 'signed by', f'{seen["signer"]} ({seen["issuer"]}), ' + (
      f'vouched for by {vouched}' if vouched else
      'for whom nobody vouches that this computer trusts')
  for part in (_action_lines, _edit_lines):
    try:
      yield from list(part(seen))
    except _ODD:
      yield 'edit', 'in a form that this program does not know; --json shows it'
  for row in seen['ingredients']:
    yield 'made from', row['title']
    for problem in row['problems']:
      yield '', f'whose own credentials were not sound when it was opened: {problem}'
  for name in ('compared', 'not_compared'):
    if seen[name]:
      yield name.replace('_', ' '), ', '.join(seen[name])


def _action_lines(seen):
  for action in seen['actions']:
    yield 'action', ' '.join(filter(None, (action['action'], action.get('when'))))
    for change in action.get('changes', ()):
      times = [row['time'] for row in change.get('region', ()) if row.get('type') == 'temporal']
      where = _first([f'{time.get("start")}-{time.get("end")} s' for time in times])
      yield '', f'{change.get("description", "changed")}: {where}'


def _edit_lines(seen):
  """Yields what `content_credentials.signed_facts` gave."""
  if (edit := seen['edit']) is None:
    return
  yield 'consent', edit['consent'].get('statement', 'in a file')
  yield '', f'sha256 {edit["consent"]["sha256"]}'
  file = lambda row: f'{row["title"]}, sha256 {row["sha256"]}'
  yield 'source', file(edit['source'])
  about = edit['source'].get('credentials')
  if about and about['state'] == 'Invalid':
    yield '', f'its own credentials were not sound: {"; ".join(about["problems"])}'
  for row in edit['sound'] if isinstance(edit['sound'], list) else ():
    yield 'new sound', file(row)
  for name, digest in edit['model'].items():
    yield 'model', f'{name}, sha256 {digest}'
  made = edit['regenerated_frames']
  yield 'frames', (f'{made["count"]} stretches' if isinstance(made, dict) else
                   _first([f'{a}-{b - 1}' for a, b in made])) + (
    f' regenerated of {edit["frames"]}')


def _first(rows) -> str:
  more = f' and {len(rows) - _SHOWN} more' if len(rows) > _SHOWN else ''
  return ', '.join(rows[:_SHOWN]) + more


def main(argv=None) -> int:
  parser = cli.Parser(prog='python -m vidregen_jax.inspect', description=__doc__)
  parser.add_argument('video', metavar='OUT.mp4')
  parser.add_argument('--trust', action='append', default=[], metavar='ANCHORS.pem',
                      help='certificates of authorities to believe; can be given several times')
  parser.add_argument('--json', action='store_true', help='print one JSON object')
  terminal.begin()
  try:
    given = parser.parse_args(argv)
    seen = look(given.video, given.trust)
  except UserError as error:
    terminal.error(error)
    return 2
  if given.json:
    terminal.say_text(json.dumps(seen, indent=2))
  else:
    for name, value in _lines(seen):
      terminal.say(name if value is None else f'  {name:<13}{value}')
    for problem in seen['problems']:
      terminal.say(f'NOT VALID: {problem}')
    if seen['valid']:
      terminal.say('valid: pictures, sound and statement are what was signed')
  return 0 if seen['valid'] else 1


if __name__ == '__main__':
  sys.exit(main())

"""Show and verify what a video says of itself: its Content Credentials.

  python -m vidregen_jax.inspect OUT.mp4
  python -m vidregen_jax.inspect OUT.mp4 --trust ANCHORS.pem --json

Exit status 0: sound credentials, and a report beside the video, if there is one, that agrees with
them. 1: none, or not sound, or another report. 2: a mistake in what was asked.

"Sound" says that pictures, sound and statement are what was signed. Whether the signer is who they
say is another matter: only an authority that --trust names, or this computer itself, vouches.
"""

import argparse
import json
import pathlib
import sys

from cryptography import x509

from vidregen_jax import files, identity, provenance, terminal
from vidregen_jax.errors import UserError


def look(path, trust=()) -> dict:
  """What is found, and what is wrong with it.

  Args:
    path: the video.
    trust: paths of PEM files of authorities.

  Returns:
    `provenance.read`'s dict, or all of its keys that matter as None, with
      file, sha256: of the video.
      vouched_by: 'this computer', 'an authority that --trust names' or None.
      report: the JSON beside the video, or None.
      valid: whether all is well.
      problems: in words; empty if so.

  Raises:
    UserError: a file cannot be read.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    raise UserError(f'{path}: no such file')
  given, own = [_anchors(name) for name in trust], _own()
  found = provenance.read(path, given + own)
  seen = {'file': str(path), 'sha256': files.digest(path), 'vouched_by': None}
  beside, said = path.with_suffix('.json'), None
  if beside.is_file():
    try:
      said = json.loads(beside.read_text())
    except ValueError as error:
      raise UserError(f'{beside} is not JSON: move it away') from error
  if found is None:
    problems = ['there are no Content Credentials'
                + (f', neither in it nor in {path.with_suffix(".c2pa").name}'
                   if path.suffix.lower() not in provenance.EMBEDDED else '')]
    return seen | {'state': None, 'problems': problems, 'report': None, 'valid': False}
  if found['state'] == 'Trusted':
    with_own = not given or provenance.read(path, given)['state'] != 'Trusted'
    seen['vouched_by'] = 'this computer' if with_own else 'an authority that --trust names'
  problems = list(found['problems'])
  if found['state'] == 'Invalid' and not problems:
    problems.append('the credentials are not valid')
  if isinstance(said, dict) and 'regenerated_frames' in said:
    problems += [f'{beside.name} says something else of: {name}'
                 for name in _differences(said, seen['sha256'], found['edit'])]
    seen['report'] = beside.name
  else:
    seen['report'] = None
  return seen | found | {'problems': problems, 'valid': not problems}


def _differences(said, sha256, edit) -> list[str]:
  """Where a report differs from the file and from what was signed."""
  try:
    facts = provenance.signed_facts(said)
  except (KeyError, TypeError):
    return ['everything: it is of another program or version']
  names = [] if said.get('sha256') == sha256 else ['sha256 of the video']
  return names + [name for name in facts if facts[name] != (edit or {}).get(name)]


def _anchors(path) -> bytes:
  try:
    data = pathlib.Path(path).read_bytes()
    x509.load_pem_x509_certificates(data)
  except OSError as error:
    raise UserError(f'--trust {path} cannot be read ({error.strerror})') from error
  except ValueError as error:
    raise UserError(f'--trust {path} holds no certificate in PEM') from error
  return data


def _own() -> list[bytes]:
  """This computer's own authority, if it ever signed."""
  return [identity.local().root] if (identity.folder() / 'signer.pem').exists() else []


def _lines(seen):
  """Yields what is found, for people."""
  yield f'{seen["file"]}', None
  yield 'sha256', seen['sha256']
  if seen['state'] is None:
    return
  vouched = seen['vouched_by']
  yield 'credentials', f'in {seen["where"]}'
  yield 'signed by', f'{seen["signer"]} ({seen["issuer"]}), ' + (
    f'vouched for by {vouched}' if vouched else 'for whom nobody vouches that this computer trusts')
  for action in seen['actions']:
    yield 'action', ' '.join(filter(None, (action['action'], action.get('when'))))
    for change in action.get('changes', ()):
      times = [row['time'] for row in change.get('region', ()) if row.get('type') == 'temporal']
      where = ', '.join(f'{time.get("start")}-{time.get("end")} s' for time in times)
      yield '', f'{change.get("description", "changed")}: {where}'
  for row in seen['ingredients']:
    yield 'made from', row['title']
  if seen['edit'] is not None:
    try:
      yield from list(_edit_lines(seen['edit']))
    # Anybody can sign anything under the same name.
    except (AttributeError, KeyError, TypeError, ValueError):
      yield 'edit', 'in a form that this program does not know; --json shows it'
  if seen['report']:
    yield 'report', f'{seen["report"]} was compared'


def _edit_lines(edit):
  """Yields what `provenance.signed_facts` gave."""
  yield 'consent', edit['consent'].get('statement', 'in a file')
  yield '', f'sha256 {edit["consent"]["sha256"]}'
  for what, rows in (('source', [edit['source']]), ('new sound', edit['sound'])):
    for row in rows:
      yield what, f'{row["title"]}, sha256 {row["sha256"]}'
  for name, digest in edit['model'].items():
    yield 'model', f'{name}, sha256 {digest}'
  yield 'frames', ', '.join(f'{a}-{b - 1}' for a, b in edit['regenerated_frames']) + (
    f' regenerated of {edit["frames"]}')


class _Parser(argparse.ArgumentParser):
  """One line for a mistake, like every other program here."""

  def error(self, message):
    raise UserError(f'{message}: `{self.prog} --help` says how')


def main(argv=None) -> int:
  parser = _Parser(
    prog='python -m vidregen_jax.inspect', description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter)
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
      terminal.say(name if value is None else f'  {name:<12}{value}')
    for problem in seen['problems']:
      terminal.say(f'NOT VALID: {problem}')
    if seen['valid']:
      terminal.say('valid: pictures, sound and statement are what was signed')
  return 0 if seen['valid'] else 1


if __name__ == '__main__':
  sys.exit(main())

"""What became of the footage: summary.json, left_out.jsonl, seconds.json, and one page with all.

The page is a single file, with its pictures in it; it names sources, as the manifest does, and is
for whoever may read that.
"""

import base64
import collections
import hashlib
import json
import pathlib

import jinja2
from markupsafe import Markup

from data.talking_faces import filters, source_result
from vidregen_jax import documents, files, outputs, terminal

PAGE, SUMMARY, LEFT_OUT, SECONDS = 'report.html', 'summary.json', 'left_out.jsonl', 'seconds.json'
_KEPT_SHOWN, _LEFT_SHOWN = 24, 6  # examples, of the latter for each reason
_BIN = 0.04  # seconds, of the histogram of offsets
_SPREAD = 15  # bins to either side

_TEMPLATES = jinja2.Environment(
  loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent), autoescape=True,
  undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
  finalize=lambda value: value if isinstance(value, Markup | int | float | jinja2.Undefined)
  else terminal.printable(value))


def summary(jobs, accounts, withdrawn: int) -> dict:
  """Counts; each source is in exactly one of `sources` but `given`.

  Args:
    jobs, accounts: of the sources, in the same order.
    withdrawn: how many more sources were withdrawn.
  """
  sources = collections.Counter(given=len(jobs) + withdrawn, withdrawn=withdrawn)
  reasons = {reason: {'sources': 0, 'stretches': 0, 'hours': 0.0} for reason in filters.REASONS}
  languages, people = collections.Counter(), set()
  clips, given, kept, moved, unsure = 0, 0.0, 0.0, 0, 0
  for job, account in zip(jobs, accounts, strict=True):
    hours = account['media']['seconds'] / 3600 if account['media'] else 0.0
    given += hours
    seconds = sum(clip['seconds'] for clip in account['clips'])
    for row in account['left_out']:
      reasons[row['reason']]['stretches'] += 1
      reasons[row['reason']]['hours'] += (row['stop'] - row['start']) / 3600
    if account['clips']:
      sources['kept'] += 1
      people.add(job.origin.person)
      languages[job.origin.language or 'not said'] += seconds
    else:
      sources['left out'] += 1
      reasons[main_reason(account)]['sources'] += 1
    clips += len(account['clips'])
    kept += seconds / 3600
    moved += sum(clip['moved'] for clip in account['clips'])
    unsure += sum(not clip['moved'] for clip in account['clips'])
  return {
    'sources': {name: sources[name] for name in ('given', 'kept', 'left out', 'withdrawn')},
    'clips': clips, 'people': len(people),
    'hours': {'given': round(given, 4), 'kept': round(kept, 4)},
    'languages': {name: round(seconds / 3600, 4) for name, seconds in sorted(languages.items())},
    'offsets': {'sure': moved, 'unsure': unsure},
    'left_out': {reason: row | {'hours': round(row['hours'], 4)}
                 for reason, row in reasons.items() if row['stretches'] or row['sources']},
  }


def main_reason(account) -> str:
  """Why nothing of a source is kept: the reason of its longest part."""
  spent = collections.Counter()
  for row in account['left_out']:
    spent[row['reason']] += row['stop'] - row['start'] + 1e-6
  return spent.most_common(1)[0][0] if spent else 'no face'


def seconds(jobs, given_hours: float) -> dict:
  """Processor seconds by step, of all sources whose results are there.

  Args:
    jobs: the sources.
    given_hours: of footage.
  """
  spent = collections.Counter()
  for job in jobs:
    path = job.folder / source_result.SECONDS
    if path.exists():
      spent.update(documents.read(path))
  total = sum(spent.values())
  return {
    'processor_seconds': {name: round(spent[name], 1) for name in source_result.STEPS},
    'hours_per_core_hour': round(given_hours * 3600 / total, 3) if total else None,
    'seconds_per_hour_of_footage': {
      name: round(spent[name] / given_hours, 1) if given_hours else None
      for name in source_result.STEPS}}


def write(plan, jobs, accounts, withdrawn: int) -> None:
  """Writes the files of a report.

  Args:
    plan: plans.Plan of the build.
    jobs, accounts: of the sources, in the same order.
    withdrawn: how many more sources were withdrawn.
  """
  counts = summary(jobs, accounts, withdrawn)
  spent = seconds(jobs, counts['hours']['given'])
  rows = [_listed(plan, job, row) for job, account in zip(jobs, accounts, strict=True)
          for row in account['left_out']]
  files.write_json(plan.root / SUMMARY, counts)
  files.write_json(plan.root / SECONDS, spent)
  with outputs.whole_file(plan.root / LEFT_OUT) as part, open(part, 'w') as out:
    out.writelines(json.dumps(row) + '\n' for row in rows)
  with outputs.whole_file(plan.root / PAGE) as part:
    part.write_bytes(page(plan, jobs, accounts, counts, spent, rows))


def _listed(plan, job, row):
  picture = row['picture'] and str((job.folder / row['picture']).relative_to(plan.root))
  return {'source': str(job.path)} | row | {'picture': picture}


def page(plan, jobs, accounts, counts, spent, rows) -> bytes:
  """The page, UTF-8. Its policy allows nothing but its own style and pictures."""
  style = (pathlib.Path(__file__).parent / 'report.css').read_text()
  digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
  kept = [(job, clip) for job, account in zip(jobs, accounts, strict=True)
          for clip in account['clips']]
  step = max(len(kept) // _KEPT_SHOWN, 1)
  examples = [clip | {'source': job.path.name, 'data': _picture(job.folder / clip['picture'])}
              for job, clip in kept[::step][:_KEPT_SHOWN]]
  left = {reason: [] for reason in counts['left_out']}
  for row in sorted(rows, key=lambda row: row['picture'] is None):
    if row['reason'] in left and len(left[row['reason']]) < _LEFT_SHOWN:
      left[row['reason']].append(row | {
        'name': pathlib.PurePath(row['source']).name,
        'data': _picture(plan.root / row['picture']) if row['picture'] else None})
  slowest = sorted(spent['processor_seconds'].items(), key=lambda item: -item[1])
  return _TEMPLATES.get_template('report.html').render(
    policy=f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; "
           "form-action 'none'",
    style=Markup(style), name=plan.root.name, counts=counts, spent=spent, steps=slowest,
    total=sum(spent['processor_seconds'].values()), examples=examples, left=left,
    left_file=LEFT_OUT, offsets=_histogram([clip for _, clip in kept]), bin_ms=round(_BIN * 1000),
    bounds=plan.bounds, sizes=plan.sizes).encode()


def _picture(path):
  """A picture as a data URL."""
  return Markup('data:image/jpeg;base64,' + base64.b64encode(path.read_bytes()).decode())


def _histogram(clips) -> list[dict]:
  """How many clips' sound was moved by how much."""
  found = collections.Counter(
    min(max(round(clip['offset'] / _BIN), -_SPREAD), _SPREAD) for clip in clips if clip['moved'])
  most = max(found.values(), default=1)
  return [{'ms': round(at * _BIN * 1000), 'count': found[at], 'share': found[at] / most}
          for at in range(-_SPREAD, _SPREAD + 1)]

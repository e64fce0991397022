"""Writes docs/api.md from the docstrings of what `import vidregen_jax` offers.

  python .ci/api.py

A test compares the page with them. Needs what the package needs, and nothing else.
"""

import ast
import inspect
import pathlib
import re
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import vidregen_jax as vj  # noqa: E402
from vidregen_jax import errors  # noqa: E402
from vidregen_jax.api import edits, inspection, models, streaming  # noqa: E402
from vidregen_jax.faces import reidentify  # noqa: E402
from vidregen_jax.provenance import consent, content_credentials  # noqa: E402
from vidregen_jax.reporting import edit_report, progress, stage_clock  # noqa: E402

PAGE = ROOT / 'docs' / 'api.md'
HEAD = '''# From Python

*Written by `.ci/api.py` from the docstrings.*

```python
import vidregen_jax as vj

model = vj.load('talkers')
report = vj.edit('IN.mp4', audio='NEW.wav', spans=[(1.2, 2.04)], model=model, out='OUT.mp4',
                 consent='Ann Lee, who is shown, agreed on 2026-05-01')
print(report.summary, vj.inspect('OUT.mp4').valid)
```

These five names are the whole interface, and the programs use nothing else. Times are seconds from
the video's start. Nothing is printed. A mistake is a `vidregen_jax.errors.UserError` whose message
is one line with the cause and the way out; nothing is written then, nor if an edit is interrupted.
What each option means at length is in [editing.md](editing.md) and
[translating.md](translating.md). A path is a `str` or an `os.PathLike`; `Span` is
`tuple[float, float] | str`, and `Tell` is a function of a [`Progress`](#progress).
'''
# In the order of the page: what is called, and what it returns or is given.
NAMES = (vj.load, vj.edit, vj.translate, vj.stream, vj.inspect)
BESIDE = (streaming.delay, )
TYPES = (models.Model, edit_report.EditReport, edits.Preview, inspection.Inspection,
         progress.Progress, errors.UserError)
PARTS = (edit_report.TimeSpan, edit_report.FrameRange, edit_report.File, edit_report.Source,
         edit_report.NewSound, edit_report.FaceChoice, reidentify.Appearance,
         edit_report.SkippedFrames,
         edit_report.OccludedFrames, edit_report.Familiarity, edit_report.FaceFit,
         edit_report.PersonFit, edit_report.EditOptions, stage_clock.Stage, consent.Consent,
         content_credentials.SourceCredentials, content_credentials.Signature)
_SECTION = re.compile(r'(Args|Attributes|Returns|Raises|Yields):')
_MODULE = re.compile(r'\b(?:[a-z_]+\.)+(?=[A-Z])')  # of an annotation, which says where a name is


def page() -> str:
  """The whole page."""
  rows = [f'| [`{each.__name__}`](#{each.__name__.lower()}) | {summary(each)} |'
          for each in (*NAMES, *BESIDE, *TYPES)]
  parts = [HEAD, '\n'.join(['| | |', '|---|---|', *rows]) + '\n']
  parts += map(function, (*NAMES, *BESIDE))
  parts += map(type_, TYPES)
  parts.append('## Parts of a report\n')
  parts += (type_(each, '###') for each in PARTS)
  return '\n'.join(parts)


def function(called) -> str:
  """The section of a function."""
  given = inspect.signature(called).parameters.values()
  written = ast.parse(textwrap.dedent(inspect.getsource(called))).body[0]
  types = {argument.arg: ast.unparse(argument.annotation)
           for argument in (*written.args.args, *written.args.kwonlyargs) if argument.annotation}
  text, sections = divided(called)
  where = called.__module__ if called not in NAMES else 'vidregen_jax'
  rows = []
  for name, meaning in items(sections.get('Args', '')):
    each = [argument for argument in given if argument.name in re.split(r', |\*+', name)]
    rows.append((f'`{name}`', '<br>'.join(dict.fromkeys(_given(argument, types.get(
      argument.name)) for argument in each)), meaning))
  lines = [f'## {called.__name__}', '', f'`{where}.{called.__name__}` → '
           f'`{_MODULE.sub("", ast.unparse(written.returns))}`', '', text, '']
  lines += table(('argument', 'type and default', ''), rows)
  for name in ('Returns', 'Raises'):
    if name in sections:
      lines += ['', f'**{name}** {flowing(sections[name])}']
  return '\n'.join(lines).rstrip() + '\n'


def _given(argument, written) -> str:
  """The type of an argument as it is written, and its default value."""
  if argument.kind is argument.VAR_KEYWORD:
    return ''
  default = '' if argument.default is argument.empty else f' = {argument.default!r}'
  return f'`{_MODULE.sub("", written)}{default}`'


def type_(shown, level='##') -> str:
  """The section of a class: what it is, its attributes, and what else it can do."""
  text, sections = divided(shown)
  kinds = _annotations(shown)
  lines = [f'{level} {shown.__name__}', '', f'`{shown.__module__}.{shown.__name__}`', '', text, '']
  named = [(f'`{name}`', '<br>'.join(dict.fromkeys(
    f'`{kinds[each]}`' for each in name.split(', ') if each in kinds)), meaning)
    for name, meaning in items(sections.get('Attributes', ''))]
  listed = {each for name, *_ in named for each in name.strip('`').split(', ')}
  if not named:
    named = [(f'`{name}`', f'`{kind}`', '') for name, kind in kinds.items()]
    listed = set(kinds)
  lines += table(('attribute', 'type', ''), named)
  methods = [(f'`{name}{"" if isinstance(value, property) else "()"}`', summary(value))
             for name, value in vars(shown).items() if not name.startswith('_')
             and name not in listed and isinstance(value, property | classmethod | staticmethod
                                                   | type(type_)) and inspect.getdoc(value)]
  if methods:
    lines += ['', *table(('besides', ''), methods)]
  return '\n'.join(lines).rstrip() + '\n'


def _annotations(shown) -> dict[str, str]:
  """By attribute, its type as it is written."""
  body = ast.parse(textwrap.dedent(inspect.getsource(shown))).body[0].body
  return {row.target.id: _MODULE.sub('', ast.unparse(row.annotation)).strip("'") for row in body
          if isinstance(row, ast.AnnAssign)}


def divided(documented) -> tuple[str, dict[str, str]]:
  """The text of a docstring, and its sections by name, each without its indentation."""
  text, sections, name = [], {}, None
  for line in inspect.getdoc(documented).splitlines():
    if match := _SECTION.fullmatch(line):
      name = match[1]
      sections[name] = []
    else:
      (text if name is None else sections[name]).append(line)
  return '\n'.join(text).strip(), {
    name: textwrap.dedent('\n'.join(lines)).strip() for name, lines in sections.items()}


def items(section) -> list[tuple[str, str]]:
  """(names, meaning) of the entries of a section, whose further lines are indented."""
  entries = re.split(r'\n(?=\S)', section) if section else []
  return [tuple(flowing(entry).split(': ', 1)) for entry in entries]


def flowing(text) -> str:
  """A text in one line."""
  return ' '.join(text.split())


def summary(documented) -> str:
  """The first sentence or paragraph of a docstring, in one line."""
  return flowing(inspect.getdoc(documented).split('\n\n')[0])


def table(head, rows) -> list[str]:
  """The lines of a table; none without rows."""
  if not rows:
    return []
  return [f'| {" | ".join(head)} |'.replace('|  |', '| |'), '|---' * len(head) + '|',
          *('| ' + ' | '.join(cell.replace('|', r'\|') for cell in row) + ' |' for row in rows)]


def main():
  PAGE.write_text(page(), encoding='utf-8')


if __name__ == '__main__':
  main()

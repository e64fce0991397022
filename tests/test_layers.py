"""Imports point down the house: a wing knows those before it, and never one behind."""

import ast
import os
import subprocess
import sys

import pytest
from conftest import ROOT

PACKAGE = ROOT / 'vidregen_jax'
# From the ground up. Rooms of one row do not know each other.
FLOORS = (
  ('errors', ), ('terminal', 'interrupts'), ('scratch_folder', ), ('outputs', ), ('files', ),
  ('documents', ), ('cli', ),
  ('distributed', ), ('models', ), ('media', ), ('faces', ), ('compositing', ),
  ('inference', ), ('exports', 'provenance'), ('datasets', 'reporting'), ('editing', ),
  ('api', ), ('commands', ),
  ('evaluation', ), ('training', ), ('planning', ),
  ('train', 'regenerate', 'translate', 'evaluate', 'encode_latents', 'export', 'inspect', 'plan',
   'app'),
  ('__init__', '__main__'),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def arrows():
  """(room, room that it imports, where) for all imports between the package's rooms."""
  for path in sorted(PACKAGE.rglob('*.py')):
    room = path.relative_to(PACKAGE).with_suffix('').parts[0]
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
      elif isinstance(node, ast.ImportFrom) and node.module == 'vidregen_jax':
        names = [f'vidregen_jax.{alias.name}' for alias in node.names]
      elif isinstance(node, ast.ImportFrom):
        names = [node.module]
      else:
        continue
      for name in names:
        first, *rest = name.split('.')
        if first == 'vidregen_jax' and rest and rest[0] in FLOOR and rest[0] != room:
          yield room, rest[0], f'{path.relative_to(ROOT)}:{node.lineno}'


def test_every_room_has_its_floor():
  rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == '.py' or (
    path.is_dir() and any(path.rglob('*.py')))}
  assert rooms == set(FLOOR)


def test_imports_point_down():
  found = list(arrows())
  assert len(found) > 100  # they are seen at all
  wrong = [f'{where}: {room} imports {other}' for room, other, where in found
           if FLOOR[other] >= FLOOR[room]]
  assert wrong == []


@pytest.mark.parametrize(('module', 'without'), [
  ('regenerate', ('orbax', 'grain', 'tensorflow_datasets', 'ml_collections', 'tensorboardX', 'clu',
                  'transformers')),
  ('translate', ('orbax', 'grain', 'tensorflow_datasets', 'ml_collections', 'tensorboardX', 'clu',
                 'transformers')),
  ('planning.abstract_steps', ('orbax', 'tensorboardX', 'clu', 'transformers')),
  ('planning.search', ('orbax', 'tensorboardX', 'clu', 'transformers')),
  ('training.generator_objective', ('vidregen_jax.exports', 'ai_edge_litert')),
  ('training.codec_objective', ('vidregen_jax.exports', 'ai_edge_litert')),
  ('inference.sampling', ('vidregen_jax.datasets', 'ai_edge_litert', 'av')),
])
def test_a_room_does_not_bring_what_it_does_not_need(module, without):
  program = (f'import sys, vidregen_jax.{module}; '
             f'print([name for name in {without!r} if name in sys.modules])')
  done = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True,
                        env=os.environ | {'JAX_PLATFORMS': 'cpu'}, check=True)
  assert done.stdout.strip() == '[]'

"""Broken files and wild arguments end in a video or in one line, never in between."""

import functools
import pathlib

import pytest
import tiny_system

from bench import good_files, mutations
from vidregen_jax import regenerate
from vidregen_jax.exports import pipeline


@pytest.fixture(scope='module')
def good(tmp_path_factory, pack_folder):
  folder = tmp_path_factory.mktemp('good')
  good_files.make(sorted((pack_folder / 'test').glob('*.mp4'))[0], folder)
  return folder


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory, whisper_folder):
  return tiny_system.write(tmp_path_factory.mktemp('system'), whisper_folder)


def test_no_mutation_ends_in_a_traceback_or_leaves_something_behind(
    good, checkpoint, tmp_path, monkeypatch):
  monkeypatch.setattr(pipeline, 'load', functools.cache(pipeline.load))
  files = {path.name: path.read_bytes() for path in sorted(good.iterdir())}
  wrong = {}
  for run in range(30):
    asked = mutations.case(1, run, files, str(checkpoint))
    told, printed = mutations.judge(asked, good, tmp_path / 'run')
    if told:
      wrong[run] = told, asked.program, asked.argv, printed[-500:]
  assert not wrong


@pytest.mark.parametrize(('main', 'told'), [
    (lambda argv: 1 / 0, 'traceback'),
    (lambda argv: 2, 'without a line'),
    (lambda argv: 3, 'status 3'),
    (lambda argv: 0, 'status 0 and'),
    (lambda argv: pathlib.Path('half.mp4').touch() or print('error: x') or 2, 'left'),
    (lambda argv: pathlib.Path('new.wav').write_text('x'), 'changed'),
])
def test_what_would_be_wrong_is_seen(main, told, good, tmp_path, monkeypatch):
  monkeypatch.setattr(regenerate, 'main', main)
  asked = mutations.Case('regenerate', (), {})
  assert told in mutations.judge(asked, good, tmp_path / 'run')[0]
  assert not (tmp_path / 'run').exists()

"""Results on disk appear whole, and together, or not at all."""

import os
import pathlib
import signal
import time

import pytest

from vidregen_jax import errors, interrupts, outputs


def named(folder):
  return {path.name: path.read_text() for path in folder.iterdir()}


def write(folder, names, replace, meanwhile=lambda: None):
  """Makes files of which the content is their name; what may come to be is a, b, c and d."""
  paths = [folder / name for name in 'abcd']
  with outputs.Outputs(paths, replace) as made:
    for name in names:
      made.part(folder / name).write_text(name)
    meanwhile()
  return made


def test_what_was_made_appears_and_what_was_there_goes(tmp_path):
  for name in 'bc':
    (tmp_path / name).write_text('earlier')
  (tmp_path / 'other').write_text('other')
  assert write(tmp_path, 'ab', replace=True).published
  assert named(tmp_path) == {'a': 'a', 'b': 'b', 'other': 'other'}


@pytest.mark.parametrize('taken', 'abcd')
def test_what_is_there_is_told_before_anything_is_made(taken, tmp_path):
  (tmp_path / taken).write_text('earlier')
  with pytest.raises(errors.UserError, match=f'would replace .*{taken}: give another name, or'):
    write(tmp_path, '', replace=False, meanwhile=pytest.fail)
  assert named(tmp_path) == {taken: 'earlier'}


@pytest.mark.parametrize('links', [True, False])
@pytest.mark.parametrize('taken', 'abc')
def test_what_has_come_meanwhile_stays_and_nothing_is_written(taken, links, tmp_path, monkeypatch):
  def come():
    (tmp_path / taken).write_text('of somebody else')
    monkeypatch.setattr(outputs, 'check', lambda *args: None)  # it came later still
  if not links:
    refuse_links(monkeypatch)
  with pytest.raises(errors.UserError, match=f'{taken}: has come to be meanwhile'):
    write(tmp_path, 'abc', replace=False, meanwhile=come)
  assert named(tmp_path) == {taken: 'of somebody else'}


def refuse_links(monkeypatch):
  def link(*args, **named):
    raise PermissionError(1, 'Operation not permitted')  # as of FAT
  monkeypatch.setattr(os, 'link', link)


@pytest.mark.parametrize('links', [True, False])
@pytest.mark.parametrize('replace', [True, False])
def test_a_disk_without_links_is_as_good(replace, links, tmp_path, monkeypatch):
  if not links:
    refuse_links(monkeypatch)
  if replace:
    (tmp_path / 'a').write_text('earlier')
    (tmp_path / 'd').write_text('earlier')
  write(tmp_path, 'abc', replace)
  assert named(tmp_path) == {name: name for name in 'abc'}


@pytest.mark.parametrize('links', [True, False])
@pytest.mark.parametrize('failing', 'abc')
def test_if_one_cannot_get_its_name_all_is_as_it_was(failing, links, tmp_path, monkeypatch):
  before = {'a': 'earlier a', 'c': 'earlier c', 'd': 'earlier d'}
  for name, text in before.items():
    (tmp_path / name).write_text(text)
  replace = os.replace

  def fails_once(part, path):
    if path == tmp_path / failing and 'part' in part.name:
      raise OSError(5, 'Input/output error')
    replace(part, path)
  monkeypatch.setattr(os, 'replace', fails_once)
  if not links:
    refuse_links(monkeypatch)
  with pytest.raises(errors.UserError, match=f'{failing}: cannot be written .Input/output error'):
    write(tmp_path, 'abc', replace=True)
  assert named(tmp_path) == before


@pytest.mark.parametrize('replace', [True, False])
def test_whoever_asks_to_end_amid_the_renaming_waits_for_all_of_them(replace, tmp_path,
                                                                      monkeypatch):
  call = 'replace' if replace else 'link'
  rename, made = getattr(os, call), outputs.Outputs([tmp_path / name for name in 'abc'], replace)

  def asked(part, path):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(.01)
    rename(part, path)
  monkeypatch.setattr(os, call, asked)
  with pytest.raises(interrupts.Ended), interrupts.heard(), made:
    for name in 'abc':
      made.part(tmp_path / name).write_text(name)
  assert made.published and named(tmp_path) == {name: name for name in 'abc'}


@pytest.mark.parametrize('replace', [True, False])
def test_a_folder_is_never_replaced(replace, tmp_path):
  (tmp_path / 'c').mkdir()
  with pytest.raises(errors.UserError, match='would replace .*c'):
    write(tmp_path, '', replace, meanwhile=pytest.fail)
  assert [path.name for path in tmp_path.iterdir()] == ['c']


def test_the_longest_name_of_a_file_can_be_made_and_a_longer_one_is_told(tmp_path):
  longest = tmp_path / ('x' * (os.pathconf(tmp_path, 'PC_NAME_MAX') - 4) + '.mp4')
  with outputs.Outputs([longest], replace=False) as made:
    made.part(longest).write_text('long')
  assert longest.read_text() == 'long'
  with pytest.raises(errors.UserError, match='File name too long.*another name'), (
      outputs.Outputs([longest, longest.with_suffix('.json')], replace=True)):
    pytest.fail('it was let in')


def test_two_who_make_the_same_at_once_do_not_lose_it(tmp_path):
  with outputs.Outputs([tmp_path / 'a.mp4', tmp_path / 'a.json'], replace=True) as made:
    made.part(tmp_path / 'a.mp4').write_text('first')
    with pytest.raises(errors.UserError, match='a.json: is being made by another run'):
      outputs.Outputs([tmp_path / 'a.mkv', tmp_path / 'a.json'], replace=True).__enter__()
    with outputs.Outputs([tmp_path / 'b.mp4'], replace=True) as other:
      other.part(tmp_path / 'b.mp4').write_text('another')
  assert named(tmp_path) == {'a.mp4': 'first', 'b.mp4': 'another'}


def test_a_folder_that_cannot_be_written_to_is_told():
  with pytest.raises(errors.UserError, match='/proc: cannot be written to'):
    outputs.Outputs([pathlib.Path('/proc/a.mp4')], replace=True).__enter__()
  with pytest.raises(errors.UserError, match='/proc: cannot be written to'), (
      outputs.whole_folder('/proc/export')):
    pytest.fail('it was let in')


def test_a_file_that_is_not_finished_leaves_the_earlier_one(tmp_path):
  (tmp_path / 'a').write_text('earlier')
  with pytest.raises(KeyError), outputs.whole_file(tmp_path / 'a') as part:
    part.write_text('half')
    raise KeyError
  assert named(tmp_path) == {'a': 'earlier'}


@pytest.mark.parametrize('links', [True, False])
def test_of_two_who_write_a_new_file_the_first_has_it(links, tmp_path, monkeypatch):
  if not links:
    refuse_links(monkeypatch)
  with pytest.raises(FileExistsError), outputs.whole_file(tmp_path / 'a', replace=False) as late:
    late.write_text('late')
    with outputs.whole_file(tmp_path / 'a', replace=False) as first:
      first.write_text('first')
  assert named(tmp_path) == {'a': 'first'}


def test_of_two_who_replace_a_file_the_last_has_it(tmp_path):
  with outputs.whole_file(tmp_path / 'a') as last:
    last.write_text('last')
    with outputs.whole_file(tmp_path / 'a') as first:
      first.write_text('first')
  assert named(tmp_path) == {'a': 'last'}

"""A dataset's own files make nothing run, and damage to them is told in a line."""

import copy
import json
import os
import pathlib
import shutil
import sys

import fake_talkers
import pytest

from vidregen_jax.datasets import dataset_folder, input_pipeline
from vidregen_jax.errors import UserError
from vidregen_jax.faces import crop_geometry

NAMES = ('dataset_info.json', 'features.json')
DEEP = 100_000


@pytest.fixture(scope='module')
def built(tmp_path_factory):
  return pathlib.Path(fake_talkers.build(tmp_path_factory.mktemp('built')))


@pytest.fixture
def folder(built, tmp_path):
  return shutil.copytree(built, tmp_path / '1.0.0')


def opened(folder):
  return input_pipeline.talker_clips(folder, 'train', 16)


def change(path, function):
  said = json.loads(path.read_text())
  function(said)
  path.write_text(json.dumps(said))


def test_what_our_builder_writes_is_opened(folder):
  assert len(opened(folder)) == 5 and opened(folder)[0]['frames'].shape[1:] == (16, 16, 3)


def test_a_class_that_is_named_is_not_imported(folder, tmp_path, monkeypatch):
  (tmp_path / 'harm.py').write_text('raise SystemExit("it ran")\nclass Feature: pass')
  monkeypatch.syspath_prepend(str(tmp_path))
  path, good = folder / 'features.json', (folder / 'features.json').read_text()
  features = lambda said: said['featuresDict']['features']
  for harm in (
      lambda said: said.update(pythonClassName='harm.Feature'),
      lambda said: features(said)['voice'].update(pythonClassName='harm.Feature'),
      lambda said: features(said).update(more={'pythonClassName': 'harm.Feature', 'text': {}}),
      lambda said: features(said)['voice'].update(pythonClassName=(
        'tensorflow_datasets.core.features.video_feature.Video')),
      lambda said: (said.clear(), said.update(type='harm.Feature', content={}))):
    change(path, harm)
    with pytest.raises(UserError, match='features.json'):
      opened(folder)
    path.write_text(good)
  assert 'harm' not in sys.modules


@pytest.mark.parametrize('name', NAMES)
def test_damage_is_one_line(folder, name):
  path, good = folder / name, json.loads((folder / name).read_text())
  for data in (b'', b'{', b'\xff\xfe', b'[]', b'7', b'{}', b'null', b'[' * DEEP,
               b'{"a":' * DEEP + b'1' + b'}' * DEEP):
    path.write_bytes(data)
    with pytest.raises(UserError, match=name) as caught:
      opened(folder)
    assert '\n' not in str(caught.value)

  def mutations(tree, say):
    """Each field of each object taken away, and given another kind of value."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
      held = tree[key]
      for other in (None, -1, [], 'x/../y', {'a': 1}):
        tree[key] = other
        say()
      tree[key] = held
      if isinstance(held, dict | list):
        mutations(held, say)

  said, refused = copy.deepcopy(good), []

  def say():
    path.write_text(json.dumps(said))
    try:
      opened(folder)
    except UserError as error:
      assert '\n' not in str(error)
      refused.append(error)

  mutations(said, say)
  assert len(refused) > 100


@pytest.mark.parametrize(('make', 'cause'), [
  (os.mkfifo, 'is a pipe'), (lambda path: path.mkdir(), 'is a folder'),
  (lambda path: path.symlink_to('/dev/zero'), 'is a device')])
def test_what_is_no_file_is_not_waited_for(make, cause, folder):
  for path in sorted(folder.iterdir()):
    moved = path.rename(folder.parent / 'aside')
    make(path)
    with pytest.raises(UserError, match=cause):
      opened(folder)
    path.rmdir() if path.is_dir() else path.unlink()
    moved.rename(path)


def test_crops_in_which_faces_lie_elsewhere_are_refused(folder):
  path = folder / 'metadata.json'
  for said, cause in (({}, ''), ({'pack': '12ab', 'crop': crop_geometry.CROP}, ''),
                      ({'crop': crop_geometry.CROP | {'nose': [.5, .6]}},
                       r'nose is \[0.5, 0.6\], where .*: build the dataset again'),
                      ({'crop': 'mine'}, 'build the dataset again'), ({'pack': {}}, 'a string')):
    path.write_text(json.dumps(said))
    if cause:
      with pytest.raises(UserError, match=cause):
        opened(folder)
    else:
      assert len(opened(folder)) == 5


def test_latents_of_another_mask_are_refused(tmp_path):
  crop = crop_geometry.MASKED_CROP | {'top': .4}
  (tmp_path / 'dataset_info.json').write_text(json.dumps({'splits': {}, 'crop': crop}))
  for read in (input_pipeline.latent_info, lambda folder: input_pipeline.latent_clips(folder, 'x')):
    with pytest.raises(UserError, match='top is 0.4, where .* 0.37: encode the dataset again'):
      read(tmp_path)


@pytest.mark.parametrize('name', ['../a', '/etc/passwd', '', '.', 'a/b', 7, None])
def test_shards_of_latents_lie_in_their_folder(name, tmp_path):
  (tmp_path / 'dataset_info.json').write_text(
    json.dumps({'splits': {'train': {'files': [name]}}}))
  with pytest.raises(UserError, match=r'dataset_info.json: .*files\[0\] is no plain name'):
    input_pipeline.latent_clips(tmp_path, 'train')


@pytest.mark.parametrize('data', ['', '[]', '{"splits": 7}', '{"splits": {"train": []}}', '{'])
def test_a_damaged_account_of_latents_is_one_line(data, tmp_path):
  (tmp_path / 'dataset_info.json').write_text(data)
  for read in (lambda: input_pipeline.latent_clips(tmp_path, 'train'),
               lambda: input_pipeline.latent_info(tmp_path)):
    with pytest.raises(UserError, match='dataset_info.json'):
      read()


def test_a_record_that_is_none_is_bad():
  for data in (b'', b'\x93', b'\x81\xa1a\x93\xa2|O\x90\xc4\x00', b'\xc1'):
    with pytest.raises(input_pipeline.BadRecord, match='holds no clip of latents'):
      input_pipeline.decode_record(data)


def test_only_names_are_names():
  assert dataset_folder.named('train-00000-of-00001.array_record', 'it').startswith('train')

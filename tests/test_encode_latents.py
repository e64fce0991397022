import concurrent.futures
import json
import os
import threading

import fake_codec
import fake_talkers
import jax
import numpy as np
import pytest
from array_record.python import array_record_module

from vidregen_jax import cli, encode_latents, scratch_folder
from vidregen_jax.datasets import heard_dataset, input_pipeline, latent_dataset, shard_files
from vidregen_jax.errors import UserError
from vidregen_jax.exports import model_folder
from vidregen_jax.faces import crop_geometry, crop_mask
from vidregen_jax.inference import streaming_codec
from vidregen_jax.models import pixels

MODEL = fake_codec.CodecConfig(size=16, latent_channels=4)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  return fake_talkers.build(tmp_path_factory.mktemp('data'))


@pytest.fixture
def encoder(monkeypatch):
  monkeypatch.setattr(streaming_codec, 'codec', fake_codec)
  w = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
  params = {'encoder': {'w': w}, 'decoder': {'w': w.T}}
  statistics = {'latent_mean': np.float32([0.1, 0, 0, 0]), 'latent_std': np.float32([2, 1, 1, 1])}
  config = {'size': 16, 'latent_channels': 4}
  return streaming_codec.Encoder.of(
    model_folder.Export('codec', config, params, statistics, digest='abc')
  )


def listen(samples):
  """States that tell their own index: 50 a second."""
  return np.arange(-(-len(samples) // 320), dtype=np.float32)[:, None, None].repeat(3, axis=1)


def first_clip(dataset):
  return input_pipeline.talker_clips(dataset, 'train', 16)[0]


def reference(encoder, frames):
  """The latents of one whole stream, encoded in one piece: uint8 [F, S, S, 3] -> [T, H, W, C]."""
  (mean, _), _ = fake_codec.encode(
    MODEL, encoder._params, pixels.to_float(frames[None]), fake_codec.init_encoder_cache(MODEL, 1)
  )
  return (np.asarray(mean[0]) - encoder._mean) / encoder._std


def test_latents_are_those_of_the_clip_encoded_in_one_piece(dataset, encoder):
  clip = first_clip(dataset)
  frames = clip['frames'][: len(clip['frames']) // 4 * 4]
  record, mirrored = latent_dataset.encode_clip(clip, encoder, listen, flip=True)
  close = lambda a, b: np.testing.assert_allclose(a, b, atol=2e-3, rtol=1e-3)  # float16
  close(record['target'], reference(encoder, frames))
  close(record['context'], reference(encoder, crop_mask.hide_lower_face(frames)))
  close(mirrored['target'], reference(encoder, frames[:, :, ::-1]))
  assert (mirrored['flipped'], record['flipped']) == (True, False)
  for t in range(len(frames) // 4):
    close(record['cold'][t], reference(encoder, frames[4 * t : 4 * t + 4])[0])
  for latent, frame in zip(record['stills'], record['still_frames'], strict=True):
    close(latent, reference(encoder, frames[frame, None].repeat(4, axis=0))[0])
  # A latent frame with a past is not the one without: the stand-in codec remembers.
  assert np.abs(record['cold'][1:] - record['target'][1:]).max() > 0.01


def test_what_goes_with_the_latents_is_aligned_with_them(dataset, encoder):
  clip = first_clip(dataset)
  record, mirrored = latent_dataset.encode_clip(clip, encoder, listen, flip=True)
  t = len(record['target'])
  assert t == len(clip['frames']) // 4
  np.testing.assert_array_equal(record['times'], clip['times'][: 4 * t])
  for lips in ('lip_gap', 'mouth_width'):
    np.testing.assert_array_equal(record[lips], clip[lips][: 4 * t])
  assert heard_dataset.checked(record)['clip_id'] == record['clip_id']  # what hears lips reads it
  assert record['audio'].shape == (-(-len(clip['audio']) // 320), 3, 1)
  assert record['mouth_box'].shape == (t, 4)
  np.testing.assert_allclose(record['mouth_box'][0], [0.25, 0.6, 0.7, 0.9])
  np.testing.assert_allclose(mirrored['mouth_box'][0], [0.3, 0.6, 0.75, 0.9])


def write(folder, dataset, encoder, host=0, hosts=1, **inputs):
  made_with = {'codec': 'abc', 'flip': True, 'audio_encoder': 'none', 'audio_layers': [0],
               'audio_width': 3, 'window_seconds': 10.0, 'margin_seconds': 1.0}
  latent_dataset.write_dataset(
    folder, dataset, encoder, listen, True, made_with | inputs, ('train', 'validation', 'test'),
    host, hosts)


@pytest.fixture
def small_shards(monkeypatch):
  """The test dataset makes five: three of train, one of validation and one of test."""
  monkeypatch.setattr(latent_dataset, '_SHARD', 2)


def contents(folder):
  """The raw records of every shard, and what dataset_info.json says."""
  shards = {path.name: array_record_module.ArrayRecordReader(str(path)).read_all()
            for path in folder.glob('*.array_record')}
  return shards, input_pipeline.latent_info(folder)


def together(*calls):
  """Make calls in threads that start at once; what they raised, None where nothing."""
  barrier = threading.Barrier(len(calls))

  def call(function):
    barrier.wait()
    return function()

  with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
    return [future.exception() for future in [pool.submit(call, f) for f in calls]]


def test_a_stopped_run_goes_on_with_the_shard_it_was_at(
  dataset, encoder, tmp_path, monkeypatch, small_shards
):
  write(tmp_path / 'whole', dataset, encoder)
  clips = input_pipeline.latent_clips(tmp_path / 'whole', 'train')
  assert [clips[i]['flipped'] for i in range(len(clips))] == [False, True] * 5
  names = {clips[i]['clip_id'] for i in range(len(clips))}
  assert names == {f'train-{i}' for i in range(5)}

  encode, done = latent_dataset.encode_clip, []

  def stopping(clip, *rest):
    if len(done) == 3:
      raise KeyboardInterrupt
    done.append(clip['clip_id'])
    return encode(clip, *rest)

  with monkeypatch.context() as patch:
    patch.setattr(latent_dataset, 'encode_clip', stopping)
    with pytest.raises(KeyboardInterrupt):
      write(tmp_path / 'stopped', dataset, encoder)
  with pytest.raises(UserError, match='no finished dataset of latents'):
    input_pipeline.latent_clips(tmp_path / 'stopped', 'train')
  assert not list((tmp_path / 'stopped').glob('*.part*'))
  done.clear()
  monkeypatch.setattr(
    latent_dataset, 'encode_clip', lambda clip, *rest: done.append(1) or encode(clip, *rest)
  )
  write(tmp_path / 'stopped', dataset, encoder)
  assert len(done) == 3 + 2 + 1, 'the finished shard of two clips was encoded again'
  again = input_pipeline.latent_clips(tmp_path / 'stopped', 'train')
  for i in range(len(clips)):
    jax.tree.map(np.testing.assert_array_equal, clips[i], again[i])


def test_looks_are_added_to_training_clips_alone_and_their_names_fix_them(
  dataset, encoder, tmp_path
):
  made_with = {'codec': 'abc', 'flip': False, 'looks': 1, 'audio_encoder': 'none',
               'audio_layers': [0], 'audio_width': 3, 'window_seconds': 10.0,
               'margin_seconds': 1.0}
  for folder in ('one', 'two'):
    latent_dataset.write_dataset(tmp_path / folder, dataset, encoder, listen, False, made_with,
                                 ('train', 'validation'), looks=1)
  one, two = (input_pipeline.latent_clips(tmp_path / folder, 'train') for folder in ('one', 'two'))
  plain = input_pipeline.talker_clips(dataset, 'train', 16)
  assert len(one) == 2 * len(plain)
  assert len(input_pipeline.latent_clips(tmp_path / 'one', 'validation')) == 2
  for i in range(len(one)):
    jax.tree.map(np.testing.assert_array_equal, one[i], two[i])
  assert one[0]['clip_id'] == one[1]['clip_id']
  assert (one[0]['target'][:4] != one[1]['target'][:4]).any()
  # What is hidden is hidden of the varied frames: where nothing is, context and target agree.
  for record in (one[0], one[1]):
    assert record['target'].shape == record['context'].shape
    assert len(record['times']) == 4 * len(record['target']) == len(record['lip_gap'])


def test_latents_of_two_codecs_are_never_mixed(dataset, encoder, tmp_path):
  write(tmp_path, dataset, encoder)
  info = input_pipeline.latent_info(tmp_path)
  assert info['codec'] == 'abc' and info['latent_shape'] == (2, 2, 4)
  assert info['splits']['validation'] == {
    'files': ('validation-00000-of-00001.array_record',), 'clips': 2, 'records': 4
  }
  with pytest.raises(UserError, match='holds latents, but crops are needed here'):
    input_pipeline.talker_clips(tmp_path, 'train', 16)
  with pytest.raises(UserError, match='holds crops, but latents are needed here'):
    input_pipeline.latent_info(dataset)
  with pytest.raises(UserError, match="made with codec 'abc', not 'xyz': give another --out"):
    write(tmp_path, dataset, encoder, codec='xyz')
  with pytest.raises(UserError, match="no split 'dev'"):
    input_pipeline.latent_clips(tmp_path, 'dev')


def test_latents_of_two_masks_are_never_mixed(dataset, encoder, tmp_path):
  write(tmp_path, dataset, encoder)
  assert input_pipeline.latent_info(tmp_path)['crop'] == crop_geometry.MASKED_CROP
  path = tmp_path / 'inputs.json'
  inputs = json.loads(path.read_text())
  del inputs['crop']  # a run of the version before stopped here
  path.write_text(json.dumps(inputs))
  write(tmp_path, dataset, encoder)
  path.write_text(json.dumps(inputs | {'crop': crop_geometry.MASKED_CROP | {'top': .4}}))
  with pytest.raises(UserError, match='top is 0.4, where .* 0.37: give another --out'):
    write(tmp_path, dataset, encoder)


def test_hosts_together_write_what_one_host_writes(
  dataset, encoder, tmp_path, capsys, small_shards
):
  write(tmp_path / 'one', dataset, encoder)
  folder = tmp_path / 'three'
  for host, missing in ((2, 4), (0, 2)):
    write(folder, dataset, encoder, host, 3)
    assert f'{missing} of 5 shards are still missing' in capsys.readouterr().out
    with pytest.raises(UserError, match='no finished dataset of latents'):
      input_pipeline.latent_info(folder)
  write(folder, dataset, encoder, 1, 3)
  assert contents(folder) == contents(tmp_path / 'one')

  folder = tmp_path / 'at once'
  ends = together(*(lambda i=i: write(folder, dataset, encoder, i, 2) for i in range(2)))
  assert ends == [None] * 2
  assert contents(folder) == contents(tmp_path / 'one')
  assert len(list(folder.iterdir())) == 5 + len(('inputs.json', 'dataset_info.json'))


def test_hosts_that_finish_at_once_do_not_harm_each_other(
  dataset, encoder, tmp_path, monkeypatch, small_shards
):
  write(tmp_path, dataset, encoder)
  whole = contents(tmp_path)
  (tmp_path / 'dataset_info.json').unlink()
  replace, barrier = os.replace, threading.Barrier(4)

  def replace_together(part, path):
    barrier.wait(timeout=60)  # all have written their own and none has put it in place
    replace(part, path)

  monkeypatch.setattr(os, 'replace', replace_together)
  ends = together(*(lambda i=i: write(tmp_path, dataset, encoder, i, 4) for i in range(4)))
  assert ends == [None] * 4
  assert contents(tmp_path) == whole
  assert not list(tmp_path.glob('*part*'))


def test_what_a_killed_host_left_is_done_by_any_number_of_hosts(
  dataset, encoder, tmp_path, monkeypatch, small_shards
):
  write(tmp_path / 'whole', dataset, encoder)
  folder = tmp_path / 'killed'
  write(folder, dataset, encoder, 1, 3)
  # Killed, a host cannot take its half shard away.
  with scratch_folder.ScratchFolder(folder) as running:
    left = running.with_name(f'{running.name[:-5]}0.part')  # of this computer, its lock is free
  left.mkdir()
  (left / 'lock').touch()
  (left / 'part0.array_record').write_bytes(b'half')
  encode, done = latent_dataset.encode_clip, []
  monkeypatch.setattr(
    latent_dataset, 'encode_clip', lambda clip, *rest: done.append(1) or encode(clip, *rest)
  )
  write(folder, dataset, encoder, 0, 2)
  assert not left.exists()
  write(folder, dataset, encoder)
  assert contents(folder) == contents(tmp_path / 'whole')
  assert len(done) == 8 - 3, 'a finished shard was encoded again'


def test_two_runs_of_one_shard_are_told(tmp_path):
  path = tmp_path / 'train.array_record'
  with shard_files.writer(path) as write_first:
    write_first({'a': 1})
    with pytest.raises(UserError, match='is being made by another run'), (
      shard_files.writer(path)
    ):
      pytest.fail('it was let in')
  (record,) = array_record_module.ArrayRecordReader(str(path)).read_all()
  assert input_pipeline.decode_record(record) == {'a': 1}
  assert list(tmp_path.iterdir()) == [path]


def test_of_hosts_that_start_at_once_one_claims_the_folder(tmp_path, monkeypatch):
  link, inputs = os.link, [{'codec': f'codec {i}'} for i in range(8)]

  def link_late(part, path):
    monkeypatch.setattr(os, 'link', link)
    latent_dataset.claim(tmp_path, inputs[1])  # another host was quicker
    link(part, path)

  monkeypatch.setattr(os, 'link', link_late)
  with pytest.raises(UserError, match="made with codec 'codec 1', not 'codec 0': give another"):
    latent_dataset.claim(tmp_path, inputs[0])
  assert json.loads((tmp_path / 'inputs.json').read_text())['codec'] == 'codec 1'
  latent_dataset.claim(tmp_path, inputs[1])

  (tmp_path / 'inputs.json').unlink()
  ends = together(*(lambda x=x: latent_dataset.claim(tmp_path, x) for x in inputs * 2))
  codec = json.loads((tmp_path / 'inputs.json').read_text())['codec']
  held = inputs.index({'codec': codec})
  assert [i for i, end in enumerate(ends) if end is None] == [held, held + 8]
  assert all(isinstance(end, UserError) for end in ends if end)
  assert [path.name for path in tmp_path.iterdir()] == ['inputs.json']


@pytest.mark.parametrize('damage', [lambda path: path.write_bytes(path.read_bytes()[:-70_000]),
                                    lambda path: os.truncate(path, 0),
                                    lambda path: os.truncate(path, 1 << 20)])
def test_a_damaged_shard_is_named_and_can_be_made_again(
  dataset, encoder, tmp_path, small_shards, damage
):
  write(tmp_path, dataset, encoder)
  whole = contents(tmp_path)
  shard = tmp_path / 'train-00001-of-00003.array_record'
  damage(shard)
  with pytest.raises(UserError, match=f'{shard} is damaged or absent: remove'):
    input_pipeline.latent_clips(tmp_path, 'train')
  with pytest.raises(UserError, match=f'{shard} has 0 readable records, not 4: remove it and run'):
    write(tmp_path, dataset, encoder)
  shard.unlink()
  write(tmp_path, dataset, encoder)
  assert contents(tmp_path) == whole


def test_latents_beyond_float16_are_refused_with_the_name_of_their_clip(
  dataset, encoder, tmp_path
):
  encoder._std = np.float32([1e-9, 1, 1, 1])
  name = first_clip(dataset)['clip_id'].decode()
  with pytest.raises(UserError, match=f'clip {name}: .* of its target are not finite in float16'):
    write(tmp_path, dataset, encoder)
  assert [path.name for path in tmp_path.iterdir()] == ['inputs.json']


@pytest.mark.parametrize(('host', 'hosts'), [(2, 2), (-1, 2), (0, 0)])
def test_a_host_that_is_none_of_the_hosts_is_told(tmp_path, host, hosts):
  given = encode_latents.make_parser().parse_args([
    '--codec=c', '--dataset=d', f'--out={tmp_path}/out', f'--host={host}', f'--hosts={hosts}'])
  with pytest.raises(UserError, match=f'--host={host} is not one of --hosts={hosts} hosts'):
    encode_latents.encode(given)


@pytest.mark.parametrize(('flags', 'line'), [
  ([], 'the following arguments are required: --codec, --dataset, --out'),
  (['--codec=c', '--dataset=d', '--out=o', '--window=3'], 'unrecognized arguments: --window=3'),
  (['--codec=c', '--dataset=d', '--out=o', '--hosts=x'], "--hosts: invalid int value: 'x'"),
])
def test_a_mistaken_flag_is_one_line_and_status_2(flags, line, capsys):
  assert cli.command(encode_latents.make_parser(), encode_latents.encode, 'go on', flags) == 2
  told = capsys.readouterr().err
  assert told.startswith('error: ') and line in told and told.count('\n') == 1


def test_flags_are_read_as_they_are_written():
  needed = ['--codec=c', '--dataset=d', '--out=o']
  read = lambda *flags: encode_latents.make_parser().parse_args([*needed, *flags])
  assert read().flip and read('--flip').flip and not read('--noflip').flip
  assert read('--layers=1,3, 6').layers == ['1', '3', '6'] and read().layers is None
  assert read('--splits=train').splits == ['train']


def test_layers_that_the_encoder_has_not_are_named():
  assert encode_latents.chosen_layers(None, 2) == (0, 1, 2)
  assert encode_latents.chosen_layers(['2', '0'], 2) == (2, 0)
  for name in ('3', 'x', '-1'):
    with pytest.raises(UserError, match=f"--layers has '{name}': the encoder has states 0 to 2"):
      encode_latents.chosen_layers(['1', name], 2)

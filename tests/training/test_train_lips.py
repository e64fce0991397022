"""The lips' listener: hears a made-up language, in step, and stays in the systems that have it."""

import functools
import json

import jax
import numpy as np
import pytest
import tiny_system
from training_runs import losses, stopped_at

from configs import lips as lips_config
from vidregen_jax.datasets import heard_dataset
from vidregen_jax.errors import BadRecord, UserError
from vidregen_jax.exports import model_folder, pack, pipeline
from vidregen_jax.models import audio_timeline, lip_listener
from vidregen_jax.training import lips_windows, train_lips

INPUTS = {'audio_encoder': 'none', 'audio_layers': [1], 'audio_width': 512, 'window_seconds': 10.0,
          'margin_seconds': 1.0}


def made_up(split, numbers):
  """Clips of three seconds in whose states two channels are the lips, and all others are noise."""
  for number in numbers:
    rng = np.random.default_rng([number, len(split)])
    times, audio = np.arange(300) / 100, rng.normal(size=(150, 1, 512)) * .1
    gap = .1 + .1 * np.sin(2 * np.pi * rng.uniform(2, 5) * times)
    width = .5 + .05 * np.sin(2 * np.pi * rng.uniform(2, 5) * times)
    audio[:, 0, 7], audio[:, 0, 9] = 10 * gap[::2], 20 * (width[::2] - .5)
    yield {'clip_id': f'{split}_{number}', 'audio': audio, 'times': times.astype(np.float32),
           'lip_gap': gap.astype(np.float32), 'mouth_width': width.astype(np.float32)}


def write(folder, inputs=INPUTS, records=made_up, clips=6):
  heard_dataset.write(folder, {'train': list(range(clips)), 'validation': [0, 1]}, records, inputs,
                      lambda count: None)
  return folder


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  return write(tmp_path_factory.mktemp('heard'))


@pytest.fixture(scope='module')
def system(tmp_path_factory, whisper_folder):
  return tiny_system.write_student(tmp_path_factory.mktemp('system'), whisper_folder,
                                   tiny_system.SMALLER)


def config(system, dataset, **changes):
  small = lips_config.get_config('tiny')
  small.update(system=str(system), dataset=str(dataset), batch_size=4, num_frames=4, num_steps=4,
               log_every=1, eval_every=4, checkpoint_every=2, warmup_steps=1, eval_clips=2)
  small.model.update(width=8, hidden=16)
  small.update(changes)
  return small


@pytest.mark.parametrize('rate', [25, 30000 / 1001, 50])
def test_what_is_heard_and_the_lips_of_a_window_are_of_the_same_time(dataset, rate):
  clip = heard_dataset.clips(str(dataset), 'train')[0]
  window = lips_windows.cut(clip, .4, rate, 8)
  assert window['audio'].shape == (8, 16, 1, 512) and window['lip_gap'].shape == (8, 4)
  # Every second of the samples between the context is at a frame's start.
  near = window['audio'][:, audio_timeline.CONTEXT_SAMPLES:-audio_timeline.CONTEXT_SAMPLES:2, 0, 7]
  np.testing.assert_allclose(near / 10, window['lip_gap'], atol=.02)
  assert np.ptp(window['lip_gap']) > .1
  before = lips_windows.cut(clip, -1., rate, 1)
  assert (before['lip_gap'] == clip['lip_gap'][0]).all()


def test_a_window_has_widths_beside_that_of_the_closed_mouth(dataset):
  """Whatever the person's is: what an open mouth is like does not count."""
  clip = dict(heard_dataset.clips(str(dataset), 'train')[0])
  gap = np.linspace(0, .2, len(clip['times'])).astype(np.float32)
  width = np.where(gap < .04, .4, .5).astype(np.float32)
  for by in (1, 1.5):
    whole = lips_windows.whole(clip | {'lip_gap': gap, 'mouth_width': by * width}, 25)
    assert whole['mouth_width'][0, 0] == pytest.approx(1)
    assert whole['mouth_width'][-1, -1] == pytest.approx(1.25)


def test_it_learns_to_hear_and_a_resumed_run_is_an_uninterrupted_one(system, dataset, tmp_path,
                                                                     monkeypatch):
  small = config(system, dataset, num_steps=80, eval_every=40, learning_rate=1e-2)
  train_lips.train(small, tmp_path / 'whole')
  with stopped_at(50, monkeypatch):
    train_lips.train(small, tmp_path / 'stopped')
  assert not (tmp_path / 'stopped' / 'export').exists()
  train_lips.train(small, tmp_path / 'stopped')
  assert losses(tmp_path / 'whole') == losses(tmp_path / 'stopped')
  whole, resumed = (pipeline.load(tmp_path / run / 'export') for run in ('whole', 'stopped'))
  assert whole.digests == resumed.digests and 'lips' in whole.digests
  lines = [json.loads(line) for line in
           (tmp_path / 'whole' / 'metrics.jsonl').read_text().splitlines()]
  for name in ('gap', 'width'):
    heard = [line[f'validation/{name}'] for line in lines if f'validation/{name}' in line]
    assert heard[-1] > .9


def test_a_system_keeps_its_lips(system, dataset, tmp_path):
  """Whatever is done to it: packed, with another student, or tuned."""
  train_lips.train(config(system, dataset), tmp_path / 'run')
  first = tmp_path / 'run' / 'export'
  before = pipeline.load(system)
  assert before.listener is None
  audio = np.random.default_rng(0).normal(size=(3, 16, 1, 512)).astype(np.float32)
  hear = lambda folder: pipeline.load(folder).listener(audio)
  expected = hear(first)
  for a, b in zip(*(jax.tree.leaves(pipeline.load(x).params) for x in (system, first)),
                  strict=True):
    np.testing.assert_array_equal(a, b)
  student = model_folder.load_export(first / 'student', 'student')
  pipeline.export_student(tmp_path / 'taught', first, {'sampler': student.config['sampler']},
                          student.params)
  params = before.params
  pipeline.export_tuned(tmp_path / 'tuned', first, jax.device_get(params.codec),
                        params.expectation, before.sampler, student.params)
  (tmp_path / 'card.md').write_text('Data: noise. Consent: of nobody.')
  pack.repack(first, tmp_path / 'packed', tmp_path / 'card.md', tmp_path / 'card.md')
  for name in ('taught', 'tuned', 'packed'):
    np.testing.assert_allclose(hear(tmp_path / name), expected, atol=2e-3)
  lips = model_folder.load_export(first / 'lips', 'lips')
  model_folder.export(first / 'lips', 'lips', lips.config | {'generator': 64 * '0'}, lips.params)
  with pytest.raises(UserError, match='lips in it were trained beside another generator'):
    pipeline.load(first)


@pytest.mark.parametrize(('changes', 'line'), [
  ({'eval_every': 0}, 'eval_every is 0'), ({'dropout': 1.}, 'config.dropout from 0 up to 1')])
def test_what_cannot_be_trained_is_told(system, dataset, tmp_path, changes, line):
  with pytest.raises(UserError, match=line):
    train_lips.train(config(system, dataset, **changes), tmp_path / 'run')


@pytest.mark.parametrize(('changes', 'line'), [
  ({'audio_layers': [2]}, 'was heard with audio_layers'),
  ({'audio_width': 384}, 'an encoder of 384 channels'),
  ({'window_seconds': 6.0}, 'was heard with window_seconds 6.0')])
def test_a_dataset_that_was_heard_otherwise_is_refused(system, tmp_path, changes, line):
  other = write(tmp_path / 'other', INPUTS | changes, clips=1)
  with pytest.raises(UserError, match=line):
    train_lips.train(config(system, other), tmp_path / 'run')


def test_a_dataset_goes_on_with_the_shard_it_was_at_and_is_of_one_kind(tmp_path):
  made = []

  def records(split, numbers, until):
    for record in made_up(split, numbers):
      if len(made) == until:
        raise KeyboardInterrupt
      made.append(record['clip_id'])
      yield record

  with pytest.raises(KeyboardInterrupt):
    write(tmp_path, records=functools.partial(records, until=7))
  assert not (tmp_path / 'dataset_info.json').exists()
  with pytest.raises(UserError, match='no finished dataset'):
    heard_dataset.clips(str(tmp_path), 'train')
  write(tmp_path, records=functools.partial(records, until=99))
  assert made.count('train_0') == 1 and made.count('validation_0') == 2
  assert heard_dataset.clips(str(tmp_path), 'validation')[1]['clip_id'] == 'validation_1'
  with pytest.raises(UserError, match='holds records made with audio_layers'):
    write(tmp_path, INPUTS | {'audio_layers': [2]})


def test_damaged_records_are_named():
  record = next(made_up('train', [3]))
  assert heard_dataset.checked(record)['clip_id'] == 'train_3'
  for change, line in (({'lip_gap': record['lip_gap'] * np.nan}, 'train_3: its lip_gap is not'),
                       ({'times': record['times'][:5]}, 'it has 5 times and 300 of lip_gap')):
    with pytest.raises(BadRecord, match=line):
      heard_dataset.checked(record | change)
  record.pop('audio')
  with pytest.raises(BadRecord, match="no 'audio'"):
    heard_dataset.checked(record)


def test_the_last_states_of_a_latent_frame_move_its_gaps_and_no_others():
  shape = lip_listener.ListenerConfig(1, 4, 3, 5)
  params = lip_listener.init(shape, jax.random.key(0))
  audio = np.random.default_rng(0).normal(size=(3, 16, 1, 4))
  first = lip_listener.heard(shape, params, audio)
  audio[1, -1] += 1
  moved = np.abs(np.asarray(lip_listener.heard(shape, params, audio).gap - first.gap)).max(1) > 0
  assert moved.tolist() == [False, True, False]

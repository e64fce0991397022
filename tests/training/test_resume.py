"""A run that was stopped and resumed is the run that was not, to the last bit."""

import time

import fake_codec
import fake_talkers
import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from training_runs import logged, losses, stopped_at, traced

from configs import codec as codec_config
from vidregen_jax.datasets import input_pipeline
from vidregen_jax.distributed import preemption
from vidregen_jax.errors import UserError
from vidregen_jax.exports import model_folder
from vidregen_jax.models import pixels
from vidregen_jax.training import codec_objective, codec_setup, train_codec


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  return fake_talkers.build(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='module', autouse=True)
def small_codec():
  # Random numbers of this kind compile ten times faster on a CPU, which is all that matters here.
  with jax.default_prng_impl('unsafe_rbg'), pytest.MonkeyPatch.context() as patch:
    for module in (train_codec, codec_objective, codec_setup):
      patch.setattr(module, 'codec', fake_codec)
    yield


def config(dataset, **changes):
  small = codec_config.get_config('tiny')
  small.model = ConfigDict(dict(size=16, latent_channels=4))
  small.update(
    dataset=str(dataset), batch_size=8, num_steps=7, log_every=1, eval_every=3, checkpoint_every=2,
    warmup_steps=2, stats_batches=2, eval_clips=2, gan_weight=0.1, gan_start=3, gan_widths=(4,),
    gan_mouth_size=4,
  )
  small.update(changes)
  return small


@pytest.fixture(scope='module')
def uninterrupted(dataset, tmp_path_factory):
  """The workdir of a run to its end."""
  workdir = tmp_path_factory.mktemp('runs') / 'uninterrupted'
  train_codec.train(config(dataset), workdir)
  return workdir


def test_a_resumed_run_equals_an_uninterrupted_one(dataset, uninterrupted, tmp_path, monkeypatch):
  with stopped_at(5, monkeypatch):
    train_codec.train(config(dataset), tmp_path / 'stopped', profile=True)
  assert not (tmp_path / 'stopped' / 'export').exists()
  assert sorted(losses(tmp_path / 'stopped')) == [1, 2, 3, 4, 5]
  train_codec.train(config(dataset), tmp_path / 'stopped')

  assert losses(tmp_path / 'stopped') == losses(uninterrupted)
  whole, resumed = (model_folder.load_export(run / 'export', 'codec')
                    for run in (uninterrupted, tmp_path / 'stopped'))
  assert whole.digest == resumed.digest
  assert traced(tmp_path / 'stopped' / 'profile') == [2, 3, 4]  # which changed nothing
  assert not (uninterrupted / 'profile').exists()
  # And the run did learn something that could have differed.
  first, *others = losses(uninterrupted).values()
  assert min(others) < first and len(set(others)) == 6


def test_a_log_says_where_its_seconds_went(dataset, tmp_path):
  """The kinds are all there, and together less than the run took."""
  begun = time.monotonic()
  train_codec.train(config(dataset, num_steps=6, log_every=3, checkpoint_every=6), tmp_path)
  took = time.monotonic() - begun
  lines = [{name.removeprefix('train/seconds_'): x for name, x in line.items()
            if 'seconds' in name} for line in logged(tmp_path)]
  assert [set(line) for line in lines] == 2 * [{'data', 'looking', 'saving', 'compute'}]
  assert 0 < 3 * sum(sum(line.values()) for line in lines) < took
  assert all(line['data'] > 0 and line['compute'] > 0 for line in lines)
  # The look at step 3 comes after its log, and is told with step 6; nothing was saved by then.
  assert lines[0]['looking'] == lines[0]['saving'] == lines[1]['saving'] == 0 < lines[1]['looking']


def test_the_export_has_the_latents_statistics(dataset, tmp_path):
  train_codec.train(config(dataset, num_steps=2, stats_batches=30), tmp_path)
  export = model_folder.load_export(tmp_path / 'export', 'codec')
  assert export.config == {'size': 16, 'latent_channels': 4, 'cells': 2, 'aligned': False,
                           'loop_from': 0}
  model = fake_codec.CodecConfig(**export.config)
  clips = input_pipeline.talker_clips(dataset, 'train', 16)
  clips = [clips[i]['frames'] for i in range(len(clips))]
  windows = np.stack([clip[s : s + 8] for clip in clips for s in range(len(clip) - 7)])
  cache = fake_codec.init_encoder_cache(model, len(windows))
  (latents, _), _ = fake_codec.encode(model, export.params, pixels.to_float(windows), cache)
  latents = np.asarray(latents).reshape(-1, 4)
  # The run drew 240 random windows of these 145.
  np.testing.assert_allclose(export.arrays['latent_mean'], latents.mean(0), atol=0.1)
  np.testing.assert_allclose(export.arrays['latent_std'], latents.std(0), rtol=0.15)
  assert list((tmp_path / 'samples').glob('reconstructions_*.png'))

  # A finished run does not train on: it writes the same export again.
  train_codec.train(config(dataset, num_steps=2, stats_batches=30), tmp_path)
  assert model_folder.load_export(tmp_path / 'export', 'codec').digest == export.digest

  # And its workdir does not take another model.
  other = config(dataset, num_steps=4)
  other.model.latent_channels = 5
  with pytest.raises(UserError, match=r'decoder/w is \[4, 3\] there and \[5, 3\]'):
    train_codec.train(other, tmp_path)


def test_a_later_stage_starts_from_an_export_and_leaves_the_encoder_alone(dataset, uninterrupted,
                                                                          tmp_path):
  first = uninterrupted / 'export'
  train_codec.train(config(dataset, start_from=str(first), parts=('decoder',), seed=1),
                    tmp_path / 'second')
  before, after = (model_folder.load_export(folder, 'codec').params
                   for folder in (first, tmp_path / 'second' / 'export'))
  np.testing.assert_array_equal(after['encoder']['w'], before['encoder']['w'])
  moved = np.abs(after['decoder']['w'] - before['decoder']['w']).max()
  assert 0 < moved < 0.2 * np.abs(before['decoder']['w']).max()

  other = config(dataset, start_from=str(first))
  other.model.latent_channels = 5
  with pytest.raises(UserError, match='the codec in .*: choose another config.start_from'):
    train_codec.train(other, tmp_path / 'third')
  with pytest.raises(UserError, match='need VGG16: give its folder'):
    train_codec.train(config(dataset, perceptual_weight=0.5), tmp_path / 'third')
  assert not (tmp_path / 'third').exists(), 'a mistake left something behind'


def test_a_loss_that_is_lost_stops_the_run_and_is_never_saved(dataset, tmp_path):
  with pytest.raises(UserError, match='step 1: l2_params became inf: lower config.learning_rate'):
    train_codec.train(
      config(dataset, learning_rate=1e38, warmup_steps=0, clip_norm=1e38), tmp_path
    )
  assert not [p for p in (tmp_path / 'checkpoints').iterdir() if p.name.isdigit()]


def test_what_is_lost_is_not_saved_in_haste_either(dataset, tmp_path, monkeypatch):
  monkeypatch.setattr(preemption.Notice, 'given', lambda self, step: step == 2)
  rarely = dict(log_every=100, checkpoint_every=100, gan_weight=0.0)
  with pytest.raises(UserError, match='step 1: l2_params became inf'):
    train_codec.train(
      config(dataset, learning_rate=1e38, warmup_steps=0, clip_norm=1e38, **rarely), tmp_path)
  assert not [p for p in (tmp_path / 'checkpoints').iterdir() if p.name.isdigit()]

  train_codec.train(config(dataset, **rarely), tmp_path)
  assert [p.name for p in (tmp_path / 'checkpoints').iterdir()] == ['2']
  assert not (tmp_path / 'export').exists()

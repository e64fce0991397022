"""The sync scorer's training: windows in step, a loss that contrasts, resumed to the last bit."""

import fake_talkers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from training_runs import logged, losses, stopped_at

from configs import sync as sync_config
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import sync_scorer
from vidregen_jax.exports import model_folder
from vidregen_jax.training import sync_objective, sync_windows, train_sync


def config(dataset='none', **changes):
  small = sync_config.get_config('tiny')
  small.model = ConfigDict(dict(size=8, stem=2, widths=(4,), audio_width=4, embedding=8, blocks=1))
  small.update(dataset=str(dataset), batch_size=4, num_frames=16, num_steps=5, log_every=1,
               eval_every=4, checkpoint_every=2, warmup_steps=2, eval_clips=2, learning_rate=1e-2)
  small.update(changes)
  return small


@pytest.mark.parametrize('rate', [25, 30000 / 1001, 50])
def test_mouth_and_sound_of_a_window_are_of_the_same_time(rate):
  """In a clip that turns light and loud at the same moment, after two seconds."""
  times = np.arange(round(4 * rate)) / rate
  frames = np.empty((len(times), 16, 16, 3), np.uint8)
  frames[:] = np.where(times < 2, 60, 180)[:, None, None, None]
  sound = np.where(np.arange(64_000) < 32_000, 30, 3000)
  clip = {'clip_id': b'a', 'frames': frames, 'times': times.astype(np.float32) + 0.5,
          'audio': (sound * np.random.default_rng(0).uniform(-1, 1, 64_000)).astype(np.int16)}
  places = []
  for seed in range(30):
    window, again = (sync_windows.cut(clip, np.random.default_rng(seed), config())
                     for _ in range(2))
    assert all(np.array_equal(window[name], again[name]) for name in window)
    assert window['mouths'].shape == (16, 8, 8) and window['mel'].shape == (64, 80)
    light, loud = (np.diff(x) for x in (window['mouths'].mean((1, 2)), window['mel'].mean(1)))
    if light.max() > 50:
      places.append((light.argmax(), loud.argmax() / 4))
  seen, heard = np.array(places).T
  assert len(places) > 3 and np.ptp(seen) > 3
  np.testing.assert_allclose(seen, heard, atol=1)


def unit(rng, *shape):
  x = rng.normal(size=shape)
  return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32)


def test_the_loss_contrasts_with_all_times_of_a_clip_and_all_clips_at_a_time():
  mouth, sound = (unit(np.random.default_rng(seed), 3, 5, 8) for seed in (0, 1))
  total, rights = 0, []
  for one, other in ((mouth, sound), (sound, mouth)):
    for b in range(3):
      for f in range(5):
        own = 7 * other[b] @ one[b, f]
        others = [7 * other[c, f] @ one[b, f] for c in range(3) if c != b]
        total += np.log(np.exp([*own, *others]).sum()) - own[f]
        rights.append(own.argmax() == f)
  value, measured = jax.jit(sync_objective.contrast)(mouth, sound, 7.0)
  np.testing.assert_allclose(value, total / 30, rtol=1e-5)
  np.testing.assert_allclose(measured['right_time'], np.mean(rights[:15]))
  near, all_right = jax.jit(sync_objective.contrast)(mouth, mouth, jnp.float32(50))
  assert near < 0.01 and all_right['right_time'] == all_right['right_clip'] == 1


@pytest.fixture(scope='module', autouse=True)
def quick_numbers():
  # Random numbers of this kind compile ten times faster on a CPU, which is all that matters here.
  with jax.default_prng_impl('unsafe_rbg'):
    yield


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
  return fake_talkers.build(tmp_path_factory.mktemp('data'))


def test_a_resumed_run_equals_an_uninterrupted_one(dataset, tmp_path, monkeypatch):
  train_sync.train(config(dataset), tmp_path / 'whole')
  with stopped_at(3, monkeypatch):
    train_sync.train(config(dataset), tmp_path / 'stopped')
  assert not (tmp_path / 'stopped' / 'export').exists()
  train_sync.train(config(dataset), tmp_path / 'stopped')
  assert losses(tmp_path / 'stopped') == losses(tmp_path / 'whole')
  assert len(set(losses(tmp_path / 'whole').values())) == 5
  whole, resumed = (model_folder.load_export(tmp_path / run / 'export', 'sync')
                    for run in ('whole', 'stopped'))
  assert whole.digest == resumed.digest
  lines = (tmp_path / 'whole' / 'metrics.jsonl').read_text()
  assert 'validation/right_offset_second' in lines and 'validation/told_apart_second' in lines
  assert {'train/right_time', 'train/right_clip'} <= logged(tmp_path / 'whole')[0].keys()
  scorer = sync_scorer.load(tmp_path / 'whole' / 'export')
  assert scorer.limit == whole.arrays['limit'] and scorer.model.size == 8


@pytest.mark.parametrize(('changes', 'line'), [
  ({'num_frames': 7}, 'num_frames is 7: of a window 3 frames at both ends are context, so give 8'),
  ({'accumulate': 4}, 'give a config.batch_size of two or more'),
  ({'eval_every': 0}, 'eval_every is 0'),
])
def test_what_cannot_be_trained_is_told(changes, line):
  with pytest.raises(UserError, match=line):
    train_sync.model_config(config(**changes))


def test_a_clip_that_is_shorter_than_a_window_is_named():
  clip = {'clip_id': b'short', 'audio': np.ones(16_000, np.int16)}
  with pytest.raises(UserError, match='clip short has 25 frames at 25 a second, but num_frames is'):
    sync_windows.cut(clip, np.random.default_rng(0), config(num_frames=32))

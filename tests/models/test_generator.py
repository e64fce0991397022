"""What a hidden stream means, and that no later frame is heard or seen too early."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import random_conditions

from configs import generator as generator_config
from vidregen_jax.models import generator, streams, teacher_forcing, token_layout
from vidregen_jax.training import generator_setup

pytestmark = pytest.mark.optimized

CONFIG = generator.GeneratorConfig(
    cells=2, latent_channels=6, region=(2, 3), width=32, heads=2, layers=2, mlp=2, window=3,
    look_ahead=1, references=2, sinks=2, sink_logit=True, audio_layers=2, audio_channels=12,
    audio_hidden=8)
T, K = 4, 2


@pytest.fixture(scope='module')
def params():
  drawn = generator.init(CONFIG, jax.random.key(1))
  leaves, tree = jax.tree.flatten(drawn)
  rng = np.random.default_rng(0)  # zero-initialised layers would hide what they multiply
  return jax.tree.unflatten(
      tree, [x + 0.1 * rng.standard_normal(x.shape).astype(np.float32) for x in leaves])


def example(seed=0):
  rng = np.random.default_rng(seed)
  clip = random_conditions.clip(CONFIG, T, rng)
  noisy = rng.standard_normal((1, K, T, 2, 6), np.float32)
  return clip, noisy, np.full((1, K, T), 0.5, np.float32)


def keep(**hidden):
  streams = {name: np.ones((1, K), bool) for name in ('anchor', 'audio', 'history')}
  streams['reference'] = np.ones((1, K, 2), bool)
  for name, value in hidden.items():
    streams[name][...] = value
  return token_layout.Keep(**streams)


velocity = jax.jit(teacher_forcing.clip_velocity, static_argnums=0)


@pytest.mark.parametrize(('stream', 'field'), [
    ('reference', 'references'), ('anchor', 'anchor'), ('audio', 'audio')])
def test_a_hidden_stream_changes_nothing(params, stream, field):
  clip, noisy, t = example()
  changed = random_conditions.changed(clip, field, lambda x: x + 1)
  hidden = keep(**{stream: False})
  first, second = (velocity(CONFIG, params, c, noisy, t, hidden) for c in (clip, changed))
  if stream == 'reference':
    # History saw the references; hide it too to look at them alone.
    hidden = keep(reference=False, history=False)
    first, second = (velocity(CONFIG, params, c, noisy, t, hidden) for c in (clip, changed))
  np.testing.assert_array_equal(first, second)
  shown = [velocity(CONFIG, params, c, noisy, t, keep()) for c in (clip, changed)]
  assert np.abs(shown[0] - shown[1]).max() > 1e-3


def test_history_hidden_or_of_the_future_changes_nothing(params):
  clip, noisy, t = example()
  changed = random_conditions.changed(clip, 'history', lambda x: x + 1)
  none = [velocity(CONFIG, params, c, noisy, t, keep(history=False)) for c in (clip, changed)]
  np.testing.assert_array_equal(*none)
  seen = [velocity(CONFIG, params, c, noisy, t, keep()) for c in (clip, changed)]
  np.testing.assert_array_equal(seen[0][:, :, 0], seen[1][:, :, 0])  # frame 0 has no past
  assert np.abs(seen[0] - seen[1])[:, :, 1:].max() > 1e-3


@pytest.mark.parametrize(('field', 'ahead'), [('context', 0), ('audio', 1), ('history', -1)])
def test_no_frame_depends_on_later_ones(params, field, ahead):
  clip, noisy, t = example()
  other = random_conditions.changed(
      clip, field, lambda x: np.concatenate([x[:, :3], x[:, 3:] + 1], 1))
  first = velocity(CONFIG, params, clip, noisy, t, keep())
  second = velocity(CONFIG, params, other, noisy, t, keep())
  same = 3 - ahead
  np.testing.assert_array_equal(first[:, :, :same], second[:, :, :same])
  if same < T:
    assert np.abs(first - second)[:, :, same:].max() > 1e-4


def test_copies_do_not_see_one_another(params):
  clip, noisy, t = example()
  other = noisy.copy()
  other[:, 1] += 1
  first, second = (velocity(CONFIG, params, clip, x, t, keep()) for x in (noisy, other))
  np.testing.assert_array_equal(first[:, 0], second[:, 0])


def test_jitted_equals_eager(params):
  clip, noisy, t = example()
  eager = teacher_forcing.clip_velocity(CONFIG, params, clip, noisy, t, keep())
  np.testing.assert_allclose(velocity(CONFIG, params, clip, noisy, t, keep()), eager, atol=1e-4)


def test_gradients_reach_every_parameter(params):
  clip, noisy, t = example()
  grads = jax.jit(jax.grad(
      lambda p: jnp.square(
          teacher_forcing.clip_velocity(CONFIG, p, clip, noisy, t, keep())).mean()))(params)
  for path, g in jax.tree_util.tree_leaves_with_path(grads):
    assert np.abs(g).max() > 0, jax.tree_util.keystr(path)


def test_audio_can_be_heard_through_attention_alone(params):
  clip, noisy, t = example()
  other = {**params, 'audio_frame': jax.tree.map(lambda x: x + 1, params['audio_frame'])}
  louder = random_conditions.changed(clip, 'audio', lambda x: x + 1)
  alone = dataclasses.replace(CONFIG, audio_modulates=False)
  for config, modulates in ((CONFIG, True), (alone, False)):
    first = velocity(config, params, clip, noisy, t, keep())
    assert (np.abs(velocity(config, other, clip, noisy, t, keep()) - first).max() > 1e-4) == (
      modulates)
    assert np.abs(velocity(config, params, louder, noisy, t, keep()) - first).max() > 1e-4


@pytest.mark.parametrize('size', ['tiny', 'talkers', 'base', 'large', 'xl'])
def test_every_size_can_be_built(size):
  config = generator_config.get_config(size)
  info = {'latent_shape': (8, 8, 48), 'audio_layers': (1, 3, 6), 'audio_width': 512}
  model = generator_setup.model_config(config, info, tuple(range(24, 64)))
  params = jax.eval_shape(lambda: generator.init(model, jax.random.key(0)))
  count = sum(x.size for x in jax.tree.leaves(params))
  low, high = {'tiny': (1e6, 3e6), 'talkers': (3e6, 6e6), 'base': (7e7, 1.2e8),
               'large': (2.5e8, 4.2e8), 'xl': (3.5e8, 5.5e8)}[size]
  assert low < count < high


def test_attention_is_shared_out_and_hidden_streams_get_none(params):
  clip, noisy, t = example()
  shares = jax.jit(teacher_forcing.clip_velocity, static_argnums=(0, 6))
  made, shown = shares(CONFIG, params, clip, noisy, t, keep(), True)
  np.testing.assert_allclose(made, velocity(CONFIG, params, clip, noisy, t, keep()), atol=1e-5)
  assert shown.shape == (CONFIG.layers, len(streams.STREAMS))
  np.testing.assert_allclose(shown.sum(1), 1, atol=1e-5)
  assert (shown > 0).all()
  hidden = shares(CONFIG, params, clip, noisy, t, keep(audio=False, history=False), True)[1]
  assert not hidden[:, [streams.AUDIO, streams.HISTORY]].any()
  assert (hidden[:, [streams.SINK, streams.REFERENCE, streams.NOISY]] > 0).all()

"""Every implementation of attention is one and the same softmax, and so are its gradients."""

import dataclasses
import functools
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import random_conditions

from vidregen_jax.errors import UserError
from vidregen_jax.models import attention, generator, kernels, teacher_forcing, token_layout
from vidregen_jax.training import attention_backend

B, K, T, M, N, D = 2, 2, 3, 4, 2, 16
SEEN, FIRST = 156, 6  # keys, and those that even the first frame sees
# float32 rounds to 6e-8, and sums of some 160 terms lose two or three bits more.
EXACT = 2e-6
# bfloat16 rounds to 2e-3: in the scaled query of logits up to 4, in the weights or values, and in
# what comes out; so a hundredth of the largest number, and as much again for luck.
ROUNDED = 2e-2

# Compiles twice as fast, which is all that matters here.
quick = functools.partial(jax.jit, compiler_options={'xla_backend_optimization_level': 0})


def example(dtype=np.float32):
  """What gradients are taken in, what they are taken of, and the masks."""
  rng = np.random.default_rng(0)

  def normal(*shape):
    return jnp.asarray(rng.standard_normal(shape), dtype)
  arrays = dict(q=normal(B, K, N, T, M, D),
                keys=normal(B, N, SEEN, D), values=normal(B, N, SEEN, D),
                own=(normal(B, K, N, T, M, D), normal(B, K, N, T, M, D)),
                sink=jnp.array([0.5, 2.0]))
  rule = rng.random((T, SEEN)) < 0.5
  rule[0, FIRST:] = False  # a frame that sees few keys in any clip
  visible = rng.random((B, K, SEEN)) < 0.7
  visible[0, 1, :FIRST] = False  # a copy with a stream dropped
  visible[1, 0] = False  # and one with everything dropped
  return arrays, rule, visible


def attend(implementation, rule, visible, q, keys, values, sink, own):
  return attention.attend(implementation, q, [keys], [values], rule, visible, sink, own)


def plain(rule, visible, q, keys, values, sink, own):
  """All weights at once, and nothing done for numerical safety."""
  dot = functools.partial(jnp.einsum, precision='highest')
  seen = (rule & visible[:, :, None])[:, :, None, :, None]
  weights = jnp.exp(dot('bkntmd,bnld->bkntml', q, keys) * D**-0.5) * seen
  total, out = weights.sum(-1), dot('bkntml,bnld->bkntmd', weights, values)
  if own is not None:
    to_own = jnp.exp(dot('bkntmd,bkntld->bkntml', q, own[0]) * D**-0.5)
    total += to_own.sum(-1)
    out += dot('bkntml,bkntld->bkntmd', to_own, own[1])
  if sink is not None:
    total += jnp.exp(sink)[:, None, None]
  return out / total[..., None]


def value_and_gradients(function, arrays):
  """The output, and gradients of a sum that weighs each number of it differently."""
  by = np.random.default_rng(1).standard_normal((B, K, N, T, M, D)).astype(np.float32)

  def summed(arrays):
    out = function(**arrays).astype(jnp.float32)
    return (out * by).sum(), out
  gradients, out = quick(jax.grad(summed, has_aux=True))(arrays)
  return {'out': out} | gradients


def assert_near(found, expected, tolerance):
  for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected),
                          strict=True):
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    assert np.abs(a - b).max() <= tolerance * np.abs(b).max(), jax.tree_util.keystr(path)


def test_rotation_turns_pairs_of_channels_by_time_row_and_column():
  rng = np.random.default_rng(0)
  x = rng.standard_normal((N, 5, D)).astype(np.float32)
  time, rows, columns = rng.standard_normal((3, 5)).astype(np.float32)
  # As complex numbers: what a rotation is.
  frequency = [*100.0 ** (-np.arange(4) / 4), *30.0 ** (-np.arange(2) / 2),
               *30.0 ** (-np.arange(2) / 2)]
  position = np.stack([time] * 4 + [rows] * 2 + [columns] * 2, -1)
  turned = (x[..., :8] + 1j * x[..., 8:]) * np.exp(1j * position * frequency)
  for rolled in (attention._rolled, attention._moved):
    np.testing.assert_array_equal(rolled(x), np.concatenate([x[..., 8:], x[..., :8]], -1))
  found = attention.rotate(x, attention.rotation(D, np.float32, time, rows, columns))
  np.testing.assert_allclose(found, np.concatenate([turned.real, turned.imag], -1), atol=1e-6)


def test_a_query_meets_a_timeless_key_alike_at_any_time():
  rng = np.random.default_rng(0)
  q, key = rng.standard_normal((2, D)).astype(np.float32)
  key = attention.timeless(key)
  times = np.arange(40, dtype=np.float32)
  logits = attention.rotate(q, attention.rotation(D, np.float32, times)) @ key
  np.testing.assert_allclose(logits, q @ key, rtol=1e-5)
  assert (key != 0).sum() == D // 2


@pytest.fixture(params=[True, False], ids=['fused', 'unfused'])
def available(monkeypatch, request):
  """cuDNN is not here: what is asked of it is answered by XLA. And kernels work on small blocks."""
  asked = jax.nn.dot_product_attention

  def answer(*arrays, implementation, **options):
    assert implementation == 'cudnn'
    # What cuDNN works on at once: tokens of all three, and even heads.
    assert all(x.shape[1] % 64 == 0 and x.shape[-1] % 8 == 0 for x in arrays[:3])
    return asked(*arrays, implementation='xla', **options)
  monkeypatch.setattr(jax.nn, 'dot_product_attention', answer)
  # More than one block of queries and of keys, some of them skipped, and no squares.
  sides = kernels.Sides(256, 128, 128, 256, fused=request.param)
  monkeypatch.setattr(kernels, 'blocks', lambda rule: sides)


@pytest.mark.parametrize('implementation', ['xla', 'splash_interpreted', 'cudnn'])
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_attention_and_its_gradients_are_those_of_a_plain_softmax(available, implementation, dtype):
  arrays, rule, visible = example(dtype)
  found = value_and_gradients(functools.partial(attend, implementation, rule, visible), arrays)
  assert found['out'].dtype == jnp.float32 and found['q'].dtype == dtype
  exact = jax.tree.map(lambda x: x.astype(jnp.float32), arrays)
  expected = value_and_gradients(functools.partial(plain, rule, visible), exact)
  assert_near(found, expected, EXACT if dtype == 'float32' else ROUNDED)


@pytest.mark.parametrize('implementation', ['xla', 'splash_interpreted', 'cudnn'])
def test_a_token_from_which_all_is_hidden_gets_nothing(available, implementation):
  arrays, rule, visible = example()
  arrays['own'] = None
  found = value_and_gradients(functools.partial(attend, implementation, rule, visible), arrays)
  assert_near(found, value_and_gradients(functools.partial(plain, rule, visible), arrays), EXACT)
  assert not found['out'][1, 0].any() and not found['q'][1, 0].any()
  # With no sink there is no right answer; it is a number, and those of others are right.
  arrays['sink'] = None
  rule[:, 0] = True
  visible[:, :, 0] = [[True, True], [False, True]]
  found = value_and_gradients(functools.partial(attend, implementation, rule, visible), arrays)
  expected = plain(rule, visible, **arrays)
  others = np.array([[True, True], [False, True]])
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))
  np.testing.assert_allclose(found['out'][others], expected[others], atol=1e-5)


def test_on_a_mesh_each_device_works_on_its_own_clips_and_heads():
  script = '''
    import jax, numpy as np, test_attention as here
    from vidregen_jax.distributed import sharding
    arrays, rule, visible = here.example()
    whole = here.value_and_gradients(lambda **x: here.plain(rule, visible, **x), arrays)
    mesh = sharding.make_mesh(fsdp=2, tensor=2)  # (2, 2, 2): each clip of four, each head alone
    twice = lambda x: np.concatenate([x, x])
    arrays = {name: x if name == 'sink' else jax.tree.map(twice, x) for name, x in arrays.items()}
    place = lambda name, x: jax.device_put(
      x, sharding.replicated(mesh) if name == 'sink' else sharding.batch(mesh))
    arrays = {name: place(name, x) for name, x in arrays.items()}
    by = twice(np.random.default_rng(1).standard_normal((2, 2, 2, 3, 4, 16)).astype(np.float32))
    def summed(arrays):
      out = here.attend('splash_interpreted', rule, twice(visible), **arrays)
      return (out * by).sum(), out
    with jax.set_mesh(mesh):
      step = here.quick(jax.grad(summed, has_aux=True))
      text = step.lower(arrays).as_text()
      found, out = step(arrays)
    assert 'manual' in text
    expected = {name: 2 * x if name == 'sink' else jax.tree.map(twice, x)
                for name, x in whole.items()}
    here.assert_near({'out': out} | found, expected, here.EXACT)
    print(len(jax.devices()), 'devices agree')
  '''
  lines = [line[4:] for line in script.splitlines()]
  here, root = pathlib.Path(__file__).parent, pathlib.Path(__file__).parents[2]
  ran = subprocess.run(
      [sys.executable, '-c', '\n'.join(lines)], cwd=root, capture_output=True, text=True,
      env=os.environ | {'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': f'{here}:{root}:{root}/tests/support',
                        'XLA_FLAGS': '--xla_force_host_platform_device_count=8'})
  assert ran.stdout.strip() == '8 devices agree', ran.stderr


CONFIG = generator.GeneratorConfig(
    cells=2, latent_channels=6, region=(2, 3), width=32, heads=2, layers=1, mlp=2, window=3,
    look_ahead=1, references=2, sinks=2, sink_logit=True, audio_layers=2, audio_channels=12,
    audio_hidden=8)


def test_the_generator_trains_alike_on_a_kernel(monkeypatch):
  monkeypatch.setattr(generator, '_FEW', 0)
  rng = np.random.default_rng(0)

  def normal(*shape):
    return rng.standard_normal(shape).astype(np.float32)
  frames = 5
  clip = random_conditions.clip(CONFIG, frames, rng)
  clip.conditions.fixed.anchor_time[:] = frames + 2
  clip.conditions.fixed.reference_valid[0, 1] = False
  clip.conditions.ahead.audio_valid[0, -1] = False
  streams = dict(anchor=[True, False], audio=[True, False], history=[False, True])
  keep = token_layout.Keep(np.ones((1, 2, 2), bool),
                           **{n: np.array([x]) for n, x in streams.items()})
  params = jax.tree.map(lambda x: x + 0.1 * normal(*x.shape),
                        generator.init(CONFIG, jax.random.key(1)))
  noisy, t = normal(1, 2, frames, 2, 6), np.full((1, 2, frames), 0.5, np.float32)

  def made(name):
    config = dataclasses.replace(CONFIG, attention=name)

    def loss(params):
      velocity, shares = teacher_forcing.clip_velocity(config, params, clip, noisy, t, keep, True)
      return jnp.square(velocity).mean(), (velocity, shares)
    gradients, (velocity, shares) = quick(jax.grad(loss, has_aux=True))(params)
    return {'velocity': velocity, 'gradients': gradients}, shares

  (expected, every), (found, some) = made('xla'), made('splash_interpreted')
  assert_near(found, expected, 1e-4)  # rounding, after a layer
  # Shares are of some queries alone, here of one in each frame's two.
  np.testing.assert_allclose(some, every, atol=0.1)
  np.testing.assert_allclose(some.sum(1), 1, atol=1e-5)


def test_cudnn_makes_a_program_for_a_gpu(monkeypatch):
  """Nothing more can be known without one."""
  monkeypatch.setattr('jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version', lambda: 91100)
  arrays, rule, visible = example(jnp.bfloat16)
  step = jax.jit(jax.grad(lambda arrays: attend('cudnn', rule, visible, **arrays)
                          .astype(jnp.float32).sum()))
  program = step.trace(arrays).lower(lowering_platforms=('cuda',)).as_text()
  assert '__cudnn$fmhaScaleBiasSoftmax(' in program.replace('"', '(')
  assert '__cudnn$fmhaScaleBiasSoftmaxBackward' in program


def test_a_kernel_that_is_not_the_same_softmax_is_refused(monkeypatch):
  here = jax.default_backend()
  assert attention_backend.choose('auto', CONFIG, 1) == 'xla'
  assert attention_backend.choose('splash_interpreted', CONFIG, 1) == 'splash_interpreted'
  with pytest.raises(UserError, match=f'splash is for a tpu and this is a {here}: use .*=xla'):
    attention_backend.choose('splash', CONFIG, 1)
  with pytest.raises(UserError, match="'flash' does not exist: use auto, xla, splash"):
    attention_backend.choose('flash', CONFIG, 1)
  with pytest.raises(UserError, match='2 heads cannot be split over config.tensor 4 devices'):
    attention_backend.choose('splash_interpreted', CONFIG, 4)
  with pytest.raises(UserError, match="attention 'flash' does not exist: use one of xla, splash"):
    dataclasses.replace(CONFIG, attention='flash')

  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  with pytest.raises(UserError, match='cudnn does not run here .*cuDNN is not detected'):
    attention_backend.choose('cudnn', CONFIG, 1)
  exact = kernels._KERNELS['splash_interpreted']
  for broken in (
      lambda *x: exact(*x[:4], x[4] | True, x[5]),  # hidden keys are seen
      lambda *x: exact(*x[:2], jax.lax.stop_gradient(x[2]), *x[3:])):  # keys learn nothing
    monkeypatch.setitem(kernels._KERNELS, 'cudnn', broken)
    with pytest.raises(UserError, match='cudnn is off by .* more than rounding can be'):
      attention_backend.choose('cudnn', CONFIG, 1)

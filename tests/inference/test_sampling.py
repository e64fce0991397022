"""The sampler's two drivers are one step, and that step is what training trained."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import random_conditions

from vidregen_jax.inference import mouth_opening, sampling
from vidregen_jax.models import (
  codec,
  flow_matching,
  generator,
  linear_prior,
  streams,
  teacher_forcing,
  token_layout,
)

pytestmark = pytest.mark.optimized

CODEC = codec.CodecConfig(32, (16, 24, 32), (1, 1, 1), (1, 1, 1), (1, 3, 3), 6)
GENERATOR = generator.GeneratorConfig(
    cells=2, latent_channels=6, region=(2, 3), width=32, heads=2, layers=2, mlp=2, window=4,
    look_ahead=1, references=2, sinks=2, sink_logit=True, audio_layers=2, audio_channels=12,
    audio_hidden=8)
MODELS = sampling.Models(CODEC, GENERATOR)
FRAMES = 6
SECONDS = np.linspace(1 / 60, 1 / 24, FRAMES + 1, dtype=np.float32)  # a variable frame rate


@pytest.fixture(autouse=True, scope='module')
def quick_randomness():
  # Compiles ten times faster on a CPU than the usual generator, which is all that matters here.
  with jax.default_prng_impl('unsafe_rbg'):
    yield


def perturbed(params, seed):
  """Zero-initialised layers hide mistakes in what they would multiply: give them values."""
  leaves, tree = jax.tree.flatten(params)
  rng = np.random.default_rng(seed)
  return jax.tree.unflatten(tree, [x + 0.1 * rng.standard_normal(x.shape, np.float32)
                                   for x in leaves])


@pytest.fixture(scope='module')
def params():
  return sampling.Params(perturbed(codec.init(CODEC, jax.random.key(0)), 0),
                         perturbed(generator.init(GENERATOR, jax.random.key(1)), 1),
                         guess(), jnp.zeros(6), jnp.ones(6))


def guess():
  rng = np.random.default_rng(2)
  return linear_prior.Expectation(
      0.2 * rng.standard_normal((24, 12)).astype(np.float32), np.full(12, 0.1, np.float32),
      np.array([0.5, 2.0], np.float32), np.array([2, 3], np.int32))


def arrays(seed, batch=1, frames=FRAMES):
  """What the sampler is given for a span: streams.Inputs [T, B, ...] and streams.Start."""
  conditions = random_conditions.conditions(GENERATOR, frames, np.random.default_rng(seed), batch)
  conditions.ahead.durations[:] = SECONDS[:frames + 1]
  start, inputs = streams.split(GENERATOR, conditions)
  return inputs, start


def at(inputs, i):
  return jax.tree.map(lambda x: x[i], inputs)


def run(params, sampler, inputs, start):
  state = sampling.init_state(MODELS, params, jax.random.key(7), start)
  return np.asarray(sampling.sample(MODELS, sampler, params, state, inputs)[1])


EULER = flow_matching.SamplerConfig(3, 'euler', 1.0, 1.5, 2.0)


def test_stream_equals_scan(params):
  inputs, start = arrays(0)
  whole = run(params, EULER, inputs, start)
  state = sampling.init_state(MODELS, params, jax.random.key(7), start)
  streamed = [frames for _, frames in sampling.stream(
      MODELS, EULER, params, state, (at(inputs, i) for i in range(FRAMES)))]
  np.testing.assert_array_equal(whole, np.stack(streamed))


def test_future_inputs_leave_past_frames_bit_identical(params):
  inputs, start = arrays(0)
  other, _ = arrays(1)
  cut = 3
  mixed = jax.tree.map(lambda a, b: np.concatenate([a[:cut], b[cut:]]), inputs, other)
  first, second = run(params, EULER, inputs, start), run(params, EULER, mixed, start)
  np.testing.assert_array_equal(first[:cut], second[:cut])
  assert np.abs(first[cut:] - second[cut:]).max() > 1e-3


def test_guidance_of_one_is_the_conditional_velocity(params):
  inputs, start = arrays(0, frames=2)
  # Not exactly one, so that the three branches are really computed and combined.
  almost = run(params, flow_matching.SamplerConfig(3, 'euler', 1.0, 1.0, 1.0 + 1e-6), inputs, start)
  plain = run(params, flow_matching.SamplerConfig(3, 'euler', 1.0, 1.0, 1.0), inputs, start)
  strong = run(params, flow_matching.SamplerConfig(3, 'euler', 1.0, 2.0, 3.0), inputs, start)
  assert np.abs(almost - plain).max() < 1e-3 < np.abs(strong - plain).max()


def test_sampling_sees_what_training_saw(params):
  """The velocity from rolled, cached keys equals the one of the whole clip in one pass.

  Longer than the window, with history written by `warm_step`, the look-ahead invalid at the end.
  """
  config = GENERATOR
  conditions = random_conditions.conditions(config, FRAMES, np.random.default_rng(3))
  conditions.ahead.durations[:] = SECONDS
  conditions.ahead.audio_valid[:, -1] = False
  start, inputs = streams.split(config, conditions)
  fixed, frames = conditions.fixed, conditions.frames
  reference = linear_prior.mean_reference(fixed.references, fixed.reference_valid)
  clip = teacher_forcing.Clip(
      conditions, guess().residual(fixed.anchor, fixed.anchor_context, reference),
      guess().residual(frames.target[:, :, np.asarray(config.region)], frames.context, reference))
  keep = token_layout.Keep(np.ones((1, 1, 2), bool), *[np.ones((1, 1), bool)] * 3)
  # One Euler step from t = 1 to 0 gives noise - v, and the sampler's noise is known by its key.
  one = flow_matching.SamplerConfig(1, 'euler', 1.0, 1.0, 1.0)
  key = jax.random.key(7)
  noise = jnp.stack([jax.random.normal(jax.random.fold_in(key, i), (1, 1, 2, 6))
                     for i in range(FRAMES)], axis=2)
  velocity = jax.jit(teacher_forcing.clip_velocity, static_argnums=0)(
      config, params.generator, clip, noise, jnp.ones((1, 1, FRAMES)), keep)

  @jax.jit
  def step(state, inputs):
    seen = sampling._see(config, params.generator, state, inputs)
    region = sampling._generate(config, one, params.generator, seen)
    return sampling.warm_step(MODELS, params, state, inputs)[0], region

  state = sampling.init_state(MODELS, params, key, start)
  for i in range(FRAMES):
    state, region = step(state, at(inputs, i))
    np.testing.assert_allclose(noise[:, 0, i] - region, velocity[:, 0, i], atol=1e-4)
  assert np.abs(velocity).max() > 0.1


def test_an_opening_changes_what_is_shown_and_not_what_is_remembered(params):
  inputs, start = arrays(0)
  wide = mouth_opening.Opening(np.full((2, 6), 12**-.5, np.float32), np.zeros((2, 6), np.float32),
                               *np.float32([np.inf, 0, 0, 0, 3, 0, 0]), np.float32([np.nan]))
  (plain, shown), (opened, changed) = (
    sampling.sample(MODELS, EULER, each, sampling.init_state(
      MODELS, each, jax.random.key(7), start), inputs)
    for each in (params, dataclasses.replace(params, opening=wide)))
  assert np.abs(shown - changed).max() > .01
  for one, other in zip(*map(jax.tree.leaves, (plain.window, opened.window)), strict=True):
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_each_frame_is_decoded_with_its_own_opening(params):
  """Of a latent frame, frame i is that of a mouth that is everywhere as open as it is there."""
  inputs, start = arrays(0)
  gaps = np.float32([0, .1, .3, .2])
  opening = mouth_opening.Opening(
    np.full((2, 6), 12**-.5, np.float32), np.zeros((2, 6), np.float32),
    *np.float32([np.inf, -1, 20, 1, 1, 0, 0]), gaps)

  def shown(gap):
    each = dataclasses.replace(params, opening=dataclasses.replace(opening, gap=gap))
    state = sampling.init_state(MODELS, each, jax.random.key(7), start)
    return sampling.step(MODELS, EULER, each, state, at(inputs, 0))[1]

  all_in_one = shown(gaps)
  for i in range(4):
    np.testing.assert_allclose(all_in_one[:, i], shown(gaps[i:i + 1])[:, i], atol=1e-4)
  assert np.abs(all_in_one[:, 1] - shown(gaps[:1])[:, 1]).max() > .01

"""The generator's training: resumed it is the same run, and its export is a whole system."""

import dataclasses
import functools
import types

import fake_talkers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import random_conditions
from training_runs import logged, losses, stopped_at, traced

from configs import generator as generator_config
from configs import student as student_config
from vidregen_jax.datasets import latent_dataset, windows
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import latent_validation
from vidregen_jax.exports import model_folder, pipeline
from vidregen_jax.inference import streaming_codec
from vidregen_jax.models import codec, flow_matching, generator, teacher_forcing, token_layout
from vidregen_jax.training import generator_objective, generator_setup, train_generator

CODEC = codec.CodecConfig(16, (4, 4), (0, 1), (0, 1), (1, 2), 4)


@pytest.fixture(scope='module')
def data(tmp_path_factory, whisper_folder):
  """A codec with random weights, and the latents it gives for made-up clips and sound."""
  folder = tmp_path_factory.mktemp('data')
  params = jax.device_get(codec.init(CODEC, jax.random.key(0)))
  model_folder.export(folder / 'codec', 'codec', dataclasses.asdict(CODEC), params,
                      latent_mean=np.zeros(4, np.float32), latent_std=np.ones(4, np.float32))
  export = model_folder.load_export(folder / 'codec', 'codec')

  def listen(samples):
    return np.random.default_rng(len(samples)).standard_normal((len(samples) // 320, 1, 512))
  latent_dataset.write_dataset(
      folder / 'latents', fake_talkers.build(folder), streaming_codec.Encoder.of(export), listen,
      True,
      {'codec': export.digest, 'audio_encoder': str(whisper_folder), 'audio_layers': [3],
       'audio_width': 512, 'window_seconds': 10.0, 'margin_seconds': 1.0},
      ('train', 'validation'))
  return folder


@pytest.fixture(scope='module', autouse=True)
def quick():
  with jax.default_prng_impl('unsafe_rbg'), pytest.MonkeyPatch.context() as patch:
    # Random numbers of this kind compile ten times faster on a CPU, which is all that matters here.
    # The sampler is tested elsewhere; here it would be compiled for a picture.
    patch.setattr(latent_validation.Rehearsal, 'make',
                  lambda *a: np.zeros((2, 12, 16, 16, 3), np.uint8))
    yield


def config(data, **changes):
  small = generator_config.get_config('tiny')
  small.model.update(width=16, heads=2, layers=1, window=3, sinks=1, audio_hidden=4)
  small.update(codec=str(data / 'codec'), dataset=str(data / 'latents'), batch_size=8, num_frames=3,
               num_steps=5, log_every=1, eval_every=5, checkpoint_every=2, warmup_steps=1,
               eval_clips=2)
  small.sampler.steps = 1
  small.update(changes)
  return small


@pytest.fixture(scope='module')
def uninterrupted(data, tmp_path_factory):
  """The workdir of a run to its end."""
  workdir = tmp_path_factory.mktemp('runs') / 'uninterrupted'
  train_generator.train(config(data), workdir)
  return workdir


def test_a_resumed_run_is_an_uninterrupted_one_and_exports_a_system(data, uninterrupted, tmp_path,
                                                                    monkeypatch):
  with stopped_at(3, monkeypatch):
    train_generator.train(config(data), tmp_path / 'stopped', profile=True)
  assert traced(tmp_path / 'stopped' / 'profile') == [2, 3]
  assert 'train/seconds_data' in logged(tmp_path / 'stopped')[-1]
  train_generator.train(config(data), tmp_path / 'stopped')
  assert losses(tmp_path / 'stopped') == losses(uninterrupted)
  assert len(set(losses(uninterrupted).values())) == 5
  whole, resumed = (pipeline.load(run / 'export') for run in (uninterrupted, tmp_path / 'stopped'))
  assert whole.digests == resumed.digests
  assert whole.models.codec == CODEC
  assert whole.listen(np.zeros(16_000, np.float32)).shape == (50, 1, 512)
  assert list((uninterrupted / 'samples').glob('samples_*.png'))


def test_a_student_starts_from_its_teacher_and_goes_along_in_its_export(data, uninterrupted,
                                                                        tmp_path):
  teacher = uninterrupted / 'export'
  settings = student_config.get_config('tiny')
  given = config(data)
  given.update(stage='student', teacher=str(teacher), copies=1, num_steps=2,
               **{f'drop_{name}': settings[f'drop_{name}'] for name in ('audio', 'all')})
  given.sampler = settings.sampler
  train_generator.train(given, tmp_path / 'student')
  made = tmp_path / 'student' / 'export'
  taught, plain = pipeline.load(made), pipeline.load(made, teacher=True)
  assert plain.digests == pipeline.load(teacher).digests
  assert taught.digests['codec'] == plain.digests['codec'] and 'student' in taught.digests
  assert not taught.sampler.guided and taught.sampler.steps == 2 and plain.sampler.guided
  moved = [np.abs(a - b).max() for a, b in zip(
    jax.tree.leaves(taught.params.generator), jax.tree.leaves(plain.params.generator), strict=True)]
  assert 0 < max(moved) < 0.01  # two small steps from where it started

  given.model.heads = 1
  with pytest.raises(UserError, match="the student's heads is 1 and the teacher's"):
    train_generator.train(given, tmp_path / 'other')
  given.model.heads = 2
  given.sampler.noise = 0.5
  with pytest.raises(UserError, match='starts from the same noise'):
    train_generator.train(given, tmp_path / 'other')


def test_a_student_is_taught_straight_paths_to_what_the_sampler_makes():
  """At each of its flow times, the target is the way from the noise to the teacher's face."""
  model = generator_config.get_config('tiny')
  model.model.update(width=16, heads=2, layers=1, window=3, sinks=1, audio_hidden=4)
  info = {'latent_shape': (2, 2, 4), 'audio_layers': [3], 'audio_width': 512}
  shape = generator_setup.model_config(model, info, (2, 3))
  teacher = flow_matching.SamplerConfig(4, 'euler', 1.0, 1.5, 2.0, noise=1.0)
  settings = student_config.get_config('tiny')
  settings.sampler.update(steps=2, noise=1.0)
  objective = generator_setup.objective(settings, shape, teacher)
  rng = np.random.default_rng(0)
  normal = lambda *size: rng.standard_normal(size).astype(np.float32)
  params = jax.tree.map(lambda x: x + 0.1 * normal(*x.shape),
                        generator.init(shape, jax.random.key(0)))
  clip = random_conditions.clip(shape, 3, rng)
  keep = token_layout.keep_all(shape, (1, 1))
  frozen = generator_objective.Frozen(None, None, None, params)
  noisy, target, t = jax.jit(generator_objective._taught, static_argnums=(0, 3))(
    objective, frozen, clip, (1, 3, 2, 4), keep, jax.random.split(jax.random.key(0), 6))
  assert set(np.unique(t)) <= {0.5, 1.0}
  noise = noisy + (1 - t[..., None, None]) * target
  made = noisy - t[..., None, None] * target

  @jax.jit
  def velocity(x, t):
    def branch(**hidden):
      return teacher_forcing.clip_velocity(shape, params, clip, x, jnp.full((1, 1, 3), t),
                                           dataclasses.replace(keep, **hidden))
    off = jnp.zeros((1, 1), bool)
    none = branch(reference=jnp.zeros((1, 1, 2), bool), anchor=off, audio=off, history=off)
    silent, full = branch(audio=off), branch()
    return none + 1.5 * (silent - none) + 2.0 * (full - silent)

  x = noise
  for i in range(4):
    x = x - 0.25 * velocity(x, 1 - 0.25 * i)
  np.testing.assert_allclose(made, x, atol=1e-3)
  assert np.abs(made - noise).max() > 0.1


def test_latents_of_another_codec_are_refused(data, tmp_path):
  params = jax.device_get(codec.init(CODEC, jax.random.key(9)))
  model_folder.export(tmp_path / 'codec', 'codec', dataclasses.asdict(CODEC), params,
                      latent_mean=np.zeros(CODEC.latent_channels, np.float32),
                      latent_std=np.ones(CODEC.latent_channels, np.float32))
  with pytest.raises(UserError, match='was encoded by another codec'):
    train_generator.train(config(data, codec=str(tmp_path / 'codec')), tmp_path / 'run')
  with pytest.raises(UserError, match='use --config.num_frames=[0-9]+ or less'):
    train_generator.train(config(data, num_frames=40), tmp_path / 'run')


def test_another_voice_is_the_same_at_all_times_and_other_in_every_clip():
  audio = np.random.default_rng(0).standard_normal((2, 3, 16, 2, 50)).astype(np.float32)
  def heard(**settings):
    return np.asarray(generator_objective.other_voice(
      types.SimpleNamespace(**settings), audio, jax.random.key(0)))

  moved = heard(voice_shift=0.5, voice_stretch=0.0, voice_drop=0.0) - audio
  np.testing.assert_allclose(moved, np.broadcast_to(moved[:, :1, :1], moved.shape), atol=1e-5)
  assert 0.4 < moved[:, 0, 0].std() < 0.6
  assert abs(np.corrcoef(moved[0, 0, 0].ravel(), moved[1, 0, 0].ravel())[0, 1]) < 0.4
  silenced = heard(voice_shift=0.0, voice_stretch=0.0, voice_drop=0.25) == 0
  assert 0.15 < silenced.mean() < 0.35
  assert (silenced == silenced[:, :1, :1]).all()


def test_references_keep_their_distance():
  record = {'still_frames': np.arange(0, 60, 6), 'stills': np.arange(10)[:, None, None, None]}
  shape = windows.WindowShape(5, 1, 2, 4, (0,))
  choose = functools.partial(windows.choose_references, record, 20, 40, shape)
  for seed in range(20):
    stills, valid = choose(np.random.default_rng(seed))
    frames = stills.ravel() * 6
    assert valid.all()
    assert ((frames < 16) | (frames >= 44)).all()
  near = windows.WindowShape(15, 1, 2, 30, (0,))
  assert not windows.choose_references(record, 0, 60, near, np.random.default_rng(0))[1].any()


def test_sound_past_the_clip_is_marked_unknown():
  rng = np.random.default_rng(0)
  record = {'target': np.zeros((6, 2, 2, 4)), 'context': np.zeros((6, 2, 2, 4)),
            'cold': np.ones((6, 2, 2, 4)), 'stills': np.zeros((4, 2, 2, 4)),
            'still_frames': np.arange(0, 24, 6), 'times': np.arange(24) / 25,
            'mouth_box': np.zeros((6, 4)), 'lip_gap': np.zeros(24),
            'audio': np.ones((48, 1, 3), np.float32)}
  shape = windows.WindowShape(3, 2, 1, 4, (2, 3))
  last = windows.cut(record, 3, shape, rng)
  assert last['audio_valid'].tolist() == [True, True, True, False, False]
  assert not last['anchor_valid']
  first = windows.cut(record, 0, shape, rng)
  assert first['audio_valid'].all()
  np.testing.assert_allclose(first['durations'], 0.04, rtol=1e-5)

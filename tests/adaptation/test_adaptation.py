"""A system is tuned to one person's footage, resumes, and knows nothing of what was left out."""

import dataclasses
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_system

from vidregen_jax import adapt, files
from vidregen_jax.adaptation import footage, tuning
from vidregen_jax.exports import model_folder, pipeline
from vidregen_jax.training import train_state

CONSENT = 'nobody is shown'


@pytest.fixture(scope='module', autouse=True)
def quick():
  with jax.default_prng_impl('unsafe_rbg'):
    yield


@pytest.fixture(scope='module')
def system(tmp_path_factory, whisper_folder):
  return tiny_system.write_student(tmp_path_factory.mktemp('system'), whisper_folder,
                                   tiny_system.SMALLER)


@pytest.fixture(scope='module')
def person(pack_folder):
  return pack_folder / 'train' / 'train_00001.mp4'


@pytest.fixture(scope='module')
def others(pack_folder, tmp_path_factory):
  """A folder with one video of somebody else."""
  folder = tmp_path_factory.mktemp('others')
  shutil.copyfile(pack_folder / 'train' / 'train_00002.mp4', folder / 'other.mp4')
  return folder


def command(system, person, others, out, *more):
  return adapt.main(['--video', str(person), '--checkpoint', str(system), '--beside', str(others),
                     '--consent', CONSENT, '--steps', '2,2', '--out', str(out), *more])


@pytest.fixture(scope='module')
def adapted(system, person, others, tmp_path_factory):
  out = tmp_path_factory.mktemp('adapted') / 'ann'
  assert command(system, person, others, out) == 0
  return out


def test_all_parts_are_tuned_and_the_card_says_on_whom(adapted, system, person):
  before, after = (pipeline.load(folder) for folder in (system, adapted))
  old, new = (model_folder.flatten({'codec': x.params.codec, 'student': x.params.generator})
              for x in (before, after))
  moved = {name: float(np.abs(new[name] - old[name]).max()) for name in old}
  for part in ('codec/encoder', 'codec/decoder', 'student'):
    assert 0 < max(x for name, x in moved.items() if name.startswith(part)) < 0.01
  assert after.sampler == before.sampler
  card = (adapted / 'README.md').read_text()
  assert CONSENT in card and files.digest(person) in card and '"steps": 2' in card
  assert [path.name for path in adapted.parent.iterdir()] == [adapted.name]


def test_what_another_request_left_is_not_mixed_in(system, person, others, tmp_path, capsys):
  work = tmp_path / 'ann.tuning'
  work.mkdir()
  (work / 'request.json').write_text('{"own": ["another"]}')
  assert command(system, person, others, tmp_path / 'ann') == 2
  assert 'another adaptation left' in capsys.readouterr().err


def test_an_interrupted_phase_goes_on_where_it_was(tmp_path):
  settings = tuning.Settings()
  optimizer = train_state.make_optimizer(settings, train_state.constant_rate)

  @jax.jit
  def advance(state, batch):
    grads = jax.tree.map(lambda x: x - batch, state.params)
    return train_state.apply_gradients(state, grads, optimizer, settings.ema)[0], {'loss': batch}

  def run(folder, steps, stop=None):
    def draw(rng):
      if len(drawn) == stop:
        raise KeyboardInterrupt
      drawn.append(rng.standard_normal())
      return np.float32(drawn[-1])

    drawn = []
    phase = tuning._Phase('', folder, lambda key: {'x': jnp.zeros(3)}, {}, {'x': np.ones(3)},
                          optimizer)
    found, done = phase.run(advance, draw, 0, tuning._Allowance(steps, 'step', time.monotonic()))
    return found['x'].tolist(), done['steps'], len(drawn)

  whole = run(tmp_path / 'whole', 6)
  with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(tuning, '_SAVED_EVERY', 0.0)
    run(tmp_path / 'stopped', 6, stop=4)
  assert whole[1:] == (6, 6)
  assert run(tmp_path / 'stopped', 6) == (whole[0], 6, 2)


def test_what_is_left_out_is_not_seen(person):
  left_out = np.zeros(84, bool)
  left_out[30:50] = True
  clips = footage.clips([person], 32, 8, 1000, '', {person: left_out})
  assert [(clip['clip_id'].decode().rpartition(':')[2], len(clip['frames'])) for clip in clips] == [
    ('0', 28), ('50', 32)]
  whole, = footage.clips([person], 32, 8, 1000, '')
  np.testing.assert_array_equal(clips[1]['frames'], whole['frames'][50:82])
  first = round(50 / 25 * 16_000)
  np.testing.assert_allclose(clips[1]['audio'][200:-200] / 32768,
                             whole['audio'][first:first + len(clips[1]['audio'])][200:-200] / 32768,
                             atol=2e-3)


def test_mistakes_are_told_in_words(system, person, others, tmp_path, capsys):
  out = tmp_path / 'ann'
  assert command(system, person, others, out, '--until', '0.1') == 2
  assert 'give more footage' in capsys.readouterr().err
  assert command(system, tmp_path / 'none', others, out) == 2
  assert 'no such file' in capsys.readouterr().err
  out.mkdir()
  assert command(system, person, others, out) == 2
  assert 'is there already' in capsys.readouterr().err


def test_minutes_end_a_phase_and_at_least_one_step_is_made():
  request = tuning.Request(None, (), (), '', CONSENT, minutes=1.0)
  codec, student = tuning._allowances(request)
  assert codec.total + student.total == 60 and codec.unit == 'second'
  assert dataclasses.replace(codec, since=codec.since - 10).done(3, 20.0) >= 30

"""A student and its decoder are tuned by their frames: resumed it is the same run."""

import types

import fake_talkers
import jax
import numpy as np
import pytest
import tiny_system
from training_runs import losses, stopped_at

from configs import pixels as pixels_config
from vidregen_jax.datasets import latent_dataset, paired_clips, windows
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import latent_validation
from vidregen_jax.exports import model_folder, pipeline
from vidregen_jax.inference import streaming_codec
from vidregen_jax.training import train_pixels


@pytest.fixture(scope='module', autouse=True)
def quick():
  with jax.default_prng_impl('unsafe_rbg'), pytest.MonkeyPatch.context() as patch:
    # The sampler is tested elsewhere; here it would be compiled for a picture.
    patch.setattr(latent_validation.Rehearsal, 'make',
                  lambda *a: np.zeros((2, 12, 16, 16, 3), np.uint8))
    yield


@pytest.fixture(scope='module')
def data(tmp_path_factory, whisper_folder):
  """A system with random weights, made-up clips, and their latents."""
  folder = tmp_path_factory.mktemp('data')
  system = tiny_system.write_student(folder, whisper_folder, tiny_system.SMALLER)
  export = model_folder.load_export(system / 'codec', 'codec')

  def listen(samples):
    return np.random.default_rng(len(samples)).standard_normal((len(samples) // 320, 1, 512))
  crops = fake_talkers.build(folder)
  latent_dataset.write_dataset(
    folder / 'latents', crops, streaming_codec.Encoder.of(export), listen, True,
    {'codec': export.digest, 'audio_encoder': str(whisper_folder), 'audio_layers': [1],
     'audio_width': 512, 'window_seconds': 10.0, 'margin_seconds': 1.0}, ('train', 'validation'))
  return types.SimpleNamespace(system=system, latents=folder / 'latents', crops=crops)


def config(data, **changes):
  small = pixels_config.get_config('tiny')
  small.update(system=str(data.system), dataset=str(data.latents), crops=str(data.crops),
               num_frames=3, num_steps=3, log_every=1, eval_every=3, checkpoint_every=1,
               warmup_steps=1, eval_clips=2, gan_widths=(4, ), gan_mouth_size=16)
  small.update(changes)
  return small


def test_a_resumed_run_is_an_uninterrupted_one_and_what_was_not_tuned_stays(data, tmp_path,
                                                                            monkeypatch):
  train_pixels.train(config(data), tmp_path / 'whole')
  with stopped_at(2, monkeypatch):
    train_pixels.train(config(data), tmp_path / 'stopped')
  train_pixels.train(config(data), tmp_path / 'stopped')
  assert losses(tmp_path / 'stopped') == losses(tmp_path / 'whole')
  whole, resumed = (pipeline.load(tmp_path / name / 'export') for name in ('whole', 'stopped'))
  assert whole.digests == resumed.digests
  assert whole.sampler.steps == 1  # as the config says, not the system's

  before = pipeline.load(data.system)
  moved = {part: max(float(np.abs(a - b).max()) for a, b in zip(
    *map(jax.tree.leaves, pair), strict=True)) for part, pair in {
      'encoder': (before.params.codec['encoder'], whole.params.codec['encoder']),
      'decoder': (before.params.codec['decoder'], whole.params.codec['decoder']),
      'student': (before.params.generator, whole.params.generator)}.items()}
  assert moved['encoder'] == 0 and 0 < moved['decoder'] < 0.01 and 0 < moved['student'] < 0.01
  old, new = (pipeline.load(folder, teacher=True)
              for folder in (data.system, tmp_path / 'whole' / 'export'))
  assert old.digests['generator'] == new.digests['generator']
  found = (tmp_path / 'whole' / 'metrics.jsonl').read_text()
  assert all(f'validation/{name}' in found for name in ('sharpness_own', 'opening', 'new_audio'))


def test_latents_of_another_codec_are_refused(data, tmp_path, whisper_folder):
  other = tiny_system.write_student(tmp_path, whisper_folder)
  with pytest.raises(UserError, match='encoded by another codec'):
    train_pixels.train(config(data, system=str(other)), tmp_path / 'run')


def test_frames_are_those_that_the_latents_were_encoded_from(data):
  pairs = paired_clips.opened(data.latents, data.crops, 'train', 16, '', '')
  assert len(pairs) == 10  # five clips and their mirror images
  encoder = streaming_codec.Encoder.of(model_folder.load_export(data.system / 'codec', 'codec'))
  shape = windows.WindowShape(3, 1, 2, 0, (2, 3))
  for record in (pairs[4], pairs[5]):
    cut = paired_clips.cut(record, 1, shape, np.random.default_rng(0))
    np.testing.assert_array_equal(cut['frames'], record['frames'][4:16])
    again = encoder.stream(record['frames'][None])[0, 1:4]
    np.testing.assert_allclose(cut['target'].reshape(again.shape), again, atol=2e-3)
  assert not np.array_equal(pairs[4]['frames'], pairs[5]['frames'])


def test_latents_of_other_crops_are_refused(data):
  record = lambda name: {'clip_id': name, 'target': np.zeros((1, 1)), 'flipped': False}
  clip = lambda name: {'clip_id': name.encode(), 'frames': np.zeros((4, 1)),
                       'mouth_box': np.zeros((4, 4))}
  with pytest.raises(UserError, match='2 clips of crops and 3 of latents'):
    paired_clips.PairedClips([0, 0, 0], [0, 0], 'here')
  mixed = paired_clips.PairedClips([record('a'), record('c')], [clip('a'), clip('b')], 'here')
  assert mixed[0]['frames'].shape == (4, 1)
  with pytest.raises(UserError, match='record 1 is of the clip c, not of b'):
    mixed[1]

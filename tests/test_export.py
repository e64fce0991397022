"""What is given away runs, is half as large, and says what it is."""

import dataclasses

import jax
import numpy as np
import pytest
import tiny_system

from vidregen_jax import export, system, weights
from vidregen_jax.errors import UserError


@pytest.fixture(scope='module')
def student(tmp_path_factory, whisper_folder):
  folder = tmp_path_factory.mktemp('student')
  teacher = system.load(tiny_system.write(folder, whisper_folder))
  params = jax.tree.map(lambda x: np.asarray(x) + 1 / 3, teacher.params.generator)
  sampler = dataclasses.asdict(dataclasses.replace(teacher.sampler, steps=2))
  system.export_student(folder / 'student', folder / 'export', {'sampler': sampler}, params)
  return folder / 'student'


def weight(folder):
  return sum(path.stat().st_size for path in folder.rglob('*.safetensors'))


def test_a_pack_is_the_system_in_half_precision(student, tmp_path, whisper_folder):
  card = tmp_path / 'card.md'
  card.write_text('# A model of nobody')
  (tmp_path / 'near').symlink_to(whisper_folder)
  export.repack(student, tmp_path / 'pack', card, '../near')
  assert (tmp_path / 'pack' / 'README.md').read_text() == '# A model of nobody'
  assert not (tmp_path / 'pack' / 'audio_encoder').exists()
  for part in ('.', 'codec', 'student'):
    assert 0.49 < weight(tmp_path / 'pack' / part) / (
      weight(student / part) - weight(student / 'audio_encoder') * (part == '.')) < 0.55
  for which in (False, True):
    whole, packed = system.load(student, which), system.load(tmp_path / 'pack', which)
    assert whole.models == packed.models and whole.sampler == packed.sampler
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(packed.params), strict=True):
      assert b.dtype == a.dtype
      np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-7)  # 11 bits
  samples = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
  np.testing.assert_array_equal(whole.listen(samples), packed.listen(samples))
  export.repack(student, tmp_path / 'whole', card)  # with its own copy
  np.testing.assert_array_equal(whole.listen(samples), system.load(tmp_path / 'whole').listen(
    samples))


def test_what_cannot_be_given_away_leaves_what_was_there(student, tmp_path):
  card, out = tmp_path / 'card.md', tmp_path / 'pack'
  out.mkdir()
  (out / 'README.md').write_text('kept')
  with pytest.raises(UserError, match='is no file: say there what the model is'):
    export.repack(student, out, card)
  card.write_text('# A model')
  with pytest.raises(UserError, match='--audio_encoder is seen from --out'):
    export.repack(student, out, card, '../nowhere')
  taught, large = weights.load_export(student / 'student', 'student'), tmp_path / 'large'
  taught.params['sinks'] += 1e6
  system.export_student(large, student, taught.config, taught.params)
  with pytest.raises(UserError, match='beyond 65504, which half precision cannot hold'):
    export.repack(large, out, card)
  assert (out / 'README.md').read_text() == 'kept' and len(list(out.iterdir())) == 1
  (out / 'mine').write_text('not a pack')
  with pytest.raises(UserError, match='holds other things, which would be lost'):
    export.repack(student, out, card)
  assert (out / 'mine').exists()

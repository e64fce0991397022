"""What is exported as StableHLO runs by JAX alone, anywhere, and makes what the package makes."""

import pathlib
import subprocess
import sys

import jax
import jax.export
import numpy as np
import pytest
import tiny_system

from vidregen_jax.errors import UserError
from vidregen_jax.exports import model_folder, pipeline, stablehlo
from vidregen_jax.exports.pack import repack
from vidregen_jax.faces import crop_mask
from vidregen_jax.inference import sampling, streaming_codec
from vidregen_jax.models import pixels, streams

pytestmark = pytest.mark.optimized

# Float32 in other orders: convolutions are written otherwise on a CPU, and compiled apart. Values
# are near 1.
TOLERANCE = 2e-4
# Runs a script in a Python that finds nothing that is installed but these.
ALONE = '''
import importlib.abc, importlib.metadata, runpy, sys
known = {'jax', 'jaxlib', 'numpy', 'flatbuffers', 'ml_dtypes', 'opt_einsum', 'scipy'}
blocked = {'vidregen_jax', *importlib.metadata.packages_distributions()} - known
class Blocker(importlib.abc.MetaPathFinder):
  def find_spec(self, name, path, target=None):
    if name.split('.')[0] in blocked:
      raise ModuleNotFoundError(f'{name} is blocked', name=name)
sys.meta_path.insert(0, Blocker())
for module in ('flax', 'vidregen_jax', 'safetensors'):
  try:
    __import__(module)
  except ModuleNotFoundError:
    continue
  raise SystemExit(f'{module} could be imported')
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
'''


@pytest.fixture(scope='module')
def pack(tmp_path_factory, whisper_folder):
  folder = tmp_path_factory.mktemp('pack')
  (folder / 'card.md').write_text('Data: random numbers; consent: of nobody.')
  repack(tiny_system.write_student(folder, whisper_folder), folder / 'pack',
                folder / 'card.md', folder / 'card.md', with_stablehlo=True)
  return folder / 'pack'


@pytest.fixture(scope='module')
def given(pack):
  """Crops, stills, sound and times of 12 frames, of another face than noise: smooth."""
  rng = np.random.default_rng(0)
  shape = pipeline.load(pack).models.generator
  smooth = rng.integers(0, 256, (14, 4, 4, 3)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
  heard = rng.standard_normal((3 + shape.look_ahead, 16, shape.audio_layers, shape.audio_channels))
  return {'crops': smooth[:12], 'stills': smooth[12:], 'heard': heard.astype(np.float32),
          'seconds': np.full(3 + shape.look_ahead, 0.04, np.float32)}


def load(pack, name):
  """An artefact, compiled, and its arguments' names and shapes."""
  exported = jax.export.deserialize(bytearray((pack / 'stablehlo' / f'{name}.bin').read_bytes()))
  return jax.jit(exported.call), jax.tree.unflatten(exported.in_tree, exported.in_avals)[0]


def weigh(pack, student=False):
  """The artefacts' weights, as read from the pack."""
  codec, generator = (model_folder.load_export(pack / folder, kind) for folder, kind in (
    ('codec', 'codec'), ('.', 'generator')))
  made = model_folder.load_export(pack / 'student', 'student') if student else generator
  guess = {name: x for name, x in generator.arrays.items() if name.startswith('expected_')}
  return {'codec': model_folder.join(codec.params, codec.arrays),
          'generator': model_folder.join(made.params, guess)}


def begun(machine, given):
  """The package's own: the sampler's start, and inputs [T, B, ...] of the given frames."""
  shape = machine.models.generator
  encoder = streaming_codec.Encoder(machine.models.codec, machine.params.codec,
                                    machine.params.latent_mean,
                                    machine.params.latent_std)
  flat = (shape.cells**2, shape.latent_channels)
  both = np.stack([given['crops'], crop_mask.hide_lower_face(given['crops'])])
  seen = encoder.stream(both).reshape(2, -1, 1, *flat)
  fixed = streams.Fixed(
    references=encoder.stills(given['stills']).reshape(1, -1, *flat),
    reference_valid=np.ones((1, shape.references), bool),
    anchor=np.zeros((1, len(shape.region), shape.latent_channels), np.float32),
    anchor_context=np.zeros((1, *flat), np.float32), anchor_valid=np.zeros(1, bool),
    anchor_time=np.zeros(1, np.float32))
  ahead = streams.Ahead(given['heard'][None], np.ones((1, len(given['heard'])), bool),
                        given['seconds'][None])
  start, inputs = streams.split(shape, streams.Conditions(
    fixed, streams.Frames(target=seen[0].swapaxes(0, 1), context=seen[1].swapaxes(0, 1)), ahead))
  return sampling.init_state(machine.models, machine.params, jax.random.key(0), start), inputs


@pytest.mark.parametrize('student', [False, True])
def test_the_script_makes_the_packages_frames_without_the_package(pack, given, tmp_path, student):
  np.savez(tmp_path / 'in.npz', **given)
  words = ['in.npz', 'out.npy', *['student'] * student]
  done = subprocess.run([sys.executable, '-I', '-c', ALONE, pack / 'run_stablehlo.py', *words],
                        cwd=tmp_path, capture_output=True, text=True, timeout=300,
                        env={'JAX_PLATFORMS': 'cpu'})
  assert done.returncode == 0, done.stderr
  machine = pipeline.load(pack, teacher=not student)
  state, inputs = begun(machine, given)
  _, frames = sampling.sample(machine.models, machine.sampler, machine.params, state, inputs)
  expected = pixels.to_uint8(np.asarray(frames)[:, 0].reshape(given['crops'].shape))
  made = np.load(tmp_path / 'out.npy')
  assert made.dtype == np.uint8 and made.std() > 10
  change = np.abs(made.astype(int) - expected)
  assert change.max() <= 1 and (change > 0).mean() < 0.01  # what lies between two grey levels


def test_every_artefact_runs_on_every_platform(pack):
  names = {path.stem for path in (pack / 'stablehlo').iterdir()}
  assert names == {'encode', 'decode', 'begin', 'warm_step', 'sample_step', 'student_step'}
  for name in names:
    data = bytearray((pack / 'stablehlo' / f'{name}.bin').read_bytes())
    assert jax.export.deserialize(data).platforms == ('cpu', 'cuda', 'tpu')
    assert len(data) < 200_000  # weights are not in it


def test_encoding_and_decoding_are_the_codecs(pack, given):
  machine = pipeline.load(pack, teacher=True)
  encoder, decoder = (side.of(model_folder.load_export(pack / 'codec', 'codec'))
                      for side in (streaming_codec.Encoder, streaming_codec.Decoder))
  both = np.stack([given['crops'], crop_mask.hide_lower_face(given['crops'])])
  seen, given_weights = encoder.stream(both), weigh(pack)['codec']
  shown = decoder.stream(seen[:1])
  (encode, (_, encoded, _)), (decode, (_, decoded, _)) = load(pack, 'encode'), load(pack, 'decode')
  encoded, decoded = (jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), cache)
                      for cache in (encoded, decoded))
  for i in range(3):
    encoded, made = encode(given_weights, encoded, given['crops'][None, 4 * i:4 * i + 4])
    for row, name in enumerate(('target', 'context')):
      np.testing.assert_allclose(made[name], seen[row, i].reshape(1, -1, seen.shape[-1]),
                                 atol=TOLERANCE)
    z = seen[:1, i].reshape(1, machine.models.generator.cells**2, -1)
    decoded, frames = decode(given_weights, decoded, z)
    np.testing.assert_allclose(frames[0], shown[0, 4 * i:4 * i + 4], atol=TOLERANCE)


def test_a_warmed_state_is_the_packages(pack, given):
  """All that it holds: nothing is lost from step to step."""
  machine = pipeline.load(pack, teacher=True)
  state, inputs = begun(machine, given)
  arriving = jax.tree.map(lambda x: x[0], inputs)
  warm, (_, held, _) = load(pack, 'warm_step')
  named = stablehlo.flat(state)
  assert named.keys() == held.keys()
  named, made = warm(weigh(pack), named, streams.flat(arriving))
  state, frames = sampling.warm(machine.models, machine.params, state, arriving)
  np.testing.assert_allclose(made, frames, atol=TOLERANCE)
  assert named.keys() == held.keys()
  for name, x in stablehlo.flat(state).items():
    np.testing.assert_allclose(named[name], x, atol=TOLERANCE, err_msg=name)


def test_what_is_left_to_the_backend_is_decided(pack, monkeypatch):
  """An artefact is the same whatever machine wrote it, and does not say where."""
  machine, path = pipeline.load(pack, teacher=True), pack / 'stablehlo' / 'encode.bin'
  here = jax.export.deserialize(bytearray(path.read_bytes())).mlir_module()
  monkeypatch.setattr(jax, 'default_backend', lambda: 'tpu')
  assert machine.models.codec.activations == 'bfloat16'
  there = stablehlo.lower(machine, machine.sampler)['encode'].mlir_module()
  assert there == here and 'bf16' not in here
  assert str(pathlib.Path(__file__).parents[2]) not in here + there


def test_what_writes_artefacts_is_asked_for_when_it_is_not_there(pack, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'flatbuffers', None)
  with pytest.raises(UserError, match=r"pip install 'vidregen_jax\[export\]'"):
    repack(pack, tmp_path / 'out', pack / 'README.md', pack / 'LICENSE', None, True)
  assert not (tmp_path / 'out').exists()

"""SyncNet: read whole or told, the numbers of its authors' code, and what it hears."""

import jax
import numpy as np
import parity
import pytest
import random_weights
import safetensors.numpy

from vidregen_jax.errors import UserError
from vidregen_jax.models import mfcc, syncnet

pytestmark = pytest.mark.optimized


@pytest.fixture(scope='module')
def tensors():
  return random_weights.syncnet_tensors()


@pytest.fixture(scope='module')
def params(tensors, tmp_path_factory):
  folder = tmp_path_factory.mktemp('syncnet')
  safetensors.numpy.save_file(tensors, folder / 'model.safetensors')
  return syncnet.load(folder)


def test_what_is_missing_is_named(tensors, tmp_path):
  kept = {name: x for name, x in tensors.items()
          if name not in ('netcnnlip.5.running_var', 'netfcaud.3.bias')}
  safetensors.numpy.save_file(kept, tmp_path / 'model.safetensors')
  with pytest.raises(UserError, match=r'netcnnlip\.5\.running_var is missing and 1 more'):
    syncnet.load(tmp_path)
  with pytest.raises(UserError, match='no SyncNet folder at ./none'):
    syncnet.load('./none')


def test_vectors_equal_those_of_the_authors_code(params):
  theirs = parity.golden('syncnet')
  mouth = np.asarray(jax.jit(syncnet.embed_mouth)(params, parity.faces()))
  cepstra = np.stack([theirs['mfcc'][:20], theirs['mfcc'][40:60]])
  sound = np.asarray(jax.jit(syncnet.embed_sound)(params, cepstra))
  for ours, expected in ((mouth, theirs['mouth']), (sound, theirs['sound'])):
    ours = ours[:, ::parity.NUMBERS]
    # Eight layers in float32, summed in another order and with the normalisation folded in.
    np.testing.assert_allclose(ours, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(ours[0] - ours[1]).max() > 0.01 * np.abs(expected).max()


def test_cepstra_equal_those_of_python_speech_features():
  sound = parity.voice(parity.SPOKEN)
  whole = np.rint(32768 * sound)
  theirs = parity.golden('syncnet')['mfcc']
  np.testing.assert_allclose(mfcc.mfcc(whole), theirs, atol=1e-9 * np.abs(theirs).max())
  windows = syncnet.windows(sound)
  assert windows.shape == (1 + (len(theirs) - 20) // 4, 20, 13)
  np.testing.assert_allclose(windows[3], theirs[12:32], rtol=1e-5, atol=1e-4)
  assert np.isfinite(mfcc.mfcc(np.zeros(100))).all()
  assert syncnet.windows(np.zeros(100)).shape == (0, 20, 13)

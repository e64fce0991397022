"""Makes what the tests of parity compare with: results of other people's implementations.

  pip install -e '.[parity]'
  git clone https://github.com/piergiaj/pytorch-i3d
  git clone https://github.com/joonson/syncnet_python
  pip install python_speech_features
  PYTHONPATH=tests/support:pytorch-i3d:syncnet_python python tests/models/goldens/make.py

Writes whisper.npz, dinov2.npz, lpips.npz, i3d.npz and syncnet.npz beside itself, or only those that
are named. Whisper's encoder and DINOv2 are those of transformers, VGG16 is torchvision's, LPIPS the
lpips package's, I3D is piergiaj's port, whose names and weights are the common ones, and SyncNet,
with what it hears, is its authors'. The stored ones are of torch 2.13, transformers 5.24,
torchvision 0.28, lpips 0.1.4, pytorch-i3d 05783d1, syncnet_python 6efbb1c and
python_speech_features 0.6, all on a CPU.
"""

import pathlib
import sys
import tempfile

import numpy as np
import parity
import random_weights
import torch

ROOT = pathlib.Path(__file__).resolve().parents[3]


def channels_first(x):
  return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


def of_whisper():
  """'mel_<bins>_<seconds>': [bins, M]; 'states': [T, layers + 1, C]; of each but every so many."""
  import transformers

  made = {}
  for bins in parity.MEL_BINS:
    extractor = transformers.WhisperFeatureExtractor(feature_size=bins)
    for seconds in parity.SOUNDS:
      mel = extractor(parity.voice(seconds), sampling_rate=16_000, return_tensors='np')
      made[f'mel_{bins}_{seconds}'] = mel.input_features[0, :, ::parity.COLUMNS]
  folder = ROOT / 'checkpoints' / 'whisper-base'
  model = transformers.WhisperModel.from_pretrained(folder, dtype=torch.float32).eval()
  extractor = transformers.WhisperFeatureExtractor(feature_size=80)
  mel = extractor(parity.voice(30), sampling_rate=16_000, return_tensors='pt').input_features
  states = model.encoder(mel, output_hidden_states=True).hidden_states
  made['states'] = np.stack(
    [state[0, ::parity.TIMES, ::parity.STATES].numpy() for state in states], axis=1)
  return made


def of_dinov2():
  """'<registers>_<height>x<width>': patch tokens [2, H / patch, W / patch, E]."""
  import transformers

  made = {}
  for registers in parity.DINOV2_REGISTERS:
    kind = transformers.Dinov2WithRegistersModel if registers else transformers.Dinov2Model
    with tempfile.TemporaryDirectory() as folder:
      model = kind.from_pretrained(random_weights.dinov2(
        pathlib.Path(folder), registers, parity.DINOV2_EMBEDDING)).eval()
    for height, width in parity.DINOV2_SHAPES:
      tokens = model(channels_first(parity.images(height, width))).last_hidden_state
      patch = random_weights.DINOV2['patch']
      made[f'{registers}_{height}x{width}'] = tokens[:, 1 + registers:].numpy().reshape(
        2, height // patch, width // patch, -1)
  return made


def of_lpips():
  """'tap<i>_<height>x<width>': [2, H, W, C] of every so many C; 'distance_...': [2]."""
  import lpips

  model = lpips.LPIPS(net='vgg', pretrained=False, pnet_rand=True, verbose=False).eval()
  tensors = random_weights.vgg16_tensors()
  places = {name.rpartition('.')[0].rpartition('.')[2]: name.rpartition('.')[0]
            for name in model.state_dict() if name.startswith('net.')}
  named = {}
  for name, tensor in tensors.items():
    head, _, tail = name.partition('.')
    if head == 'features':  # 'features.5.bias' is 'net.slice2.5.bias'
      index, part = tail.split('.')
      name = f'{places[index]}.{part}'
    named[name] = torch.from_numpy(tensor)
  lost = model.load_state_dict(named, strict=False)
  assert not lost.unexpected_keys
  assert all(name.startswith(('scaling_layer.', 'lins.')) for name in lost.missing_keys)
  made = {}
  for cut in parity.LPIPS_CUTS:
    images = parity.images(*cut)
    first, other = channels_first(images), channels_first(np.roll(images, 5, axis=2))
    name = '{}x{}'.format(*cut)
    for i, tap in enumerate(model.net(model.scaling_layer(first))):
      made[f'tap{i}_{name}'] = np.moveaxis(tap.numpy(), 1, -1)[..., ::parity.CHANNELS]
    made[f'distance_{name}'] = model(first, other).numpy().reshape(-1)
  return made


def of_i3d():
  """'logits': [2, 400]."""
  from pytorch_i3d import InceptionI3d

  model = InceptionI3d().eval()
  tensors = random_weights.i3d_tensors()
  model.load_state_dict({name: torch.from_numpy(x) for name, x in tensors.items()})
  # What is left of pictures of 224 pixels is 7 x 7, and of these 2 x 2.
  model.avg_pool = torch.nn.AvgPool3d((2, 2, 2), stride=1)
  return {'logits': model(channels_first(parity.clips())).mean(2).numpy()}


def of_syncnet():
  """'mouth', 'sound': [2, 1024] of each but every so many; 'mfcc': [T, 13]; 'mean': the mean row of
  distances of random vectors, and the 'scores' that are made of it: offset, distance, confidence.
  """
  import python_speech_features
  from SyncNetInstance import calc_pdist
  from SyncNetModel import S

  model = S().eval()
  tensors = random_weights.syncnet_tensors()
  model.load_state_dict({name: torch.from_numpy(x) for name, x in tensors.items()})
  sound = np.rint(32768 * parity.voice(parity.SPOKEN)).astype(np.int16)
  mfcc = python_speech_features.mfcc(sound, 16_000)
  heard = torch.from_numpy(np.stack([mfcc[:20].T, mfcc[40:60].T])[:, None]).float()
  mean = torch.mean(torch.stack(calc_pdist(*map(torch.from_numpy, parity.vectors()), 15), 1), 1)
  distance, at = torch.min(mean, 0)
  return {'mouth': model.forward_lip(channels_first(parity.faces())).numpy()[:, ::parity.NUMBERS],
          'sound': model.forward_aud(heard).numpy()[:, ::parity.NUMBERS], 'mfcc': mfcc,
          'mean': mean.numpy(),
          'scores': np.array([15 - at, distance, torch.median(mean) - distance])}


if __name__ == '__main__':
  every = {'whisper': of_whisper, 'dinov2': of_dinov2, 'lpips': of_lpips, 'i3d': of_i3d,
           'syncnet': of_syncnet}
  with torch.no_grad():
    for name in sys.argv[1:] or every:
      np.savez_compressed(parity.GOLDENS / f'{name}.npz', **every[name]())

"""Makes what the tests of parity compare with: results of other people's implementations.

  pip install -e '.[parity]'
  git clone https://github.com/piergiaj/pytorch-i3d
  PYTHONPATH=tests/support:pytorch-i3d python tests/models/goldens/make.py

Writes whisper.npz, dinov2.npz, lpips.npz and i3d.npz beside itself. Whisper's encoder and DINOv2
are those of transformers, VGG16 is torchvision's, LPIPS the lpips package's, and I3D is piergiaj's
port, whose names and weights are the common ones. The stored ones are of torch 2.13, transformers
5.24, torchvision 0.28, lpips 0.1.4 and pytorch-i3d 05783d1, all on a CPU.
"""

import pathlib
import tempfile

import lpips
import numpy as np
import parity
import random_weights
import torch
import transformers
from pytorch_i3d import InceptionI3d

ROOT = pathlib.Path(__file__).resolve().parents[3]


def channels_first(x):
  return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


def of_whisper():
  """'mel_<bins>_<seconds>': [bins, M]; 'states': [T, layers + 1, C]; of each but every so many."""
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
  model = InceptionI3d().eval()
  tensors = random_weights.i3d_tensors()
  model.load_state_dict({name: torch.from_numpy(x) for name, x in tensors.items()})
  # What is left of pictures of 224 pixels is 7 x 7, and of these 2 x 2.
  model.avg_pool = torch.nn.AvgPool3d((2, 2, 2), stride=1)
  return {'logits': model(channels_first(parity.clips())).mean(2).numpy()}


if __name__ == '__main__':
  with torch.no_grad():
    for name, make in (('whisper', of_whisper), ('dinov2', of_dinov2), ('lpips', of_lpips),
                       ('i3d', of_i3d)):
      np.savez_compressed(parity.GOLDENS / f'{name}.npz', **make())

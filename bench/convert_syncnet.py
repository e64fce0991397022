"""Converts the weights of SyncNet, as its authors give them away, to safetensors.

  pip install -e '.[parity]'
  python -m bench.convert_syncnet syncnet_v2.model FOLDER

`syncnet_v2.model` is the file that joonson/syncnet_python downloads: a state dict that PyTorch
pickled. FOLDER is what `python -m vidregen_jax.evaluate sync --syncnet=FOLDER` takes. Under which
terms they may be used, the authors say.
"""

import pathlib
import pickle
import sys

import safetensors.numpy
import torch

from vidregen_jax import cli, files, outputs, terminal
from vidregen_jax.errors import UserError
from vidregen_jax.models import syncnet


def convert(given):
  """Writes the folder, whole or not at all.

  Raises:
    UserError: the file is not such a state dict.
  """
  files.check_readable(given.model)
  try:
    state = torch.load(given.model, map_location='cpu', weights_only=True)
  except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
    raise UserError(f'{given.model}: no state dict of PyTorch ({type(error).__name__}): give the '
                    'file that syncnet_python downloads') from error
  if not isinstance(state, dict) or not all(torch.is_tensor(x) for x in state.values()):
    raise UserError(f'{given.model}: holds something else than a state dict: give the file that '
                    'syncnet_python downloads')
  with outputs.whole_folder(pathlib.Path(given.folder)) as part:
    safetensors.numpy.save_file({name: x.contiguous().numpy() for name, x in state.items()},
                                part / 'model.safetensors')
    try:
      syncnet.load(part)
    except UserError as error:
      fault = str(error).partition(': ')[2].partition(';')[0]
      raise UserError(f'{given.model}: is not SyncNet of version 2 ({fault}): give the file that '
                      'syncnet_python downloads') from error
  terminal.say(f'wrote {given.folder}')


def main(argv=None) -> int:
  parser = cli.Parser(prog='python -m bench.convert_syncnet', description=__doc__)
  parser.add_argument('model', metavar='syncnet_v2.model')
  parser.add_argument('folder', metavar='FOLDER')
  return cli.command(parser, convert, 'nothing was written', argv)


if __name__ == '__main__':
  sys.exit(main())

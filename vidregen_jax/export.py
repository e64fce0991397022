"""Pack a trained system to give away: half the size, one folder, a card that says what it is.

  python -m vidregen_jax.export --checkpoint=out/student/export --card=CARD.md --out=DIR

Numbers are kept as float16 and computed with as float32. `--audio_encoder=../whisper-base` names an
encoder that lies elsewhere, as seen from DIR, instead of one more copy of it.
"""

import pathlib
import shutil

import numpy as np
from absl import flags

from vidregen_jax import commands, system, weights
from vidregen_jax.errors import UserError

_CHECKPOINT = flags.DEFINE_string('checkpoint', None, "Folder of a training's export.")
_OUT = flags.DEFINE_string('out', None, 'Folder to write.')
_CARD = flags.DEFINE_string('card', None, 'Markdown file that becomes its README.md.')
_AUDIO_ENCODER = flags.DEFINE_string(
  'audio_encoder', None, 'Where its audio encoder is, seen from --out; default: a copy in it.')

_OURS = {'README.md', 'config.json', 'generator.safetensors', 'codec', 'student',
         system.AUDIO_ENCODER}
_LARGEST = float(np.finfo(np.float16).max)


def repack(source, folder, card, audio_encoder=None):
  """Writes a system in half precision; whole or not at all, over what was there.

  Args:
    source: folder of an exported system.
    folder: where to.
    card: path of its README.md.
    audio_encoder: folder of the encoder as seen from `folder`, or None for a copy.

  Raises:
    UserError: something is missing or does not fit into half precision, or `folder` holds more
      than an earlier pack.
  """
  source, folder = pathlib.Path(source), pathlib.Path(folder)
  if folder.exists() and (
      not folder.is_dir() or {path.name for path in folder.iterdir()} - _OURS):
    raise UserError(f'--out {folder} holds other things, which would be lost: name a new folder')
  system.load(source)  # what does not run is not given away
  if not pathlib.Path(card).is_file():
    raise UserError(f'--card {card} is no file: say there what the model is, what it was trained '
                    'on, who consented, and how it was measured')
  if audio_encoder and not (folder / audio_encoder).resolve().is_dir():
    raise UserError(f'there is no folder {folder / audio_encoder}: --audio_encoder is seen from '
                    '--out')
  made, packed = _half(source, 'generator'), _half(source / 'codec', 'codec')
  taught = _half(source / 'student', 'student') if (source / 'student').is_dir() else None
  with weights.whole_folder(folder) as part:
    digest = weights.export(part / 'codec', 'codec', packed.config, packed.params, **packed.arrays)
    where = audio_encoder or system.AUDIO_ENCODER
    if not audio_encoder:
      shutil.copytree(source / made.config['audio_encoder'], part / where)
    config = made.config | {'codec': digest, 'audio_encoder': where}
    digest = weights.fill(part, 'generator', config, made.params, **made.arrays)
    if taught:
      weights.export(part / 'student', 'student', taught.config | {'teacher': digest},
                     taught.params)
    shutil.copyfile(card, part / 'README.md')


def _half(folder, kind):
  """An export whose floats are float16."""
  made = weights.load_export(folder, kind)

  def half(tree):
    flat = weights.flatten(tree)
    if any(np.abs(x).max(initial=0) > _LARGEST for x in flat.values()):
      raise UserError(f'the {kind} in {folder} has numbers beyond {_LARGEST:g}, which half '
                      "precision cannot hold: keep the training's own export")
    return weights.unflatten({name: x.astype(np.float16) if x.dtype == np.float32 else x
                              for name, x in flat.items()})

  return weights.Export(kind, made.config, half(made.params), half(made.arrays), made.digest)


def run():
  """Does what the flags say.

  Raises:
    UserError: see `repack`.
  """
  if not (_CHECKPOINT.value and _OUT.value and _CARD.value):
    raise UserError('give --checkpoint, --card and --out')
  repack(_CHECKPOINT.value, _OUT.value, _CARD.value, _AUDIO_ENCODER.value)
  size = sum(path.stat().st_size for path in pathlib.Path(_OUT.value).rglob('*') if path.is_file())
  print(f'wrote {_OUT.value}, {size / 1e6:.1f} MB')


if __name__ == '__main__':
  commands.run(run, 'nothing was written')

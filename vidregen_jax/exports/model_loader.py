"""Loads exported models, and checks config.json and the weights before anything runs.

Files may come from anywhere and may have been edited by hand. A model that is returned from here
runs; otherwise the error names the file and the field.
"""

import dataclasses
import functools
import pathlib

import jax
import numpy as np

from vidregen_jax import documents
from vidregen_jax.documents import choice, flag, number, row, text, whole
from vidregen_jax.errors import UserError
from vidregen_jax.exports import model_folder
from vidregen_jax.models import (
  attention,
  codec,
  flow_matching,
  generator,
  linear_prior,
  lip_listener,
  lip_readout,
  sync,
)

_STAGES, _LAYERS = 8, 256
_WIDTH = whole(1, 65_536)
_depths = functools.partial(row, least=1, most=_STAGES)

# The allowed values of each field; `fields_of` finds out which fields are required.
CODEC = {
  'size': whole(codec.PATCH, 4096), 'widths': _depths(_WIDTH),
  'encoder_depths': _depths(whole(0, 64)), 'decoder_depths': _depths(whole(0, 64)),
  'time_kernels': _depths(whole(1, 64)),
  'latent_channels': whole(1, 4096), 'latent_stages': whole(0, _STAGES), 'aligned': flag,
  'levels': whole(0, 65_536), 'shortcut': flag, 'norm': text(16), 'conv': text(16),
  'dtype': text(16), 'remat': flag, 'loop_from': whole(0, 64),
}
GENERATOR = {
  'cells': whole(1, 256), 'latent_channels': whole(1, 4096),
  'region': row(whole(0, 65_535), 1, 65_536, ascending=True), 'width': _WIDTH,
  'heads': whole(1, 1024), 'layers': whole(1, _LAYERS), 'mlp': whole(1, 64),
  'window': whole(1, 1024), 'look_ahead': whole(0, 64), 'references': whole(1, 64),
  'sinks': whole(0, 1024), 'sink_logit': flag, 'audio_layers': whole(1, _LAYERS),
  'audio_channels': _WIDTH, 'audio_hidden': _WIDTH, 'audio_modulates': flag, 'aligned': flag,
  'unroll': flag, 'dtype': choice('float32', 'bfloat16'),
  # Kernels depend on the machine and are for training; exported models are sampled with XLA. So
  # are products in 8 bits.
  'attention': choice('xla'), 'mlp_dtype': choice('same'), 'remat': text(16),
}
_WHOLE = ('expected_region',)  # arrays of integers
_SIZE = number(0, 1000)
SAMPLER = {
  'steps': whole(1, 1000), 'solver': text(16), 'shift': number(1e-3, 1000),
  'guidance_appearance': _SIZE, 'guidance_audio': _SIZE, 'guidance_start': number(0, 1),
  'guidance_stop': number(0, 1), 'noise': _SIZE,
}
SYNC = {
  'size': whole(8, 1024), 'stem': whole(1, 64), 'widths': _depths(_WIDTH), 'audio_width': _WIDTH,
  'embedding': _WIDTH, 'blocks': whole(0, 64),
}
LIPS = {'audio_layers': whole(1, _LAYERS), 'audio_channels': _WIDTH, 'width': _WIDTH,
        'hidden': _WIDTH}
_LISTENING = {
  'audio_layers': row(whole(0, _LAYERS), 1, _LAYERS, ascending=True),
  'window_seconds': number(0.02, 3600), 'margin_seconds': number(0, 1800),
}


def fields_of(kind, checks):
  """A check of the JSON object from which a dataclass is built."""
  needed = {field.name for field in dataclasses.fields(kind)
            if field.default is dataclasses.MISSING}
  return documents.record({name: checks[name] for name in checks if name in needed},
                          {name: checks[name] for name in checks if name not in needed})


_sampler = fields_of(flow_matching.SamplerConfig, SAMPLER)
_CONFIGS = {
  'codec': fields_of(codec.CodecConfig, CODEC),
  'generator': documents.record(
    {'model': fields_of(generator.GeneratorConfig, GENERATOR), 'sampler': _sampler,
     'listening': documents.record(_LISTENING), 'codec': documents.sha256,
     'audio_encoder': text(1024)},
    {'audio_encoder_files': documents.table(documents.sha256, 64),
     'attention_layout': whole(1, 1000)}),
  'student': documents.record({'sampler': _sampler, 'teacher': documents.sha256}),
  'lips': documents.record({'model': fields_of(lip_listener.ListenerConfig, LIPS),
                            'generator': documents.sha256}),
  'sync': fields_of(sync.SyncConfig, SYNC),
}


@dataclasses.dataclass(frozen=True)
class Codec:
  """An exported codec: its config, and the files' contents."""

  model: codec.CodecConfig
  export: model_folder.Export


@dataclasses.dataclass(frozen=True)
class Generator:
  """An exported generator or student: its config, its sampler, and the files' contents."""

  model: generator.GeneratorConfig
  sampler: flow_matching.SamplerConfig
  export: model_folder.Export


@dataclasses.dataclass(frozen=True)
class Lips:
  """An exported listener of a system: its config, and the files' contents."""

  model: lip_listener.ListenerConfig
  export: model_folder.Export


@dataclasses.dataclass(frozen=True)
class Sync:
  """An exported scorer of lip sync: its config, and the files' contents."""

  model: sync.SyncConfig
  export: model_folder.Export


def load_codec(folder) -> Codec:
  """Reads an exported codec.

  Raises:
    UserError: there is none, or a part of it is damaged or does not fit the rest.
  """
  path, export = _read(folder, 'codec')
  model = _build(codec.CodecConfig, export.config, f'{path}: config')
  _check_arrays(folder, export, functools.partial(codec.init, model),
                dict.fromkeys(('latent_mean', 'latent_std'), (model.latent_channels,)))
  _check_positive(folder, export, 'latent_std')
  return Codec(model, export)


def load_generator(folder) -> Generator:
  """Reads an exported generator; raises as `load_codec`."""
  path, export = _read(folder, 'generator')
  config = export.config
  layout = config.get('attention_layout', 1)
  if layout != attention.LAYOUT:
    raise UserError(f'{path}: its attention has layout {layout}, where this version of '
                    f'vidregen_jax has {attention.LAYOUT}: train it again, or use the version '
                    'that made it')
  model = _build(generator.GeneratorConfig, config['model'], f'{path}: config.model')
  sampler = _build(flow_matching.SamplerConfig, config['sampler'], f'{path}: config.sampler')
  if model.region[-1] >= model.cells**2:
    raise UserError(f'{path}: config.model.region has cell {model.region[-1]}, but {model.cells} '
                    f'cells a side are {model.cells**2}')
  if len(config['listening']['audio_layers']) != model.audio_layers:
    raise UserError(f'{path}: config.listening.audio_layers are '
                    f'{len(config["listening"]["audio_layers"])}, but config.model.audio_layers is '
                    f'{model.audio_layers}')
  guess = linear_prior.shapes(model.region, model.cells, model.latent_channels)
  if not export.arrays.get('expected_kernel', np.ones(1)).size:
    guess = linear_prior.none(model.region)
  expected = {f'expected_{name}': tuple(value.shape) for name, value in vars(guess).items()}
  if 'lip_kernel' in export.arrays or 'lip_bias' in export.arrays:
    lips = lip_readout.shapes(len(model.region), model.latent_channels)
    expected |= {f'lip_{name}': shape for name, shape in lips.items()}
  states = (model.audio_layers, model.audio_channels)
  _check_arrays(folder, export, functools.partial(generator.init, model),
                expected | {'audio_mean': states, 'audio_std': states})
  for name in ('audio_std', 'expected_scale'):
    _check_positive(folder, export, name)
  if export.arrays['expected_region'].tolist() != list(model.region):
    raise UserError(f'{_tensors(folder, export)}: expected_region is not the region of '
                    'config.json: export the generator again')
  return Generator(model, sampler, export)


def load_student(folder, teacher: Generator) -> Generator:
  """Reads the student of a generator; raises as `load_codec`."""
  path, export = _read(folder, 'student')
  sampler = _build(flow_matching.SamplerConfig, export.config['sampler'], f'{path}: config.sampler')
  _check_arrays(folder, export, functools.partial(generator.init, teacher.model), {})
  return Generator(teacher.model, sampler, export)


def load_lips(folder, generator: Generator) -> Lips:
  """Reads the listener of a generator's system; raises as `load_codec`."""
  path, export = _read(folder, 'lips')
  model = lip_listener.ListenerConfig(**export.config['model'])
  for name in ('audio_layers', 'audio_channels'):
    if getattr(model, name) != getattr(generator.model, name):
      raise UserError(f'{path}: config.model.{name} is {getattr(model, name)}, but the generator '
                      f'beside it has {getattr(generator.model, name)}: train the lips again')
  _check_arrays(folder, export, functools.partial(lip_listener.init, model), {})
  return Lips(model, export)


def load_sync(folder) -> Sync:
  """Reads an exported scorer of lip sync; raises as `load_codec`."""
  path, export = _read(folder, 'sync')
  model = _build(sync.SyncConfig, export.config, f'{path}: config')
  _check_arrays(folder, export, functools.partial(sync.init, model), {'limit': ()})
  return Sync(model, export)


def _read(folder, kind):
  """The path of config.json, and the export with its config checked."""
  path, export = pathlib.Path(folder) / 'config.json', model_folder.load_export(folder, kind)
  config = _CONFIGS[kind](export.config, f'{path}: config')
  return path, dataclasses.replace(export, config=config)


def _build(kind, fields, where):
  try:
    return kind(**fields)
  except UserError as error:
    raise UserError(f'{where}: {error}') from error


def _check_arrays(folder, export, init, shapes):
  """Refuses parameters whose shapes are not the model's, and arrays other than `shapes`."""
  model_folder.check_shapes(export.params, jax.eval_shape(init, jax.random.key(0)),
                            f'the {export.kind} in {folder}', f'export the {export.kind} again')
  wanted = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}
  model_folder.check_shapes(export.arrays, wanted, f'the {export.kind} in {folder}',
                            f'export the {export.kind} again')
  for name, array in model_folder.join(export.params, export.arrays).items():
    if (array.dtype.kind == 'f') == (name in _WHOLE):
      raise UserError(f'{_tensors(folder, export)}: {name} is {array.dtype}: export the '
                      f'{export.kind} again')


def _check_positive(folder, export, name):
  if not (export.arrays[name] > 0).all():
    raise UserError(f'{_tensors(folder, export)}: {name} is not positive everywhere: export the '
                    f'{export.kind} again')


def _tensors(folder, export):
  return pathlib.Path(folder) / f'{export.kind}.safetensors'

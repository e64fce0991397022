"""Exports a system's functions as StableHLO, which runs with JAX alone, without this package.

  stablehlo/encode.bin       the next 4 crops to normalised latents, of the crops and of masked ones
  stablehlo/decode.bin       the next normalised latents to 4 crops
  stablehlo/begin.bin        the sampler's state before the first latent frame
  stablehlo/warm_step.bin    the state after a real latent frame
  stablehlo/sample_step.bin  the state after a generated one, and its 4 crops
  stablehlo/student_step.bin the same with the student, if there is one
  run_stablehlo.py           how to use them

Every artefact runs on CPUs, GPUs and TPUs, for one video at a time. Choices that otherwise depend
on the backend are therefore fixed here: convolutions by XLA, float32 in the codec, attention by
XLA.

Weights are arguments, named as in the safetensors files: as constants they would be stored in five
artefacts, and folded by every compiler. Arguments and results are flat dicts of arrays, since
`jax.export` does not serialise the package's own classes.
"""

import contextlib
import dataclasses
import importlib.util
import pathlib
import shutil

import jax
import jax.export  # jax does not import it by itself
import jax.numpy as jnp
import numpy as np

from vidregen_jax.errors import UserError
from vidregen_jax.exports import model_folder, pipeline
from vidregen_jax.faces import crop_mask
from vidregen_jax.inference import sampling
from vidregen_jax.models import codec, pixels, streams

PLATFORMS = ('cpu', 'cuda', 'tpu')
FOLDER, SCRIPT = 'stablehlo', 'run_stablehlo.py'
_KEY = 'threefry2x32'  # fixed, so that the noise does not depend on JAX's default


def check():
  """Raises UserError if the package that `jax.export` serialises with is missing."""
  if importlib.util.find_spec('flatbuffers') is None:
    raise UserError("StableHLO is written with flatbuffers, which is not installed: "
                    "pip install 'vidregen_jax[export]'")


def write(folder, machine, sampler, student_sampler=None):
  """Writes the artefacts and the script beside a system's weights.

  Args:
    folder: of the system.
    machine: pipeline.System.
    sampler: SamplerConfig of the generator.
    student_sampler: that of the student; None if there is none.
  """
  out = pathlib.Path(folder) / FOLDER
  out.mkdir()
  for name, exported in lower(machine, sampler, student_sampler).items():
    (out / f'{name}.bin').write_bytes(exported.serialize())
  shutil.copyfile(pathlib.Path(__file__).with_name(SCRIPT), out.parent / SCRIPT)


def lower(machine, sampler, student_sampler=None):
  """The artefacts, jax.export.Exported by name; arguments as of `write`."""
  models = dataclasses.replace(
    machine.models,
    codec=dataclasses.replace(machine.models.codec, conv='native', dtype='float32'),
    generator=dataclasses.replace(machine.models.generator, attention='xla'))
  shape = models.generator
  of = lambda *dims, dtype=jnp.float32: jax.ShapeDtypeStruct((1, *dims), dtype)
  cells = (shape.cells**2, shape.latent_channels)
  crops = of(codec.TIME_FACTOR, *[models.codec.size] * 2, 3, dtype=jnp.uint8)
  params = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), machine.params)
  weigh = {
    'codec': model_folder.join(params.codec, {'latent_mean': params.latent_mean,
                                              'latent_std': params.latent_std}),
    'generator': model_folder.join(params.generator, {
      f'expected_{name}': x for name, x in vars(params.expectation).items()}),
  }
  start, inputs = map(streams.flat, streams.sampler_shapes(shape, 1))
  hidden = crop_mask.lower_face_mask(models.codec.size, soft=False) > 0

  def encode(given, cache, crops):
    """crops uint8 [1, 4, S, S, 3] -> the cache, and latents [1, H*W, C], plain and masked."""
    masked = jnp.where(hidden[:, :, None], np.uint8(crop_mask.HIDDEN), crops)
    both = pixels.to_float(jnp.concatenate([crops, masked]))
    params, known = model_folder.split(given)
    (mean, _), cache = codec.encode(models.codec, params, both, cache)
    latents = ((mean - known['latent_mean']) / known['latent_std']).reshape(2, 1, *cells)
    return cache, {'target': latents[0], 'context': latents[1]}

  def decode(given, cache, latents):
    """Normalised latents [1, H*W, C] -> the cache, and crops [1, 4, S, S, 3] about in [-1, 1]."""
    params, known = model_folder.split(given)
    z = latents * known['latent_std'] + known['latent_mean']
    frames, cache = codec.decode(models.codec, params,
                                 z.reshape(1, 1, shape.cells, shape.cells, -1), cache)
    return cache, frames

  def begun(given, seed, start):
    return sampling.init_state(models, _params(given), jax.random.key(seed, impl=_KEY),
                               streams.unflat(streams.Start, start))

  def begin(given, seed, start):
    return flat(begun(given, seed, start))

  first = (weigh, jax.ShapeDtypeStruct((), jnp.uint32), start)
  state, whole = jax.eval_shape(begin, *first), jax.eval_shape(begun, *first)
  treedef = jax.tree.structure(whole)

  def step(function, *how):
    def run(given, state, inputs):
      before = treedef.unflatten([state[name] for name in _names(whole)])
      before = dataclasses.replace(before, key=jax.random.wrap_key_data(before.key, impl=_KEY))
      after, frames = function(models, *how, _params(given), before,
                               streams.unflat(streams.Inputs, inputs))
      return flat(after), frames
    return run, (weigh, state, inputs)

  encoder, decoder = (jax.eval_shape(lambda init=init, n=n: init(models.codec, n)) for init, n in (
    (codec.init_encoder_cache, 2), (codec.init_decoder_cache, 1)))
  functions = {
    'encode': (encode, (weigh['codec'], encoder, crops)),
    'decode': (decode, (weigh['codec'], decoder, of(*cells))),
    'begin': (begin, first),
    'warm_step': step(sampling.warm_step),
    'sample_step': step(sampling.sample_step, sampler),
  }
  if student_sampler:
    functions['student_step'] = step(sampling.sample_step, student_sampler)
  with _without_paths():
    return {name: jax.export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
            for name, (function, arguments) in functions.items()}


@contextlib.contextmanager
def _without_paths():
  """Keeps this machine's folders out of the source locations that programs contain."""
  settings = {'jax_hlo_source_file_canonicalization_regex': '.*/',
              'jax_include_full_tracebacks_in_locations': False}
  before = {name: jax.config.values[name] for name in settings}
  try:
    for name, value in settings.items():
      jax.config.update(name, value)
    yield
  finally:
    for name, value in before.items():
      jax.config.update(name, value)


def _params(given):
  """sampling.Params of {'codec': ..., 'generator': ...}, each as in its weights file."""
  (decoder, known), (maker, guess) = (model_folder.split(given[part]) for part in given)
  return sampling.Params(decoder, maker, pipeline.expected(guess), known['latent_mean'],
                         known['latent_std'])


def _names(tree):
  """Names of a tree's leaves, as '/'-joined paths, in order."""
  paths, _ = jax.tree_util.tree_flatten_with_path(tree)
  return [jax.tree_util.keystr(path, simple=True, separator='/') for path, _ in paths]


def flat(state):
  """A SamplerState as a flat dict of arrays; the random key becomes its data."""
  state = dataclasses.replace(state, key=jax.random.key_data(state.key))
  return dict(zip(_names(state), jax.tree.leaves(state), strict=True))

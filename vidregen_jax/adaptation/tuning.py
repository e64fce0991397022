"""Tunes a system to one person, and writes the folder that results.

Two phases, each by gradients from pictures (`training.pixel_objective`): first the codec on the
person's crops, so that it can show them; then, on latents of that codec, the student, the linear
prior and the decoder, so that the person's own mouth is made. Half of every batch are clips of
other people, rendered ones say, so that the system goes on listening: one person's minutes hold too
few words to learn that from. The rate is constant and an average is kept, so that whatever time
there was, what it led to is a result.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
import shutil
import time

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax import documents, files, terminal
from vidregen_jax.adaptation import footage
from vidregen_jax.datasets import input_pipeline, latent_dataset, paired_clips, windows
from vidregen_jax.distributed import sharding
from vidregen_jax.errors import UserError
from vidregen_jax.exports import pipeline
from vidregen_jax.inference import streaming_codec
from vidregen_jax.models import codec, discriminators, perceptual, whisper
from vidregen_jax.training import (
  checkpoint,
  generator_objective,
  metric_writer,
  pixel_objective,
  pixel_setup,
  train_state,
  train_step,
)

_CODEC_SHARE = 0.4  # of the time
# Latent frames of a window: in the first phase the least, in the second more if there are as many.
_LEAST_WINDOW, _WINDOW = 2, 8
_MOUTH = 48  # side of what LPIPS sees, pixels
_MOST_OWN, _MOST_BESIDE = 3000, 3000  # frames that are held in memory
_SAVED_EVERY = 60.0  # seconds


@dataclasses.dataclass(frozen=True)
class Settings:
  """How the two phases train; the names are those of configs/pixels.py."""

  seed: int = 0
  batch_size: int = 2  # of the second phase; the first takes twice as many windows
  learning_rate: float = 4e-4
  warmup_steps: int = 10
  clip_norm: float = 1.0
  weight_decay: float = 0.0
  adam_b1: float = 0.9
  adam_b2: float = 0.98
  ema: float = 0.97
  accumulate: int = 1
  gan_learning_rate: float = 2e-4
  parts: tuple[str, ...] = pixel_objective.PARTS
  p_flip: float = 0.5
  p_masked: float = 0.15
  p_still: float = 0.15
  reference_distance: int = 4


@dataclasses.dataclass(frozen=True)
class Request:
  """What is tuned, on what, and for how long.

  Attributes:
    system: folder of the system, with a student in it.
    own: videos of the person.
    beside: videos of others.
    perceptual: folder of VGG16 with LPIPS heads; '' to compare frames by L1 alone.
    consent: the statement, or what names its file, for the card.
    minutes: how long it may take; None where `steps` says it.
    steps: (of the codec, of the rest); None where `minutes` says it.
    left_out: {video: bool [F]} of frames that are not to be seen.
    settings: Settings.
  """

  system: pathlib.Path
  own: tuple[pathlib.Path, ...]
  beside: tuple[pathlib.Path, ...]
  perceptual: str
  consent: str
  minutes: float | None = None
  steps: tuple[int, int] | None = None
  left_out: dict = dataclasses.field(default_factory=dict)
  settings: Settings = Settings()

  def __post_init__(self):
    if (self.minutes is None) == (self.steps is None):
      raise UserError('give either --minutes or --steps')
    if self.minutes is not None and not 0 < self.minutes <= 24 * 60:
      raise UserError(f'--minutes {self.minutes:g} is not between 0 and {24 * 60}')
    if self.steps is not None and min(self.steps) < 0:
      raise UserError(f'--steps {self.steps[0]},{self.steps[1]} has a negative number')

  def fingerprint(self, digests) -> dict:
    """What a run that is resumed must have in common with the one that was interrupted."""
    mask = hashlib.sha256()
    for path in self.own:
      if path in self.left_out:
        mask.update(np.packbits(self.left_out[path]).tobytes())
    return {
      'system': digests, 'own': [files.digest(path) for path in self.own],
      'beside': [path.name for path in self.beside], 'left_out': mask.hexdigest(),
      'perceptual': bool(self.perceptual), 'seed': self.settings.seed}


def tune(request: Request, out) -> dict:
  """Tunes a system and writes it to a folder, whole or not at all.

  What was reached is kept beside it, in OUT.tuning, until it is written; the same request goes on
  from there.

  Args:
    request: what to do.
    out: folder to write; there is none yet.

  Returns:
    What was done, as the card says it: seconds of footage, steps and seconds of each phase, and the
    losses at its beginning and end.

  Raises:
    UserError: there is too little footage, or something is missing or damaged.
  """
  out = pathlib.Path(out)
  source = pixel_setup.load(request.system)
  model = source.models.codec
  vgg16 = perceptual.load(request.perceptual) if request.perceptual else {}
  work = out.with_name(f'{out.name}.tuning')
  _claim(work, request.fingerprint({'codec': source.codec.digest,
                                    'student': source.student.digest}))
  codec_time, frames_time = _allowances(request)

  own = footage.clips(request.own, model.size, codec.TIME_FACTOR * _LEAST_WINDOW, _MOST_OWN,
                      'track the person', request.left_out)
  if not own:
    raise UserError(
      f'{", ".join(map(str, request.own))}: no {codec.TIME_FACTOR * _LEAST_WINDOW} consecutive '
      'frames of a face are left to tune on: give more footage')
  beside = footage.clips(request.beside, model.size, codec.TIME_FACTOR * _WINDOW, _MOST_BESIDE,
                         'track the others')
  if not beside:
    raise UserError('no face was found in the videos beside the person: name others')

  codec_params, of_codec = _tune_codec(request, source, vgg16, own, beside, codec_time,
                                       work / 'codec')
  source = dataclasses.replace(source, codec=dataclasses.replace(source.codec, params=codec_params))
  frames_time = dataclasses.replace(frames_time, since=time.monotonic())
  params, of_student = _tune_student(request, source, vgg16, _records(request, source, own),
                                     _records(request, source, beside), frames_time,
                                     work / 'student')
  codec_params, guess = source.tuned(params)
  done = {'seconds_of_footage': round(footage.seconds(own), 1), 'codec': of_codec,
          'student': of_student}
  pipeline.export_tuned(out, request.system, codec_params, guess, source.sampler,
                        params['student'], card(request, done))
  shutil.rmtree(work)
  return done


def _claim(work, fingerprint):
  """Marks a folder as that of a request.

  Raises:
    UserError: it holds what another request left.
  """
  work.mkdir(parents=True, exist_ok=True)
  path = work / 'request.json'
  if path.exists() and documents.read(path) != fingerprint:
    raise UserError(f'{work} holds what another adaptation left, of other videos or another '
                    'system: remove it, or give another --out')
  files.write_json(path, fingerprint)


def card(request: Request, done: dict) -> str:
  """The README.md of a tuned system: what it is, whose data, with what consent."""
  lines = [
    '# A system tuned to one person', '',
    'Codec, linear prior and student were tuned by `python -m vidregen_jax.adapt` on footage of '
    'one person. It shows this person; for others use the system it was made from.', '',
    f'**Data.** {done["seconds_of_footage"]:g} s of the largest face in '
    f'{len(request.own)} video{"s" * (len(request.own) > 1)}, beside {len(request.beside)} of '
    'other people:', '',
    *(f'- `{path.name}`, sha256 {files.digest(path)}' for path in request.own), '',
    f'**Consent.** {terminal.printable(request.consent)}', '',
    '**How.** From the system described below.', '',
    '```json', json.dumps(done, indent=2), '```', '']
  about = pathlib.Path(request.system) / 'README.md'
  if about.is_file():
    lines += ['---', '', files.read_bytes(about).decode(errors='replace')]
  return '\n'.join(lines)


# ------------------------------------------------------------------------------------- the phases


@dataclasses.dataclass(frozen=True)
class _Allowance:
  """How long a phase may take.

  Attributes:
    total: seconds or steps.
    unit: 'second' or 'step'.
    since: moment from which seconds count, of `time.monotonic`.
  """

  total: float
  unit: str
  since: float

  def done(self, step, before) -> float:
    """How much of it is used up after a step, with what an earlier run spent."""
    return step if self.unit == 'step' else before + time.monotonic() - self.since


def _allowances(request):
  """Those of the codec and of the student."""
  now = time.monotonic()
  if request.steps is not None:
    return [_Allowance(count, 'step', now) for count in request.steps]
  seconds = 60 * request.minutes
  return [_Allowance(share * seconds, 'second', now) for share in (_CODEC_SHARE, 1 - _CODEC_SHARE)]


def _tune_codec(request, source, vgg16, own, beside, allowance, folder):
  """(parameters of the codec, what was done)."""
  settings, objective = request.settings, _objective(source, bool(vgg16))

  def window(clip, rng):
    return input_pipeline.random_window(clip, rng, codec.TIME_FACTOR * _LEAST_WINDOW,
                                        settings.p_flip, settings.p_masked, settings.p_still, 0, 0)

  phase = _Phase('tune the codec', folder, functools.partial(codec.init, objective.codec),
                 codec.axes(objective.codec), source.codec.params,
                 train_state.make_optimizer(settings, train_state.constant_rate))
  advance = train_step.of_tuned_codec(objective, settings, phase.shardings)
  draw = functools.partial(_draw, own, beside, window, 2 * settings.batch_size)
  return phase.run(lambda state, batch: advance(state, vgg16, batch), draw, settings.seed,
                   allowance)


def _tune_student(request, source, vgg16, own, beside, allowance, folder):
  """(parameters of pixel_objective.PARTS, what was done)."""
  settings, objective = request.settings, _objective(source, bool(vgg16))
  model = source.models.generator
  frames = min(_WINDOW, max(len(record['target']) for record in own))
  own = [record for record in own if len(record['target']) >= frames]
  shape = windows.WindowShape(frames, model.look_ahead, model.references,
                              settings.reference_distance, model.region)

  def window(record, rng):
    last = len(record['target']) - frames
    return paired_clips.cut(record, int(rng.integers(last + 1)), shape, rng)

  phase = _Phase('tune the student', folder, functools.partial(pixel_objective.init, objective),
                 pixel_objective.axes(objective), source.params,
                 train_state.make_pixel_optimizer(settings))
  advance = train_step.of_pixels(objective, settings, phase.shardings)
  frozen = pixel_setup.frozen_of(source, vgg16)
  draw = functools.partial(_draw, own, beside, window, settings.batch_size)
  return phase.run(lambda state, batch: advance(state, frozen, batch, False), draw,
                   settings.seed + 1, allowance)


def _objective(source, seen_by_vgg16):
  """What both phases are tuned for; there is no critic, as minutes are too short for one."""
  return pixel_objective.Objective(
    student=generator_objective.Objective(
      model=source.models.generator, sampler=source.sampler, teacher=None, copies=1, shift=1.0,
      mouth_weight=4.0, history_noise=0.2, drop_history=0.2, drop_reference=0.0,
      drop_each_reference=0.1, drop_anchor=0.5, drop_audio=0.0, drop_all=0.0, voice_shift=0.3,
      voice_stretch=0.2, voice_drop=0.1),
    codec=source.models.codec, critic=discriminators.DiscriminatorConfig((4, ), _MOUTH),
    mouth_weight=4.0, perceptual_weight=0.5 * seen_by_vgg16, perceptual_frames=6,
    latent_weight=0.02, gan_weight=0.0, penalty_weight=0.0, parts=pixel_objective.PARTS,
    remembers=False)


def _records(request, source, clips):
  """The clips as `paired_clips.PairedClips` gives them, in latents of the tuned codec."""
  config = source.generator.config
  audio_config, audio_params = pipeline.load_encoder(
    pathlib.Path(request.system), config, source.models.generator)
  listening = config['listening']
  listen = functools.partial(
    whisper.features, audio_config, jax.tree.map(jnp.asarray, audio_params),
    window_seconds=listening['window_seconds'], margin_seconds=listening['margin_seconds'],
    layers=listening['audio_layers'])
  encoder = streaming_codec.Encoder.of(source.codec)
  return [paired_clips.paired(latent_dataset.encode_clip(clip, encoder, listen, False)[0], clip)
          for clip in terminal.progress(clips, 'clip', 'encode')]


def _draw(own, beside, window, count, rng):
  """A batch of `count` windows, every other one of the person."""
  rows = [window(kind[int(rng.integers(len(kind)))], rng)
          for kind in (own, beside) * (count // 2)]
  return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


class _Phase:
  """One of the two trainings, in a folder of checkpoints.

  Attributes:
    shardings: of its state.
  """

  def __init__(self, what, folder, init, axes, start, optimizer):
    self._what, self._folder, self._init, self._start = what, folder, init, start
    self._optimizer, self._mesh = optimizer, sharding.make_mesh(1, 1)
    self._abstract = train_state.abstract(init, optimizer, self._mesh, axes)
    self.shardings = train_state.shardings(self._abstract)

  def run(self, advance, draw, seed, allowance):
    """Trains until the allowance is used up, from the newest checkpoint if there is one.

    Args:
      advance: function from (TrainState, batch) to the next TrainState and measurements.
      draw: function from a numpy Generator to a batch.
      seed: of the generators, one for each step.
      allowance: _Allowance.

    Returns:
      (averaged parameters, {'steps', 'seconds', 'loss_first', 'loss_last'}): means over the first
      and the last tenth.
    """
    with checkpoint.Checkpoints(self._folder) as checkpoints:
      step, place = 0, {'seconds': 0.0, 'losses': []}
      if checkpoints.latest is None:
        state = train_state.with_parts(
          train_state.create(self._init, self._optimizer, self._abstract, seed), self._start)
      else:
        step, state, place = checkpoints.restore(self._abstract)
      before, past, saved = place['seconds'], list(place['losses']), step
      spent = lambda: before + time.monotonic() - allowance.since
      kept, shown = time.monotonic(), 0
      with terminal.Progress(round(allowance.total), allowance.unit, self._what) as bar:
        # Some step is made however short the time is; of a number of steps exactly that many.
        while (allowance.done(step, before) < allowance.total
               or allowance.unit == 'second' and not step):
          with jax.set_mesh(self._mesh):
            state, measured = advance(state, draw(np.random.default_rng((seed, step))))
          step += 1
          past.append(float(measured['loss']))
          metric_writer.check_finite([{'loss': past[-1]}], step)
          done = min(int(allowance.done(step, before)), round(allowance.total))
          bar.update(done - shown)
          shown = done
          if time.monotonic() - kept > _SAVED_EVERY:
            kept, saved = time.monotonic(), step
            checkpoints.save(step, state, {'seconds': spent(), 'losses': past})
      if saved != step:
        checkpoints.save(step, state, {'seconds': spent(), 'losses': past})
    done = {'steps': step, 'seconds': round(spent())}
    if past:
      part = -(-len(past) // 10)
      done |= {'loss_first': round(float(np.mean(past[:part])), 4),
               'loss_last': round(float(np.mean(past[-part:])), 4)}
    return {name: x for name, x in jax.device_get(state.ema).items() if name != 'critic'}, done

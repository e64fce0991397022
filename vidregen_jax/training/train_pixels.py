"""Stage 4: tune a student and its decoder by their frames, and export the system anew."""

import contextlib
import dataclasses
import functools
import pathlib

import jax
import numpy as np

from vidregen_jax.datasets import batches, input_pipeline, paired_clips, windows
from vidregen_jax.distributed import multihost, preemption, sharding, watchdog
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import latent_validation, lip_gap_probe, mouth_quality
from vidregen_jax.exports import pipeline
from vidregen_jax.training import (
  checkpoint,
  metric_writer,
  pixel_objective,
  pixel_setup,
  profiling,
  train_state,
  train_step,
)

_PICTURES = 6  # clips on a sheet
_SHOWN = 6  # frames of each


def train(config, workdir, watchdog_seconds=0, profile=False):
  """Train, resuming from the newest checkpoint in the workdir, then write workdir/export.

  Returns early, with a checkpoint and without an export, when the machine is about to be preempted.

  Args:
    config: see configs/pixels.py.
    workdir: folder of the run.
    watchdog_seconds: how long a step may take, 0 for no limit.
    profile: whether a few steps are traced, to workdir/profile.

  Raises:
    UserError: a mistake in the config, latents of another codec, or a non-finite loss.
  """
  workdir = pathlib.Path(workdir)

  # ----------------------------------------------------------------------------------------------
  # System, clips, mesh
  # ----------------------------------------------------------------------------------------------
  info = input_pipeline.latent_info(config.dataset, config.dataset_help)
  source = pixel_setup.load(config.system)
  if source.codec.digest != info['codec']:
    raise UserError(
      f'{config.dataset} was encoded by another codec than that of {config.system}: encode it '
      f'again with --codec={config.system}/codec, or name the system that it was made for')
  objective = pixel_setup.objective(config, source.models)
  frozen = pixel_setup.frozen(config, source)
  model = source.models.generator
  shape = windows.WindowShape(config.num_frames, model.look_ahead, model.references,
                              config.reference_distance, model.region)
  clips, validation = (
    paired_clips.opened(config.dataset, config.crops, split, source.models.codec.size,
                        config.dataset_help, config.crops_help)
    for split in ('train', 'validation'))
  fitted, shown = (batches.mended(x, config.max_bad_records) for x in (clips, validation))

  mesh = sharding.make_mesh(config.fsdp, config.tensor)
  rows = sharding.process_rows(config.batch_size, mesh, config.accumulate)
  put = functools.partial(sharding.put_batch, mesh=mesh, batch_size=config.batch_size)

  def window(record, rng):
    last = max(len(record['target']) - shape.frames, 0)
    return paired_clips.cut(record, int(rng.integers(last + 1)), shape, rng)

  # ----------------------------------------------------------------------------------------------
  # Optimizer, state
  # ----------------------------------------------------------------------------------------------
  optimizer = train_state.make_pixel_optimizer(config)
  init = functools.partial(pixel_objective.init, objective)
  axes = pixel_objective.axes(objective)
  abstract = train_state.abstract(init, optimizer, mesh, axes)
  advance = train_step.of_pixels(objective, config, train_state.shardings(abstract))
  vgg16 = frozen.vgg16
  frozen = jax.device_put(frozen, sharding.replicated(mesh))

  # ----------------------------------------------------------------------------------------------
  # Validation
  # ----------------------------------------------------------------------------------------------
  reader = lip_gap_probe.fit(fitted, shape, source.guess, config.expectation_draws)
  examples = latent_validation.show_windows(shown, shape, config.eval_clips, paired_clips.cut)
  true, boxes = examples.pop('frames'), examples.pop('frame_boxes')

  def validate(params):
    """Figures of validation clips, and pictures of some; only process 0 makes them."""
    codec_params, guess = source.tuned(params)
    rehearse = latent_validation.Rehearsal(
      dataclasses.replace(source.codec, params=codec_params), source.models,
      (guess, source.audio_mean, source.audio_std), reader, examples, config.seed)
    own, new = (rehearse.make(objective.student.sampler, params['student'], sound)
                for sound in ('own', 'new'))
    made = {'own': own, 'codec': rehearse.truth}
    figures = rehearse.figures(own, new) | mouth_quality.figures(
      made, true, boxes, vgg16 if config.perceptual_weight else None)
    return ({f'validation/{name}': value for name, value in figures.items()},
            sheet(true, rehearse.truth, own, new))

  # ----------------------------------------------------------------------------------------------
  # Checkpoint: resume from the newest, else start from the system
  # ----------------------------------------------------------------------------------------------
  with contextlib.ExitStack() as stack:
    checkpoints = stack.enter_context(checkpoint.Checkpoints(workdir / 'checkpoints'))
    first, place = 0, batches.START
    if checkpoints.latest is None:
      state = train_state.create(init, optimizer, abstract, config.seed)
      state = train_state.with_parts(state, source.params)
    else:
      first, state, place = checkpoints.restore(abstract)
    last = config.num_steps
    writer = stack.enter_context(metric_writer.MetricWriter(workdir, last, first,
                                                            active=multihost.lead()))
    data = stack.enter_context(contextlib.closing(batches.Batches(
      clips, window, config.seed, config.batch_size, rows, put, config.num_workers,
      config.max_bad_records, place, writer.warn)))
    notice = stack.enter_context(preemption.Notice())
    writer.say(train_state.describe('frames', state, mesh))
    writer.save_parameters(state.params)
    traces = workdir / 'profile' if profile and multihost.lead() else None
    trace = stack.enter_context(profiling.Trace(traces, first))
    timer = profiling.StepTimer(first)

    def look(step):
      params = multihost.whole(state.ema, mesh)
      if multihost.lead():
        measured, pictures = validate(params)
        writer.save_grid(step, 'samples', pictures)
        writer.write(step, measured)
        writer.say(f'step {step}  ' + '  '.join(
          f'{name.partition("/")[2]} {x:.3f}' for name, x in measured.items()))
      multihost.wait('looked')

    watch = stack.enter_context(watchdog.Watchdog(watchdog_seconds, workdir))
    if first:
      writer.say(f'resuming from step {first}')
    else:  # what there is to gain is seen beside what there was
      with watch.paused():
        look(0)

    # --------------------------------------------------------------------------------------------
    # The loop. The order is fixed: next batch, step, log, validate, save. So the position in the
    # data that a checkpoint holds is the next step's batch. All processes keep to this order.
    # --------------------------------------------------------------------------------------------
    pending = []  # terms since the last log: fetched together, so that no step waits for the host
    for step in range(first + 1, last + 1):
      adversarial = bool(config.gan_weight) and step > config.gan_start
      watch.begin(step, compiles=step in (first + 1, config.gan_start + 1))
      with jax.set_mesh(mesh), jax.transfer_guard('disallow'), trace.step(step) as traced:
        with timer('data'):
          batch = next(data)
        state, measured = advance(state, frozen, batch, adversarial)
        traced.append(measured)
      watch.given(step, measured)
      pending.append(measured)
      stopping = notice.given(step)
      saving = stopping or metric_writer.due(step, config.checkpoint_every, last)
      if saving or metric_writer.due(step, config.log_every, last):
        fetched = jax.device_get(pending)
        metric_writer.check_finite(fetched, step, pixel_objective.TERMS)
        pending = []
        data.learn(multihost.union(data.bad_records, config.max_bad_records + 1))
        values = metric_writer.averages(fetched) | timer.read(step)
        values['bad_records'] = len(data.bad_records)
        writer.write(step, {f'train/{name}': x for name, x in values.items()})
        writer.progress(step, values['loss'])
      if metric_writer.due(step, config.eval_every, last) and not stopping:
        with watch.paused(), timer('looking'):
          look(step)
      if saving:
        with watch.paused(), timer('saving'):
          checkpoints.save(step, state, data.place)
      if stopping:
        writer.say(preemption.going_on(step, workdir))
        return

    # --------------------------------------------------------------------------------------------
    # Export: one folder that `regenerate` and `evaluate` run from
    # --------------------------------------------------------------------------------------------
    params = multihost.whole(state.ema, mesh)
    if multihost.lead():
      codec_params, guess = source.tuned(params)
      pipeline.export_tuned(workdir / 'export', config.system, codec_params, guess,
                            objective.student.sampler, params['student'], lips=reader.readout)
    multihost.wait('exported')
    writer.say(f'wrote {workdir / "export"}')


def sheet(*kinds):
  """For some clips, a row of frames of each kind [B, F, S, S, 3] below the other, uint8."""
  at = np.linspace(2, kinds[0].shape[1] - 3, _SHOWN).astype(int)
  return [[x[clip, i] for i in at] for clip in range(min(_PICTURES, len(kinds[0]))) for x in kinds]

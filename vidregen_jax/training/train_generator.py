"""Stage 2: train the generator on cached latents and audio, and export it with all it needs."""

import contextlib
import dataclasses
import functools
import pathlib

import jax
import numpy as np
from clu import metrics

from vidregen_jax.datasets import batches, input_pipeline, windows
from vidregen_jax.distributed import multihost, preemption, sharding, watchdog
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import latent_validation, lip_gap_probe
from vidregen_jax.exports import model_loader, pipeline
from vidregen_jax.faces import crop_mask
from vidregen_jax.inference import sampling
from vidregen_jax.models import flow_matching, generator, linear_prior, streams
from vidregen_jax.training import (
  attention_backend,
  checkpoint,
  data_statistics,
  generator_objective,
  generator_setup,
  metric_writer,
  profiling,
  train_state,
  train_step,
)


def train(config, workdir, watchdog_seconds=0, profile=False):
  """Train, resuming from the newest checkpoint in the workdir, then write workdir/export.

  A config that names a teacher trains a student of that generator: it starts from the teacher's
  weights, and its export is the teacher's with the student in it. Returns early, with a checkpoint
  and without an export, when the machine is about to be preempted.

  Args:
    config: see configs/generator.py and configs/student.py.
    workdir: folder of the run.
    watchdog_seconds: how long a step may take, 0 for no limit.
    profile: whether a few steps are traced, to workdir/profile.

  Raises:
    UserError: a mistake in the config, latents of another codec, or a non-finite loss.
  """
  workdir = pathlib.Path(workdir)

  # ----------------------------------------------------------------------------------------------
  # Codec, latents, teacher, mesh
  # ----------------------------------------------------------------------------------------------
  info = input_pipeline.latent_info(config.dataset, config.dataset_help)
  found = model_loader.load_codec(config.codec)
  codec_model, exported_codec = found.model, found.export
  if exported_codec.digest != info['codec']:
    raise UserError(
      f'{config.dataset} was encoded by another codec than {config.codec}: encode it again with '
      'python -m vidregen_jax.encode_latents, or name the codec that made it'
    )
  model = generator_setup.model_config(config, info,
                                       crop_mask.region(codec_model.size, codec_model.cells,
                                                   config.region_grow))
  teacher = generator_setup.load_teacher(config, model,
                                         exported_codec.digest) if config.teacher else None
  # Kernels pay with the many queries of training; sampling has few a latent frame, and uses XLA.
  trained = dataclasses.replace(
    model, attention=attention_backend.choose(config.attention, model, config.tensor))
  model = dataclasses.replace(model, mlp_dtype='same')
  objective = generator_setup.objective(
    config, trained, teacher and flow_matching.SamplerConfig(**teacher.config['sampler']))
  shape = windows.WindowShape(config.num_frames, model.look_ahead, model.references,
                              config.reference_distance, model.region)
  clips = input_pipeline.latent_clips(config.dataset, 'train', config.dataset_help)
  validation = input_pipeline.latent_clips(config.dataset, 'validation', config.dataset_help)
  fitted, validation = (batches.mended(x, config.max_bad_records) for x in (clips, validation))
  if teacher:
    guess, audio_mean, audio_std = pipeline.statistics(teacher)
  else:
    audio_mean, audio_std = data_statistics.feature_statistics(fitted, config.stats_clips)
    guess = linear_prior.none(model.region)
    if model.aligned:
      guess = data_statistics.fit_expectation(fitted, shape, config.expectation_draws,
                                              config.expectation_ridge)
    guess, audio_mean, audio_std = multihost.leads((guess, audio_mean, audio_std))

  mesh = sharding.make_mesh(config.fsdp, config.tensor)
  rows = sharding.process_rows(config.batch_size, mesh, config.accumulate)
  put = functools.partial(sharding.put_batch, mesh=mesh, batch_size=config.batch_size)
  axes = generator.axes(model)
  frozen = generator_objective.Frozen(guess, audio_mean, audio_std,
                                      teacher.params if teacher else {})
  frozen = jax.device_put(frozen, sharding.place(frozen, mesh, axes))

  def window(record, rng):
    last = max(len(record['target']) - shape.frames, 0)
    return windows.cut(record, int(rng.integers(last + 1)), shape, rng)

  # ----------------------------------------------------------------------------------------------
  # Model, optimizer, state
  # ----------------------------------------------------------------------------------------------
  optimizer = train_state.make_optimizer(config)
  init = functools.partial(generator.init, model)
  abstract = train_state.abstract(init, optimizer, mesh, axes)
  advance = train_step.of_generator(objective, config, train_state.shardings(abstract))

  # ----------------------------------------------------------------------------------------------
  # Validation
  # ----------------------------------------------------------------------------------------------
  reader = lip_gap_probe.fit(fitted, shape, guess, config.expectation_draws)
  rehearse = latent_validation.Rehearsal(
    exported_codec, sampling.Models(codec_model, model), (guess, audio_mean, audio_std), reader,
    latent_validation.show_windows(validation, shape, config.eval_clips), config.seed)
  first_windows = {name: x[:config.batch_size] for name, x in rehearse.batch.items()}

  def validate(params):
    """Figures of validation clips, and pictures of some; only process 0 makes them."""
    figures, pictures = rehearse(objective.sampler, params)
    statistics = generator_objective.Frozen(guess, audio_mean, audio_std, {})
    shares = generator_objective.attention(objective, params, statistics, first_windows)
    figures |= {f'attention_{name}': float(share)
                for name, share in zip(streams.STREAMS, shares, strict=True)}
    return {f'validation/{name}': value for name, value in figures.items()}, pictures

  # ----------------------------------------------------------------------------------------------
  # Checkpoint: resume from the newest, else start anew
  # ----------------------------------------------------------------------------------------------
  with contextlib.ExitStack() as stack:
    checkpoints = stack.enter_context(checkpoint.Checkpoints(workdir / 'checkpoints'))
    first, place = 0, batches.START
    if checkpoints.latest is None:
      state = train_state.create(init, optimizer, abstract, config.seed)
      if teacher:
        state = train_state.with_parts(state, teacher.params)
    else:
      first, state, place = checkpoints.restore(abstract)
    last = config.num_steps
    writer = stack.enter_context(metric_writer.MetricWriter(workdir, last, first,
                                                            active=multihost.lead()))
    data = stack.enter_context(contextlib.closing(batches.Batches(
      clips, window, config.seed, config.batch_size, rows, put, config.num_workers,
      config.max_bad_records, place, writer.warn)))
    notice = stack.enter_context(preemption.Notice())
    writer.say(train_state.describe(config.stage, state,
                                    mesh) + f', attention {trained.attention}')
    writer.save_parameters(state.params)
    if first:
      writer.say(f'resuming from step {first}')
    traces = workdir / 'profile' if profile and multihost.lead() else None
    trace = stack.enter_context(profiling.Trace(traces, first))
    timer = profiling.StepTimer(first)

    # --------------------------------------------------------------------------------------------
    # The loop. The order is fixed: next batch, step, log, validate, save. So the position in the
    # data that a checkpoint holds is the next step's batch. All processes keep to this order.
    # --------------------------------------------------------------------------------------------
    pending = []  # terms since the last log: fetched together, so that no step waits for the host
    with watchdog.Watchdog(watchdog_seconds, workdir) as watch:
      for step in range(first + 1, last + 1):
        watch.begin(step, compiles=step == first + 1)
        with jax.set_mesh(mesh), jax.transfer_guard('disallow'), trace.step(step) as traced:
          with timer('data'):
            batch = next(data)
          state, measured = advance(state, frozen, batch)
          traced.append(measured)
        watch.given(step, measured)
        pending.append(measured)
        stopping = notice.given(step)
        saving = stopping or metric_writer.due(step, config.checkpoint_every, last)
        if saving or metric_writer.due(step, config.log_every, last):
          fetched = jax.device_get(pending)
          times = [metrics.Average(*measured.pop('times')) for measured in fetched]
          metric_writer.check_finite(fetched, step)
          pending = []
          data.learn(multihost.union(data.bad_records, config.max_bad_records + 1))
          values = metric_writer.averages(fetched) | name_times(times)
          values |= timer.read(step) | {'bad_records': len(data.bad_records)}
          writer.write(step, {f'train/{name}': x for name, x in values.items()})
          writer.progress(step, values['loss'])
        if metric_writer.due(step, config.eval_every, last) and not stopping:
          with watch.paused(), timer('looking'):
            params = multihost.whole(state.ema, mesh)
            if multihost.lead():
              measured, pictures = validate(params)
              writer.save_grid(step, 'samples', pictures)
              writer.write(step, measured)
              writer.say(f'step {step}  ' + '  '.join(
                f'{name} {x:.3f}' for name, x in measured.items() if 'attention' not in name))
            multihost.wait('looked')
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
    if multihost.lead() and teacher:
      pipeline.export_student(
        workdir / 'export', config.teacher, {'sampler': dataclasses.asdict(objective.sampler)},
        params)
    elif multihost.lead():
      names = ('audio_layers', 'window_seconds', 'margin_seconds')
      listening = {name: info[name] for name in names}
      pipeline.export(
        workdir / 'export', config.codec, info['audio_encoder'],
        {'model': dataclasses.asdict(model), 'sampler': dataclasses.asdict(objective.sampler),
         'listening': listening, 'codec': exported_codec.digest},
        params, guess, reader.readout, audio_mean=audio_mean, audio_std=audio_std,
      )
    multihost.wait('exported')
    writer.say(f'wrote {workdir / "export"}')


def name_times(times):
  """Mean losses by flow time over some steps; parts of it that were never drawn are left out.

  Args:
    times: of each step a metrics.Average of `losses.by_flow_time`'s sums and counts.
  """
  whole = functools.reduce(metrics.Average.merge, times)
  edges = np.linspace(0, 1, generator_objective.TIMES + 1)
  return {f'loss_time_{edges[i]:.2f}-{edges[i + 1]:.2f}': float(whole.total[i] / whole.count[i])
          for i in np.flatnonzero(whole.count)}

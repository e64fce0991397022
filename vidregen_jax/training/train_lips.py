"""Stage 5: trains the lips' listener, and exports the system with it in it."""

import contextlib
import functools
import pathlib

import jax
import numpy as np

from vidregen_jax.datasets import batches, heard_dataset
from vidregen_jax.distributed import multihost, preemption, sharding, watchdog
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation.lip_gap_probe import median_correlation
from vidregen_jax.exports import pipeline
from vidregen_jax.models import lip_listener, whisper
from vidregen_jax.training import (
  checkpoint,
  lips_objective,
  lips_windows,
  metric_writer,
  profiling,
  train_state,
  train_step,
)

_RATE = 25  # frames a second of validation


def checked(config, source):
  """The listener that a training config describes.

  Args:
    config: see configs/lips.py.
    source: model_loader.Generator of its system.

  Raises:
    UserError: the dataset was not heard as the system listens, or the config makes no sense.
  """
  for name in ('batch_size', 'num_frames', 'log_every', 'eval_every', 'checkpoint_every',
               'eval_clips'):
    if config[name] < 1:
      raise UserError(f'config.{name} is {config[name]}: give 1 or more')
  if not 0 <= config.dropout < 1 or config.noise < 0:
    raise UserError('give a config.dropout from 0 up to 1, and a config.noise of 0 or more')
  heard, listening = heard_dataset.info(config.dataset), source.export.config['listening']
  for name in ('audio_layers', 'window_seconds', 'margin_seconds'):
    of_dataset, of_system = (tuple(x) if isinstance(x, list | tuple) else x
                             for x in (heard[name], listening[name]))
    if of_dataset != of_system:
      raise UserError(f'{config.dataset} was heard with {name} {of_dataset}, but {config.system} '
                      f'listens with {of_system}: make the dataset again, or name another system')
  shape = source.model
  if heard['audio_width'] != shape.audio_channels:
    raise UserError(f'{config.dataset} was heard by an encoder of {heard["audio_width"]} channels, '
                    f'but {config.system} listens to {shape.audio_channels}')
  return lip_listener.ListenerConfig(shape.audio_layers, shape.audio_channels, **config.model)


def train(config, workdir, watchdog_seconds=0, profile=False):
  """Train, resuming from the newest checkpoint in the workdir, then write workdir/export.

  Returns early, with a checkpoint and without an export, when the machine is about to be preempted.

  Args:
    config: see configs/lips.py.
    workdir: folder of the run.
    watchdog_seconds: how long a step may take, 0 for no limit.
    profile: whether a few steps are traced, to workdir/profile.

  Raises:
    UserError: a mistake in the config, a missing dataset, or a loss that became non-finite.
  """
  workdir = pathlib.Path(workdir)
  source = pipeline.load_parts(pathlib.Path(config.system), student=False)['generator']
  model = checked(config, source)

  # ----------------------------------------------------------------------------------------------
  # Mesh, data, optimizer, state
  # ----------------------------------------------------------------------------------------------
  mesh = sharding.make_mesh(config.fsdp, config.tensor)
  rows = sharding.process_rows(config.batch_size, mesh, config.accumulate)
  put = functools.partial(sharding.put_batch, mesh=mesh, batch_size=config.batch_size)
  held_out = batches.mended(heard_dataset.clips(config.dataset, 'validation'),
                            config.max_bad_records)
  optimizer = train_state.make_optimizer(config)
  init = functools.partial(lip_listener.init, model)
  abstract = train_state.abstract(init, optimizer, mesh, lip_listener.axes(model))
  advance = train_step.of_lips(model, config, train_state.shardings(abstract))
  arrays = source.export.arrays
  frozen = lips_objective.Frozen(arrays['audio_mean'], arrays['audio_std'])
  on_devices = jax.device_put(frozen, sharding.replicated(mesh))

  # ----------------------------------------------------------------------------------------------
  # Checkpoint: resume from the newest, else start anew
  # ----------------------------------------------------------------------------------------------
  with contextlib.ExitStack() as stack:
    checkpoints = stack.enter_context(checkpoint.Checkpoints(workdir / 'checkpoints'))
    first, place = 0, batches.START
    if checkpoints.latest is None:
      state = train_state.create(init, optimizer, abstract, config.seed)
    else:
      first, state, place = checkpoints.restore(abstract)
    last = config.num_steps
    writer = stack.enter_context(metric_writer.MetricWriter(workdir, last, first,
                                                            active=multihost.lead()))
    data = stack.enter_context(contextlib.closing(lips_windows.train_batches(
      config, config.seed, rows, put, place=place, tell=writer.warn)))
    notice = stack.enter_context(preemption.Notice())
    writer.say(train_state.describe('lips', state, mesh))
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
          state, measured = advance(state, on_devices, batch)
          traced.append(measured)
        watch.given(step, measured)
        pending.append(measured)
        stopping = notice.given(step)
        saving = stopping or metric_writer.due(step, config.checkpoint_every, last)
        if saving or metric_writer.due(step, config.log_every, last):
          fetched = jax.device_get(pending)
          metric_writer.check_finite(fetched, step)
          pending = []
          data.learn(multihost.union(data.bad_records, config.max_bad_records + 1))
          values = metric_writer.averages(fetched) | timer.read(step)
          values['bad_records'] = len(data.bad_records)
          writer.write(step, {f'train/{name}': x for name, x in values.items()})
          writer.progress(step, values['loss'])
        if metric_writer.due(step, config.eval_every, last) and not stopping:
          with watch.paused(), timer('looking'):
            params = multihost.whole(state.ema, mesh)
            if multihost.lead():
              figures = validate(lip_listener.Listener(model, params), frozen, held_out,
                                 config.eval_clips)
              writer.write(step, {f'validation/{name}': x for name, x in figures.items()})
              writer.say(f'step {step}: ' + ', '.join(f'{name} {x:.3f}'
                                                      for name, x in figures.items()))
            multihost.wait('looked')
        if saving:
          with watch.paused(), timer('saving'):
            checkpoints.save(step, state, data.place)
        if stopping:
          writer.say(preemption.going_on(step, workdir))
          return

    # --------------------------------------------------------------------------------------------
    # Export: the averaged parameters, in the system
    # --------------------------------------------------------------------------------------------
    params = multihost.whole(state.ema, mesh)
    if multihost.lead():
      pipeline.export_lips(workdir / 'export', config.system,
                           lip_listener.Listener(model, params))
    multihost.wait('exported')
    writer.say(f'wrote {workdir / "export"}')


def validate(listener, frozen, clips, count) -> dict:
  """How well clips are heard that were not trained on.

  Args:
    listener: lip_listener.Listener.
    frozen: lips_objective.Frozen.
    clips: sequence of clips of a dataset.
    count: how many of them at most.

  Returns:
    The median of the clips' correlation with the true gaps and with the true widths, and the
    deviation of each beside the true ones', of all clips.
  """
  heard, true = [], []
  for i in range(min(count, len(clips))):
    window = lips_windows.whole(clips[i], _RATE)
    audio = whisper.standardize(window['audio'].astype(np.float32), frozen.audio_mean,
                                frozen.audio_std)
    each = [listener(latent[None]) for latent in np.asarray(audio)]
    heard.append(lip_listener.Lips(*(np.concatenate(rows).ravel()
                                     for rows in zip(*each, strict=True))))
    true.append(lip_listener.Lips(window['lip_gap'].ravel(), window['mouth_width'].ravel()))
  figures = {}
  for name in lip_listener.Lips._fields:
    of, truth = ([getattr(lips, name) for lips in all_clips] for all_clips in (heard, true))
    figures[name] = median_correlation(of, truth)
    figures[f'{name}_deviation'] = float(np.concatenate(of).std()
                                         / max(np.concatenate(truth).std(), 1e-6))
  return figures

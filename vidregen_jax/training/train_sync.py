"""The sync scorer: trained on windows of talking-head clips, and exported with its limit."""

import contextlib
import dataclasses
import functools
import pathlib

import jax
import numpy as np

from vidregen_jax.datasets import batches
from vidregen_jax.distributed import multihost, preemption, sharding, watchdog
from vidregen_jax.errors import UserError
from vidregen_jax.evaluation import sync_score, sync_scorer
from vidregen_jax.exports import model_folder
from vidregen_jax.models import sync
from vidregen_jax.training import (
  checkpoint,
  metric_writer,
  profiling,
  sync_windows,
  train_state,
  train_step,
)

_SPAN = sync.RATE  # frames of the parts whose offset is looked for in validation: one second


def model_config(config):
  """The scorer that a training config describes.

  Raises:
    UserError: it is none, or the windows are too short for it.
  """
  fields = {k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in config.model.items()}
  model = sync.SyncConfig(**fields)
  if config.num_frames < 2 * model.reach + 2:
    raise UserError(f'config.num_frames is {config.num_frames}: of a window {model.reach} frames '
                    f'at both ends are context, so give {2 * model.reach + 2} or more')
  for name in ('batch_size', 'log_every', 'eval_every', 'checkpoint_every', 'eval_clips'):
    if config[name] < 1:
      raise UserError(f'config.{name} is {config[name]}: give 1 or more')
  if config.batch_size // config.accumulate < 2:
    raise UserError('a mouth is told from those of other clips: give a config.batch_size of two '
                    'or more, for each of config.accumulate parts')
  return model


def train(config, workdir, watchdog_seconds=0, profile=False):
  """Train, resuming from the newest checkpoint in the workdir, then write workdir/export.

  Returns early, with a checkpoint and without an export, when the machine is about to be preempted.

  Args:
    config: see configs/sync.py.
    workdir: folder of the run.
    watchdog_seconds: how long a step may take, 0 for no limit.
    profile: whether a few steps are traced, to workdir/profile.

  Raises:
    UserError: a mistake in the config, a missing dataset, or a loss that became non-finite.
  """
  model = model_config(config)
  workdir = pathlib.Path(workdir)

  # ----------------------------------------------------------------------------------------------
  # Mesh, data, optimizer, state
  # ----------------------------------------------------------------------------------------------
  mesh = sharding.make_mesh(config.fsdp, config.tensor)
  rows = sharding.process_rows(config.batch_size, mesh, config.accumulate)
  put = functools.partial(sharding.put_batch, mesh=mesh, batch_size=config.batch_size)
  held_out = batches.mended(sync_windows.clips(config, 'validation'), config.max_bad_records)
  optimizer = train_state.make_optimizer(config)
  init = functools.partial(sync.init, model)
  abstract = train_state.abstract(init, optimizer, mesh, sync.axes(model))
  advance = train_step.of_sync(model, config, train_state.shardings(abstract))

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
    data = stack.enter_context(contextlib.closing(sync_windows.train_batches(
      config, config.seed, rows, put, place=place, tell=writer.warn)))
    notice = stack.enter_context(preemption.Notice())
    writer.say(train_state.describe('sync', state, mesh))
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
          state, measured = advance(state, None, batch)
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
              figures, _ = validate(model, params, held_out, config.eval_clips)
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
    # Export: the averaged parameters, and the limit of the validation clips
    # --------------------------------------------------------------------------------------------
    params = multihost.whole(state.ema, mesh)
    if multihost.lead():
      _, limit = validate(model, params, held_out, config.eval_clips)
      model_folder.export(workdir / 'export', 'sync', dataclasses.asdict(model), params,
                          limit=np.float32(limit))
    multihost.wait('exported')
    writer.say(f'wrote {workdir / "export"}')


def validate(model, params, clips, count):
  """How well clips are judged that were not trained on.

  Args:
    model, params: of `models.sync`.
    clips: sequence of clips of a dataset.
    count: how many of them at most.

  Returns:
    (dict of shares: of whole clips, and of seconds of them, whose offset is right within one frame,
    and of seconds that are told to be in sync or not; the limit of `fit` that does so best, which
    suits whole clips too, as chance gives less there).
  """
  scorer = sync_scorer.Scorer(model, params, 0.0)
  rows = [sync_scorer.of_clip(scorer, clips[i]).values for i in range(min(count, len(clips)))]
  right = lambda parts: float(np.mean([abs(sync_score.score(part).offset) <= 1 for part in parts]))
  seconds = [each[start:start + _SPAN] for each in rows
             for start in range(0, max(len(each) - _SPAN, 0) + 1, _SPAN // 2)]
  fits, moved = zip(*(sync_score.spread(each) for each in seconds), strict=True)
  fits = np.array(fits)
  if not np.isfinite(fits).any():
    raise UserError('no validation clip is long enough to be scored: give clips of two seconds or '
                    'more')
  limit, told = sync_score.threshold(fits[np.isfinite(fits)], np.concatenate(moved))
  return {'right_offset': right(rows), 'right_offset_second': right(seconds),
          'told_apart_second': told}, limit

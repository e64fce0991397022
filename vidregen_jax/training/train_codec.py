"""Stage 1: train the codec on windows of talking-head clips, and export it with its statistics."""

import contextlib
import dataclasses
import functools
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax.datasets import batches, input_pipeline
from vidregen_jax.distributed import multihost, preemption, sharding, watchdog
from vidregen_jax.evaluation import image_metrics
from vidregen_jax.exports import model_folder
from vidregen_jax.media import image_grid
from vidregen_jax.models import codec, pixels
from vidregen_jax.training import (
  checkpoint,
  codec_objective,
  codec_setup,
  metric_writer,
  profiling,
  train_state,
  train_step,
)

_SHOWN = 6  # validation clips on a sheet


def reconstruct(model, params, frames):
  """Encode and decode windows, [B, F, S, S, 3] in [-1, 1], from a fresh cache."""
  batch = frames.shape[0]
  (mean, _), _ = codec.encode(model, params, frames, codec.init_encoder_cache(model, batch))
  return codec.decode(model, params, mean, codec.init_decoder_cache(model, batch))[0]


def train(config, workdir, watchdog_seconds=0, profile=False):
  """Train, resuming from the newest checkpoint in the workdir, then write workdir/export.

  Returns early, with a checkpoint and without an export, when the machine is about to be preempted.

  Args:
    config: see configs/codec.py.
    workdir: folder of the run.
    watchdog_seconds: how long a step may take, 0 for no limit.
    profile: whether a few steps are traced, to workdir/profile.

  Raises:
    UserError: a mistake in the config, a missing dataset, or a loss that became non-finite.
  """
  model = codec_setup.model_config(config)
  codec_setup.check_counts(config, model)
  workdir = pathlib.Path(workdir)

  # ----------------------------------------------------------------------------------------------
  # Mesh and data
  # ----------------------------------------------------------------------------------------------
  mesh = sharding.make_mesh(config.fsdp, config.tensor)
  rows = sharding.process_rows(config.batch_size, mesh, config.accumulate, 'crops')
  put = functools.partial(sharding.put_batch, mesh=mesh, axis='crops',
                          batch_size=config.batch_size)
  open_batches = functools.partial(
    input_pipeline.codec_batches, config, 'train', rows=rows, put=put
  )
  examples = input_pipeline.codec_examples(config, 'validation', config.eval_clips)

  # ----------------------------------------------------------------------------------------------
  # Objective, optimizer, state
  # ----------------------------------------------------------------------------------------------
  objective, frozen = codec_setup.make_objective(config, model)
  frozen = jax.device_put(frozen, sharding.replicated(mesh))
  # Read before anything is written; a run that is resumed does not need it any more.
  anew = not os.path.exists(workdir / 'checkpoints')
  start = None
  if config.start_from and anew:
    start = codec_setup.load_start(config.start_from, model)
  optimizer = train_state.make_codec_optimizer(config)
  init = functools.partial(codec_objective.init, objective)
  abstract = train_state.abstract(init, optimizer, mesh, codec_objective.axes(objective))
  advance = train_step.of_codec(objective, config, train_state.shardings(abstract))

  # ----------------------------------------------------------------------------------------------
  # What is measured between steps
  # ----------------------------------------------------------------------------------------------
  everywhere = sharding.replicated(mesh)

  @functools.partial(jax.jit, out_shardings=everywhere)
  def evaluate(params, examples):
    params = only_codec(params)
    frames = pixels.to_float(examples['frames'])
    reconstructions = reconstruct(model, params, frames)
    mouth = pixels.box_mask(examples['mouth_box'], model.size)
    scores = {
      'psnr': image_metrics.psnr(reconstructions, frames),
      'psnr_mouth': image_metrics.psnr(reconstructions, frames, mouth),
    }
    return pixels.to_uint8(reconstructions), scores

  @functools.partial(jax.jit, out_shardings=everywhere)
  def moments(params, batch):
    params = only_codec(params)
    frames = pixels.to_float(batch['frames'])
    cache = codec.init_encoder_cache(model, frames.shape[0])
    (mean, _), _ = codec.encode(model, params, frames, cache)
    return jnp.mean(mean, axis=(0, 1, 2, 3)), jnp.mean(mean**2, axis=(0, 1, 2, 3))

  # ----------------------------------------------------------------------------------------------
  # Checkpoint: resume from the newest, else start anew
  # ----------------------------------------------------------------------------------------------
  with contextlib.ExitStack() as stack:
    checkpoints = stack.enter_context(checkpoint.Checkpoints(workdir / 'checkpoints'))
    first, place = 0, batches.START
    if checkpoints.latest is None:
      state = train_state.create(init, optimizer, abstract, config.seed)
      if config.start_from:
        state = train_state.with_parts(
          state, start or codec_setup.load_start(config.start_from, model))
      elif model.aligned:
        groups = input_pipeline.codec_groups(config, 'train', config.map_groups, config.seed)
        maps = multihost.leads(codec_setup.principal_maps(model, groups))
        state = train_state.with_parts(state, maps)
    else:
      first, state, place = checkpoints.restore(abstract)
    last = config.num_steps
    writer = stack.enter_context(metric_writer.MetricWriter(workdir, last, first,
                                                            active=multihost.lead()))
    data = stack.enter_context(contextlib.closing(
      open_batches(seed=config.seed, place=place, tell=writer.warn)))
    notice = stack.enter_context(preemption.Notice())
    writer.say(train_state.describe('codec', state, mesh))
    writer.save_parameters(state.params)
    if first:
      writer.say(f'resuming from step {first}')
    device_examples = jax.device_put(examples, sharding.replicated(mesh))
    traces = workdir / 'profile' if profile and multihost.lead() else None
    trace = stack.enter_context(profiling.Trace(traces, first))
    timer = profiling.StepTimer(first)

    # --------------------------------------------------------------------------------------------
    # The loop. The order is fixed: next batch, step, log, validate, save. So the position in the
    # data that a checkpoint holds is the next step's batch. All processes keep to this order.
    # --------------------------------------------------------------------------------------------
    pending = []  # terms since the last log: fetched together, so that no step waits for the host
    watching = watchdog.Watchdog(watchdog_seconds, workdir)
    with jax.transfer_guard('disallow'), watching as watch:
      for step in range(first + 1, last + 1):
        adversarial = objective.discriminators is not None and step > config.gan_start
        watch.begin(step, compiles=step in (first + 1, config.gan_start + 1))
        with jax.set_mesh(mesh), trace.step(step) as traced:
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
          metric_writer.check_finite(fetched, step, codec_objective.TERMS)
          pending = []
          data.learn(multihost.union(data.bad_records, config.max_bad_records + 1))
          values = metric_writer.averages(fetched) | timer.read(step)
          values['bad_records'] = len(data.bad_records)
          writer.write(step, {f'train/{name}': x for name, x in values.items()})
          writer.progress(step, values['loss'])
        if metric_writer.due(step, config.eval_every, last) and not stopping:
          with watch.paused(), timer('looking'):
            reconstructions, scores = jax.device_get(evaluate(state.ema, device_examples))
          writer.write(step, {f'eval/{name}': float(x) for name, x in scores.items()})
          writer.say(
            f'step {step}: validation PSNR {scores["psnr"]:.2f} dB, '
            f'mouth {scores["psnr_mouth"]:.2f} dB'
          )
          writer.save_grid(step, 'reconstructions', sheet(examples['frames'], reconstructions))
        if saving:
          with watch.paused(), timer('saving'):
            checkpoints.save(step, state, data.place)
        if stopping:
          writer.say(preemption.going_on(step, workdir))
          return

    # --------------------------------------------------------------------------------------------
    # Export: the averaged parameters, with the latents' statistics over plain training windows
    # --------------------------------------------------------------------------------------------
    known = batches.START | {'bad_records': data.place['bad_records']}
    plain = open_batches(seed=config.seed + 1, augment=False, place=known, tell=writer.warn)
    with contextlib.closing(plain):
      sums = [
        jax.device_get(moments(state.ema, next(plain))) for _ in range(config.stats_batches)
      ]
    mean, square = np.mean(np.array(sums, np.float64), axis=0)
    params = multihost.whole(only_codec(state.ema), mesh)
    if multihost.lead():
      model_folder.export(
        workdir / 'export',
        'codec',
        dataclasses.asdict(dataclasses.replace(model, loop_from=0)),
        params,
        latent_mean=mean.astype(np.float32),
        latent_std=np.sqrt(np.maximum(square - mean**2, 1e-12)).astype(np.float32),
      )
    multihost.wait('exported')
    writer.say(f'wrote {workdir / "export"}')


def only_codec(params):
  """The codec's own parameters, without head and discriminators."""
  return {part: params[part] for part in ('encoder', 'decoder')}


def sheet(frames, reconstructions):
  """Rows of (source, reconstruction, 4 x error) at the middle frame of the first clips, uint8."""
  middle = frames.shape[1] // 2
  pairs = zip(frames[:_SHOWN, middle], reconstructions[:_SHOWN, middle], strict=True)
  return [[image_grid.enlarge(x) for x in image_grid.compare(*pair)] for pair in pairs]

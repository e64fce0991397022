"""Stage 1: train the codec on windows of talking-head clips, and export it with its statistics."""

import contextlib
import dataclasses
import functools
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax import (
  checkpoint,
  input_pipeline,
  losses,
  metrics,
  pixels,
  sharding,
  state,
  weights,
)
from vidregen_jax.errors import UserError
from vidregen_jax.models import codec

_SHOWN = 6  # validation clips on a sheet
_SHEET_PIXELS = 192  # least side of one picture on it


def model_config(config):
  """The codec that a training config describes."""
  fields = {k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in config.model.items()}
  return codec.CodecConfig(**fields)


def due(step, every, last):
  """Whether what is done every so many steps, and at the last one, is due after `step`."""
  return step % every == 0 or step == last


def reconstruct(model, params, frames, key=None):
  """Encode and decode windows from a fresh cache.

  Args:
    model: CodecConfig.
    params: the codec's parameters.
    frames: [B, F, S, S, 3] in [-1, 1].
    key: draws the latents; without it they are the means.

  Returns:
    (frames [B, F, S, S, 3], mean, logvar), the latter two [B, T, H, W, C].
  """
  batch = frames.shape[0]
  (mean, logvar), _ = codec.encode(
    model, params, frames, codec.init_encoder_cache(model, batch)
  )
  latents = mean
  if key is not None:
    latents += jnp.exp(0.5 * logvar) * jax.random.normal(key, mean.shape)
  made, _ = codec.decode(model, params, latents, codec.init_decoder_cache(model, batch))
  return made, mean, logvar


def train(config, workdir):
  """Train, resuming from the newest checkpoint in the workdir, then write workdir/export.

  Raises:
    UserError: a mistake in the config, a missing dataset, or a loss that became non-finite.
  """
  workdir = pathlib.Path(workdir)
  lead = jax.process_index() == 0

  # ----------------------------------------------------------------------------------------------
  # Mesh and data
  # ----------------------------------------------------------------------------------------------
  mesh = sharding.make_mesh(config.fsdp, config.tensor)
  process = (
    jax.process_index(), jax.process_count(), sharding.process_batch_size(config.batch_size, mesh)
  )
  put = functools.partial(sharding.put_batch, mesh=mesh)
  open_batches = functools.partial(
    input_pipeline.codec_batches, config, 'train', process=process, put=put
  )
  examples = input_pipeline.codec_examples(config, 'validation', config.eval_clips)

  # ----------------------------------------------------------------------------------------------
  # Model, optimizer, state
  # ----------------------------------------------------------------------------------------------
  model = model_config(config)
  optimizer = state.make_optimizer(config)
  schedule = state.learning_rate(config)
  abstract = state.abstract(functools.partial(codec.init, model), optimizer, mesh)
  shardings = jax.tree.map(lambda x: x.sharding, abstract)

  # ----------------------------------------------------------------------------------------------
  # The step, and what is measured between steps
  # ----------------------------------------------------------------------------------------------
  def loss_fn(params, batch, step):
    frames = pixels.to_float(batch['frames'])
    key = jax.random.fold_in(jax.random.key(config.seed), step)
    made, mean, logvar = reconstruct(model, params, frames, key)
    # A hidden mouth is plain grey: its box is emptied, so that nothing is weighted.
    boxes = batch['mouth_box'] * ~batch['masked'][:, None, None]
    l1 = losses.reconstruction(made, frames, boxes, config.mouth_weight)
    kl = losses.kl(mean, logvar)
    kl_weight = config.kl_weight * jnp.minimum(1.0, step / config.kl_warmup_steps)
    return l1 + kl_weight * kl, {'l1': l1, 'kl': kl}

  @functools.partial(jax.jit, donate_argnums=0, out_shardings=(shardings, None))
  def train_step(train_state, batch):
    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
    (loss, parts), grads = grad_fn(train_state.params, batch, train_state.step)
    lr = schedule(train_state.step)
    train_state, updates = state.apply_gradients(train_state, grads, optimizer, config.ema)
    measured = parts | {'loss': loss, 'lr': lr} | state.norms(train_state.params, grads, updates)
    return train_state, measured

  @jax.jit
  def evaluate(params, examples):
    frames = pixels.to_float(examples['frames'])
    made, _, _ = reconstruct(model, params, frames)
    mouth = losses.box_mask(examples['mouth_box'], model.size)
    scores = {
      'psnr': losses.psnr(made, frames),
      'psnr_mouth': losses.psnr(made, frames, mouth),
    }
    return pixels.to_uint8(made), scores

  @jax.jit
  def moments(params, batch):
    frames = pixels.to_float(batch['frames'])
    cache = codec.init_encoder_cache(model, frames.shape[0])
    (mean, _), _ = codec.encode(model, params, frames, cache)
    return jnp.mean(mean, axis=(0, 1, 2, 3)), jnp.mean(mean**2, axis=(0, 1, 2, 3))

  # ----------------------------------------------------------------------------------------------
  # Checkpoint: resume from the newest, else start anew
  # ----------------------------------------------------------------------------------------------
  with contextlib.ExitStack() as stack:
    checkpoints = stack.enter_context(checkpoint.Checkpoints(workdir / 'checkpoints'))
    data = stack.enter_context(contextlib.closing(open_batches(seed=config.seed)))
    if checkpoints.latest is None:
      train_state = state.create(functools.partial(codec.init, model), optimizer, mesh, config.seed)
      if model.aligned:
        train_state = start_from_principal_maps(train_state, model, config)
    else:
      train_state = checkpoints.restore(abstract, data)
    first, last = checkpoints.latest or 0, config.num_steps
    writer = stack.enter_context(metrics.MetricWriter(workdir, last, first, active=lead))
    writer.say(state.describe('codec', train_state, mesh))
    if first:
      writer.say(f'resuming from step {first}')
    device_examples = jax.device_put(examples, sharding.replicated(mesh))

    # --------------------------------------------------------------------------------------------
    # The loop. The order is fixed: next batch, step, log, look, save; so a checkpoint's data stands
    # at the batch of the step that comes next.
    # --------------------------------------------------------------------------------------------
    checked = first
    with jax.transfer_guard('disallow'):
      for step in range(first + 1, last + 1):
        train_state, measured = train_step(train_state, next(data))
        saving = due(step, config.checkpoint_every, last)
        if saving or due(step, config.log_every, last):
          values = {name: float(x) for name, x in jax.device_get(measured).items()}
          check_finite(values['loss'], checked, step)
          checked = step
          writer.write(step, {f'train/{name}': x for name, x in values.items()})
          writer.progress(step, values['loss'])
        if due(step, config.eval_every, last):
          made, scores = jax.device_get(evaluate(train_state.ema, device_examples))
          writer.write(step, {f'eval/{name}': float(x) for name, x in scores.items()})
          writer.say(
            f'step {step}: validation PSNR {scores["psnr"]:.2f} dB, '
            f'mouth {scores["psnr_mouth"]:.2f} dB'
          )
          writer.save_grid(step, 'reconstructions', sheet(examples['frames'], made))
        if saving:
          checkpoints.save(step, train_state, data)

    # --------------------------------------------------------------------------------------------
    # Export: the averaged parameters, with the latents' statistics over plain training windows
    # --------------------------------------------------------------------------------------------
    plain = open_batches(seed=config.seed + 1, augment=False)
    with contextlib.closing(plain):
      sums = [
        jax.device_get(moments(train_state.ema, next(plain))) for _ in range(config.stats_batches)
      ]
    mean, square = np.mean(np.array(sums, np.float64), axis=0)
    if lead:
      weights.export(
        workdir / 'export',
        'codec',
        dataclasses.asdict(model),
        jax.device_get(train_state.ema),
        latent_mean=mean.astype(np.float32),
        latent_std=np.sqrt(np.maximum(square - mean**2, 1e-12)).astype(np.float32),
      )
    writer.say(f'wrote {workdir / "export"}')


def start_from_principal_maps(train_state, model, config):
  """The state with the codec's cell maps set from training crops, in parameters and average."""
  groups = input_pipeline.codec_groups(config, 'train', config.map_groups, config.seed)
  maps = codec.principal_maps(model, pixels.to_float(groups))

  def place(params):
    parts = {}
    for part, tree in params.items():
      place_like = lambda new, old: jax.device_put(new, old.sharding)
      parts[part] = tree | {'maps': jax.tree.map(place_like, maps[part], tree['maps'])}
    return parts

  return dataclasses.replace(
    train_state, params=place(train_state.params), ema=place(train_state.ema)
  )


def check_finite(loss, good_step, step):
  """Stop a run that is lost, before it is saved.

  Raises:
    UserError: the loss is not a finite number.
  """
  if not math.isfinite(loss):
    raise UserError(
      f'the loss became {loss} between steps {good_step + 1} and {step}: lower '
      'config.learning_rate or config.clip_norm; the last checkpoint is whole'
    )


def sheet(frames, made):
  """Rows of (source, reconstruction, 4 x error) at the middle frame of the first clips, uint8."""
  rows = []
  middle = frames.shape[1] // 2
  for source, result in zip(frames[:_SHOWN, middle], made[:_SHOWN, middle], strict=True):
    error = np.abs(source.astype(np.int16) - result)
    row = [source, result, np.minimum(4 * error, 255).astype(np.uint8)]
    scale = -(-_SHEET_PIXELS // source.shape[0])
    rows.append([x.repeat(scale, axis=0).repeat(scale, axis=1) for x in row])
  return rows

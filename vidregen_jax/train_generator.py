"""Stage 2: train the generator on cached latents and audio, and export it with all it needs."""

import contextlib
import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from vidregen_jax import (
  checkpoint,
  expectation,
  flow,
  input_pipeline,
  latents,
  lip_reading,
  losses,
  masks,
  metrics,
  pixels,
  sample,
  sharding,
  state,
  system,
  weights,
  windows,
)
from vidregen_jax.errors import UserError
from vidregen_jax.models import codec, generator

_PICTURES = 4  # clips that a sheet of samples shows
_TIMES = 4  # parts of the flow time whose losses are told apart


def model_config(config, info, region):
  """The generator that a training config describes, for latents of a dataset.

  Args:
    config: fields of `config.model`.
    info: `input_pipeline.latent_info`.
    region: flat cells of the lower face.
  """
  return generator.GeneratorConfig(
    cells=info['latent_shape'][0],
    latent_channels=info['latent_shape'][2],
    region=region,
    audio_layers=len(info['audio_layers']),
    audio_channels=info['audio_width'],
    **config.model,
  )


def feature_statistics(clips, count):
  """Mean and standard deviation of Whisper states over some clips, each [layers, channels]."""
  states = [np.asarray(clips[i]['audio'], np.float64)
            for i in np.linspace(0, len(clips) - 1, min(count, len(clips))).astype(int)]
  states = np.concatenate(states)
  return states.mean(0).astype(np.float32), states.std(0).astype(np.float32)


def draw_keep(config, model, key, shape):
  """Which streams each copy sees: `config.drop_*` are probabilities, drawn independently.

  Args:
    config: drop_reference (all at once), drop_each_reference, drop_anchor, drop_audio,
      drop_history, drop_all.
    model: GeneratorConfig.
    key: random key.
    shape: (B, K).
  """
  # One draw for all: compiling a random generator is slow on a CPU.
  rates = [config.drop_all, config.drop_reference, config.drop_anchor, config.drop_audio,
           config.drop_history] + model.references * [config.drop_each_reference]
  survives = jax.random.uniform(key, (*shape, len(rates))) >= jnp.array(rates)
  some, references, anchor, audio, history = jnp.moveaxis(survives[..., :5], -1, 0)
  return generator.Keep(
    reference=survives[..., 5:] & (references & some)[..., None],
    anchor=anchor & some, audio=audio & some, history=history & some,
  )


def other_voice(config, audio, key):
  """Standardised audio features as if others had spoken: few voices must teach to hear any.

  What a voice adds to Whisper's states is nearly constant over a clip; so each channel of a clip
  is moved, stretched, and now and then silenced, the same at all times.

  Args:
    config: voice_shift and voice_stretch are standard deviations, voice_drop a probability.
    audio: [B, T, 16, layers, channels].
    key: random key.
  """
  shift, stretch, survives = jax.random.normal(key, (3, len(audio), 1, 1, *audio.shape[3:]))
  threshold = jax.scipy.stats.norm.ppf(config.voice_drop)
  moved = audio * (1 + config.voice_stretch * stretch) + config.voice_shift * shift
  return jnp.where(survives > threshold, moved, 0.0)


def train(config, workdir):
  """Train, resuming from the newest checkpoint in the workdir, then write workdir/export.

  Raises:
    UserError: a mistake in the config, latents of another codec, or a non-finite loss.
  """
  if not 0 <= config.voice_drop < 1:
    raise UserError(f'config.voice_drop {config.voice_drop} is no share of channels: give 0 to 1')
  workdir = pathlib.Path(workdir)
  lead = jax.process_index() == 0

  # ----------------------------------------------------------------------------------------------
  # Codec, latents, mesh
  # ----------------------------------------------------------------------------------------------
  info = input_pipeline.latent_info(config.dataset, config.dataset_help)
  exported_codec = weights.load_export(config.codec, 'codec')
  if exported_codec.digest != info['codec']:
    raise UserError(
      f'{config.dataset} was encoded by another codec than {config.codec}: encode it again with '
      'python -m vidregen_jax.encode_latents, or name the codec that made it'
    )
  codec_model = codec.CodecConfig(**exported_codec.config)
  model = model_config(config, info, pixels.region(codec_model.size, codec_model.cells,
                                                   config.region_grow))
  shape = windows.WindowShape(config.num_frames, model.look_ahead, model.references,
                              config.reference_distance, model.region)
  clips = input_pipeline.latent_clips(config.dataset, 'train', config.dataset_help)
  validation = input_pipeline.latent_clips(config.dataset, 'validation', config.dataset_help)
  audio_mean, audio_std = feature_statistics(clips, config.stats_clips)
  guess = expectation.none(model.region)
  if model.aligned:
    guess = expectation.fit(clips, shape, config.expectation_draws, config.expectation_ridge)

  mesh = sharding.make_mesh(config.fsdp, config.tensor)
  process = (
    jax.process_index(), jax.process_count(), sharding.process_batch_size(config.batch_size, mesh)
  )
  put = functools.partial(sharding.put_batch, mesh=mesh)

  def window(record, rng):
    last = max(len(record['target']) - shape.frames, 0)
    return windows.cut(record, int(rng.integers(last + 1)), shape, rng)

  # ----------------------------------------------------------------------------------------------
  # Model, optimizer, state
  # ----------------------------------------------------------------------------------------------
  optimizer = state.make_optimizer(config)
  schedule = state.learning_rate(config)
  init = functools.partial(generator.init, model)
  abstract = state.abstract(init, optimizer, mesh)
  shardings = jax.tree.map(lambda x: x.sharding, abstract)
  region = np.asarray(model.region)

  # ----------------------------------------------------------------------------------------------
  # The step
  # ----------------------------------------------------------------------------------------------
  def clip_of(batch, keys):
    """What training sees of a batch: (generator.Clip, the clean lower faces' residuals)."""
    f32 = {name: batch[name].astype(jnp.float32)
           for name in ('target', 'context', 'references', 'anchor', 'anchor_context', 'audio')}
    reference = expectation.mean_reference(f32['references'], batch['reference_valid'])
    clean = guess.residual(f32['target'][:, :, region], f32['context'], reference)
    # Rollouts err: now and then the past is a little wrong, more in some clips than in others.
    level = config.history_noise * jax.random.uniform(keys[0], (len(clean), 1, 1, 1))
    return generator.Clip(
      references=f32['references'],
      reference_valid=batch['reference_valid'],
      anchor=guess.residual(f32['anchor'], f32['anchor_context'], reference),
      anchor_distance=batch['anchor_distance'],
      context=f32['context'],
      history=clean + level * jax.random.normal(keys[1], clean.shape),
      audio=other_voice(config, system.standardize(f32['audio'], audio_mean, audio_std), keys[5]),
      audio_valid=batch['audio_valid'],
      durations=batch['durations'],
    ), clean

  def noisy_of(clean, keys):
    """Noise draws [B, K, T, ...] of clean residuals: (noisy, noise, flow times)."""
    shape = (len(clean), config.copies)
    t = flow.draw_time(keys[3], (*shape, clean.shape[1]), config.shift)
    noise = jax.random.normal(keys[4], (*shape, *clean.shape[1:]))
    return flow.interpolate(clean[:, None], noise, t), noise, t

  def loss_fn(params, batch, step):
    keys = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), step), 6)
    clip, clean = clip_of(batch, keys)
    keep = draw_keep(config, model, keys[2], (len(clean), config.copies))
    keep = dataclasses.replace(keep, anchor=keep.anchor & batch['anchor_valid'][:, None])
    noisy, noise, t = noisy_of(clean, keys)
    velocity = generator.clip_velocity(model, params, clip, noisy, t, keep)
    mouth = losses.mouth_cell_weights(
      batch['mouth_box'], model.cells, model.region, config.mouth_weight
    )
    errors = losses.velocity(
      velocity, flow.velocity_target(clean[:, None], noise), mouth[:, None]
    )
    return errors.mean(), losses.by_flow_time(errors, t, _TIMES)

  @functools.partial(jax.jit, donate_argnums=0, out_shardings=(shardings, None))
  def train_step(train_state, batch):
    (loss, times), grads = jax.value_and_grad(loss_fn, has_aux=True)(
      train_state.params, batch, train_state.step)
    lr = schedule(train_state.step)
    train_state, updates = state.apply_gradients(train_state, grads, optimizer, config.ema)
    measured = {'loss': loss, 'lr': lr} | state.norms(train_state.params, grads, updates)
    return train_state, (measured, times)

  # ----------------------------------------------------------------------------------------------
  # Looking: windows of validation clips, made with their own and with another clip's audio
  # ----------------------------------------------------------------------------------------------
  models = sample.Models(codec_model, model)
  sampler = sample.SamplerConfig(**config.sampler)
  encoder, decoder = latents.Encoder.of(exported_codec), latents.Decoder.of(exported_codec)
  shown = show_windows(validation, shape, config.eval_clips)
  reader = lip_reading.fit(clips, shape, guess, config.expectation_draws)

  @jax.jit
  def attention(params, batch):
    """Each stream's share of the noisy tokens' attention, a mean over layers, where none is hidden."""
    keys = jax.random.split(jax.random.key(config.seed), 6)
    clip, clean = clip_of(batch, keys)
    noisy, _, t = noisy_of(clean, keys)
    keep = generator.keep_all(model, (len(clean), config.copies))
    keep = dataclasses.replace(keep, anchor=keep.anchor & batch['anchor_valid'][:, None])
    return generator.clip_velocity(model, params, clip, noisy, t, keep, shares=True)[1].mean(0)

  def look(params):
    """Pictures of some of the clips, and how well the lips of all follow what is heard."""
    all_params = sample.Params(
      exported_codec.params, params, guess, exported_codec.arrays['latent_mean'],
      exported_codec.arrays['latent_std'])
    swapped = shown | {name: np.roll(shown[name], 1, 0)
                       for name in ('audio', 'audio_valid', 'durations', 'lip_gap')}
    truth = decoder(np.float32(shown['target']).reshape(*shown['target'].shape[:2],
                                                        *info['latent_shape']))
    own, new = (pixels.to_uint8(sample_windows(models, sampler, all_params, batch, audio_mean,
                                               audio_std, config.seed))
                for batch in (shown, swapped))

    def follows(frames, gap):
      read = encoder.stream(frames).reshape(shown['target'].shape)
      lips = reader(read, shown['context'], shown['references'], shown['reference_valid'])
      return lip_reading.median_correlation(lips, gap)

    measured = {
      'own_audio': follows(own, shown['lip_gap']),
      'new_audio': follows(new, swapped['lip_gap']),
      'new_audio_old_truth': follows(new, shown['lip_gap']),
      'truths': lip_reading.median_correlation(shown['lip_gap'], swapped['lip_gap']),
      'reader': follows(truth, shown['lip_gap']),
    }
    shares = attention(params, {name: x[:config.batch_size] for name, x in shown.items()})
    measured |= {f'attention_{name}': float(share)
                 for name, share in zip(masks.STREAMS, shares, strict=True)}
    return ({f'validation/{name}': value for name, value in measured.items()},
            sheet(*(x[:_PICTURES] for x in (truth, own, new))))

  # ----------------------------------------------------------------------------------------------
  # Checkpoint: resume from the newest, else start anew
  # ----------------------------------------------------------------------------------------------
  with contextlib.ExitStack() as stack:
    checkpoints = stack.enter_context(checkpoint.Checkpoints(workdir / 'checkpoints'))
    data = stack.enter_context(contextlib.closing(input_pipeline.batches(
      clips, window, config.seed, process, put, config.num_workers
    )))
    if checkpoints.latest is None:
      train_state = state.create(init, optimizer, mesh, config.seed)
    else:
      train_state = checkpoints.restore(abstract, data)
    first, last = checkpoints.latest or 0, config.num_steps
    writer = stack.enter_context(metrics.MetricWriter(workdir, last, first, active=lead))
    writer.say(state.describe('generator', train_state, mesh))
    if first:
      writer.say(f'resuming from step {first}')

    # --------------------------------------------------------------------------------------------
    # The loop. The order is fixed: next batch, step, log, look, save; so a checkpoint's data stands
    # at the batch of the step that comes next.
    # --------------------------------------------------------------------------------------------
    unseen = []  # of the steps since the last look: fetched together, so that nothing waits
    for step in range(first + 1, last + 1):
      with jax.transfer_guard('disallow'):
        train_state, measured = train_step(train_state, next(data))
      unseen.append(measured)
      saving = metrics.due(step, config.checkpoint_every, last)
      if saving or metrics.due(step, config.log_every, last):
        fetched, times = zip(*jax.device_get(unseen), strict=True)
        metrics.check_finite(fetched, step)
        unseen = []
        values = {name: float(x) for name, x in fetched[-1].items()} | name_times(sum(times))
        writer.write(step, {f'train/{name}': x for name, x in values.items()})
        writer.progress(step, values['loss'])
      if lead and metrics.due(step, config.eval_every, last):
        measured, pictures = look(jax.device_get(train_state.ema))
        writer.save_grid(step, 'samples', pictures)
        writer.write(step, measured)
        writer.say(f'step {step}  ' + '  '.join(
          f'{name} {x:.3f}' for name, x in measured.items() if 'attention' not in name))
      if saving:
        checkpoints.save(step, train_state, data)

    # --------------------------------------------------------------------------------------------
    # Export: one folder that `regenerate` and `evaluate` run from
    # --------------------------------------------------------------------------------------------
    if lead:
      heard = ('audio_layers', 'window_seconds', 'margin_seconds')
      listening = {name: info[name] for name in heard}
      system.export(
        workdir / 'export', config.codec, info['audio_encoder'],
        {'model': dataclasses.asdict(model), 'sampler': dataclasses.asdict(sampler),
         'listening': listening, 'codec': exported_codec.digest},
        jax.device_get(train_state.ema), guess, audio_mean=audio_mean, audio_std=audio_std,
      )
    writer.say(f'wrote {workdir / "export"}')


def name_times(sums):
  """Mean losses by flow time, of sums of `losses.by_flow_time`; parts never drawn are left out."""
  edges = np.arange(_TIMES + 1) / _TIMES
  return {f'loss_time_{edges[i]:.2f}-{edges[i + 1]:.2f}': float(total / count)
          for i, (total, count) in enumerate(sums.T) if count}


def show_windows(clips, shape, count):
  """The middle windows of some clips, stacked: the same at every call.

  Clips begin and end with closed lips; in the middle, lips that agree have listened.
  """
  rng = np.random.default_rng(0)
  picked = [clips[i] for i in np.linspace(0, len(clips) - 1, min(count, len(clips))).astype(int)]
  cuts = [windows.cut(record, max(len(record['target']) - shape.frames, 0) // 2, shape, rng)
          for record in picked]
  return {name: np.stack([cut[name] for cut in cuts]) for name in cuts[0]}


def sample_windows(models, sampler, params, batch, audio_mean, audio_std, seed):
  """Generate the lower faces of windows (`windows.cut`, stacked) with nothing before them.

  Returns:
    Frames [B, 4T, S, S, 3], about in [-1, 1].
  """
  look, frames = models.generator.look_ahead, batch['target'].shape[1]
  f32 = {name: np.asarray(batch[name], np.float32)
         for name in ('target', 'context', 'references', 'anchor', 'anchor_context', 'durations')}
  audio = np.asarray(batch['audio'], np.float32)
  audio = np.asarray(system.standardize(audio, audio_mean, audio_std))
  first = lambda x: np.moveaxis(x, 1, 0)
  distance = batch['anchor_distance'][None] + np.arange(frames, 0, -1, dtype=np.float32)[:, None]
  inputs = sample.Inputs(
    context=first(f32['context']), outside=first(f32['target']),
    duration=first(f32['durations'][:, :frames]), audio=first(audio[:, look:]),
    audio_valid=first(batch['audio_valid'][:, look:]),
    audio_duration=first(f32['durations'][:, look:]), anchor_distance=distance,
  )
  start = sample.init_state(
    models, params, jax.random.key(seed), f32['references'], batch['reference_valid'],
    f32['anchor'], f32['anchor_context'], batch['anchor_valid'], audio[:, :look],
    batch['audio_valid'][:, :look], f32['durations'][:, :look],
  )
  made = np.asarray(sample.sample(models, sampler, params, start, inputs)[1])  # [T, B, 4, ...]
  return np.moveaxis(made, 0, 1).reshape(made.shape[1], -1, *made.shape[3:])


def sheet(truth, own, swapped):
  """For each clip three rows over time: truth, its own audio, the next clip's audio; uint8."""
  at = np.linspace(0, truth.shape[1] - 1, 12).astype(int)
  scale = -(-96 // truth.shape[2])
  return [[x[clip, i].repeat(scale, 0).repeat(scale, 1) for i in at]
          for clip in range(len(truth)) for x in (truth, own, swapped)]

"""A small exported system with random weights, in the folders that training would write."""

import dataclasses

import jax
import numpy as np

from vidregen_jax.exports import model_folder, pipeline
from vidregen_jax.faces import crop_mask
from vidregen_jax.models import codec, generator, linear_prior, lip_readout

SIZE = 32
CODEC = codec.CodecConfig(SIZE, (8, 8, 16), (1, 1, 1), (1, 1, 1), (1, 1, 2), 6)
# Compiles fast: for gradients.
SMALLER = codec.CodecConfig(16, (4, 4), (0, 1), (0, 1), (1, 2), 6)


def write(folder, whisper_folder, codec_config=CODEC):
  """Writes a system in `folder`, and returns its own folder."""
  model_folder.export(folder / 'codec', 'codec', dataclasses.asdict(codec_config),
                      jax.device_get(codec.init(codec_config, jax.random.key(0))),
                      latent_mean=np.zeros(6, np.float32), latent_std=np.ones(6, np.float32))
  config = generator.GeneratorConfig(
      cells=2, latent_channels=6, region=crop_mask.region(codec_config.size, 2, 0), width=16,
      heads=2, layers=1, mlp=2, window=3, look_ahead=1, references=2, sinks=1, sink_logit=True,
      audio_layers=1, audio_channels=512, audio_hidden=8)
  pipeline.export(
      folder / 'export', folder / 'codec', whisper_folder,
      {'model': dataclasses.asdict(config),
       'sampler': dict(steps=1, solver='euler', shift=1.0, guidance_appearance=1.0,
                       guidance_audio=1.0, guidance_start=0.0, guidance_stop=1.0),
       'listening': {'audio_layers': [1], 'window_seconds': 10.0, 'margin_seconds': 1.0},
       'codec': model_folder.load_export(folder / 'codec', 'codec').digest},
      jax.device_get(generator.init(config, jax.random.key(1))), linear_prior.none(config.region),
      lip_readout.Readout(*(np.zeros(shape, np.float32) for shape in lip_readout.shapes(
        len(config.region), config.latent_channels).values())),
      audio_mean=np.zeros((1, 512), np.float32), audio_std=np.ones((1, 512), np.float32))
  return folder / 'export'


def write_student(folder, whisper_folder, codec_config=CODEC):
  """Writes such a system with a student in `folder`, and returns its own folder."""
  teacher = pipeline.load(write(folder, whisper_folder, codec_config))
  params = jax.tree.map(lambda x: np.asarray(x) + 0.01, teacher.params.generator)
  sampler = dataclasses.asdict(dataclasses.replace(teacher.sampler, steps=2))
  pipeline.export_student(folder / 'student', folder / 'export', {'sampler': sampler}, params)
  return folder / 'student'

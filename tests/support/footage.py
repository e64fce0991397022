"""A folder of rendered clips with damage, and manifests of them."""

import functools
import json
import pathlib
import shutil

import numpy as np

from data.talking_faces import cutting, filters, source_result
from vidregen_jax.media import video, video_writer
from vidregen_jax.media.audio import waveform

PACK = pathlib.Path(__file__).resolve().parents[2] / 'data' / 'talkers' / 'pack'
BASIS = 'rendered: nobody is shown'


@functools.cache
def read(name):
  """(images, frames a second, samples, their rate) of a clip of the pack, such as 'test_00005'."""
  path = PACK / name.partition('_')[0] / f'{name}.mp4'
  samples, rate, _ = waveform.read(path)
  return [frame.image for frame in video.frames(path)], video.probe(path).rate, samples, rate


def copy(folder, name, to=None):
  """A clip of the pack as it is."""
  path = folder / (to or f'{name}.mp4')
  shutil.copy(PACK / name.partition('_')[0] / f'{name}.mp4', path)
  return path


def late(folder, name, seconds, to):
  """A clip whose sound is so much later, of equal length."""
  images, rate, samples, sound_rate = read(name)
  count = round(abs(seconds) * sound_rate)
  empty = np.zeros((1, count), np.float32)
  moved = (np.concatenate([empty, samples], 1)[:, :samples.shape[1]] if seconds > 0
           else np.concatenate([samples[:, count:], empty], 1))
  video_writer.write_clip(folder / to, images, rate, moved, sound_rate)
  return folder / to


def manifest(folder, rows, name='manifest.jsonl'):
  """A manifest of (source, person, further fields) in a folder, with a salt that is the same."""
  path = folder / name
  path.write_text(''.join(
    json.dumps({'source': source, 'person': person, 'basis': BASIS, 'date': '2026-05-01'} | more)
    + '\n' for source, person, more in rows))
  salt = folder / f'{name}.salt'
  if not salt.exists():
    salt.touch(0o600)
    salt.write_bytes(b'salt of the tests')
  return path


def job(path, work, number=0, sizes=(64,), words=(), **bounds):
  """A job of one source."""
  origin = cutting.Origin(f'{number:016x}', f'{number + 100:016x}', BASIS, 'en', '', words)
  return source_result.Job(path, origin, '', work, sizes, filters.Bounds(**bounds))

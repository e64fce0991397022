"""Speech of talkers that are not rendered: what is heard, and the shape of their lips.

  python -m data.talkers.make_speech --head head.npz --out out/speech \\
    --audio_encoder checkpoints/whisper-base

To learn from sound how lips are shaped takes no pictures, and a thousandth of the time. Voices,
sentences and people are drawn as those of a pack (`make_pack`): its validation and test clips are
of others. A share of the clips has a long rest. A run that was stopped goes on with the shard it
was at. Stage `lips` trains on what is written (configs/lips.py).
"""

import argparse
import concurrent.futures
import functools
import multiprocessing
import pathlib
import signal
import sys
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from data.talkers import appearance, articulation, clip, make_pack, mesh, motion
from vidregen_jax import errors
from vidregen_jax.datasets import heard_dataset
from vidregen_jax.media.audio import waveform
from vidregen_jax.models import whisper
from vidregen_jax.training import pretrained_reference

RATE = 100  # readings of the lips a second
RESTING = 10  # of so many clips, one has a long rest
VALIDATION = 1 / 40  # clips for each one of training
LAYERS = (1, 3, 6)
_SIZE = 256  # of the pictures that are not made; a plan names one
WINDOW, MARGIN = 6.0, 1.0  # seconds; as `encode_latents` hears the talkers


def lips(head: mesh.Head, plan: make_pack.Plan, phonemes, times) -> dict[str, np.ndarray]:
  """A talker's lip_gap and mouth_width, float32 [F] each, as they are seen from the front.

  Args:
    head: the head model.
    plan: of `make_pack.draw_plan`.
    phonemes: of `make_pack.sound`.
    times: [F], seconds.
  """
  rest = head.shape(appearance.Identity.draw(plan.identity).shape)
  acted = clip.act(articulation.curves(phonemes, times, plan.identity),
                   motion.perform(plan.identity, times).face)
  acted[:, mesh.CHANNELS.index('mouthClose')] += clip.seal(head, rest)
  points = rest[head.landmarks] + np.tensordot(acted, head.channel_landmarks, 1)
  seen = points[..., :2] * [1, -1]  # pictures run downwards
  return {'lip_gap': clip.lip_gap(seen).astype(np.float32),
          'mouth_width': clip.mouth_width(seen).astype(np.float32)}


def speak(head_path: str, seed: int, split: str, index: int) -> dict:
  """One clip: clip_id, audio float32 [n] at 16 kHz, times, lip_gap, mouth_width float32 [F].

  Raises:
    UserError: no drawing could be used.
  """
  for attempt in range(make_pack.MAX_ATTEMPTS):
    plan = make_pack.draw_plan(seed, split, index, _SIZE, attempt)
    samples, rate, phonemes, frames = make_pack.sound(plan)
    seconds = frames / Fraction(plan.rate)
    if not make_pack.lasts(index, seconds):
      continue
    times = np.arange(int(seconds * RATE)) / RATE
    return {'clip_id': plan.clip_id, 'audio': waveform.mono_16k(samples[None], rate),
            'times': times.astype(np.float32),
            **lips(mesh.load(head_path), plan, phonemes, times)}
  raise errors.UserError(f'{split} clip {index}: none of {make_pack.MAX_ATTEMPTS} drawings could '
                         'be used; try another --seed')


def indices(clips: int) -> dict[str, list[int]]:
  """Numbers of the clips of each split, of which every RESTING-th is one with a long rest."""
  number = lambda i: make_pack.FIRST_RESTING + i if i % RESTING == RESTING - 1 else i
  counts = {'train': clips, 'validation': max(round(VALIDATION * clips), 2)}
  return {split: [number(i) for i in range(count)] for split, count in counts.items()}


def make(given) -> None:
  """Does what the flags say.

  Raises:
    UserError: a mistake in them.
  """
  if given.clips < 1 or given.workers < 1:
    raise errors.UserError('give 1 or more of --clips and of --workers')
  mesh.load(given.head)  # a wrong path fails here, once, not in every worker
  folder = whisper.locate(given.audio_encoder)
  config, params = whisper.read(folder)
  pretrained_reference.check_whisper(folder, config)
  params = jax.tree.map(jnp.asarray, params)
  listen = functools.partial(whisper.features, config, params, window_seconds=WINDOW,
                             margin_seconds=MARGIN, layers=LAYERS)
  splits = indices(given.clips)
  inputs = {'audio_encoder': given.audio_encoder, 'audio_layers': list(LAYERS),
            'audio_width': config.width, 'window_seconds': WINDOW, 'margin_seconds': MARGIN,
            'made_of': {'seed': given.seed, 'clips': given.clips}}
  pool = concurrent.futures.ProcessPoolExecutor(
    given.workers, mp_context=multiprocessing.get_context('spawn'),
    # Ctrl-C reaches every process; the workers finish the clip they are at.
    initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN))
  with tqdm.tqdm(total=sum(map(len, splits.values())), unit='clip', smoothing=.05) as bar:
    def heard(split, numbers):
      """The records of a shard; the speech of all of it is made while its first is heard."""
      for spoken in pool.map(functools.partial(speak, given.head, given.seed, split), numbers):
        yield spoken | {'audio': np.asarray(listen(spoken['audio']))}
        bar.update()

    try:
      heard_dataset.write(given.out, splits, heard, inputs, bar.update)
    finally:
      pool.shutdown(cancel_futures=True)


def main():
  parser = argparse.ArgumentParser(description='Speaks, hears, and says how lips are shaped.')
  parser.add_argument('--head', help='head model .npz (data.talkers.convert_ict makes one)')
  parser.add_argument('--out', type=pathlib.Path, default=pathlib.Path('out/speech'))
  parser.add_argument('--clips', type=int, default=2400, help='of the training split')
  parser.add_argument('--audio_encoder', default='checkpoints/whisper-base',
                      help='folder or hub id of a Whisper model')
  parser.add_argument('--workers', type=int, default=2)
  parser.add_argument('--seed', type=int, default=0)
  given = parser.parse_args()
  signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's stop is a stop too
  try:
    make(given)
  except errors.UserError as error:
    print(f'error: {error}', file=sys.stderr)
    sys.exit(2)
  except KeyboardInterrupt:
    print('stopped; run the same command again to go on', file=sys.stderr)
    sys.exit(130)


if __name__ == '__main__':
  main()

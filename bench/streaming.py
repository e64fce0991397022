"""The codec as a stream: speed by chunk, and an hour of video at constant memory.

  python -m bench.streaming --checkpoint=out/codec/export --dataset=out/talkers/64 --minutes=60

A clip of the test split is looped, cut to a whole number of chunks. A codec of finite memory that
computes the same for every chunk gives the same frames in every loop: after an hour they must equal
those of the second loop to the last bit. Memory is that of the process.
"""

import pathlib
import sys
import time

import jax
import numpy as np
import tqdm

from bench import timing
from vidregen_jax import cli, files
from vidregen_jax.datasets import input_pipeline
from vidregen_jax.exports import model_folder
from vidregen_jax.inference import streaming_codec
from vidregen_jax.models import codec

_RATE = 25  # frames a second of the bundled clips
_CHUNK = 4  # latent frames a call of the long stream
_TIMED = 64  # latent frames that are timed for each chunk size
_REPORTS = 6  # lines about memory


def loop(clip, frames_a_chunk):
  """The clip's frames forwards and backwards, cut to whole chunks: no jump, and it goes round."""
  frames = np.concatenate([clip['frames'], clip['frames'][::-1]])
  return frames[:len(frames) // frames_a_chunk * frames_a_chunk]


def speeds(encoder, decoder, frames, chunks):
  """Milliseconds a frame by chunk size, (encode, decode), after a first call that compiles."""
  found = {}
  for chunk in chunks:
    step = chunk * codec.TIME_FACTOR
    parts = [np.take(frames, np.arange(start, start + step), axis=0, mode='wrap')[None]
             for start in range(0, _TIMED * codec.TIME_FACTOR, step)]
    cache = encoder.start(1)
    z, cache = encoder.advance(parts[0], cache)
    begin, latents = time.perf_counter(), []
    for part in parts:
      z, cache = encoder.advance(part, cache)
      latents.append(z)
    encode = time.perf_counter() - begin
    cache = decoder.start(1)
    _, cache = decoder.advance(latents[0], cache)
    begin = time.perf_counter()
    for z in latents:
      _, cache = decoder.advance(z, cache)
    seconds = np.array([encode, time.perf_counter() - begin])
    found[chunk] = (1000 * seconds / (len(parts) * step)).round(2).tolist()
  return found


def stream(encoder, decoder, frames, minutes):
  """Streams for so many minutes of video, and at least three rounds: the third is compared.

  Returns:
    Dict of frames, seconds, memory_mb by minute of video, and largest_change, of frames that come
    round again.
  """
  step = _CHUNK * codec.TIME_FACTOR
  round_of = len(frames) // step
  calls = max(int(minutes * 60 * _RATE) // step, 3 * round_of)
  into, out = encoder.start(1), decoder.start(1)
  second, largest, used = {}, 0.0, {}
  begin = time.perf_counter()
  for call in tqdm.trange(calls, unit='chunk', desc='streaming'):
    at = call % round_of
    z, into = encoder.advance(frames[at * step:(at + 1) * step][None], into)
    decoded, out = decoder.advance(z, out)
    if round_of <= call < 2 * round_of:
      second[at] = decoded
    elif call >= 2 * round_of:
      largest = max(largest, float(np.abs(decoded - second[at]).max()))
    if call % max(calls // _REPORTS, 1) == 0 or call == calls - 1:
      used[f'{call * step / _RATE / 60:.1f}'] = round(timing.memory(), 1)
  return {'frames': calls * step, 'seconds': round(time.perf_counter() - begin, 1),
          'memory_mb': used, 'largest_change': largest}


def parser():
  """Reads the program's flags."""
  flags = cli.Parser(prog='python -m bench.streaming', description=__doc__)
  flags.add_argument('--checkpoint', required=True, help='folder of the exported codec')
  flags.add_argument('--dataset', required=True, help='folder of the dataset of crops')
  flags.add_argument('--minutes', type=cli.number(0.1), default=60.0,
                     help='length of the stream (default %(default)s)')
  flags.add_argument('--chunks', type=cli.several(cli.whole(1)), default=[1, 2, 4, 8, 16],
                     help='latent frames per call, to time (default 1,2,4,8,16)')
  flags.add_argument('--json', help='file for all figures')
  return flags


def run(flags):
  """Does what the flags say.

  Raises:
    UserError: no codec or no dataset.
  """
  export = model_folder.load_export(flags.checkpoint, 'codec')
  clip = input_pipeline.talker_clips(flags.dataset, 'test', export.config['size'])[0]
  encoder, decoder = streaming_codec.Encoder.of(export), streaming_codec.Decoder.of(export)
  frames = loop(clip, _CHUNK * codec.TIME_FACTOR)
  found = {'backend': jax.default_backend(), 'size': export.config['size'],
           'ms_a_frame': speeds(encoder, decoder, frames, flags.chunks)}
  print('| latent frames a call | encode, ms a frame | decode, ms a frame |\n|---|---|---|')
  for chunk, (encode, decode) in found['ms_a_frame'].items():
    print(f'| {chunk} | {encode} | {decode} |')
  found |= stream(encoder, decoder, frames, flags.minutes)
  print(f'{found["frames"]} frames in {found["seconds"]} s; frames that come round again differ by '
        f'{found["largest_change"]}\nresident memory in MB by minute of video: '
        f'{found["memory_mb"]}')
  if flags.json:
    files.write_json(pathlib.Path(flags.json), found)


if __name__ == '__main__':
  sys.exit(cli.command(parser(), run, 'nothing was written'))

"""Generates lower faces with the model in this folder and JAX alone: pip install jax flatbuffers

  python run_stablehlo.py IN.npz OUT.npy [student]

IN.npz holds crops uint8 [4T, S, S, 3], stills uint8 [R, S, S, 3] of the same face, heard float32
[T + A, 16, layers, channels], the audio encoder's states (standardised) of each 4 frames and of A
more, and seconds float32 [T + A] a frame. OUT.npy is uint8 [4T, S, S, 3].
"""

import json
import pathlib
import sys

import jax
import jax.export  # jax does not import it by itself
import numpy as np

HERE = pathlib.Path(__file__).parent


def read(path):
  """Arrays of a safetensors file: 8 bytes with the length of a JSON header, which locates them."""
  data, kinds = (HERE / path).read_bytes(), {'F16': '<f2', 'F32': '<f4', 'I32': '<i4', 'I64': '<i8'}
  base = 8 + int.from_bytes(data[:8], 'little')
  arrays = {}
  for name, at in json.loads(data[8:base]).items():
    start, stop = (base + x for x in at['data_offsets'])
    array = np.frombuffer(data[start:stop], kinds[at['dtype']]).reshape(at['shape'])
    arrays[name] = array.astype(np.float32) if at['dtype'] == 'F16' else array
  return arrays


def load(name):
  """An exported function, and zeros for its arguments."""
  exported = jax.export.deserialize(bytearray((HERE / 'stablehlo' / f'{name}.bin').read_bytes()))
  zeros = [np.zeros(x.shape, x.dtype) for x in exported.in_avals]
  return jax.jit(exported.call), jax.tree.unflatten(exported.in_tree, zeros)[0]


given, student = dict(np.load(sys.argv[1])), sys.argv[3:] == ['student']
(encode, (_, fresh, _)), (begin, (_, _, start)), (step, (_, _, inputs)) = map(
  load, ('encode', 'begin', 'student_step' if student else 'sample_step'))
codec, generator = read('codec/codec.safetensors'), read('generator.safetensors')
if student:
  generator |= read('student/student.safetensors')
weights = jax.device_put({'codec': codec, 'generator': {
  name: x for name, x in generator.items() if name.startswith(('params/', 'expected_'))}})

audio, seconds, many = given['heard'][None], given['seconds'][None], len(given['stills'])
total = len(given['crops']) // 4
ahead = audio.shape[1] - total
for i, still in enumerate(given['stills']):
  start['references'][0, i] = encode(
    weights['codec'], fresh, np.repeat(still[None, None], 4, 1))[1]['target'][0]
start['reference_valid'][0, :many] = True
start |= {'audio': audio[:, :ahead], 'durations': seconds[:, :ahead],
          'audio_valid': np.ones((1, ahead), bool)}
cache, state, crops = fresh, begin(weights, np.uint32(0), start), []
for i in range(total):
  cache, seen = encode(weights['codec'], cache, given['crops'][None, 4 * i:4 * i + 4])
  state, frames = step(weights, state, inputs | seen | {
    'audio': audio[:, i + ahead], 'audio_valid': np.ones(1, bool),
    'durations': seconds[:, i + ahead]})
  crops.append(np.asarray(frames[0]))
np.save(sys.argv[2], ((np.concatenate(crops) + 1) * 127.5).round().clip(0, 255).astype(np.uint8))

"""The visibility rule against matrices written by hand."""

import types

import numpy as np

from vidregen_jax.models import token_layout

S, R, A, C, U, H, N = range(7)  # sink reference anchor context audio(U) history noisy


def tokens(stream, frame):
  stream, frame = np.array(stream), np.array(frame)
  return token_layout.Tokens(stream, frame, np.float32(frame), np.zeros(len(frame), int))


def test_the_rule_is_the_table():
  keys = [(S, 0), (R, 0), (R, 1), (A, 9), (C, 0), (C, 1), (C, 2), (U, 0), (U, 1), (U, 2), (U, 3),
          (H, 0), (H, 1), (H, 2), (N, 1), (N, 2)]
  # Rows see columns, in the order of `keys`; a window of 2 frames, one frame of look-ahead.
  rows = {
      (S, 0): '1 00 0 000 0000 000 00',
      (R, 1): '1 01 0 000 0000 000 00',
      (A, 9): '1 00 1 000 0000 000 00',
      (C, 1): '1 00 0 110 0000 000 00',
      (C, 2): '1 00 0 011 0000 000 00',
      (U, 2): '1 00 0 000 0110 000 00',
      (H, 2): '1 11 0 011 0000 011 00',
      (N, 0): '1 11 1 100 1100 000 00',
      (N, 2): '1 11 1 011 0111 010 01',
  }
  config = types.SimpleNamespace(window=2, look_ahead=1)
  seen = token_layout.visible(config, tokens(*zip(*rows, strict=True)),
                              tokens(*zip(*keys, strict=True)))
  for row, expected, query in zip(seen, rows.values(), rows, strict=True):
    found = ''.join(str(int(x)) for x in row)
    assert found == expected.replace(' ', ''), query


def test_no_conditioning_token_sees_a_noisy_one():
  every = tokens(np.repeat(np.arange(7), 5), np.tile(np.arange(5), 7))
  seen = token_layout.visible(types.SimpleNamespace(window=3, look_ahead=2), every, every)
  assert not seen[every.stream != N][:, every.stream == N].any()

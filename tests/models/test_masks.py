"""The visibility rule against matrices written by hand."""

import numpy as np

from vidregen_jax.models import masks

S, R, A, C, U, H, N = range(7)  # sink reference anchor context audio(U) history noisy


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
  stream, frame = zip(*rows, strict=True)
  key_stream, key_frame = zip(*keys, strict=True)
  seen = masks.visible(stream, frame, key_stream, key_frame, window=2, look_ahead=1)
  for row, expected, query in zip(seen, rows.values(), rows, strict=True):
    found = ''.join(str(int(x)) for x in row)
    assert found == expected.replace(' ', ''), query


def test_no_conditioning_token_sees_a_noisy_one():
  streams = np.repeat(np.arange(7), 5)
  frames = np.tile(np.arange(5), 7)
  seen = masks.visible(streams, frames, streams, frames, window=3, look_ahead=2)
  assert not seen[streams != N][:, streams == N].any()


def test_region_is_the_masked_cells_grown():
  mask = np.zeros((8, 8))
  mask[4:6, 4:6] = 1  # one cell of four a side: row 2, column 2
  assert masks.region_cells(mask, 4, grow=0) == (10,)
  assert masks.region_cells(mask, 4, grow=1) == (5, 6, 7, 9, 10, 11, 13, 14, 15)


def test_a_box_covers_its_share_of_cells():
  share = masks.cell_overlap(np.array([0.25, 0.0, 0.75, 0.5], np.float32), 2)
  np.testing.assert_allclose(share, [0.5, 0.5, 0, 0], atol=1e-6)

"""Cells of the crop: which are made anew, and how much of them a box covers."""

import numpy as np

from vidregen_jax.faces import crop_mask


def test_region_is_the_masked_cells_grown():
  mask = np.zeros((8, 8))
  mask[4:6, 4:6] = 1  # one cell of four a side: row 2, column 2
  assert crop_mask.region_cells(mask, 4, grow=0) == (10,)
  assert crop_mask.region_cells(mask, 4, grow=1) == (5, 6, 7, 9, 10, 11, 13, 14, 15)


def test_a_box_covers_its_share_of_cells():
  share = crop_mask.cell_overlap(np.array([0.25, 0.0, 0.75, 0.5], np.float32), 2)
  np.testing.assert_allclose(share, [0.5, 0.5, 0, 0], atol=1e-6)

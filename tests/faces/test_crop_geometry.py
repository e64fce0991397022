"""Whatever was made from crops records their geometry, and another one is refused in a line."""

import hashlib

import numpy as np
import pytest

from vidregen_jax.errors import UserError
from vidregen_jax.faces import crop_geometry, crop_mask


def check(recorded, expected=crop_geometry.MASKED_CROP):
  crop_geometry.check(recorded, expected, 'out/x', 'make it again')


def test_a_field_that_differs_is_named_with_both_values_and_the_way_out():
  check(dict(crop_geometry.MASKED_CROP))
  for name, value in crop_geometry.MASKED_CROP.items():
    with pytest.raises(UserError) as caught:
      check(crop_geometry.MASKED_CROP | {name: [.4, .4]})
    message = str(caught.value)
    assert message.startswith('out/x: ') and '\n' not in message and 'make it again' in message
    assert f'{name} is [0.4, 0.4], where' in message and f'has {value}' in message


@pytest.mark.parametrize('recorded', [{}, [], 7, 'x', {'top': 0.37},
                                      crop_geometry.MASKED_CROP | {'tilt': 1}])
def test_what_is_no_such_record_is_refused(recorded):
  with pytest.raises(UserError, match='make it again'):
    check(recorded)


def test_what_has_no_record_is_accepted_as_long_as_the_geometry_is_the_first():
  check(None)
  check(None, crop_geometry.CROP)
  with pytest.raises(UserError, match='top is 0.37, where .* has 0.4:'):
    check(None, crop_geometry.MASKED_CROP | {'top': .4})
  with pytest.raises(UserError, match='tilt is null'):
    check(None, crop_geometry.MASKED_CROP | {'tilt': 1})


@pytest.mark.parametrize('name', ['TOP', 'BOTTOM', 'LEFT', 'RIGHT', 'TOP_RADIUS', 'BOTTOM_RADIUS'])
def test_every_number_of_the_mask_is_in_the_record(name, monkeypatch):
  before = crop_mask.lower_face_mask(256)
  assert crop_geometry.MASKED_CROP[name.lower()] == getattr(crop_mask, name)
  monkeypatch.setattr(crop_mask, name, getattr(crop_mask, name) - .02)
  assert not np.array_equal(crop_mask.lower_face_mask(256), before)


def test_the_mask_is_the_one_that_folders_without_a_record_were_made_with():
  """A formula that draws another mask from the same numbers needs a field of its own here."""
  masks = [np.packbits(crop_mask.lower_face_mask(size) > 0).tobytes() for size in (64, 96, 256)]
  digest = hashlib.sha256(b''.join(masks)).hexdigest()
  assert digest == '2244caa246f3c045c930671ec59b163de940d3860ddb90d17eda92b13f2d44d3'

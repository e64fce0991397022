"""The lower-face mask, and pasting a regenerated crop back so that its edge does not show."""

import cv2
import numpy as np

from vidregen_jax.faces import crop_mask, landmarks

# Grey levels by which a crop must differ from the old one before the image's fine detail starts to
# fade out there, and at which it is gone: less is the codec's error, more is another mouth.
_DETAIL_STAYS, _DETAIL_GOES = 6., 22.
# The finest detail that a generated crop holds, in sides of the crop.
_SMOOTH = .01
# How far a colour difference at the rim is corrected inwards, in sides of the crop, and the share
# of rim pixels within that reach at which half of the difference is removed.
_RIM_SPREAD, _RIM_LEAST = .06, .03
# How far around the mask a crop is matched, in sides of it: `paste` sees no further.
_REACH = .06
# Levels from the rim's median colour up to which a pixel always counts, and the largest correction.
_RIM_ALIKE, _RIM_MOST = 20., 24.


def match_rim(crop: np.ndarray, old_crop: np.ndarray, mask: np.ndarray) -> np.ndarray:
  """Matches a regenerated crop to the colours of the old one along the mask's soft edge.

  The low-frequency difference there is subtracted from the new crop, fading out inwards, up to a
  limit. Only pixels count whose colour in the old crop is near the median of the edge, as others,
  such as background, are not skin. Far from the mask the crop stays as it is.

  Args:
    crop, old_crop: uint8 [S, S, 3].
    mask: float32 [S, S], as for `paste`.

  Returns:
    uint8 [S, S, 3].
  """
  size, crop = crop.shape[0], crop.copy()
  if not mask.any():
    return crop
  room = round(_REACH * size)
  box = tuple(slice(max(first - room, 0), last + 1 + room) for first, last in _extent(mask))
  old_crop, mask = old_crop[box], mask[box]
  change = crop[box].astype(np.float32) - old_crop
  rim = ((mask > .02) & (mask < .9)).astype(np.float32)
  if rim.any():
    smooth = cv2.GaussianBlur(old_crop.astype(np.float32), (0, 0), _SMOOTH * size)
    apart = np.abs(smooth - np.median(smooth[rim > 0], axis=0)).max(-1)
    rim *= apart < max(_RIM_ALIKE, 3 * np.median(apart[rim > 0]))
    change = np.clip(change, -_RIM_MOST, _RIM_MOST)
  spread = lambda values: cv2.GaussianBlur(values, (0, 0), _RIM_SPREAD * size,
                                           borderType=cv2.BORDER_CONSTANT)
  off = spread(rim[..., None] * change) / (spread(rim) + _RIM_LEAST)[..., None]
  crop[box] = np.clip(np.rint(crop[box] - off), 0, 255)
  return crop


def _extent(mask) -> tuple[tuple[int, int], ...]:
  """The first and the last row, and column, of what a mask [S, S] covers; it covers something."""
  return tuple((int(where[0]), int(where[-1]))
               for where in (np.flatnonzero(mask.any(axis)) for axis in (1, 0)))


def colours_apart(crop: np.ndarray) -> float:
  """The spread of colours in a crop, uint8 [S, S, 3], in levels of Cb and Cr.

  At most 1 for a face in black and white, even after lossy coding. In colour at least 17 (274
  clips), at least 6 in a third of their light, and 3 in an eighth.
  """
  chroma = cv2.cvtColor(cv2.blur(crop, (5, 5)), cv2.COLOR_RGB2YCrCb)[..., 1:].reshape(-1, 2)
  low, high = np.percentile(chroma, (2, 98), axis=0)
  return float((high - low).max())


def luma_alone(image: np.ndarray, old: np.ndarray) -> np.ndarray:
  """A picture's luma with another's chroma, both uint8 [H, W, 3]: the old one, relit."""
  light, before = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY).astype(np.int16) for each in (image, old))
  return np.clip(old + (light - before)[..., None], 0, 255).astype(np.uint8)


def paste(image: np.ndarray, crop: np.ndarray, affine: np.ndarray, mask: np.ndarray,
          old_crop: np.ndarray | None = None, grained=None,
          skin: np.ndarray | None = None) -> np.ndarray:
  """Puts a regenerated crop back into its image.

  A crop is often much smaller than the face it came from, so pasting it would blur the skin, and
  blur shows as an edge. What is added to the image is therefore the difference of the new crop
  from the old one: where nothing changed, the image keeps every pore. Where much changed, the
  image's own detail belongs to the old mouth and is faded out, so that old teeth do not shine
  through.

  Args:
    image: uint8 [H, W, 3].
    crop: uint8 [S, S, 3], the new crop.
    affine: [2, 3], crop fraction to image pixel.
    mask: float32 [S, S], weight of the new crop; see `crop_mask.paste_mask`.
    old_crop: uint8 [S, S, 3], from `landmarks.crop` of the image; computed here if None.
    grained: function of a part's detail float32 [h, w, 3], where it is kept bool [h, w], and the
      face's centre in it (x, y), that returns grain float32 [h, w, 3] for where detail is faded
      out; None for no grain.
    skin: bool [S, S], where `grained` may measure the image's own grain; with `grained` alone.

  Returns:
    uint8 [H, W, 3], a new array; where the mask is 0, bit for bit `image`.

  Raises:
    ValueError: the shapes do not match, or the affine is not finite.
  """
  size = crop.shape[0]
  if crop.shape != (size, size, 3) or mask.shape != (size, size):
    raise ValueError(f'crop {crop.shape} and mask {mask.shape}, wanted [S, S, 3] and [S, S]')
  if old_crop is None:
    old_crop = landmarks.crop(image, affine, size)
  affine = landmarks.pixel_affine(affine, size)
  reached = mask.copy()
  if grained is not None:
    reached = np.maximum(reached, skin)
  box = _reach(affine, reached, image.shape)
  pasted = image.copy()
  if box is None:
    return pasted
  x0, y0, x1, y1 = box
  affine[:, 2] -= (x0, y0)
  region = image[y0:y1, x0:x1].astype(np.float32)

  def to_image(values: np.ndarray, interpolation: int, border: int) -> np.ndarray:
    return cv2.warpAffine(values, affine, (x1 - x0, y1 - y0), flags=interpolation,
                          borderMode=border)

  old = old_crop.astype(np.float32)
  change = crop.astype(np.float32) - old
  amount = cv2.GaussianBlur(np.abs(change).max(-1), (0, 0), max(.7, .012 * size))
  gone = crop_mask.ramp((amount - _DETAIL_STAYS) / (_DETAIL_GOES - _DETAIL_STAYS))
  gone = gone.astype(np.float32)
  weight = to_image(mask.astype(np.float32), cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
  gone = to_image(gone, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE)
  detail = region - to_image(old, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)
  added = to_image(change, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE) - _thrice(gone) * detail
  if grained is not None:
    # Independent grains add in variance. A real crop holds some grain, a generated one does not.
    lost = np.sqrt(gone * (2 - gone))
    smooth = cv2.GaussianBlur(old, (0, 0), _SMOOTH * size)
    texture = region - to_image(smooth, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE)
    bare = to_image(skin.astype(np.float32), cv2.INTER_LINEAR, cv2.BORDER_CONSTANT) > .98
    usable = bare & (weight * gone < .02)
    added += _thrice(lost) * grained(texture, usable, affine @ (size / 2, size / 2, 1))
  cv2.add(region, _thrice(weight) * added, pasted[y0:y1, x0:x1], dtype=cv2.CV_8U)
  return pasted


def _thrice(weights: np.ndarray) -> np.ndarray:
  """A weight [H, W] for all three colours; multiplying by [H, W, 1] is far slower."""
  return cv2.merge((weights,) * 3)


def _reach(affine: np.ndarray, mask: np.ndarray, shape: tuple) -> tuple[int, ...] | None:
  """The box x0, y0, x1, y1 of image pixels that the mask reaches; None if it reaches none."""
  if not mask.any():
    return None
  (top, bottom), (left, right) = _extent(mask)
  left, right, top, bottom = left - 1, right + 1, top - 1, bottom + 1
  corners = affine @ np.array([(left, right, left, right), (top, top, bottom, bottom), [1] * 4])
  limit = (shape[1], shape[0])
  x0, y0 = np.clip(np.floor(corners.min(1)), 0, limit).astype(int)
  x1, y1 = np.clip(np.ceil(corners.max(1)) + 1, 0, limit).astype(int)
  return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
